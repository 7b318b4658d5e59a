// SPDX-License-Identifier: BSD-2-Clause
/* Interval notifiers: one sequence for all, a tree that freezes, and one wait. Devices here are HMM mirrors. */
#include "mmu/notify/interval.h"
#include "tests/race/scenario.h"
#include "tests/race/world.h"

static _Atomic uint64_t at_least; /* what a load of page 0 must find */

static void write_version(uint64_t version)
{
	host_store("the CPU", 0, version);
	sync_store_release(&at_least, version);
}

static void read_version(unsigned d, const char *who)
{
	uint64_t floor = sync_load_acquire(&at_least);
	uint64_t got = device_load(d, who, 0);

	if (got == POOL_CANARY)
		explore_fail("%s reads a frame that has been freed", who);
	if (got < floor)
		explore_fail("%s reads %llu, after the CPU has written %llu", who,
			     (unsigned long long)got, (unsigned long long)floor);
}

static void mirror(unsigned d, hva_t hva, uint64_t pages)
{
	if (device_create(&world.device[d], device_profile("hmm"), world.mm, hva, pages))
		explore_fail("device_create() failed");
}

static void move(uint64_t page)
{
	if (hostmm_migrate(world.mm, world_page(page), world_page(page + 1), HOSTMM_MIGRATE_AWAY))
		explore_fail("hostmm_migrate() failed");
	explore_say("page %llu is in another frame now, its old frame is free",
		    (unsigned long long)page);
}

static void move_page_0(void *ctx)
{
	(void)ctx;
	explore_say("the kernel begins to move page 0");
	move(0);
	write_version(2);
}

static void load_twice(void *ctx)
{
	(void)ctx;
	explore_say("the mirror touches page 0, which it does not have");
	read_version(0, "the mirror");
	read_version(0, "the mirror");
}

static void look_again(void *ctx)
{
	(void)ctx;
	for (unsigned d = 0; d < WORLD_DEVICES; d++)
		if (world.device[d] && sync_load(&at_least))
			read_version(d, "later, the mirror");
	world_finish();
}

/* ---- Removal while brackets walk the tree ---- */

static void a34_setup(void *ctx)
{
	(void)ctx;
	world_setup(1, "hmm", NULL);
	write_version(1);
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
	.lesson = "While an invalidation runs the tree is frozen. Whoever leaves is put on a list, and waits until the last "
		  "invalidation has ended *and* has worked the list off.",
	.variant = {
		{ "deferred", RACE_PASS, 0,
		  "Removal is put off to the end of the last invalidation, and waits for it (as rtnl_unlock() does for "
		  "network devices)." },
		{ "at-once", RACE_VIOLATION, 134, "The node is taken out of the tree at once." },
		{ "M12", RACE_VIOLATION, 12,
		  "The sequence moves, and is looked at, before the list is worked off." },
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
	write_version(1);
	other = world.hva;
	if (!race_variant_is("frozen") &&
	    hostmm_map(world.mm, 1, HOSTMM_PROT_READ | HOSTMM_PROT_WRITE, NULL, NULL, &other))
		explore_fail("hostmm_map() failed");
	mirror(0, other, 1);
}

static void open_mirror(void *ctx)
{
	(void)ctx;
	explore_say("a driver opens a mirror of page 0");
	mirror(1, world.hva, 1);
	explore_say("mmu_interval_notifier_insert() has returned");
	read_version(1, "the mirror");
	read_version(1, "the mirror");
}

static void a38_finish(void *ctx)
{
	(void)ctx;
	read_version(1, "later, the mirror");
	/* The other device has another page. */
	device_destroy(world.device[0]);
	world.device[0] = NULL;
	world_finish();
}

const struct race_scenario a38_insert = {
	.name = "a38-insert",
	.rows = "A34 A38",
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

/* ---- The sequence ---- */

/* As M6: around 2^31 a number and its sign extension differ; and the last even number before the wrap. */
static void a35_setup(void *ctx)
{
	bool is_32 = race_variant_is("M6") || race_variant_is("at-2-31");

	(void)ctx;
	world_setup(1, NULL, NULL);
	if (race_variant_is("wrap"))
		mmu_notifier_subscriptions_set_seq(hostmm_subscriptions(world.mm), UINT64_MAX - 1);
	if (is_32)
		mmu_notifier_subscriptions_set_seq(hostmm_subscriptions(world.mm), 1UL << 31);
	write_version(1);
	mirror(0, world.hva, 1);
}

static void a35_move_twice(void *ctx)
{
	(void)ctx;
	move_page_0(ctx);
	if (hostmm_zap(world.mm, world_page(0), world_page(1)))
		explore_fail("hostmm_zap() failed");
}

const struct race_scenario a35_odd_sequence = {
	.name = "a35-odd-sequence",
	.rows = "A35 M6",
	.title = "The sequence wraps, or outgrows a snapshot",
	.question = "Every invalidation moves the sequence on, for as long as the process lives. What happens when it wraps, and "
		    "how wide must a snapshot be?",
	.lesson = "2^64 is no special place: after the last odd number comes 0. But a snapshot in fewer bits never equals the "
		  "number again once that has outgrown it, and the reader retries for ever.",
	.variant = {
		{ "odd", RACE_PASS, 0, "The mm starts at 2, so the first subscription gets 1." },
		{ "wrap", RACE_PASS, 0, "The mm starts at 2^64 - 2: the second invalidation is number 1." },
		{ "at-2-31", RACE_PASS, 0, "The mm starts at 2^31; snapshots have 64 bits." },
		{ "M6", RACE_DEADLOCK, 6, "The mm starts at 2^31, and the snapshot is kept in an int." },
	},
	.program = {
		.setup = a35_setup,
		.finish = look_again,
		.threads = 2,
		.thread = { { "kernel: moves page 0, then zaps it", a35_move_twice },
			    { "mirror: loads page 0", load_twice } },
	},
};

/* ---- Where a subscription starts ---- */

static void store_only(void *ctx)
{
	(void)ctx;
	write_version(2);
}

static void first_load(void *ctx)
{
	(void)ctx;
	mirror(0, world.hva, 1);
	explore_say("the mirror is open, and touches page 0");
	read_version(0, "the mirror");
}

static void first_setup(void *ctx)
{
	(void)ctx;
	world_setup(1, NULL, NULL);
	write_version(1);
}

const struct race_scenario m13_first_number = {
	.name = "m13-first-number",
	.rows = "A35 M13",
	.title = "The number of a new subscription",
	.question = "A reader waits while the number of its subscription equals that of the process: then it is being "
		    "invalidated. What number does a new subscription get, and why are numbers odd while something is invalidated?",
	.lesson = "Only an odd number must go away: an invalidation is open, and its end moves it. A subscription that starts at the "
		  "current, even number waits for the end of an invalidation that never was.",
	.variant = {
		{ "odd", RACE_PASS, 0,
		  "The odd number before the current one, which has passed: the process starts at 2, the first subscription at 1." },
		{ "M13", RACE_DEADLOCK, 131, "The current number, which is even." },
	},
	.program = {
		.setup = first_setup,
		.finish = look_again,
		.threads = 2,
		.thread = { { "CPU: stores to page 0", store_only }, { "driver: opens a mirror", first_load } },
	},
};

/* ---- One wait ---- */

static struct lock lock;
static struct cond has_begun;
static bool is_through; /* under lock */

static void m13_setup(void *ctx)
{
	(void)ctx;
	a34_setup(ctx);
	lock_init(&lock);
	cond_init(&has_begun);
	is_through = false;
	sync_store(&at_least, 0);
}

static void m13_finish(void *ctx)
{
	(void)ctx;
	cond_fini(&has_begun);
	lock_fini(&lock);
	world_finish();
}

static void bracket(struct mmu_notifier_range *range)
{
	mmu_notifier_range_init(range, MMU_NOTIFY_CLEAR, hostmm_subscriptions(world.mm),
				world_page(0), world_page(1));
	if (mmu_notifier_invalidate_range_start(range))
		explore_fail("a blockable start was refused");
}

static void m13_kernel(void *ctx)
{
	struct mmu_notifier_subscriptions *mm = hostmm_subscriptions(world.mm);
	struct mmu_notifier_range first, second;
	bool waits;

	(void)ctx;
	bracket(&first);
	explore_say("invalidation 1 is open");
	lock_acquire(&mm->lock);
	waits = mm->waiters;
	lock_release(&mm->lock);
	mmu_notifier_invalidate_range_end(&first);
	explore_say("invalidation 1 has ended%s", waits ? ", for which the reader waits" : "");
	bracket(&second);
	explore_say("invalidation 2 is open, and lasts%s",
		    waits ? " until the reader is through" : "");
	lock_acquire(&lock);
	while (waits && !is_through)
		cond_wait(&has_begun, &lock);
	lock_release(&lock);
	mmu_notifier_invalidate_range_end(&second);
}

static void m13_reader(void *ctx)
{
	struct mmu_notifier_subscriptions *mm = hostmm_subscriptions(world.mm);
	struct interval_node *node = interval_tree_first(&mm->itree, world_page(0), world_page(1));

	(void)ctx;
	explore_say("the reader calls mmu_interval_read_begin()");
	mmu_interval_read_begin(list_entry(node, struct mmu_interval_notifier, node));
	explore_say("the reader may look up the page");
	lock_acquire(&lock);
	is_through = true;
	cond_broadcast(&has_begun);
	lock_release(&lock);
}

const struct race_scenario m13_one_wait = {
	.name = "m13-one-wait",
	.rows = "A35 M13",
	.title = "Does a reader wait once, or until nothing is invalidated?",
	.question = "A reader has waited for invalidation 1. Invalidation 2 has begun meanwhile. The reader could wait again, "
		    "or go on and find out at retry that it was in vain. Which?",
	.lesson = "Waiting in a loop, the reader waits for invalidations that began after it: a process that invalidates all the "
		  "time starves it. Here invalidation 2 lasts until the reader is through, and neither moves.",
	.variant = {
		{ "once", RACE_PASS, 0, "One wait; retry says whether it was enough." },
		{ "M13", RACE_DEADLOCK, 132, "Wait in a loop until the subscription is not being invalidated." },
	},
	.program = {
		.setup = m13_setup,
		.finish = m13_finish,
		.threads = 2,
		.thread = { { "kernel: two invalidations", m13_kernel }, { "reader: begins", m13_reader } },
	},
};

/* ---- Two brackets ---- */

static void last_setup(void *ctx)
{
	(void)ctx;
	world_setup(2, "hmm", NULL);
	write_version(1);
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
	move(0);
}

static void load_once(void *ctx)
{
	(void)ctx;
	explore_say("the mirror touches page 0, which it does not have");
	read_version(0, "the mirror");
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
