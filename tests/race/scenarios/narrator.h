/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A subscriber that does nothing but say, in the timeline, when a bracket opens and ends, and what device 0 made of it.
 * Between world_setup() and world_finish(). Owns its subscription.
 */
#ifndef UMBRA_TESTS_RACE_SCENARIOS_NARRATOR_H
#define UMBRA_TESTS_RACE_SCENARIOS_NARRATOR_H

#include "tests/race/world.h"

static uint64_t narrator_deferred(void)
{
	struct device_stats stats;

	device_get_stats(world.device[0], &stats);
	return stats.deferred;
}

static int narrator_start(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	(void)mn;
	explore_say("invalidate_range_start(page %llu): let go of it now",
		    (unsigned long long)((range->start - world.hva) >> PAGE_SHIFT));
	return 0;
}

static void narrator_end(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	(void)mn;
	(void)range;
	explore_say("invalidate_range_end; the device has %s",
		    narrator_deferred() ? "only made a note, and still maps the page" : "let go");
}

static const struct mmu_notifier_ops narrator_ops = {
	.invalidate_range_start = narrator_start,
	.invalidate_range_end = narrator_end,
};

static struct mmu_notifier narrator;

static inline void narrator_on(void)
{
	narrator = (struct mmu_notifier){ .ops = &narrator_ops };
	if (hostmm_subscribe(world.mm, &narrator))
		explore_fail("the narrator cannot subscribe");
}

static inline void narrator_off(void)
{
	mmu_notifier_unregister(&narrator);
}

#endif
