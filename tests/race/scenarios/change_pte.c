// SPDX-License-Identifier: BSD-2-Clause
/* change_pte: a page gets another frame under the eyes of who reads it (A22), and when that is not allowed (M2). */
#include "mmu/host/hostmm_actors.h"
#include "tests/race/scenario.h"
#include "tests/race/world.h"

#define SHOWN(value) ((unsigned long long)(value))

/* ---- A22: at once ---- */

static void a22_setup(void *ctx)
{
	(void)ctx;
	world_setup(2, race_variant_is("tlb") ? "ats-4k" : "kvm", NULL);
	host_store("CPU", 0, 1);
	host_store("CPU", 1, 1);
	device_load(0, "guest, which so has page 1 mapped,", 1);
}

static void a22_merge(void *ctx)
{
	(void)ctx;
	explore_say("ksmd begins to merge pages 0 and 1, which are equal");
	if (!hostmm_merge(world.mm, world_page(0), world.mm, world_page(1)))
		explore_say("page 1 now has the frame of page 0; its old frame is free");
}

static void a22_guest(void *ctx)
{
	uint64_t value = device_load(0, "guest", 1);

	(void)ctx;
	if (value != 1)
		explore_fail(
			"the guest must read 1 from page 1, before the merge and after it, not %#llx",
			SHOWN(value));
}

static void a22_finish(void *ctx)
{
	a22_guest(ctx);
	world_finish();
}

const struct race_scenario a22_change_now = {
	.name = "a22-change-now",
	.rows = "A22 A20",
	.title = "change_pte acts before it returns",
	.question = "A merge gives a page another frame with the same contents. start lets the guest read on; "
		    "change_pte tells it the new frame. Must the guest be off the old frame when change_pte returns, or "
		    "is the end of the range soon enough, since both frames read the same?",
	.lesson = "The old frame loses its last map right after change_pte and is free: the guest reads what "
		  "whoever has it next puts there (here a pattern).",
	.variant = {
		{ "safe", RACE_PASS, 0, "change_pte freezes the entry, flushes, points it at the new frame (kvm)." },
		{ "tlb", RACE_PASS, 0, "A device without tables just flushes its TLB (ats-4k)." },
		{ "late", RACE_VIOLATION, 122, "change_pte leaves the old frame reachable for a while." },
	},
	.program = {
		.setup = a22_setup,
		.finish = a22_finish,
		.threads = 2,
		.thread = { { "ksmd: merge", a22_merge }, { "guest", a22_guest } },
	},
};

/* ---- M2: only if its bracket is the only one ---- */

static void m2_setup(void *ctx)
{
	(void)ctx;
	world_setup(1, race_variant_is("kvm") ? "kvm" : "pfn-cache", NULL);
	host_store("CPU", 0, 1);
	/* change_pte tells of pages that nobody may write. */
	if (hostmm_wrprotect(world.mm, world_page(0), world_page(1)))
		explore_fail("hostmm_wrprotect() failed");
	device_load(0, "device, which so has the frame of page 0,", 0);
}

static void m2_move(void *ctx)
{
	(void)ctx;
	explore_say("kernel begins to move page 0 to another frame");
	world_move(0);
}

static void m2_discard(void *ctx)
{
	(void)ctx;
	explore_say("CPU begins to discard page 0");
	if (hostmm_discard(world.mm, world_page(0), world_page(1)))
		explore_fail("discard failed");
	explore_say("CPU has discarded page 0");
}

static void m2_finish(void *ctx)
{
	uint64_t value = device_load(0, "device, at the end,", 0);

	(void)ctx;
	if (value)
		explore_fail("page 0 is discarded and reads 0; the device reads %#llx",
			     SHOWN(value));
	world_finish();
}

const struct race_scenario m2_change_alone = {
	.name = "m2-change-alone",
	.rows = "A22 M2",
	.title = "change_pte beside another bracket",
	.question = "change_pte tells the new frame, so a device may use it at once, inside the bracket: one that keeps frames "
		    "at hand, as a hypervisor does for a guest's APIC page, drops them at start and takes the new one up. Also "
		    "if another bracket is open over the page?",
	.lesson = "The discard's start has come and gone when change_pte hands out the new frame. Nobody takes it "
		  "back: the device has a frame that its page has no longer.",
	.variant = {
		{ "safe", RACE_PASS, 0,
		  "Take the new frame up only if the bracket of change_pte is the only one over the page (pfn-cache)." },
		{ "M2", RACE_VIOLATION, 2, "Take it up in any case (pfn-cache)." },
		{ "kvm", RACE_PASS, 2,
		  "A guest's shadow, with the same rule off: it repoints what its table has, and the other start has taken "
		  "that out. A shadow cannot show M2; what fills an empty entry can." },
	},
	.program = {
		.setup = m2_setup,
		.finish = m2_finish,
		.threads = 2,
		.thread = { { "kernel: moves page 0", m2_move }, { "CPU: discard", m2_discard } },
	},
};
