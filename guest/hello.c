// SPDX-License-Identifier: BSD-2-Clause
/*
 * hello: each vCPU says what it is. exit=CODE: the exit code.
 */
#include "guest/hcall.h"
#include "guest/print.h"
#include "guest/workload.h"

static int run(const struct guest *g)
{
	bool bad = false;
	uint64_t code = arg_number(g->bootargs, "exit", EXIT_GOOD, &bad);

	if (bad || code > HC_EXIT_MAX)
		return workload_refuse(g, "exit is not a code of 0 to 124");
	print(g->cpu, "hello from cpu %u of %u at CPL %u, %lu MiB of RAM\n", g->cpu, g->cpus,
	      current_cpl(), g->ram.size >> 20);
	return (int)code;
}

const struct workload workload_hello = { .name = "hello", .run = run };
