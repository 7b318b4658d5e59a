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

static _Atomic uint64_t stored;

static int fill(void *ctx, uint64_t page, void *dst, uint64_t npages)
{
	uint64_t value = sync_load(&stored);

	(void)ctx;
	(void)page;
	memset(dst, 0, npages << PAGE_SHIFT);
	memcpy(dst, &value, sizeof(value));
	return 0;
}

static int keep(void *ctx, uint64_t page, const void *src, uint64_t npages)
{
	uint64_t value;

	(void)ctx;
	(void)page;
	(void)npages;
	memcpy(&value, src, sizeof(value));
	sync_store(&stored, value);
	explore_say("the store has %llu now", SHOWN(value));
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

/* ---- Both, to one store ---- */

static void store_and_reclaim(void *ctx)
{
	store_2(ctx);
	reclaim(ctx);
}

static void order_finish(void *ctx)
{
	uint64_t value;

	(void)ctx;
	value = host_load("CPU, at the end,", 0);
	if (value != 2)
		explore_fail("the page comes back with %llu: what was older was written later",
			     SHOWN(value));
	world_finish();
}

const struct race_scenario a21_store_order = {
	.name = "a21-store-order",
	.rows = "A21",
	.title = "Reclaim beside writeback",
	.question = "Two write a page to its store: one keeps it, one takes it away. Who is last?",
	.lesson = "The writeback had read the page before the store of 2, and comes to the store after the reclaim.",
	.variant = {
		{ "safe", RACE_PASS, 0, "One at a time has the region's store, before it takes or protects a page." },
		{ "no-lock", RACE_VIOLATION, 1216, "Reclaim does not wait for a writeback." },
		{ "late-lock", RACE_DEADLOCK, 1215, "It waits when it has taken the page, for which the writeback waits." },
	},
	.program = {
		.setup = store_setup,
		.finish = order_finish,
		.threads = 2,
		.thread = { { "writeback", writeback }, { "device, reclaim", store_and_reclaim } },
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

/* ---- memory_failure() of a page that is on its way to the file ---- */

static int poisoned; /* what hostmm_poison() said */

static void way_setup(void *ctx)
{
	int fd = memfd_create("backing", MFD_CLOEXEC);

	(void)ctx;
	world_setup(2, NULL, NULL);
	host_store("CPU", 0, 5);
	host_store("CPU", 1, 5);
	must(hostmm_merge(world.mm, world_page(0), world.mm, world_page(1)), "hostmm_merge()");
	must(pool_swapon(world.pool, fd, 8), "pool_swapon()");
	close(fd);
}

static void try_poison(void *ctx)
{
	(void)ctx;
	explore_say("the frame of page 0 is bad");
	poisoned = hostmm_poison(world.mm, world_page(0));
	if (poisoned && poisoned != -ENOENT)
		must(poisoned, "hostmm_poison()");
	explore_say(poisoned ? "page 0 has none" : "page 0 has lost it");
}

static void reclaim_both(void *ctx)
{
	(void)ctx;
	explore_say("reclaim takes pages 0 and 1, which share a frame");
	must(hostmm_reclaim(world.mm, world_page(0), world_page(2), NULL), "hostmm_reclaim()");
	explore_say("the frame is free");
}

static void way_finish(void *ctx)
{
	uint64_t value = 5;
	int rc = hostmm_read(world.mm, world_page(0), &value, sizeof(value));

	(void)ctx;
	if (value != 5)
		explore_fail("page 0 contains %#llx", SHOWN(value));
	if (!rc != !!poisoned)
		explore_fail("hostmm_poison() said %s, and page 0 %s",
			     poisoned ? "that there is no frame" : "0",
			     rc ? "is bad" : "has contents from the file");
	world_finish();
}

const struct race_scenario a21_hwpoison_reclaim = {
	.name = "a21-hwpoison-reclaim",
	.rows = "A21",
	.title = "A bad frame on its way to a file",
	.question = "A shared frame is being written to the backing file when it is found bad. What do its pages contain?",
	.lesson = "The file has what was read from a bad frame, and a page that was said to be lost has it.",
	.variant = {
		{ "safe", RACE_PASS, 0, "Who unmaps a page after the frame went bad marks it bad; else poison says that it came late." },
		{ "unseen", RACE_VIOLATION, 1217, "Neither looks what the other did." },
	},
	.bound = 2,
	.program = {
		.setup = way_setup,
		.finish = way_finish,
		.threads = 2,
		.thread = { { "CPU: poison", try_poison }, { "reclaim", reclaim_both } },
	},
};
