// SPDX-License-Identifier: BSD-2-Clause
/* Interval notifiers: one sequence for all, where it starts and wraps, and one wait for it. Devices here are HMM mirrors. */
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

static void load_twice(void *ctx)
{
	(void)ctx;
	explore_say("the mirror touches page 0, which it does not have");
	check_version(0, "the mirror", 0);
	check_version(0, "the mirror", 0);
}

static void look_again(void *ctx)
{
	(void)ctx;
	for (unsigned d = 0; d < WORLD_DEVICES; d++)
		if (world.device[d] && version_of(0))
			check_version(d, "later, the mirror", 0);
	world_finish();
}

/* ---- Where it wraps ---- */

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
	write_version(0, 1);
	world_add_device(0, "hmm", world.hva, 1);
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
	write_version(0, 2);
}

static void first_load(void *ctx)
{
	(void)ctx;
	world_add_device(0, "hmm", world.hva, 1);
	explore_say("the mirror is open, and touches page 0");
	check_version(0, "the mirror", 0);
}

static void first_setup(void *ctx)
{
	(void)ctx;
	world_setup(1, NULL, NULL);
	write_version(0, 1);
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
	world_setup(1, "hmm", NULL);
	host_store("the CPU", 0, 1);
	lock_init(&lock);
	cond_init(&has_begun);
	is_through = false;
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
