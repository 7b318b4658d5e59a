// SPDX-License-Identifier: BSD-2-Clause
/* Live progress, and a watchdog: who has not come on for a while is stuck, and everybody says where he is. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/stress/stress.h"

#define PATIENCE_S	  20.0
#define PATIENCE_MUTANT_S 6.0

static pthread_t dog;
static atomic_bool dog_ends;

/* What the kernel knows of a thread: what it waits in. */
static void print_place(const char *name, int tid, uint64_t operations, uint64_t page)
{
	char path[64], line[128] = "?";
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%d/wchan", tid);
	f = fopen(path, "re");
	if (f) {
		if (!fgets(line, sizeof(line), f))
			strcpy(line, "?");
		fclose(f);
	}
	fprintf(stderr, "  %-16s tid %d, %" PRIu64 " operations, page %" PRIu64 ", in %s", name,
		tid, operations, page, strcmp(line, "0") ? line : "user space");
	snprintf(path, sizeof(path), "/proc/self/task/%d/syscall", tid);
	f = fopen(path, "re");
	if (f) {
		if (fgets(line, sizeof(line), f))
			fprintf(stderr, ", system call %s", line);
		fclose(f);
	} else {
		fputc('\n', stderr);
	}
}

static void print_all(const struct world *w)
{
	fprintf(stderr, "%swho is where:\n", isatty(STDERR_FILENO) ? "\r\033[K" : "");
	for (unsigned i = 0; i < w->players; i++)
		print_place(w->player[i].name, w->player[i].tid, w->player[i].operations,
			    w->player[i].page);
	for (unsigned i = 0; i < w->actors; i++)
		print_place(w->acting[i].actor->name, w->acting[i].tid, w->acting[i].operations, 0);
}

/* Of everybody: the time of the last progress that was seen, by a clock that goes as far as the CPU is ours. */
struct watched {
	uint64_t operations;
	double since;
};

static bool is_stuck(struct watched *s, uint64_t operations, double now, double patience)
{
	if (s->operations != operations || s->since <= 0)
		*s = (struct watched){ operations, now };
	return now - s->since > patience;
}

/* An emulated machine is slow, and thinks that its CPUs are its own. */
static double slowness(void)
{
	const char *text = getenv("SLOW_HOST");
	double factor = text ? strtod(text, NULL) : 1;

	return factor > 1 ? factor : 1;
}

static void watch(struct world *w, struct watched *seen, double now)
{
	double patience = (w->o->mutant ? PATIENCE_MUTANT_S : PATIENCE_S) * slowness();
	const char *stuck = NULL;

	for (unsigned i = 0; i < w->players; i++)
		if (is_stuck(&seen[i], w->player[i].operations, now, patience))
			stuck = w->player[i].name;
	for (unsigned i = 0; i < w->actors; i++)
		if (is_stuck(&seen[PLAY_MAX + i], w->acting[i].operations, now, patience))
			stuck = w->acting[i].actor->name;
	if (!stuck)
		return;
	print_all(w);
	fail(ORACLE_STUCK, 0, "%s: no progress for %.0f s", stuck, patience);
}

static void show(struct world *w, double elapsed)
{
	struct tally t = { 0 };

	world_count(w, &t);
	fprintf(stderr, "\r%s: %.0f s, %.0f operations/s", w->scenario->name, elapsed,
		(double)t.operations / elapsed);
	for (unsigned i = 0; i < w->actors; i++)
		fprintf(stderr, ", %.0f %s/s", (double)w->acting[i].operations / elapsed,
			w->acting[i].actor->name);
	fprintf(stderr,
		", %" PRIu64 " faults, %" PRIu64 " retries, %" PRIu64 " merges, %" PRIu64
		" refaults spared, 0 stale, 0 lost\033[K",
		t.faults, t.retries, t.merges, t.refaults_spared);
	fflush(stderr);
}

static void *dog_main(void *arg)
{
	static struct watched seen[PLAY_MAX + SCENARIO_ACTORS];
	static const struct timespec moment = { .tv_nsec = 50000000 };
	struct world *w = arg;
	double last = stress_now(), ours = 1;
	bool shows = !w->o->quiet && isatty(STDERR_FILENO);

	memset(seen, 0, sizeof(seen));
	for (unsigned n = 1; !atomic_load(&dog_ends); n++) {
		nanosleep(&moment, NULL);
		if (n % 10)
			continue;
		ours += cpu_share() * (stress_now() - last);
		last = stress_now();
		watch(w, seen, ours);
		if (shows)
			show(w, stress_now() - w->begin);
	}
	if (shows)
		fputs("\r\033[K", stderr);
	return NULL;
}

void watchdog_start(struct world *w)
{
	atomic_store(&dog_ends, false);
	if (pthread_create(&dog, NULL, dog_main, w))
		fail(ORACLE_ERROR, 0, "no thread for the watchdog");
}

void watchdog_stop(struct world *w)
{
	(void)w;
	atomic_store(&dog_ends, true);
	pthread_join(dog, NULL);
}
