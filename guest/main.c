// SPDX-License-Identifier: BSD-2-Clause
/*
 * Where every vCPU of the toy guest starts in C: read the device tree, pick the workload, run it.
 */
#include <string.h>

#include "guest/bootargs.h"
#include "guest/hcall.h"
#include "guest/print.h"
#include "guest/workload.h"

int guest_main(const void *dt, unsigned cpu);

static const struct workload *const workloads[] = {
	&workload_hello,   &workload_digest, &workload_touch, &workload_verify,
	&workload_counter, &workload_stress, &workload_idle,  &workload_bad,
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

#define NO_KEY(...)
#define NO_WORKLOAD(...)
#define WORKLOAD_NAME(name, help)	     " " #name
#define KEY_NAME(workload, key, values, ...) { #workload, key, key "=" values },

/* What there is, for messages. */
static const char all_workloads[] = GUEST_BOOTARGS(WORKLOAD_NAME, NO_KEY);

static const struct key {
	const char *workload, *key, *help;
} keys[] = { GUEST_BOOTARGS(NO_WORKLOAD, KEY_NAME) };

static bool knows_key(const struct workload *w, const struct arg *arg)
{
	if (arg_word("workload", arg->key, arg->key_len) == 0)
		return true;
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		if (!strcmp(keys[i].workload, w->name) &&
		    arg_word(keys[i].key, arg->key, arg->key_len) == 0)
			return true;
	return false;
}

/* A misspelt key must not silently mean the default. */
static bool knows_keys(const struct workload *w, const char *args)
{
	struct arg arg;

	while (arg_next(&args, &arg))
		if (!knows_key(w, &arg))
			return false;
	return true;
}

static int refuse_workload(const struct guest *g)
{
	if (g->cpu == 0)
		print(g->cpu,
		      "guest: no such workload: bootargs are \"%s\"; workload= is one of%s\n",
		      g->bootargs, all_workloads);
	return EXIT_BAD_ARGS;
}

static int refuse_keys(const struct guest *g, const struct workload *w)
{
	if (g->cpu)
		return EXIT_BAD_ARGS;
	print(g->cpu, "guest: a key that %s does not take: bootargs are \"%s\"; it takes:\n",
	      w->name, g->bootargs);
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		if (!strcmp(keys[i].workload, w->name))
			print(g->cpu, "guest:   %s\n", keys[i].help);
	return EXIT_BAD_ARGS;
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
		return refuse_workload(&g);
	if (!knows_keys(w, g.bootargs))
		return refuse_keys(&g, w);
	hc_phase(cpu, PHASE_READY, 0, 0, 0);
	return w->run(&g);
}
