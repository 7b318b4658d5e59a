// SPDX-License-Identifier: BSD-2-Clause
/* Interval notifiers: a tree that freezes while brackets walk it, and thaws. Devices here are HMM mirrors. */
#include "mmu/notify/interval.h"
#include "tests/race/scenario.h"
#include "tests/race/world.h"

static void move_page_0(void *ctx)
{
	(void)ctx;
	explore_say("the kernel begins to move page 0");
	world_move(0);
	write_version(0, 2);
}

static void look_again(void *ctx)
{
	(void)ctx;
	for (unsigned d = 0; d < WORLD_DEVICES; d++)
		if (world.device[d] && version_of(0))
			check_version(d, "later, the mirror", 0);
	world_finish();
}

/* ---- Removal while brackets walk the tree ---- */

static void a34_setup(void *ctx)
{
	(void)ctx;
	world_setup(1, "hmm", NULL);
	write_version(0, 1);
}

static void a34_remove(void *ctx)
{
	(void)ctx;
	explore_say("the driver closes the mirror");
	device_destroy(world.device[0]);
	world.device[0] = NULL;
	explore_say("the mirror's memory is free");
}

const struct race_scenario a34_deferred_remove = {
	.name = "a34-deferred-remove",
	.rows = "A34 M12",
	.title = "A subscription leaves while an invalidation walks the tree",
	.question = "Invalidations walk the tree of subscriptions without a lock, since callbacks may sleep. A driver "
		    "wants to leave and free its memory. When may it?",
	.lesson = "The mirror is freed while its callback runs: that holds a lock of the mirror, and the check that nobody holds a lock "
		  "that goes is what speaks up. While an invalidation runs the tree is frozen. Whoever leaves is put on a list, and waits until the last "
		  "invalidation has ended *and* has worked the list off.",
	.variant = {
		{ "deferred", RACE_PASS, 0,
		  "Removal is put off to the end of the last invalidation, and waits for it (as rtnl_unlock() does for "
		  "network devices)." },
		{ "at-once", RACE_VIOLATION, 134, "The node is taken out of the tree at once." },
		{ "M12", RACE_VIOLATION, 12,
		  "The sequence moves, and is looked at, before the list is worked off: the subscription is freed while it is "
		  "still on the list, and the end, which works the list off, follows a pointer in freed memory." },
	},
	.program = {
		.setup = a34_setup,
		.finish = look_again,
		.threads = 2,
		.thread = { { "kernel: moves page 0", move_page_0 }, { "driver: closes its mirror", a34_remove } },
	},
};

/* ---- Insertion beside brackets ---- */

static hva_t other;

/* Device 0 is there only so that the mm has a tree; it lies elsewhere unless the tree is to freeze. */
static void a38_setup(void *ctx)
{
	(void)ctx;
	world_setup(1, NULL, NULL);
	write_version(0, 1);
	other = world.hva;
	if (!race_variant_is("frozen") &&
	    hostmm_map(world.mm, 1, HOSTMM_PROT_READ | HOSTMM_PROT_WRITE, NULL, NULL, &other))
		explore_fail("hostmm_map() failed");
	world_add_device(0, "hmm", other, 1);
}

static void open_mirror(void *ctx)
{
	(void)ctx;
	explore_say("a driver opens a mirror of page 0");
	world_add_device(1, "hmm", world.hva, 1);
	explore_say("mmu_interval_notifier_insert() has returned");
	check_version(1, "the mirror", 0);
	check_version(1, "the mirror", 0);
}

static void a38_finish(void *ctx)
{
	(void)ctx;
	check_version(1, "later, the mirror", 0);
	/* The other device has another page. */
	device_destroy(world.device[0]);
	world.device[0] = NULL;
	world_finish();
}

const struct race_scenario a38_insert = {
	.name = "a38-insert",
	.rows = "A34 A38 M4",
	.title = "A subscription arrives while its range is being invalidated",
	.question = "A driver subscribes to a range in the middle of an invalidation of it, which will not call it. May it build "
		    "entries as soon as insert has returned?",
	.lesson = "Insert may return before the subscription is in the tree. Only the read flow (begin, look up, retry) may build "
		  "entries: it waits for what was open at the insert. For that an insert beside any open invalidation counts "
		  "as a hit by it.",
	.variant = {
		{ "frozen", RACE_PASS, 0, "An invalidation has hit a node: the insert is put off, and begin waits." },
		{ "elsewhere", RACE_PASS, 0,
		  "No node was hit: the node goes in, the sequence becomes odd, and begin waits." },
		{ "not-counted", RACE_VIOLATION, 138,
		  "No node was hit: the node goes in, and the sequence stays." },
		{ "no-retry", RACE_VIOLATION, 41, "The driver builds what it looked up without asking for a retry." },
	},
	.program = {
		.setup = a38_setup,
		.finish = a38_finish,
		.threads = 2,
		.thread = { { "kernel: moves page 0", move_page_0 }, { "driver: opens a mirror", open_mirror } },
	},
};

/* ---- Two brackets ---- */

static void last_setup(void *ctx)
{
	(void)ctx;
	world_setup(2, "hmm", NULL);
	write_version(0, 1);
	host_store("the CPU", 1, 1);
}

static void zap_page_1(void *ctx)
{
	(void)ctx;
	explore_say("CPU 1 begins to invalidate page 1");
	if (hostmm_zap(world.mm, world_page(1), world_page(2)))
		explore_fail("hostmm_zap() failed");
	explore_say("CPU 1 is done with page 1");
}

static void move_only(void *ctx)
{
	(void)ctx;
	explore_say("CPU 0 begins to move page 0");
	world_move(0);
}

static void load_once(void *ctx)
{
	(void)ctx;
	explore_say("the mirror touches page 0, which it does not have");
	check_version(0, "the mirror", 0);
}

const struct race_scenario a34_last_one_thaws = {
	.name = "a34-last-one-thaws",
	.rows = "A34 A35",
	.title = "Two invalidations overlap",
	.question = "One number serves all subscriptions of a process. Two invalidations are open; the first one ends. "
		    "May readers go on?",
	.lesson = "The number says nothing of who is open. When it moved at the first end, a reader of the page whose invalidation "
		  "is still open looked up the old frame and passed the retry check. Only the last end may move it.",
	.variant = {
		{ "last", RACE_PASS, 0,
		  "The sequence becomes even when the last open invalidation ends: one long one holds up all readers." },
		{ "first", RACE_VIOLATION, 135, "Each end makes the sequence even." },
	},
	.program = {
		.setup = last_setup,
		.finish = look_again,
		.threads = 3,
		.thread = { { "CPU 0: moves page 0", move_only },
			    { "CPU 1: invalidates page 1", zap_page_1 },
			    { "mirror: loads page 0", load_once } },
	},
};
