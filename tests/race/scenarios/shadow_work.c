// SPDX-License-Identifier: BSD-2-Clause
/* What works on a guest's table beside its faults: split and recovery of large leaves, and aging beside a bracket. */
#include "mmu/host/hostmm_actors.h"
#include "mmu/notify/notifier.h"
#include "mmu/shadow/dirty.h"
#include "tests/race/scenario.h"
#include "tests/race/scenarios/guest.h"

static void guest_stores(void *ctx)
{
	(void)ctx;
	device_store(0, "the guest", FAR, 1);
}

/* The guest has stored to page 300, and nobody has taken D since. */
static void check_dirty(void)
{
	if (!spte_is_dirty(ept_peek(&shadow()->ept, gfn_of(FAR), NULL)))
		explore_fail("page 300 was stored to, and its leaf says that it is clean");
}

/* ---- Split beside the fault of a store ---- */

/* A read-only leaf of 2M, over 512 pages that the primary lets everybody write again. */
static void split_setup(void *ctx)
{
	(void)ctx;
	guest_setup(race_variant_is("no-ad") ? "kvm-no-ad" : "kvm");
	must(hostmm_wrprotect(world.mm, world_page(0), world_page(WORLD_LARGE)),
	     "hostmm_wrprotect()");
	guest_faults(0, false);
	if (!race_variant_is("one-page"))
		world_populate();
}

static void split_vmm(void *ctx)
{
	(void)ctx;
	must(shadow_split(shadow(), gfn_of(0), gfn_of(WORLD_LARGE)), "shadow_split()");
	explore_say("the VMM has split what was large");
}

static void split_finish(void *ctx)
{
	struct shadow_stats s;

	(void)ctx;
	check_dirty();
	shadow_get_stats(shadow(), &s);
	if (s.leaves_2m || s.leaves_4k != WORLD_LARGE)
		explore_fail("there are %llu leaves of 4K, not 512",
			     (unsigned long long)s.leaves_4k);
	world_finish();
}

const struct race_scenario m16_split_fault = {
	.name = "m16-split-fault",
	.rows = "M16 A7",
	.title = "A split beside a fault that changes the large leaf",
	.question = "A VMM splits a read-only leaf of 2M. A guest stores there: its fault makes the leaf writable as it is, or splits "
		    "it, too, where the primary gives it one page only. Both hold mmu_lock for reading. The table is filled from "
		    "what the leaf said before.",
	.lesson = "Put there by a plain store, the table overwrites what the fault has made of the leaf, and the D bit of the "
		  "guest's store. A compare-and-swap fails, and the split looks again.",
	.variant = {
		{ "swap", RACE_PASS, 0, "The table replaces the leaf that it was filled from, or nothing." },
		{ "one-page", RACE_PASS, 0, "The fault splits, too: one of the two tables is used." },
		{ "no-ad", RACE_PASS, 0, "The hardware sets no D: W says it." },
		{ "overwrite", RACE_VIOLATION, 165, "The table replaces whatever is there." },
	},
	.program = {
		.setup = split_setup,
		.finish = split_finish,
		.threads = 2,
		.thread = { { "VMM: splits", split_vmm }, { "guest: stores to page 300", guest_stores } },
	},
	.bound = 2,
};

/* ---- Recovery beside a store ---- */

/* What a dirty log leaves: 512 leaves of which none is dirty. Its end makes them large; the VMM has split them again. */
static void recover_setup(void *ctx)
{
	uint64_t bitmap[WORLD_LARGE / 64];

	(void)ctx;
	guest_setup(race_variant_is("no-ad") ? "kvm-no-ad" : "kvm");
	guest_faults(0, false);
	must(shadow_set_slot_flags(shadow(), 0, MEMSLOT_LOG_DIRTY), "shadow_set_slot_flags()");
	must(shadow_get_dirty_log(shadow(), 0, bitmap), "shadow_get_dirty_log()");
	must(shadow_set_slot_flags(shadow(), 0, 0), "shadow_set_slot_flags()");
	must(shadow_split(shadow(), gfn_of(0), gfn_of(WORLD_LARGE)), "shadow_split()");
}

static void recover_vmm(void *ctx)
{
	(void)ctx;
	explore_say(shadow_recover(shadow(), gfn_of(0), gfn_of(WORLD_LARGE))
			    ? "the VMM has made one leaf of 512"
			    : "the VMM has left the leaves as they are");
}

static void recover_finish(void *ctx)
{
	(void)ctx;
	/* Without A and D bits: the leaf may lose W, which says that it is dirty, to the others; the primary is told. */
	if (!race_variant_is("no-ad"))
		check_dirty();
	world_finish();
}

const struct race_scenario m16_recover_fault = {
	.name = "m16-recover-fault",
	.rows = "M16 A15",
	.title = "A recovery beside a store, and the fault that it may take",
	.question = "After a dirty log 512 leaves become one again, while a guest stores to a page under them: its walk is in "
		    "the old table, or finds nothing and faults, or its fault gives W back without a lock.",
	.lesson = "A leaf that was read, and is not frozen, takes the D bit of the store into a table that is dead already.",
	.variant = {
		{ "frozen", RACE_PASS, 0, "Each leaf is exchanged for FROZEN, and gives its D bit." },
		{ "no-ad", RACE_PASS, 0, "The store's fault gives W back beside the collapse: its compare-and-swap fails, or W is seen." },
		{ "unfrozen", RACE_VIOLATION, 163, "The leaves are read, and stay." },
	},
	.program = {
		.setup = recover_setup,
		.finish = recover_finish,
		.threads = 2,
		.thread = { { "VMM: recovers", recover_vmm }, { "guest: stores to page 300", guest_stores } },
	},
	.bound = 2,
};

/* ---- Recovery beside a bracket over one page ---- */

static void move_setup(void *ctx)
{
	(void)ctx;
	guest_setup("kvm");
	write_version(1, 1);
	guest_faults(0, false);
	must(shadow_split(shadow(), gfn_of(0), gfn_of(WORLD_LARGE)), "shadow_split()");
}

static void move_kernel(void *ctx)
{
	(void)ctx;
	explore_say("the kernel begins to move page 1");
	world_move(1);
	write_version(1, 2);
}

static void move_finish(void *ctx)
{
	(void)ctx;
	check_version(0, "later, the guest", 1);
	world_finish();
}

const struct race_scenario m17_recover = {
	.name = "m17-recover",
	.rows = "A7 A32 M17",
	.title = "A recovery beside the move of one page",
	.question = "The primary has 512 pages in a row, so their leaves are to become one. It moves one of them meanwhile. Who keeps "
		    "the large leaf from reaching the old frame?",
	.lesson = "What was looked up is good until a bracket opens: the recovery asks for sequence and range, as a fault does, for all "
		  "of the leaf. And it replaces leaves only: a start has taken the one of the page that moves. Either alone is enough.",
	.variant = {
		{ "both", RACE_PASS, 0, "Sequence and range, and 512 leaves that say the same." },
		{ "leaves", RACE_PASS, 175, "The 512 leaves alone: each stays only as long as no bracket takes it." },
		{ "range", RACE_PASS, 174, "Sequence and range alone; the first leaf is taken for all." },
		{ "neither", RACE_VIOLATION, 176, "The first leaf, and what the primary has said before." },
	},
	.program = {
		.setup = move_setup,
		.finish = move_finish,
		.threads = 2,
		.thread = { { "VMM: recovers", recover_vmm }, { "kernel: moves page 1", move_kernel } },
	},
	.bound = 2,
};

/* ---- Aging beside a bracket that takes the page away ---- */

static bool is_no_ad(void)
{
	return race_variant_is("no-ad") || race_variant_is("M16-no-ad");
}

static _Atomic bool is_gone;

static void age_setup(void *ctx)
{
	(void)ctx;
	sync_store(&is_gone, false);
	world_setup(1, is_no_ad() ? "kvm-no-ad" : "kvm", NULL);
	host_store("the CPU", 0, 1);
	device_load(0, "before, the guest", 0);
}

static void age_ager(void *ctx)
{
	uint64_t used = 0;

	(void)ctx;
	must(shadow_age(shadow(), gfn_of(0), 1, NULL, &used), "shadow_age()");
	explore_say(used ? "the ager found page 0 used" : "the ager found page 0 unused");
}

static void age_unmap(void *ctx)
{
	(void)ctx;
	explore_say("the kernel begins to take page 0 away");
	must(hostmm_discard(world.mm, world_page(0), world_page(1)), "hostmm_discard()");
	explore_say("page 0 is gone, and its frame is free");
	sync_store_release(&is_gone, true);
}

static void age_guest(void *ctx)
{
	bool gone = sync_load_acquire(&is_gone);
	uint64_t got = device_load(0, "the guest", 0);

	(void)ctx;
	if (got == POOL_CANARY)
		explore_fail("the guest reads a frame that has been freed");
	if (gone && got)
		explore_fail("the guest reads what was there before");
}

static void age_finish(void *ctx)
{
	age_guest(ctx);
	world_finish();
}

const struct race_scenario m16_age_unmap = {
	.name = "m16-age-unmap",
	.rows = "M16 A20",
	.title = "Aging beside a bracket that takes the page away",
	.question = "The kernel drops a page: start, clear, free, end. An ager looks at the same page without a lock; it has read "
		    "the leaf before the start, and writes it after.",
	.lesson = "The leaf that start has zapped is back, with a frame that is freed, and the bracket is over. The ager "
		  "changes the leaf that it has read, or none.",
	.variant = {
		{ "ad", RACE_PASS, 0, "Hardware sets A; the ager takes it by an atomic operation." },
		{ "no-ad", RACE_PASS, 0, "The ager takes the rights, by compare-and-swap." },
		{ "M16", RACE_VIOLATION, 164, "The ager loads and stores." },
		{ "M16-no-ad", RACE_VIOLATION, 164, "The same without A bits: the next fault gives the rights back." },
	},
	.program = {
		.setup = age_setup,
		.finish = age_finish,
		.threads = 3,
		.thread = { { "kernel: takes page 0 away", age_unmap },
			    { "ager", age_ager },
			    { "guest: loads page 0", age_guest } },
	},
	.bound = 2,
};
