// SPDX-License-Identifier: BSD-2-Clause
#include "tests/race/world.h"

#include <string.h>

/* Twice the region, and room for frames that two forks of it take. */
#define FRAMES_PER_PAGE 8

struct world world;

static void must(int rc, const char *what)
{
	if (rc)
		explore_fail("%s: %s", what, strerror(-rc));
}

void world_setup(uint64_t pages, const char *profile, const char *profile2)
{
	const char *const name[WORLD_DEVICES] = { profile, profile2 };
	struct hostmm_opts opts = { .fault_threads = 1 };

	memset(&world, 0, sizeof(world));
	world.pages = pages;
	must(pool_create(&world.pool, FRAMES_PER_PAGE * pages + 8, true), "pool_create()");
	must(hostmm_create(&world.mm, world.pool, &opts), "hostmm_create()");
	must(hostmm_map(world.mm, pages, HOSTMM_PROT_READ | HOSTMM_PROT_WRITE, NULL, NULL,
			&world.hva),
	     "hostmm_map()");
	for (unsigned d = 0; d < WORLD_DEVICES; d++)
		if (name[d])
			must(device_create(&world.device[d], device_profile(name[d]), world.mm,
					   world.hva, pages),
			     "device_create()");
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
