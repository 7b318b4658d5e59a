// SPDX-License-Identifier: BSD-2-Clause
/*
 * How much of the CPU that it asks for the process gets. A thread that makes no progress on a machine where others run most of
 * the time is not stuck: patience is counted in time that was ours.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/stress/stress.h"

struct demand {
	uint64_t ran, waited; /* ns, of all threads; waited: could have run */
	double when;
};

/* Kernel: Documentation/scheduler/sched-stats.rst. */
static void add_thread(struct demand *d, const char *tid)
{
	char path[64], line[96], *rest;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%.16s/schedstat", tid);
	f = fopen(path, "re");
	if (!f)
		return;
	if (fgets(line, sizeof(line), f)) {
		d->ran += strtoull(line, &rest, 10);
		d->waited += strtoull(rest, NULL, 10);
	}
	fclose(f);
}

static struct demand measure(void)
{
	struct demand d = { .when = stress_now() };
	DIR *tasks = opendir("/proc/self/task");
	const struct dirent *e;

	while (tasks && (e = readdir(tasks)))
		if (*e->d_name != '.')
			add_thread(&d, e->d_name);
	if (tasks)
		closedir(tasks);
	return d;
}

/* Since the last call, which one thread makes: 0.02 .. 1. Threads that have ended make it 1. */
double cpu_share(void)
{
	static struct demand before;
	struct demand now = measure(), last = before;
	double elapsed = (now.when - last.when) * 1e9, ran, wants;

	before = now;
	if (!last.when || now.ran < last.ran || now.waited < last.waited || elapsed <= 0)
		return 1;
	ran = (double)(now.ran - last.ran);
	wants = ran + (double)(now.waited - last.waited);
	if (wants > elapsed * (double)sysconf(_SC_NPROCESSORS_ONLN))
		wants = elapsed * (double)sysconf(_SC_NPROCESSORS_ONLN);
	if (ran >= wants)
		return 1;
	return ran / wants < 0.02 ? 0.02 : ran / wants;
}
