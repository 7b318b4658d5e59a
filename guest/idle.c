// SPDX-License-Identifier: BSD-2-Clause
/*
 * idle: sleep in the host for seconds=N, or until the host says stop.
 */
#include "guest/hcall.h"
#include "guest/workload.h"

#define NS_PER_S 1000000000u

static int run(const struct guest *g)
{
	bool bad = false;
	uint64_t seconds = arg_number(g->bootargs, "seconds", 0, &bad);
	uint64_t start = hc_clock(g->cpu);

	if (bad || seconds > UINT32_MAX || (!seconds && !g->board))
		return workload_refuse(g, "idle needs seconds=N or a board");
	while (!is_stopping(g)) {
		uint64_t left = seconds ? start + seconds * NS_PER_S - hc_clock(g->cpu)
					: HC_WAIT_MAX;

		if ((int64_t)left <= 0)
			break;
		hc_wait(g->cpu, left < HC_WAIT_MAX ? left : HC_WAIT_MAX);
	}
	return EXIT_GOOD;
}

const struct workload workload_idle = { .name = "idle", .run = run };
