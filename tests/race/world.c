// SPDX-License-Identifier: BSD-2-Clause
#include "tests/race/world.h"

#include <string.h>

#include "mmu/host/hostmm_actors.h"
#include "mmu/host/pool_priv.h"
#include "tests/race/vm.h"

/* Twice the region, and room for frames that two forks of it take. */
#define FRAMES_PER_PAGE 8

struct world world;
static _Atomic uint64_t floor_of[WORLD_VERSIONS];

void must(int rc, const char *what)
{
	if (rc)
		explore_fail("%s: %s", what, strerror(-rc));
}

static void set_up(uint64_t pages, bool audit, const char *profile, const char *profile2)
{
	const char *const name[WORLD_DEVICES] = { profile, profile2 };
	/* The source of which the explorer knows all: a thread that faults resolves that itself (vm.h). */
	struct hostmm_opts opts = { .fault_threads = 1,
				    .source = HOSTMM_SOURCE_SIGBUS,
				    .audit = audit };

	memset(&world, 0, sizeof(world));
	for (unsigned page = 0; page < WORLD_VERSIONS; page++)
		sync_store(&floor_of[page], 0);
	world.pages = pages;
	must(pool_create(&world.pool, FRAMES_PER_PAGE * pages + 8, true), "pool_create()");
	must(hostmm_create(&world.mm, world.pool, &opts), "hostmm_create()");
	must(hostmm_map(world.mm, pages, HOSTMM_PROT_READ | HOSTMM_PROT_WRITE, NULL, NULL,
			&world.hva),
	     "hostmm_map()");
	for (unsigned d = 0; d < WORLD_DEVICES; d++)
		if (name[d])
			world_add_device(d, name[d], world.hva, pages);
}

void world_setup(uint64_t pages, const char *profile, const char *profile2)
{
	set_up(pages, false, profile, profile2);
}

void world_setup_audit(uint64_t pages, const char *profile)
{
	set_up(pages, true, profile, NULL);
}

void world_add_device(unsigned d, const char *profile, hva_t hva, uint64_t pages)
{
	must(device_create(&world.device[d], device_profile(profile), world.mm, hva, pages),
	     "device_create()");
}

void world_add_profile(unsigned d, const struct device_profile *profile)
{
	must(device_create(&world.device[d], profile, world.mm, world.hva, world.pages),
	     "device_create()");
}

void world_populate(void)
{
	static struct gup_page pages[WORLD_LARGE];

	for (uint64_t page = 0; page < world.pages; page += WORLD_LARGE) {
		uint64_t n = min_u64(WORLD_LARGE, world.pages - page);

		must(hostmm_gup(world.mm, world_page(page), n, 0, n - 1, true, pages),
		     "hostmm_gup()");
		hostmm_put_pages(world.mm, pages, n);
	}
}

void world_move(uint64_t page)
{
	must(hostmm_migrate(world.mm, world_page(page), world_page(page + 1), HOSTMM_MIGRATE_AWAY),
	     "hostmm_migrate()");
	explore_say("page %llu is in another frame now", (unsigned long long)page);
}

static void report(void *ctx, hva_t addr, fn_t fn, const char *what)
{
	const struct device *device = ctx;

	explore_fail("device %u, page %llu, frame %llu: %s", device == world.device[1],
		     (unsigned long long)((addr - world.hva) >> PAGE_SHIFT), (unsigned long long)fn,
		     what);
}

void world_finish_unchecked(void)
{
	for (unsigned d = 0; d < WORLD_DEVICES; d++)
		if (world.device[d])
			device_destroy(world.device[d]);
	/* Nobody reads any more: to fill frames with the pattern would take most of the time of a world of 512 pages. */
	pool_forget(world.pool, 0, pool_frames(world.pool));
	hostmm_destroy(world.mm);
	if (pool_used(world.pool))
		explore_fail("%llu frames leaked", (unsigned long long)pool_used(world.pool));
	pool_destroy(world.pool);
}

void world_finish(void)
{
	for (unsigned d = 0; d < WORLD_DEVICES; d++)
		if (world.device[d])
			device_check(world.device[d], report, world.device[d]);
	world_finish_unchecked();
}

static void say_read(const char *who, uint64_t page, uint64_t value)
{
	if (value == POOL_CANARY)
		explore_say("%s reads from page %llu the pattern of freed frames", who,
			    (unsigned long long)page);
	else
		explore_say("%s reads %llu from page %llu", who, (unsigned long long)value,
			    (unsigned long long)page);
}

uint64_t host_load(const char *who, uint64_t page)
{
	uint64_t value = 0;

	must(hostmm_read(world.mm, world_page(page), &value, sizeof(value)), "host load");
	say_read(who, page, value);
	return value;
}

void host_store(const char *who, uint64_t page, uint64_t value)
{
	must(hostmm_write(world.mm, world_page(page), &value, sizeof(value)), "host store");
	explore_say("%s writes %llu to page %llu", who, (unsigned long long)value,
		    (unsigned long long)page);
}

/* An access of a host thread, which follows at once. It concerns whoever changes the entry, and who has the frame. */
static _Atomic uint64_t *through_view(uint64_t page, bool write)
{
	void *addr = (void *)(uintptr_t)world_page(page);

	for (;;) {
		uint64_t fn = vm_frame(addr);

		explore_point(EXPLORE_LOAD, vm_entry(addr), &world.pool->frames[fn], "the view",
			      "host thread");
		if (vm_frame(addr) != fn)
			continue;
		if (vm_access(addr, write))
			return addr;
		must(vm_fault(addr, write), "fault in the host view");
	}
}

uint64_t view_load(const char *who, uint64_t page)
{
	uint64_t value = atomic_load(through_view(page, false));

	say_read(who, page, value);
	return value;
}

void view_store(const char *who, uint64_t page, uint64_t value)
{
	atomic_store(through_view(page, true), value);
	explore_say("%s writes %llu to page %llu", who, (unsigned long long)value,
		    (unsigned long long)page);
}

uint64_t device_load(unsigned d, const char *who, uint64_t page)
{
	uint64_t value = 0;

	must(device_read(world.device[d], world_page(page), &value, sizeof(value)), "device load");
	say_read(who, page, value);
	return value;
}

void device_store(unsigned d, const char *who, uint64_t page, uint64_t value)
{
	must(device_write(world.device[d], world_page(page), &value, sizeof(value)),
	     "device store");
	explore_say("%s writes %llu to page %llu", who, (unsigned long long)value,
		    (unsigned long long)page);
}

void write_version(uint64_t page, uint64_t version)
{
	host_store("the CPU", page, version);
	sync_store_release(&floor_of[page], version);
}

void check_version(unsigned d, const char *who, uint64_t page)
{
	uint64_t at_least = sync_load_acquire(&floor_of[page]);
	uint64_t got = device_load(d, who, page);

	if (got == POOL_CANARY)
		explore_fail("%s reads a frame that has been freed", who);
	if (got < at_least)
		explore_fail("%s reads %llu, after the CPU has written %llu", who,
			     (unsigned long long)got, (unsigned long long)at_least);
}

uint64_t version_of(uint64_t page)
{
	return sync_load(&floor_of[page]);
}
