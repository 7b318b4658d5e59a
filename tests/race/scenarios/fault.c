// SPDX-License-Identifier: BSD-2-Clause
/* The fault path against brackets: when may what a lookup found be installed? */
#include "mmu/host/hostmm_actors.h"
#include "mmu/shadow/shadow_priv.h"
#include "tests/race/scenario.h"
#include "tests/race/world.h"

static void begin(uint64_t pages, const char *profile)
{
	world_setup(pages, profile, NULL);
	for (uint64_t page = 0; page < pages; page++)
		write_version(page, 1);
}

/* ---- Begin, look up, lock, retry ---- */

static void a32_setup(void *ctx)
{
	bool is_hmm = race_variant_is("hmm") || race_variant_is("end");

	(void)ctx;
	begin(1, is_hmm ? "hmm" : "kvm");
}

static void a32_kernel(void *ctx)
{
	(void)ctx;
	explore_say("the kernel begins to move page 0");
	world_move(0);
	write_version(0, 2);
}

static void a32_device(void *ctx)
{
	(void)ctx;
	explore_say("the device touches page 0, which it has not mapped");
	check_version(0, "the device", 0);
	check_version(0, "the device", 0);
}

/* A last look: an entry that should be gone is still there to be used. */
static void look_again(void *ctx)
{
	(void)ctx;
	for (uint64_t page = 0; page < world.pages; page++)
		check_version(0, "later, the device", page);
	world_finish();
}

const struct race_scenario a32_begin_retry = {
	.name = "a32-begin-retry",
	.rows = "A32 A33 M4 M18",
	.title = "A fault looks up a page while it moves",
	.question = "A device fault asks the kernel for the page's frame, which may sleep, so without a lock. "
		    "Meanwhile the page may move. What has to be checked, when, and under which lock? And "
		    "should the second half be called \"end\", as it ends the read, or \"retry\", as it is "
		    "expected to fail?",
	.lesson = "The lookup is a guess until it is confirmed: take the sequence before looking, compare it under "
		  "the lock that the invalidation takes. Otherwise the old frame is installed after the "
		  "invalidation has gone by, and nobody removes it again.",
	.variant = {
		{ "kvm", RACE_PASS, 0,
		  "Snapshot, look up, then under mmu_lock: retry if a bracket is open or the sequence has moved." },
		{ "hmm", RACE_PASS, 0,
		  "mmu_interval_read_begin(), look up, then mmu_interval_read_retry() under the device's lock." },
		{ "M4", RACE_VIOLATION, 4, "The snapshot is taken after the lookup (arm64 had it so)." },
		{ "M4-omitted", RACE_VIOLATION, 41, "KVM's fault installs what it found, without the check." },
		{ "end", RACE_VIOLATION, 41,
		  "HMM, and the caller takes the second half for an \"end\" and ignores what it says." },
		{ "M18", RACE_VIOLATION, 18,
		  "The fault compares the sequence, which moves at the end of a bracket, and does not ask whether "
		  "one is open: it fetches the page again between start and the change." },
	},
	.program = {
		.setup = a32_setup,
		.finish = look_again,
		.threads = 2,
		.thread = { { "kernel: moves page 0", a32_kernel }, { "device: loads page 0", a32_device } },
	},
};

/* ---- Reader or writer ---- */

static void m5_setup(void *ctx)
{
	(void)ctx;
	begin(1, "kvm");
}

static void m5_guest(void *ctx)
{
	(void)ctx;
	explore_say("the guest touches page 0, which it has not mapped");
	check_version(0, "the guest", 0);
}

const struct race_scenario m5_writer_step = {
	.name = "m5-writer-step",
	.rows = "M5",
	.title = "A zap by somebody who only shares the lock",
	.question = "Faults install entries holding mmu_lock shared, many at a time; zaps hold it alone. Entries change "
		    "by atomic operations only. May a zap then share the lock, too?",
	.lesson = "Between the check that admits an install and the install itself lies nothing but the lock. A zap "
		  "that shares it slips in between, finds no entry yet, and the page is freed under the one that "
		  "comes a moment later.",
	.variant = {
		{ "alone", RACE_PASS, 0, "Who zaps holds mmu_lock for writing." },
		{ "M5", RACE_VIOLATION, 5,
		  "Who zaps holds it for reading, as the fault path did that reclaimed pages (47b0c2e4c220)." },
	},
	.program = {
		.setup = m5_setup,
		.finish = look_again,
		.threads = 2,
		.thread = { { "kernel: moves page 0", a32_kernel }, { "guest: loads page 0", m5_guest } },
	},
};

/* ---- A sequence that has come far ---- */

static void m6_setup(void *ctx)
{
	(void)ctx;
	begin(1, "kvm");
	sync_store(&device_get_shadow(world.device[0])->invalidate_seq, (1UL << 31) - 1);
}

const struct race_scenario m6_wide_snapshot = {
	.name = "m6-wide-snapshot",
	.rows = "A32 M6",
	.title = "A guest that has run for long",
	.question = "The sequence counts invalidations in 64 bits. A fault needs to know only whether it has moved. Is a "
		    "snapshot of 32 bits enough?",
	.lesson = "After 2^31 invalidations the snapshot, extended with its sign, equals the sequence never again: each "
		  "fault retries for ever, and the vCPU hangs.",
	.variant = {
		{ "64-bits", RACE_PASS, 0, "The snapshot is as wide as the sequence." },
		{ "M6", RACE_DEADLOCK, 6, "The snapshot is an int (82d811ff5665)." },
	},
	.program = {
		.setup = m6_setup,
		.finish = look_again,
		.threads = 2,
		.thread = { { "kernel: moves page 0", a32_kernel }, { "guest: loads page 0", m5_guest } },
	},
};

/* ---- Neighbours ---- */

static void m7_setup(void *ctx)
{
	(void)ctx;
	begin(2, "kvm");
}

static void m7_kernel(void *ctx)
{
	(void)ctx;
	explore_say("the kernel begins to move page 1");
	world_move(1);
	write_version(1, 2);
}

static void m7_guest(void *ctx)
{
	(void)ctx;
	explore_say("the guest touches page 0; page 1 lies around it and is prefetched");
	check_version(0, "the guest", 0);
	check_version(0, "the guest", 1);
}

const struct race_scenario m7_prefetch = {
	.name = "m7-prefetch",
	.rows = "A32 M7",
	.title = "A fault installs a neighbour that is being invalidated",
	.question = "A fault on page 0 also maps page 1 beside it. The retry check asks whether the *faulting* page "
		    "is being invalidated. Page 1 is. Does that matter?",
	.lesson = "Whatever is installed must be checked, not only what faulted. The kernel forbids prefetch while any "
		  "invalidation runs; here the check covers the whole block, so prefetch may go on.",
	.variant = {
		{ "block", RACE_PASS, 0, "The check covers all pages that are about to be installed." },
		{ "M7", RACE_VIOLATION, 7, "The check covers the faulting page only." },
	},
	.program = {
		.setup = m7_setup,
		.finish = look_again,
		.threads = 2,
		.thread = { { "kernel: moves page 1", m7_kernel }, { "guest: touches page 0", m7_guest } },
	},
};

/* ---- Who waits for whom ---- */

const struct race_scenario m8_early_retry = {
	.name = "m8-early-retry",
	.rows = "A32 M8",
	.title = "Faults come back again and again while their page is being invalidated",
	.question = "A fault that meets an open invalidation must retry. Right away, or after waiting until it is over?",
	.lesson = "A fault that only spins takes the lock that the invalidation needs, over and over, and nothing in the "
		  "schedule makes it stop: the faster the guest faults, the longer the invalidation takes.",
	.variant = {
		{ "wait", RACE_PASS, 0, "Look before the lock is taken; sleep until the bracket has ended." },
		{ "M8", RACE_DEADLOCK, 8, "Take the lock, find the bracket open, drop the lock, begin again." },
	},
	.program = {
		.setup = a32_setup,
		.finish = look_again,
		.threads = 2,
		.thread = { { "kernel: moves page 0", a32_kernel }, { "guest: loads page 0", a32_device } },
	},
};

/* ---- Two faults on one entry ---- */

static void m16_setup(void *ctx)
{
	(void)ctx;
	begin(1, "kvm");
	if (hostmm_wrprotect(world.mm, world_page(0), world_page(1)))
		explore_fail("hostmm_wrprotect() failed");
}

static void m16_load(void *ctx)
{
	(void)ctx;
	device_load(0, "vCPU 0", 0);
}

static void m16_store(void *ctx)
{
	(void)ctx;
	device_store(0, "vCPU 1", 0, 2);
}

static void m16_finish(void *ctx)
{
	int rc = shadow_fault(device_get_shadow(world.device[0]), world_page(0) >> PAGE_SHIFT,
			      true);

	(void)ctx;
	if (rc != SHADOW_SPURIOUS)
		explore_fail("the entry has lost the W bit that the store has set");
	world_finish();
}

const struct race_scenario m16_entry_store = {
	.name = "m16-entry-store",
	.rows = "M16",
	.title = "Two faults write one entry",
	.question = "Faults run side by side under the lock for reading. One installs the page read-only for a load, one "
		    "writable for a store. Is it enough to look whether the entry is empty, and then to write it?",
	.lesson = "Between the look and the write the other fault has written: its W bit is overwritten. The same happens "
		  "to A and D bits that hardware sets. An entry changes by compare-and-swap only.",
	.variant = {
		{ "cas", RACE_PASS, 0, "Entries change by compare-and-swap; the loser finds the page mapped." },
		{ "M16", RACE_VIOLATION, 161, "Load, compare, store." },
	},
	.program = {
		.setup = m16_setup,
		.finish = m16_finish,
		.threads = 2,
		.thread = { { "vCPU 0: loads page 0", m16_load }, { "vCPU 1: stores to page 0", m16_store } },
	},
};

/* ---- Zap of several pages ---- */

static void m15_setup(void *ctx)
{
	(void)ctx;
	begin(2, "kvm");
	device_load(0, "the guest", 0);
	device_load(0, "the guest", 1);
}

static void m15_kernel(void *ctx)
{
	(void)ctx;
	if (hostmm_migrate(world.mm, world_page(0), world_page(2), HOSTMM_MIGRATE_AWAY))
		explore_fail("hostmm_migrate() failed");
	explore_say("pages 0 and 1 are in other frames now");
	write_version(0, 2);
}

static void m15_guest(void *ctx)
{
	(void)ctx;
	check_version(0, "the guest", 0);
	check_version(0, "the guest", 0);
}

const struct race_scenario m15_flush_span = {
	.name = "m15-flush-span",
	.rows = "A26 M15 A9",
	.title = "One flush for many zapped entries",
	.question = "Start and end exist so that many entries cost one flush. What must that flush cover?",
	.lesson = "The entry is gone from the table, but the TLB still has it: the flush has forgotten what was zapped before the "
		  "last page (as when a walk yields its lock in the middle and begins to count anew).",
	.variant = {
		{ "span", RACE_PASS, 0, "From the first to the last page that was zapped." },
		{ "M15", RACE_VIOLATION, 15, "Only what was zapped last." },
	},
	.program = {
		.setup = m15_setup,
		.finish = look_again,
		.threads = 2,
		.thread = { { "kernel: moves pages 0 and 1", m15_kernel }, { "guest: loads page 0", m15_guest } },
	},
};

/* ---- A zap that lets others in ---- */

static void yield_setup(void *ctx)
{
	m15_setup(ctx);
	/* A page a piece, and whoever waits for the lock gets it after each. */
	sync_store(&device_get_shadow(world.device[0])->zap_piece, 1);
}

const struct race_scenario m15_yield = {
	.name = "m15-yield",
	.rows = "A26 M15",
	.title = "A long zap lets others have the lock",
	.question = "A zap of a terabyte must not hold mmu_lock to its end while faults and other brackets wait. May it drop the "
		    "lock in the middle, and flush once when it is done?",
	.lesson = "The entry is out of the table and the lock is free, and nobody has told the TLB. When the walk goes on it counts "
		  "anew, and what it zapped before is flushed by nobody (a835429cda91). Here only a batch can unlock, and its "
		  "unlock flushes.",
	.variant = {
		{ "flush", RACE_PASS, 0, "Flush what is zapped so far, then unlock, lock, and go on." },
		{ "M15-yield", RACE_VIOLATION, 151, "Unlock, lock, go on; the span begins anew." },
	},
	.program = {
		.setup = yield_setup,
		.finish = look_again,
		.threads = 2,
		.thread = { { "kernel: moves pages 0 and 1", m15_kernel }, { "guest: loads page 0", m15_guest } },
	},
};
