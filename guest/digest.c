// SPDX-License-Identifier: BSD-2-Clause
/*
 * digest: XXH3-128 of the input region, in the format of xxh128sum. Every vCPU digests all of it,
 * at the same time; they must agree. An absent input is an error, an empty one is not.
 */
#include "guest/hcall.h"
#include "guest/print.h"
#include "guest/workload.h"
#include "guest/xxh3.h"

static int run(const struct guest *g)
{
	static struct digest digests[ABI_MAX_CPUS];
	const void *input = (const void *)g->input.gpa;
	struct digest mine;
	int code = EXIT_GOOD;

	if (!g->has_input)
		return workload_refuse(g, "digest needs an input");
	hc_phase(g->cpu, PHASE_BEGIN, 0, 0, 0);
	mine = current_cpl() ? xxh3_sse2(input, g->input_bytes)
			     : xxh3_scalar(input, g->input_bytes);
	hc_phase(g->cpu, PHASE_END, 0, g->input.size / ABI_PAGE_SIZE, 0);

	digests[g->cpu] = mine;
	workload_barrier(g);
	for (unsigned cpu = 0; cpu < g->cpus; cpu++)
		if (digests[cpu].high != mine.high || digests[cpu].low != mine.low)
			code = EXIT_WRONG_VALUE;
	if (code)
		print(g->cpu, "digest: cpu %u read %016lx%016lx: vCPUs disagree\n", g->cpu,
		      mine.high, mine.low);
	else if (g->cpu == 0)
		print(g->cpu, "%016lx%016lx  %s\n", mine.high, mine.low, g->label);
	return code;
}

const struct workload workload_digest = { .name = "digest", .run = run };
