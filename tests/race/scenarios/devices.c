// SPDX-License-Identifier: BSD-2-Clause
/* The devices of 2010 that the notifiers had to serve: GRU and XPMEM. */
#include "tests/race/scenario.h"
#include "tests/race/world.h"

static void setup(uint64_t pages, const char *profile)
{
	world_setup(pages, profile, NULL);
	for (uint64_t page = 1; page < pages; page++)
		host_store("the CPU", page, 1);
	write_version(0, 1);
}

/* ---- GRU ---- */

/* A GRU as it might have been: what it does to an entry of 2M when 4K of it are invalidated. */
static const struct device_profile gru_whole = {
	.name = "gru-whole",
	.tlb = DEVICE_TLB_MIXED,
	.part = DEVICE_PART_WHOLE,
	.walk = DEVICE_WALK_HOST,
	.subscription = DEVICE_INTERVAL,
	.atomic = true,
};
static const struct device_profile gru_too_little = {
	.name = "gru-too-little",
	.tlb = DEVICE_TLB_MIXED,
	.part = DEVICE_PART_IGNORED,
	.walk = DEVICE_WALK_HOST,
	.subscription = DEVICE_INTERVAL,
	.atomic = true,
};

static bool is_large(void)
{
	return race_variant_is("2M-part") || race_variant_is("2M-whole") ||
	       race_variant_is("too-little");
}

static void gru_setup(void *ctx)
{
	(void)ctx;
	if (is_large()) {
		world_setup(WORLD_LARGE, NULL, NULL);
		world_populate();
		world_add_profile(0, race_variant_is("2M-part")	   ? device_profile("gru")
				     : race_variant_is("2M-whole") ? &gru_whole
								   : &gru_too_little);
	} else {
		setup(2, race_variant_is("coarse") ? "gru-coarse" : "gru");
	}
	device_load(0, "the GRU", 1);
}

static void gru_kernel(void *ctx)
{
	(void)ctx;
	explore_say("the kernel begins to move page 0");
	world_move(0);
	write_version(0, 2);
}

static void gru_engine(void *ctx)
{
	(void)ctx;
	check_version(0, "the GRU", 0);
	check_version(0, "the GRU", 0);
}

static void gru_finish(void *ctx)
{
	struct device_stats before, after;

	(void)ctx;
	check_version(0, "later, the GRU", 0);
	device_get_stats(world.device[0], &before);
	device_load(0, "the GRU", 1);
	device_get_stats(world.device[0], &after);
	explore_say("page 1, which was not invalidated, was %s the TLB",
		    after.misses > before.misses ? "dropped from" : "still in");
	if ((race_variant_is("fine") || race_variant_is("2M-part")) && after.misses > before.misses)
		explore_fail("an invalidation of page 0 has dropped page 1");
	world_finish();
}

const struct race_scenario a29_gru = {
	.name = "a29-gru",
	.rows = "A29 A4 M4 M30",
	.title = "GRU: no page table, a TLB, and callbacks that must not sleep",
	.question = "The GRU walks the process's own page table when its TLB misses. When 4K of a larger entry are "
		    "invalidated, does its TLB drop those 4K or the whole entry? (\"Jack was going to verify.\")",
	.lesson = "Either answer keeps the device right; dropping too much costs misses only. What it may not do is put an "
		  "entry into the TLB that was looked up before the invalidation and arrives after it.",
	.variant = {
		{ "fine", RACE_PASS, 0, "An invalidation drops the pages that it names." },
		{ "coarse", RACE_PASS, 0, "It drops all of the 2M around them." },
		{ "no-retry", RACE_VIOLATION, 41, "A walk that an invalidation has overtaken fills the TLB." },
		{ "2M-part", RACE_PASS, 0, "The entry is of 2M; its other pages go on hitting it." },
		{ "2M-whole", RACE_PASS, 0, "The entry is of 2M, and goes." },
		{ "too-little", RACE_VIOLATION, 0, "It drops entries of 4K only, and keeps one of 2M with the page in it." },
	},
	.program = {
		.setup = gru_setup,
		.finish = gru_finish,
		.threads = 2,
		.thread = { { "kernel: moves page 0", gru_kernel }, { "GRU: loads page 0", gru_engine } },
	},
};

/* ---- XPMEM ---- */

static void xpmem_setup(void *ctx)
{
	(void)ctx;
	setup(2, race_variant_is("M30") ? "xpmem-async" : "xpmem");
	device_load(0, "the remote node", 0);
	device_load(0, "the remote node", 1);
}

static void xpmem_kernel(void *ctx)
{
	(void)ctx;
	explore_say("the kernel begins to move page 0: it calls invalidate_range_start()");
	world_move(0);
	write_version(0, 2);
	if (race_variant_is("M30"))
		explore_say("XPMEM's work queue gets to run, and drops %llu entries",
			    (unsigned long long)device_run_deferred(world.device[0]));
}

static void xpmem_remote(void *ctx)
{
	(void)ctx;
	check_version(0, "the remote node", 0);
}

static void xpmem_finish(void *ctx)
{
	(void)ctx;
	check_version(0, "later, the remote node", 0);
	device_load(0, "the remote node", 1);
	world_finish();
}

const struct race_scenario a30_xpmem = {
	.name = "a30-xpmem",
	.rows = "A30 A24 M30 M19",
	.title = "XPMEM: expand the range, or do the work later?",
	.question = "To invalidate, XPMEM sends messages to other nodes and waits, but the callback was not allowed to sleep. So "
		    "it wanted to note down a larger range, return, and invalidate later, holding references on the pages meanwhile. "
		    "Is that allowed?",
	.lesson = "The reference keeps the old frame alive, and that is the trouble: the remote node goes on with the old frame after "
		  "the process has moved on. Start may drop more than it was asked to. It may not return before it is dropped: so it "
		  "must be allowed to sleep.",
	.variant = {
		{ "expand", RACE_PASS, 0, "Start drops the 2M around the page, and sleeps until that is done." },
		{ "M30", RACE_VIOLATION, 0, "Start returns at once; a work queue drops the entries." },
		{ "M19", RACE_VIOLATION, 19,
		  "Start drops the entries, and a lookup does not ask whether an invalidation is open: it puts the "
		  "old frame back (KVM's pfn cache did)." },
	},
	.program = {
		.setup = xpmem_setup,
		.finish = xpmem_finish,
		.threads = 2,
		.thread = { { "kernel: moves page 0", xpmem_kernel }, { "remote node: loads page 0", xpmem_remote } },
	},
};

/* ---- May it sleep? ---- */

static struct lock anon_vma;

static void a31_setup(void *ctx)
{
	(void)ctx;
	if (race_variant_is("huge") || race_variant_is("huge-sleep")) {
		world_setup(WORLD_LARGE, "gru", NULL);
		world_populate();
	} else {
		setup(1, "gru");
	}
	device_load(0, "the GRU", 0);
	lock_init(&anon_vma);
}

static int start(struct mmu_notifier_range *range, unsigned flags)
{
	int rc;

	mmu_notifier_range_init(range, MMU_NOTIFY_UNMAP, hostmm_subscriptions(world.mm),
				world_page(0), world_page(world.pages));
	range->flags = flags;
	explore_say("it calls invalidate_range_start() for %s, which %s",
		    world.pages > 1 ? "2M" : "4K", flags ? "may block" : "must not block");
	rc = mmu_notifier_invalidate_range_start(range);
	explore_say("invalidate_range_start() returns %s", rc ? "-EAGAIN" : "0");
	return rc;
}

static void a31_unmap(void *ctx)
{
	unsigned flags = race_variant_is("sleep") || race_variant_is("huge-sleep")
				 ? MMU_NOTIFIER_RANGE_BLOCKABLE
				 : 0;
	struct mmu_notifier_range range;

	(void)ctx;
	lock_acquire(&anon_vma);
	explore_say("the kernel holds the anon_vma lock, and wants to unmap the page");
	if (!start(&range, flags)) {
		mmu_notifier_invalidate_range_end(&range);
		lock_release(&anon_vma);
		return;
	}
	lock_release(&anon_vma);
	explore_say("the kernel touches nothing, and tries again without the lock");
	if (start(&range, MMU_NOTIFIER_RANGE_BLOCKABLE))
		explore_fail("a range that may block was refused");
	mmu_notifier_invalidate_range_end(&range);
}

static void a31_gru(void *ctx)
{
	(void)ctx;
	device_hold(world.device[0]);
	explore_say("the GRU executes an instruction that cannot be interrupted");
	lock_acquire(&anon_vma);
	explore_say("its CPU side needs the anon_vma lock for a moment");
	lock_release(&anon_vma);
	device_resume(world.device[0]);
	explore_say("the instruction is done");
}

static void a31_finish(void *ctx)
{
	struct device_stats stats;

	(void)ctx;
	device_get_stats(world.device[0], &stats);
	if (stats.flushes != 1 || stats.dropped != 1)
		explore_fail("%llu flushes dropped %llu entries, not one each",
			     (unsigned long long)stats.flushes, (unsigned long long)stats.dropped);
	lock_fini(&anon_vma);
	world_finish();
}

const struct race_scenario a31_blockable = {
	.name = "a31-blockable",
	.rows = "A31 A29 A36",
	.title = "May an invalidation sleep under the anon_vma lock?",
	.question = "Some callers of the notifiers can sleep, some hold the anon_vma lock and cannot. Should there be a flag \"bool "
		    "atomic\", and what does a device do that cannot let go at once?",
	.lesson = "The device waits for a lock whose holder waits for the device. With a flag in each range it says -EAGAIN instead; "
		  "the caller drops its locks, and comes back when it may sleep.",
	.variant = {
		{ "flag", RACE_PASS, 0, "Under the lock the range says that it must not block; -EAGAIN means try later." },
		{ "sleep", RACE_DEADLOCK, 0, "The range is blockable, whatever the caller holds." },
		{ "huge", RACE_PASS, 0, "The same for a whole 2M page, in one call: it drops the one entry, or nothing." },
		{ "huge-sleep", RACE_DEADLOCK, 0, "A range of 2M that is blockable, whatever the caller holds." },
	},
	.program = {
		.setup = a31_setup,
		.finish = a31_finish,
		.threads = 2,
		.thread = { { "kernel: unmaps a page", a31_unmap }, { "GRU: executes", a31_gru } },
	},
};
