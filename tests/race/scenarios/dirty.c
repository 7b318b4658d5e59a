// SPDX-License-Identifier: BSD-2-Clause
/* Dirty logging by slot: get beside stores, with D bits and without. */
#include "mmu/shadow/dirty.h"

#include "mmu/shadow/shadow_priv.h"
#include "tests/race/scenario.h"
#include "tests/race/world.h"

static uint64_t copy;

static struct shadow *shadow(void)
{
	return device_get_shadow(world.device[0]);
}

/* One round of a migration: what is dirty is copied. */
static void round_of_copies(const char *who)
{
	uint64_t bitmap = 0;

	if (shadow_get_dirty_log(shadow(), 0, &bitmap))
		explore_fail("shadow_get_dirty_log() failed");
	explore_say("get: page 0 is %s", bitmap & 1 ? "dirty" : "clean");
	if (bitmap & 1)
		copy = host_load(who, 0);
}

static void modes_setup(void *ctx)
{
	bool ad = race_variant_is("d-bit") || race_variant_is("tlb");

	(void)ctx;
	copy = 0;
	world_setup(1, ad ? "kvm" : "kvm-no-ad", NULL);
	device_load(0, "the device", 0);
	if (shadow_set_slot_flags(shadow(), 0, MEMSLOT_LOG_DIRTY))
		explore_fail("shadow_set_slot_flags() failed");
}

static void modes_vmm(void *ctx)
{
	(void)ctx;
	round_of_copies("the VMM");
}

static void modes_device(void *ctx)
{
	(void)ctx;
	device_load(0, "the device", 0);
	device_store(0, "the device", 0, 1);
	device_store(0, "the device", 0, 2);
}

static void modes_finish(void *ctx)
{
	(void)ctx;
	explore_say("the device is stopped; the last round");
	round_of_copies("the VMM");
	if (host_load("the CPU", 0) != copy)
		explore_fail("a store is missing in the copy");
	world_finish();
}

const struct race_scenario a15_modes = {
	.name = "a15-modes",
	.rows = "A15 A14 A11",
	.title = "A round of dirty logging beside stores",
	.question = "Without dirty bits a page is write-protected, and its first store faults and is logged. With dirty bits hardware "
		    "sets one in the table. Get reports what is logged and starts anew. In which order, so that a store "
		    "beside it is in this round or in the next?",
	.lesson = "Write-protect mode: the page was protected, stored to, logged, and then its bit was taken; it stays writable, and "
		  "the next store faults no more. D mode: the TLB has the page by a load, and lets the store pass without "
		  "setting D.",
	.variant = {
		{ "write-protect", RACE_PASS, 0, "Take the bits, then protect their pages, flush, return." },
		{ "d-bit", RACE_PASS, 0, "Clear D, flush, return; an entry that a load has filled allows no store." },
		{ "protect-first", RACE_VIOLATION, 114, "Protect, then take the bits." },
		{ "tlb", RACE_VIOLATION, 115, "A TLB entry that a load has filled allows stores, D or not." },
	},
	.program = {
		.setup = modes_setup,
		.finish = modes_finish,
		.threads = 2,
		.thread = { { "VMM: get, and copies what is dirty", modes_vmm },
			    { "device: stores twice", modes_device } },
	},
};

/* ---- A dropped tree ---- */

static void root_setup(void *ctx)
{
	(void)ctx;
	copy = 0;
	world_setup(1, "kvm", NULL);
	device_load(0, "the device", 0); /* else the store faults, and the fault tells the log */
	if (shadow_set_slot_flags(shadow(), 0, MEMSLOT_LOG_DIRTY))
		explore_fail("shadow_set_slot_flags() failed");
	device_store(0, "the device", 0, 1);
}

static void root_vmm(void *ctx)
{
	(void)ctx;
	round_of_copies("the VMM");
	if (copy != 1)
		explore_fail("page 0 was stored to before the get, which does not say so");
}

static void root_zapper(void *ctx)
{
	(void)ctx;
	explore_say("the table is dropped");
	if (shadow_zap_all(shadow()))
		explore_fail("shadow_zap_all() failed");
}

static void root_finish(void *ctx)
{
	(void)ctx;
	round_of_copies("the VMM");
	if (host_load("the CPU", 0) != copy)
		explore_fail("a store is missing in the copy");
	world_finish();
}

const struct race_scenario a14_root = {
	.name = "a14-root",
	.rows = "A14",
	.title = "A round of dirty logging beside a zap of everything",
	.question = "The device has stored, and the dirty bit is in the page table. The table is dropped: an empty root takes its "
		    "place, and the old tree is taken apart step by step. Where does a get meanwhile find the dirty bit?",
	.lesson = "The current tree is empty, and the log is not told yet. The get says clean, of a page that was stored to before "
		  "it began.",
	.variant = {
		{ "all-roots", RACE_PASS, 0,
		  "Between two steps: dirty bits of the dropped tree go into the log, then the log is taken." },
		{ "current", RACE_VIOLATION, 1142, "In the current tree and the log only." },
	},
	.program = {
		.setup = root_setup,
		.finish = root_finish,
		.threads = 2,
		.thread = { { "VMM: get, and copies what is dirty", root_vmm },
			    { "VMM's other thread: zaps all", root_zapper } },
	},
};
