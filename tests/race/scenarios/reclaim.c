// SPDX-License-Identifier: BSD-2-Clause
/* What takes frames by the reverse map: reclaim to a file, writeback to a region's store, poison (A21). */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mmu/host/hostmm_actors.h"
#include "mmu/host/hostmm_reclaim.h"
#include "tests/race/scenario.h"
#include "tests/race/world.h"

#define SHOWN(value) ((unsigned long long)(value))

static void must(int rc, const char *what)
{
	if (rc)
		explore_fail("%s: %s", what, strerror(-rc));
}

static void store_2(void *ctx)
{
	(void)ctx;
	device_store(0, "device", 0, 2);
}

/* ---- try_to_unmap(), to a file ---- */

static void swap_setup(void *ctx)
{
	int fd = memfd_create("backing", MFD_CLOEXEC);

	(void)ctx;
	world_setup(1, race_variant_is("tlb") ? "ats-4k" : "kvm", NULL);
	must(pool_swapon(world.pool, fd, 8), "pool_swapon()");
	close(fd);
	device_store(0, "device, which so has the page mapped writable,", 0, 1);
}

static void reclaim(void *ctx)
{
	(void)ctx;
	explore_say("reclaim takes page 0");
	must(hostmm_reclaim(world.mm, world_page(0), world_page(1), NULL), "hostmm_reclaim()");
	explore_say("page 0 has been written, and its frame is free");
}

static void swap_finish(void *ctx)
{
	uint64_t value;

	(void)ctx;
	value = host_load("CPU, at the end,", 0);
	if (value != 2)
		explore_fail("the page comes back with %#llx: the device's store of 2 is lost",
			     SHOWN(value));
	world_finish();
}

const struct race_scenario a21_reclaim = {
	.name = "a21-reclaim",
	.rows = "A21 A24",
	.title = "Taking a page's frame, with its contents in a file",
	.question = "Reclaim unmaps a page everywhere, writes what it contains, and frees its frame. In which order?",
	.lesson = "What the file got is not what the page contained when it was taken away.",
	.variant = {
		{ "safe", RACE_PASS, 0, "Unmap, write, free (kvm)." },
		{ "tlb", RACE_PASS, 0, "The same (ats-4k)." },
		{ "write-first", RACE_VIOLATION, 1211, "Write, unmap, free: what is stored in between is lost." },
		{ "free-first", RACE_VIOLATION, 1212, "Unmap, free, write: what the frame's next owner has is written." },
	},
	.program = {
		.setup = swap_setup,
		.finish = swap_finish,
		.threads = 2,
		.thread = { { "reclaim", reclaim }, { "device", store_2 } },
	},
};

/* ---- page_mkclean(), to a store ---- */

static uint64_t stored;

static int fill(void *ctx, uint64_t page, void *dst, uint64_t npages)
{
	(void)ctx;
	(void)page;
	memset(dst, 0, npages << PAGE_SHIFT);
	memcpy(dst, &stored, sizeof(stored));
	return 0;
}

static int keep(void *ctx, uint64_t page, const void *src, uint64_t npages)
{
	(void)ctx;
	(void)page;
	(void)npages;
	memcpy(&stored, src, sizeof(stored));
	explore_say("the store has %llu now", SHOWN(stored));
	return 0;
}

static const struct pager_ops store = { .fill = fill, .writeback = keep };

static void store_setup(void *ctx)
{
	(void)ctx;
	world_setup(1, NULL, NULL);
	stored = 0;
	must(hostmm_map(world.mm, 1, HOSTMM_PROT_READ | HOSTMM_PROT_WRITE, &store, NULL,
			&world.hva),
	     "hostmm_map()");
	world_add_device(0, "kvm", world.hva, 1);
	device_store(0, "device, which so has the page mapped writable,", 0, 1);
}

static void writeback(void *ctx)
{
	(void)ctx;
	explore_say("writeback begins");
	must(hostmm_writeback(world.mm, world_page(0), world_page(1), NULL), "hostmm_writeback()");
	explore_say("writeback is done");
}

static void store_finish(void *ctx)
{
	uint64_t value;

	(void)ctx;
	explore_say("the page leaves memory, clean or not");
	must(hostmm_reclaim(world.mm, world_page(0), world_page(1), NULL), "hostmm_reclaim()");
	value = host_load("CPU, at the end,", 0);
	if (value != 2)
		explore_fail("the page was taken for clean, and comes back with %llu",
			     SHOWN(value));
	world_finish();
}

const struct race_scenario a21_writeback = {
	.name = "a21-writeback",
	.rows = "A21 A17",
	.title = "Writing a page back while it is used",
	.question = "A dirty page is written to where it came from, and stays mapped. When does it count as clean?",
	.lesson = "The device stored after the page had been written and before it was protected. Nobody writes it again.",
	.variant = {
		{ "safe", RACE_PASS, 0, "Protect, write; clean if nobody could store since." },
		{ "write-first", RACE_VIOLATION, 1214, "Write, protect, clean." },
	},
	.program = {
		.setup = store_setup,
		.finish = store_finish,
		.threads = 2,
		.thread = { { "writeback", writeback }, { "device", store_2 } },
	},
};

/* ---- memory_failure() ---- */

static void bad_setup(void *ctx)
{
	(void)ctx;
	world_setup(2, "kvm", NULL);
	host_store("CPU", 0, 5);
	host_store("CPU", 1, 5);
	must(hostmm_merge(world.mm, world_page(0), world.mm, world_page(1)), "hostmm_merge()");
	device_load(0, "device", 0);
	device_load(0, "device", 1);
}

static void poison(void *ctx)
{
	(void)ctx;
	explore_say("the frame of pages 0 and 1 is bad");
	must(hostmm_poison(world.mm, world_page(0)), "hostmm_poison()");
	explore_say("nobody reaches it any more");
}

/* What the device finds in @page: -errno, or 0 and the contents must be those that it had. */
static int look(uint64_t page)
{
	uint64_t value = 0;
	int rc = device_read(world.device[0], world_page(page), &value, sizeof(value));

	if (rc)
		explore_say("the device cannot have page %llu: it is bad", SHOWN(page));
	if (rc && rc != -EHWPOISON)
		must(rc, "device load");
	if (!rc && value != 5)
		explore_fail("the device reads %#llx from page %llu", SHOWN(value), SHOWN(page));
	return rc;
}

static void bad_device(void *ctx)
{
	(void)ctx;
	look(1);
}

static void bad_finish(void *ctx)
{
	(void)ctx;
	for (uint64_t page = 0; page < 2; page++)
		if (!look(page))
			explore_fail("the device still reaches the bad frame, by page %llu",
				     SHOWN(page));
	must(hostmm_discard(world.mm, world_page(0), world_page(2)), "hostmm_discard()");
	for (uint64_t page = 0; page < 2; page++)
		if (host_load("CPU, after a discard,", page))
			explore_fail("a page is not new");
	world_finish();
}

const struct race_scenario a21_hwpoison = {
	.name = "a21-hwpoison",
	.rows = "A21",
	.title = "A frame that is taken away for good",
	.question = "The memory of a frame is bad. It is shared by several pages: who must let go of it?",
	.lesson = "The page that was complained about has lost it. Another one still has.",
	.variant = {
		{ "safe", RACE_PASS, 0, "All that the reverse map knows, until it knows none." },
		{ "first-map", RACE_VIOLATION, 1213, "The first that it knows stands for all." },
	},
	.program = {
		.setup = bad_setup,
		.finish = bad_finish,
		.threads = 2,
		.thread = { { "CPU: poison", poison }, { "device", bad_device } },
	},
};
