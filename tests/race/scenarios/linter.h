/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Without the linter of mmu/notify: where a variant breaks the primary's half of the contract, that speaks up before any
 * harm is done, and the scenario wants to show the harm. Only such a variant calls linter_off(), after world_setup();
 * linter_on(), before world_finish(), does nothing in others. Owns what it puts aside.
 */
#ifndef UMBRA_TESTS_RACE_SCENARIOS_LINTER_H
#define UMBRA_TESTS_RACE_SCENARIOS_LINTER_H

#include "tests/race/world.h"

static struct notify_lint *linter;

static inline void linter_off(void)
{
	struct mmu_notifier_subscriptions *mm = hostmm_subscriptions(world.mm);

	linter = mm->lint;
	mm->lint = NULL;
}

static inline void linter_on(void)
{
	struct mmu_notifier_subscriptions *mm = hostmm_subscriptions(world.mm);

	if (!mm->lint)
		mm->lint = linter;
}

#endif
