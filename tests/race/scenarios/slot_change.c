// SPDX-License-Identifier: BSD-2-Clause
/* Memslots that move, change their flags, and are freed, beside faults. */
#include <errno.h>

#include "mmu/shadow/shadow_priv.h"
#include "tests/race/scenario.h"
#include "tests/race/world.h"

/* What the pages hold. */
enum { OF_PAGE_0 = 10, OF_PAGE_1 = 11 };

static _Atomic bool is_changed;

static struct shadow *shadow(void)
{
	return device_get_shadow(world.device[0]);
}

static gfn_t gfn_of(uint64_t page)
{
	return world_page(page) >> PAGE_SHIFT;
}

/* Two host pages, and one slot: its gfn is that of page 0, so is its host page. */
static void setup(void *ctx)
{
	(void)ctx;
	world_setup(2, "kvm", NULL);
	host_store("the CPU", 0, OF_PAGE_0);
	host_store("the CPU", 1, OF_PAGE_1);
	must(shadow_remove_slot(shadow(), 0), "shadow_remove_slot()");
	must(shadow_add_slot(shadow(), 0, gfn_of(0), 1, world_page(0), 0), "shadow_add_slot()");
	sync_store(&is_changed, false);
}

static void finish(void *ctx)
{
	(void)ctx;
	world_finish();
}

/* What the guest finds at @gpage: 0 where no slot is. */
static uint64_t guest_load(uint64_t gpage)
{
	uint64_t value = 0;
	int rc = device_read(world.device[0], world_page(gpage), &value, sizeof(value));

	if (rc == -ENXIO)
		explore_say("the guest finds no memory at gfn %llu", (unsigned long long)gpage);
	else if (rc)
		explore_fail("device_read() returns %d", rc);
	else if (value == POOL_CANARY)
		explore_fail("the guest reads a frame that has been freed");
	else
		explore_say("the guest reads %llu at gfn %llu", (unsigned long long)value,
			    (unsigned long long)gpage);
	return rc ? 0 : value;
}

/* ---- Move ---- */

static void mover(void *ctx)
{
	(void)ctx;
	must(shadow_move_slot(shadow(), 0, gfn_of(1)), "shadow_move_slot()");
	explore_say("the slot with host page 0 is at gfn 1");
	must(shadow_add_slot(shadow(), 1, gfn_of(0), 1, world_page(1), 0), "shadow_add_slot()");
	explore_say("gfn 0 is host page 1 now");
	sync_store_release(&is_changed, true);
}

static void old_place(void *ctx)
{
	bool changed = sync_load_acquire(&is_changed);
	uint64_t value = guest_load(0);

	(void)ctx;
	if (changed ? value != OF_PAGE_1 : value && value != OF_PAGE_0 && value != OF_PAGE_1)
		explore_fail("gfn 0 shows %llu", (unsigned long long)value);
}

static void move_finish(void *ctx)
{
	if (guest_load(0) != OF_PAGE_1 || guest_load(1) != OF_PAGE_0)
		explore_fail("a gfn shows a frame of another slot");
	finish(ctx);
}

const struct race_scenario m17_slot_move = {
	.name = "m17-slot-move",
	.rows = "M17",
	.title = "A slot moves under a fault",
	.question = "A slot moves to other gfns, and another one takes its place. A fault has found the first at the old gfn "
		    "and sleeps for its page. What does the guest find there afterwards?",
	.lesson = "A leaf at the old gfn shows the frame of a slot that is elsewhere now: the guest reads, and writes, memory "
		  "that is not at this address any more. The slot is taken away from its old place, with all its "
		  "leaves, before it is let appear at the new one.",
	.variant = {
		{ "safe", RACE_PASS, 0,
		  "Mark the slot invalid, zap it, publish it at the new gfn: faults wait meanwhile." },
		{ "leaves-stay", RACE_VIOLATION, 172, "The slot is marked and moved, its leaves stay." },
		{ "M17", RACE_VIOLATION, 17, "A fault goes on under a slot that is marked invalid." },
	},
	.program = {
		.setup = setup,
		.finish = move_finish,
		.threads = 2,
		.thread = { { "VMM: moves the slot", mover }, { "guest: loads at gfn 0", old_place } },
	},
};

/* ---- Read-only ---- */

/* Both pages in the slot; the guest has page 0 mapped for storing, page 1 not at all. */
static void read_only_setup(void *ctx)
{
	setup(ctx);
	must(shadow_remove_slot(shadow(), 0), "shadow_remove_slot()");
	must(shadow_add_slot(shadow(), 0, gfn_of(0), 2, world_page(0), 0), "shadow_add_slot()");
	device_store(0, "the guest", 0, OF_PAGE_0);
	must(hostmm_zap(world.mm, world_page(1), world_page(2)), "hostmm_zap()");
}

static void protector(void *ctx)
{
	(void)ctx;
	must(shadow_set_slot_flags(shadow(), 0, MEMSLOT_READONLY), "shadow_set_slot_flags()");
	explore_say("the slot is read-only");
	sync_store_release(&is_changed, true);
}

static void store(uint64_t page)
{
	bool read_only = sync_load_acquire(&is_changed);
	uint64_t value = 1;
	int rc = device_write(world.device[0], world_page(page), &value, sizeof(value));

	explore_say(rc ? "the guest's store to page %llu is refused"
		       : "the guest stores to page %llu",
		    (unsigned long long)page);
	if (rc && rc != -EACCES)
		explore_fail("device_write() returns %d", rc);
	if (!rc && read_only)
		explore_fail("the guest stores to a read-only slot");
}

static void storer(void *ctx)
{
	(void)ctx;
	store(1);
	store(0);
	store(1);
}

const struct race_scenario m17_read_only = {
	.name = "m17-read-only",
	.rows = "M9 M17",
	.title = "A slot becomes read-only under a store",
	.question = "A slot is made read-only. A fault of a store has found it writable, and has not installed yet. May "
		    "the guest still store once the call has returned?",
	.lesson = "The page changes although its slot says that it cannot. New faults obey the flag at once, but what is "
		  "mapped must lose the right, and only after faults that have seen the old flags are over.",
	.variant = {
		{ "safe", RACE_PASS, 0,
		  "Publish the flags, wait until faults that saw the old ones are over, then write-protect." },
		{ "leaves-stay", RACE_VIOLATION, 173, "New faults see the flag, mapped pages stay writable." },
		{ "no-grace", RACE_VIOLATION, 91, "Write-protect without waiting for faults under way." },
	},
	.program = {
		.setup = read_only_setup,
		.finish = finish,
		.threads = 2,
		.thread = { { "VMM: makes the slot read-only", protector },
			    { "guest: stores to both pages", storer } },
	},
};

/* ---- A long write-protection ---- */

/* A page a piece, and whoever waits for the lock gets it after each. */
static void long_setup(void *ctx)
{
	read_only_setup(ctx);
	sync_store(&shadow()->zap_piece, 1);
}

static void in_between(void *ctx)
{
	(void)ctx;
	guest_load(1);
	store(0);
}

const struct race_scenario m15_yield_protect = {
	.name = "m15-yield-protect",
	.rows = "A26 M15",
	.title = "A long write-protection lets others have the lock",
	.question = "A slot becomes read-only, or pages are about to be repointed: all leaves of a long range lose the right to store. "
		    "Nothing is freed, and loads go on. May the lock be dropped in the middle, and one flush at the end be for all?",
	.lesson = "The leaf says read-only and the TLB does not, and the flush at the end covers what was changed after the lock was "
		  "taken again: the guest stores where nobody may store. What is taken is flushed before others get the lock.",
	.variant = {
		{ "flush", RACE_PASS, 0, "Flush what is protected so far, then unlock, lock, and go on." },
		{ "M15-yield", RACE_VIOLATION, 154, "Unlock, lock, go on; the span begins anew." },
	},
	.program = {
		.setup = long_setup,
		.finish = finish,
		.threads = 2,
		.thread = { { "VMM: makes the slot read-only", protector },
			    { "guest: loads page 1, stores to page 0", in_between } },
	},
};

/* ---- Freed slots ---- */

static void remover(void *ctx)
{
	(void)ctx;
	must(shadow_remove_slot(shadow(), 0), "shadow_remove_slot()");
	explore_say("the slot is removed and freed");
}

static void toucher(void *ctx)
{
	uint64_t value;

	(void)ctx;
	value = guest_load(0);
	if (value && value != OF_PAGE_0)
		explore_fail("gfn 0 shows %llu", (unsigned long long)value);
}

const struct race_scenario m9_slot_freed = {
	.name = "m9-slot-freed",
	.rows = "M9",
	.title = "A slot is freed under a fault",
	.question = "Faults look slots up without a lock. Slots hang in two sets of trees, one published, the other free "
		    "for the next change. When may a slot be freed, and the set that was published be changed?",
	.lesson = "A fault walks a tree that is being turned, or uses a slot that is freed. Whoever has swapped the sets waits for "
		  "the readers of the old one before it touches that, or what only that has.",
	.variant = {
		{ "safe", RACE_PASS, 0, "A grace period after each swap." },
		{ "no-grace", RACE_VIOLATION, 91, "The old set is changed, and the slot freed, at once." },
	},
	.program = {
		.setup = setup,
		.finish = finish,
		.threads = 2,
		.thread = { { "VMM: removes the slot", remover }, { "guest: loads page 0", toucher } },
	},
};
