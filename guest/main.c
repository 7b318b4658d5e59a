// SPDX-License-Identifier: BSD-2-Clause
/*
 * Where every vCPU of the toy guest starts in C: read the device tree, pick the workload, run it.
 */
#include <string.h>

#include "guest/hcall.h"
#include "guest/print.h"
#include "guest/workload.h"

int guest_main(const void *dt, unsigned cpu);

static const struct workload *const workloads[] = {
	&workload_hello,   &workload_digest, &workload_touch, &workload_verify,
	&workload_counter, &workload_idle,   &workload_bad,
};

static const struct workload *find_workload(const char *args)
{
	struct arg arg;

	if (!arg_find(args, "workload", &arg))
		return NULL;
	for (size_t i = 0; i < sizeof(workloads) / sizeof(workloads[0]); i++)
		if (arg_word(workloads[i]->name, arg.value, arg.value_len) == 0)
			return workloads[i];
	return NULL;
}

/* A misspelt key must not silently mean the default. */
static bool knows_keys(const struct workload *w, const char *args)
{
	struct arg arg;

	while (arg_next(&args, &arg))
		if (arg_word("workload", arg.key, arg.key_len) < 0 &&
		    arg_word(w->keys, arg.key, arg.key_len) < 0)
			return false;
	return true;
}

int guest_main(const void *dt, unsigned cpu)
{
	const struct workload *w;
	struct guest g;
	const char *wrong = guest_read_fdt(&g, dt, cpu);

	if (wrong) {
		print(cpu, "guest: cpu %u: device tree: %s\n", cpu, wrong);
		return EXIT_BAD_ARGS;
	}
	w = find_workload(g.bootargs);
	if (!w)
		return workload_refuse(&g, "no such workload");
	if (!knows_keys(w, g.bootargs))
		return workload_refuse(&g, "a key this workload does not take");
	hc_phase(cpu, PHASE_READY, 0, 0, 0);
	return w->run(&g);
}
