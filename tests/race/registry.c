// SPDX-License-Identifier: BSD-2-Clause
#include "tests/race/scenario.h"

extern const struct race_scenario a1_store_order, a17_report_always, a18_whole_range,
	a19_page_lifetime, a20_after_clear, a23_async_fork, a24_stale_but_alive,
	a25_swap_by_accident, a26_one_flush;

const struct race_scenario *const race_scenarios[] = {
	&a1_store_order,      &a17_report_always,
	&a18_whole_range,     &a19_page_lifetime,
	&a20_after_clear,     &a23_async_fork,
	&a24_stale_but_alive, &a25_swap_by_accident,
	&a26_one_flush,	      NULL,
};
