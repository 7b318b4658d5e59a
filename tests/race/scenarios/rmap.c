// SPDX-License-Identifier: BSD-2-Clause
/* What is done to a page by its reverse map: clean it for writeback, move it (A21); a flush that may not wait (M21). */
#include "tests/race/scenario.h"
#include "tests/race/scenarios/linter.h"
#include "tests/race/world.h"

#define SHOWN(value) ((unsigned long long)(value))

static void setup(void *ctx)
{
	(void)ctx;
	world_setup(1,
		    race_variant_is("async")  ? "xpmem-async"
		    : race_variant_is("tlb")  ? "ats-4k"
		    : race_variant_is("safe") ? "kvm"
					      : "xpmem",
		    NULL);
	if (race_variant_is("untold"))
		linter_off();
	device_store(0, "device, which so has the page mapped writable,", 0, 1);
}

static void finish(void)
{
	linter_on();
	if (race_variant_is("async"))
		world_finish_unchecked();
	else
		world_finish();
}

static void store_2(void *ctx)
{
	(void)ctx;
	device_store(0, "device", 0, 2);
}

/* ---- A21: page_mkclean() ---- */

static uint64_t written_back;

static void clean(void *ctx)
{
	(void)ctx;
	explore_say("writeback begins to write-protect page 0");
	if (hostmm_wrprotect(world.mm, world_page(0), world_page(1)))
		explore_fail("wrprotect failed");
	explore_say("the page is clean from here on: write it to disk");
	written_back = host_load("writeback", 0);
}

static void clean_finish(void *ctx)
{
	uint64_t now = host_load("CPU, at the end,", 0);
	struct gup_page page;

	(void)ctx;
	hostmm_peek(world.mm, world_page(0), &page);
	if (now != written_back && !page.writable)
		explore_fail("the page is clean, has %llu, and the disk has %llu: a store is lost",
			     SHOWN(now), SHOWN(written_back));
	finish();
}

const struct race_scenario a21_mkclean = {
	.name = "a21-mkclean",
	.rows = "A21 A17 A11 A12 A13 A14",
	.title = "Cleaning a page for writeback",
	.question = "Before a page is written to disk it is write-protected, so that the next store faults and makes it "
		    "dirty again. Nothing is unmapped. Must the device hear of that?",
	.lesson = "The device stored without a fault, after the page had been taken for clean. Nobody will write it "
		  "to disk again.",
	.variant = {
		{ "safe", RACE_PASS, 0, "A bracket around the write-protection; the device loses its right to store (kvm)." },
		{ "xpmem", RACE_PASS, 0, "The same (xpmem)." },
		{ "tlb", RACE_PASS, 0, "The device's TLB is flushed after the protection (ats-4k)." },
		{ "untold", RACE_VIOLATION, 121, "Write-protecting tells nobody (xpmem)." },
		{ "async", RACE_VIOLATION, 0, "The device lets go later (xpmem-async)." },
	},
	.program = {
		.setup = setup,
		.finish = clean_finish,
		.threads = 2,
		.thread = { { "writeback", clean }, { "device", store_2 } },
	},
};

/* ---- A21: try_to_migrate() ---- */

static void move(void *ctx)
{
	(void)ctx;
	explore_say("CPU begins to move page 0 to another frame");
	if (hostmm_migrate(world.mm, world_page(0), world_page(1), HOSTMM_MIGRATE_AWAY))
		explore_fail("migration failed");
	explore_say("page 0 has been copied to another frame");
}

static void move_finish(void *ctx)
{
	(void)ctx;
	if (host_load("CPU, at the end,", 0) != 2)
		explore_fail("the device's store of 2 is lost: it went to the old frame");
	finish();
}

const struct race_scenario a21_migrate = {
	.name = "a21-migrate",
	.rows = "A21 A24",
	.title = "Moving a page to another frame",
	.question = "Migration unmaps a page, copies it, and maps the copy. When must the device have let go?",
	.lesson = "The device stored to the old frame after it had been copied.",
	.variant = {
		{ "safe", RACE_PASS, 0, "Before the copy: inside start (kvm)." },
		{ "xpmem", RACE_PASS, 0, "The same, with a pin on the old frame that start drops (xpmem)." },
		{ "async", RACE_VIOLATION, 0, "Some time later (xpmem-async)." },
	},
	.program = {
		.setup = setup,
		.finish = move_finish,
		.threads = 2,
		.thread = { { "CPU: migrate", move }, { "device", store_2 } },
	},
};

/* ---- M21: flush before unlock ---- */

static bool is_view(void)
{
	return race_variant_is("view") || race_variant_is("M21-view");
}

static void m21_setup(void *ctx)
{
	(void)ctx;
	world_setup(1, is_view() ? NULL : "kvm", NULL);
	if (is_view())
		view_store("a host thread, which so has the page in its TLB,", 0, 1);
	else
		device_store(0, "guest, which so has the page in its TLB,", 0, 1);
}

static void m21_protect(void *ctx)
{
	(void)ctx;
	explore_say("CPU 0 begins to unmap page 0");
	if (hostmm_zap(world.mm, world_page(0), world_page(1)))
		explore_fail("zap failed");
}

static void m21_discard(void *ctx)
{
	uint64_t value;

	(void)ctx;
	explore_say("CPU 1 begins to discard page 0");
	if (hostmm_discard(world.mm, world_page(0), world_page(1)))
		explore_fail("discard failed");
	explore_say("CPU 1 has discarded page 0");
	value = is_view() ? view_load("host thread", 0) : device_load(0, "guest", 0);
	if (value)
		explore_fail("a discarded page must read 0, not %#llx", SHOWN(value));
}

static void m21_finish(void *ctx)
{
	(void)ctx;
	world_finish();
}

const struct race_scenario m21_flush_unlocked = {
	.name = "m21-flush-unlocked",
	.rows = "A19 A24 M21",
	.title = "Flush the TLB before the lock is dropped",
	.question = "Whoever takes a page away clears its entry under a lock, then flushes TLBs, which takes long. May he drop "
		    "the lock in between, if he flushes before he returns?",
	.lesson = "The second to come finds no entry, so it has nothing to flush, and frees the page. The first has "
		  "not flushed yet: the free frame is read.",
	.variant = {
		{ "safe", RACE_PASS, 0, "Clear and flush under one hold of the lock (kvm)." },
		{ "view", RACE_PASS, 0, "The same in the primary: its entry, and the host view." },
		{ "M21", RACE_VIOLATION, 21, "Clear, unlock, flush (as migrate_device did until 60bae7370896)." },
		{ "M21-view", RACE_VIOLATION, 211, "The same in the primary: a host thread reads the free frame." },
	},
	.program = {
		.setup = m21_setup,
		.finish = m21_finish,
		.threads = 2,
		.thread = { { "CPU 0: unmaps", m21_protect }, { "CPU 1: discards, then the page is read", m21_discard } },
	},
};
