// SPDX-License-Identifier: BSD-2-Clause
/* Memslots that come and go beside faults and brackets. */
#include <errno.h>

#include "tests/race/scenario.h"
#include "tests/race/world.h"

static _Atomic uint64_t version;

static struct shadow *shadow(void)
{
	return device_get_shadow(world.device[0]);
}

static uint64_t leaves(void)
{
	struct shadow_stats stats;

	shadow_get_stats(shadow(), &stats);
	return stats.leaves;
}

static void remove_slot(void)
{
	if (shadow_remove_slot(shadow(), 0))
		explore_fail("shadow_remove_slot() failed");
	explore_say("the slot is removed: nothing reaches its pages");
}

static void slot_setup(void *ctx)
{
	(void)ctx;
	world_setup(1, "kvm", NULL);
	host_store("the CPU", 0, 1);
	sync_store(&version, 1);
}

static void slot_finish(void *ctx)
{
	(void)ctx;
	world_finish();
}

/* A load that may find no slot. */
static bool try_load(uint64_t *value)
{
	int rc = device_read(world.device[0], world_page(0), value, sizeof(*value));

	if (rc == -ENXIO)
		explore_say("the guest's load finds no slot: MMIO");
	else if (rc)
		explore_fail("device_read() returns %d", rc);
	else if (*value == POOL_CANARY)
		explore_fail("the guest reads a frame that has been freed");
	else
		explore_say("the guest reads %llu", (unsigned long long)*value);
	return !rc;
}

/* ---- Fault beside removal ---- */

static void remover(void *ctx)
{
	(void)ctx;
	explore_say("the VMM begins to remove the slot");
	remove_slot();
	if (leaves())
		explore_fail("the slot is gone, and the table still maps its page");
}

static void faulter(void *ctx)
{
	uint64_t value;

	(void)ctx;
	explore_say("the guest touches page 0, which is not mapped");
	try_load(&value);
}

const struct race_scenario m14_fault_removal = {
	.name = "m14-fault-removal",
	.rows = "M14 M17",
	.title = "A fault finds a slot that is being removed",
	.question = "A fault has found its slot, and sleeps for the page. The slot is removed meanwhile, its pages are "
		    "zapped. What stops the fault from mapping the page into a slot that is no more?",
	.lesson = "A page is mapped that no slot covers, and no later invalidation finds it: its frame is freed and reused "
		  "while the guest has it. The fault must see the mark, or be over before the zap.",
	.variant = {
		{ "safe", RACE_PASS, 0,
		  "Mark the slot invalid; move the sequence and zap under the lock; then take the slot away." },
		{ "no-seq", RACE_PASS, 142,
		  "The removal does not move the sequence. Harmless here: between mark and zap it waits until faults that "
		  "have not seen the mark are over (a grace period), and KVM does not." },
		{ "M17", RACE_VIOLATION, 17, "A fault goes on under a slot that is marked invalid." },
	},
	.program = {
		.setup = slot_setup,
		.finish = slot_finish,
		.threads = 2,
		.thread = { { "VMM: removes the slot", remover }, { "guest: loads page 0", faulter } },
	},
};

/* ---- An invalid slot is not no slot ---- */

static void mmio_setup(void *ctx)
{
	slot_setup(ctx);
	device_load(0, "the guest", 0);
}

static void mmio_faulter(void *ctx)
{
	int rc;

	(void)ctx;
	rc = shadow_fault(shadow(), world_page(0) >> PAGE_SHIFT, false);
	if (rc != -ENXIO)
		return;
	explore_say("the fault finds no slot: the access is MMIO");
	if (leaves())
		explore_fail("an access is taken for MMIO while the table maps its page");
}

const struct race_scenario m17_mmio = {
	.name = "m17-mmio",
	.rows = "M17",
	.title = "Is a slot that is being removed a hole?",
	.question = "While a slot is removed it is marked invalid. A fault that meets the mark could call the access MMIO "
		    "at once: soon there will be no slot anyway.",
	.lesson = "Its page is still mapped: two vCPUs see memory and a device at one address. In KVM the same slot came back a "
		  "moment later (flags changed, or moved), and a present entry was replaced by an MMIO one. An "
		  "invalid slot means: retry.",
	.variant = {
		{ "retry", RACE_PASS, 0, "Wait until the slot is gone or back." },
		{ "M17", RACE_VIOLATION, 171, "An invalid slot is taken for no slot." },
	},
	.program = {
		.setup = mmio_setup,
		.finish = slot_finish,
		.threads = 2,
		.thread = { { "VMM: removes the slot", remover }, { "guest: faults on page 0", mmio_faulter } },
	},
};

/* ---- Bracket beside removal ---- */

static void bracket_over_slot(void *ctx)
{
	uint64_t value;

	(void)ctx;
	explore_say("the kernel begins to move page 0");
	if (hostmm_migrate(world.mm, world_page(0), world_page(1), HOSTMM_MIGRATE_AWAY))
		explore_fail("hostmm_migrate() failed");
	explore_say("page 0 is in another frame now, its old frame is free");
	host_store("the CPU", 0, 2);
	if (try_load(&value) && value != 2)
		explore_fail("the guest reads %llu, after the CPU has written 2",
			     (unsigned long long)value);
}

static void late_setup(void *ctx)
{
	slot_setup(ctx);
	device_load(0, "the guest", 0);
}

const struct race_scenario m14_bracket_removal = {
	.name = "m14-bracket-removal",
	.rows = "M14",
	.title = "An invalidation meets a slot that is being removed",
	.question = "A slot is marked invalid and will be zapped in a moment. Must an invalidation of its pages that comes "
		    "between bother with it?",
	.lesson = "Until the zap the guest still reaches the page. Who skips what is already doomed lets the kernel free a "
		  "frame that is still mapped.",
	.variant = {
		{ "safe", RACE_PASS, 0, "A bracket zaps invalid slots too." },
		{ "M14", RACE_VIOLATION, 141, "A bracket skips slots that are marked invalid." },
	},
	.program = {
		.setup = late_setup,
		.finish = slot_finish,
		.threads = 2,
		.thread = { { "VMM: removes the slot", remover }, { "kernel: moves page 0", bracket_over_slot } },
	},
};

/* ---- Slots change inside a bracket ---- */

static void m9_setup(void *ctx)
{
	slot_setup(ctx);
	remove_slot();
}

static void adder(void *ctx)
{
	(void)ctx;
	explore_say("the VMM adds a slot with page 0");
	if (shadow_add_slot(shadow(), 0, world_page(0) >> PAGE_SHIFT, 1, world_page(0), 0))
		explore_fail("shadow_add_slot() failed");
	explore_say("the slot is there");
}

static void m9_kernel(void *ctx)
{
	(void)ctx;
	if (hostmm_zap(world.mm, world_page(0), world_page(1)))
		explore_fail("hostmm_zap() failed");
}

static void m9_finish(void *ctx)
{
	device_load(0, "the guest", 0);
	slot_finish(ctx);
}

const struct race_scenario m9_slot_swap = {
	.name = "m9-slot-swap",
	.rows = "M9",
	.title = "Slots change between start and end",
	.question = "Start counts the invalidation if its range meets a slot, end counts down if it meets one. Slots may "
		    "be added at any time. Why should that wait?",
	.lesson = "Start has met no slot and end meets one: the count of open invalidations goes below zero. With a removal it "
		  "stays up for ever, and every later fault waits for an invalidation that is long over.",
	.variant = {
		{ "wait", RACE_PASS, 0, "Slots change only while no bracket is open." },
		{ "M9", RACE_VIOLATION, 9, "Slots change whenever they like." },
	},
	.program = {
		.setup = m9_setup,
		.finish = m9_finish,
		.threads = 2,
		.thread = { { "VMM: adds a slot", adder }, { "kernel: invalidates page 0", m9_kernel } },
	},
};
