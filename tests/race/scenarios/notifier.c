// SPDX-License-Identifier: BSD-2-Clause
/* List notifiers: who may refuse, what follows a refusal, and how a subscription is published. */
#include <errno.h>

#include "mmu/notify/interval.h"
#include "tests/race/scenario.h"
#include "tests/race/world.h"

/* ---- Refusal ---- */

/* A driver with nothing to invalidate but its own state: refuses while that is in use. On the list or in the tree. */
static struct {
	struct mmu_notifier mn;
	struct mmu_interval_notifier sub;
	struct lock lock;
	bool in_use;
	uint64_t refused;
} driver;

static bool is_in_tree(void)
{
	return race_variant_is("tree") || race_variant_is("tree-back-out");
}

/* Does it refuse what may block, too? */
static bool is_broken(void)
{
	return is_in_tree() || race_variant_is("misuse") || race_variant_is("back-out");
}

static bool refuses(const struct mmu_notifier_range *range)
{
	bool in_use;

	lock_acquire(&driver.lock);
	in_use = driver.in_use;
	lock_release(&driver.lock);
	if (!in_use || (mmu_notifier_range_blockable(range) && !is_broken()))
		return false;
	driver.refused++;
	explore_say("driver: refuses");
	return true;
}

static int driver_start(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	(void)mn;
	return refuses(range) ? -EAGAIN : 0;
}

static bool driver_invalidate(struct mmu_interval_notifier *sub,
			      const struct mmu_notifier_range *range, uint64_t cur_seq)
{
	if (refuses(range))
		return false;
	mmu_interval_set_seq(sub, cur_seq);
	return true;
}

static const struct mmu_notifier_ops driver_ops = { .invalidate_range_start = driver_start };
static const struct mmu_interval_notifier_ops driver_tree_ops = { .invalidate = driver_invalidate };

static void driver_subscribe(void)
{
	int rc;

	driver.in_use = false;
	driver.refused = 0;
	driver.mn.ops = &driver_ops;
	lock_init(&driver.lock);
	if (is_in_tree())
		rc = mmu_interval_notifier_insert(&driver.sub, hostmm_subscriptions(world.mm),
						  world_page(0), PAGE_SIZE, &driver_tree_ops);
	else
		rc = hostmm_subscribe(world.mm, &driver.mn);
	if (rc)
		explore_fail("the driver cannot subscribe");
}

static void driver_unsubscribe(void)
{
	if (is_in_tree())
		mmu_interval_notifier_remove(&driver.sub);
	else
		mmu_notifier_unregister(&driver.mn);
	lock_fini(&driver.lock);
}

static void reap_setup(void *ctx)
{
	const char *profile = race_variant_is("gru") || race_variant_is("M11") ? "gru" : "kvm";

	(void)ctx;
	/* The driver is asked last: what it refuses, the device has accepted. */
	world_setup(1, NULL, NULL);
	host_store("the CPU", 0, 1);
	driver_subscribe();
	world_add_device(0, profile, world.hva, 1);
}

static void reaper(void *ctx)
{
	struct mmu_notifier_range range;
	int rc;

	(void)ctx;
	mmu_notifier_range_init(&range, MMU_NOTIFY_UNMAP, hostmm_subscriptions(world.mm),
				world_page(0), world_page(1));
	if (!is_broken())
		range.flags &= ~MMU_NOTIFIER_RANGE_BLOCKABLE;
	explore_say("invalidate_range_start() of page 0");
	rc = mmu_notifier_invalidate_range_start(&range);
	if (rc && mmu_notifier_range_blockable(&range))
		explore_fail(
			"a range that may block was refused: its caller does not know how to back out");
	explore_say(rc ? "refused: touch nothing, call no end" : "accepted");
	if (!rc)
		mmu_notifier_invalidate_range_end(&range);
}

static void user(void *ctx)
{
	(void)ctx;
	lock_acquire(&driver.lock);
	driver.in_use = true;
	lock_release(&driver.lock);
	explore_say("the driver's pages are in use");
	device_load(0, "the device", 0);
	lock_acquire(&driver.lock);
	driver.in_use = false;
	lock_release(&driver.lock);
}

static void reap_finish(void *ctx)
{
	(void)ctx;
	explore_say("later");
	device_load(0, "the device", 0);
	if (is_broken() && mmu_notifier_misuses(hostmm_subscriptions(world.mm)) != driver.refused)
		explore_fail("a refusal of a range that may block is not counted as misuse");
	driver_unsubscribe();
	world_finish();
}

const struct race_scenario a36_refusal = {
	.name = "a36-refusal",
	.rows = "A36 M10 M11",
	.title = "A subscriber refuses an invalidation that others have accepted",
	.question = "The OOM reaper must not sleep: its invalidation may be refused, and then it touches nothing and calls no end. What "
		    "of the subscribers that had accepted before the one that refused?",
	.lesson = "They count an invalidation that nobody will end, and every fault of theirs waits for it for ever. Whoever was told start "
		  "must be told end, list and tree alike.",
	.variant = {
		{ "kvm", RACE_PASS, 0, "All that were told start are told end." },
		{ "gru", RACE_PASS, 0, "The same where the tree has accepted and the list refuses." },
		{ "M10", RACE_DEADLOCK, 10, "After a refusal the list hears no end." },
		{ "M11", RACE_DEADLOCK, 11, "After a refusal by the list the tree hears no end (Linux 6.12, by reading)." },
	},
	.program = {
		.setup = reap_setup,
		.finish = reap_finish,
		.threads = 2,
		.thread = { { "OOM reaper: invalidates page 0", reaper }, { "driver and device: use page 0", user } },
	},
};

const struct race_scenario a36_misuse = {
	.name = "a36-misuse",
	.rows = "A36",
	.title = "A subscriber refuses an invalidation that may block",
	.question = "A subscriber answers -EAGAIN to a range that may block, which is a bug of its own. Warn and go on, or "
		    "back out?",
	.lesson = "A caller that may block has no way to back out: it would call end without start, or not change what it must. Go on, "
		  "and say loudly who is broken.",
	.variant = {
		{ "misuse", RACE_PASS, 0, "It is counted as misuse (the kernel warns), and the invalidation goes on." },
		{ "back-out", RACE_VIOLATION, 136, "The range is refused." },
		{ "tree", RACE_PASS, 0, "Counted and passed over, where the subscriber is an interval notifier." },
		{ "tree-back-out", RACE_VIOLATION, 136, "The range is refused, where it is an interval notifier." },
	},
	.program = {
		.setup = reap_setup,
		.finish = reap_finish,
		.threads = 2,
		.thread = { { "munmap: invalidates page 0", reaper }, { "driver and device: use page 0", user } },
	},
};

/* ---- Publishing ---- */

static bool young(struct mmu_notifier *mn, hva_t addr)
{
	(void)mn, (void)addr;
	return true;
}

static bool old(struct mmu_notifier *mn, hva_t addr)
{
	(void)mn, (void)addr;
	return false;
}

static const struct mmu_notifier_ops young_ops = { .test_young = young };
static const struct mmu_notifier_ops old_ops = { .test_young = old };
static struct mmu_notifier has_used, has_not;

static void publish_setup(void *ctx)
{
	(void)ctx;
	world_setup(1, NULL, NULL);
	has_used = (struct mmu_notifier){ .ops = &young_ops };
	has_not = (struct mmu_notifier){ .ops = &old_ops };
	if (hostmm_subscribe(world.mm, &has_used))
		explore_fail("hostmm_subscribe() failed");
}

static void subscriber(void *ctx)
{
	(void)ctx;
	explore_say("driver B subscribes, before driver A in the list");
	if (hostmm_subscribe(world.mm, &has_not))
		explore_fail("hostmm_subscribe() failed");
	explore_say("driver B is in the list");
}

static void reclaim(void *ctx)
{
	(void)ctx;
	explore_say("reclaim asks whether anybody uses page 0; driver A does");
	if (!mmu_notifier_test_young(hostmm_subscriptions(world.mm), world_page(0)))
		explore_fail("nobody was found who uses page 0: driver A was not asked");
}

static void publish_finish(void *ctx)
{
	(void)ctx;
	mmu_notifier_unregister(&has_not);
	mmu_notifier_unregister(&has_used);
	world_finish();
}

const struct race_scenario a37_publish = {
	.name = "a37-publish",
	.rows = "A37 A39",
	.title = "A subscription is published while the list is read",
	.question = "The list is read without a lock. Is it enough that a subscription is filled in before its pointer is stored, in the "
		    "order of the source?",
	.lesson = "Compiler and processor may let others see the pointer first. Then a reader of the list finds driver B, whose link to "
		  "driver A is not there yet, and A is not asked. Store with release, load with acquire. (The explorer runs "
		  "one access after another; the variant writes down one order that a relaxed store allows.)",
	.variant = {
		{ "release", RACE_PASS, 0, "The pointer is stored with release, and loaded with acquire." },
		{ "relaxed", RACE_VIOLATION, 137, "A relaxed store: the pointer is seen before what it points to." },
	},
	.program = {
		.setup = publish_setup,
		.finish = publish_finish,
		.threads = 2,
		.thread = { { "driver B: subscribes", subscriber }, { "reclaim: asks who uses page 0", reclaim } },
	},
};
