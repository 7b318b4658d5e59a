// SPDX-License-Identifier: BSD-2-Clause
/*
 * counter: atomic increments of one word on each of pages=N pages of work (default all), shared
 * with other vCPUs and host threads, until increments=N are done or the host says stop. The total
 * of this vCPU goes to the host, which knows what the words must add up to.
 */
#include "guest/hcall.h"
#include "guest/print.h"
#include "guest/workload.h"

static int run(const struct guest *g)
{
	bool bad = false;
	uint64_t pages = arg_number(g->bootargs, "pages", work_pages(g), &bad);
	uint64_t limit = arg_number(g->bootargs, "increments", UINT64_MAX, &bad);
	uint64_t total = 0, page;

	if (bad || !pages || pages > work_pages(g))
		return workload_refuse(g, "counter needs work of at least pages=N pages");
	if (limit == UINT64_MAX && !g->board)
		return workload_refuse(g, "counter needs increments=N or a board");

	/* Start apart, so that vCPUs meet on pages in changing pairs rather than in step. */
	page = pages * g->cpu / g->cpus;
	while (total < limit && !is_stopping(g)) {
		__atomic_fetch_add(work_word(g, page, WORD_COUNTER), 1, __ATOMIC_RELAXED);
		total++;
		if (++page == pages)
			page = 0;
	}
	hc_phase(g->cpu, PHASE_COUNTER, total, 0, 0);
	print(g->cpu, "counter: cpu %u: %lu increments on %lu pages\n", g->cpu, total, pages);
	return EXIT_GOOD;
}

const struct workload workload_counter = { .name = "counter", .run = run };
