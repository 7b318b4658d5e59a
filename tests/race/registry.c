// SPDX-License-Identifier: BSD-2-Clause
#include "tests/race/scenario.h"

/* One a line, by row. */
#define SCENARIOS(X)            \
	X(a1_store_order)       \
	X(a17_report_always)    \
	X(a18_whole_range)      \
	X(a19_page_lifetime)    \
	X(a20_after_clear)      \
	X(a21_migrate)          \
	X(a21_mkclean)          \
	X(a22_change_now)       \
	X(a23_async_fork)       \
	X(a23_async_merge)      \
	X(a24_stale_but_alive)  \
	X(a25_swap_by_accident) \
	X(a26_one_flush)        \
	X(m2_change_alone)      \
	X(m21_flush_unlocked)

#define DECLARE(name) extern const struct race_scenario name;
SCENARIOS(DECLARE)

#define ENTRY(name) &(name),
const struct race_scenario *const race_scenarios[] = { SCENARIOS(ENTRY) NULL };
