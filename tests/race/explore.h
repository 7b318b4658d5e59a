/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The explorer: runs the threads of a scenario under every schedule, one thread at a time.
 * Owns the threads (coroutines), the choice of who runs, and the record of a run. main.c asks for a verdict; the library
 * enters through explore_point() (mmu/base/sync_explore.h). Knows scenarios only as functions.
 */
#ifndef UMBRA_TESTS_RACE_EXPLORE_H
#define UMBRA_TESTS_RACE_EXPLORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mmu/base/sync.h"

#define EXPLORE_THREADS 6
#define EXPLORE_FOREVER UINT64_MAX

/* What one schedule, or all of them, came to. */
enum explore_verdict {
	EXPLORE_PASS,
	EXPLORE_VIOLATION, /* an oracle or bug_on() */
	EXPLORE_DEADLOCK,  /* nobody can go on, or everybody goes on without end (livelock) */
};

/* One program of up to EXPLORE_THREADS threads. setup and finish run alone, before and after the threads. */
struct explore_program {
	void (*setup)(void *ctx);
	void (*finish)(void *ctx);
	unsigned threads;
	struct {
		const char *name;
		void (*run)(void *ctx);
	} thread[EXPLORE_THREADS];
	void *ctx;
	/* The last so many threads need not end: a run is over when the others have, and these sleep. */
	unsigned daemons;
};

struct explore_limits {
	int bound;	    /* preemptions; iterated from 0 up to this */
	uint64_t schedules; /* give up after so many */
	uint64_t random;    /* not 0: so many random schedules (PCT) instead of all */
	uint64_t seed;
	const char *replay; /* not NULL: this schedule alone */
	bool plain;	    /* without reductions, to test them */
	/* Not NULL: hears of each run's end, and the search goes on after a failure. */
	void (*ended)(void *ctx, enum explore_verdict v, const char *why);
	void *ended_ctx;
	void (*progress)(void *ctx, uint64_t schedules, unsigned bound);
	void *progress_ctx;
};

/* A line of the timeline: who did what. */
struct explore_note {
	int thread; /* -1: setup or finish */
	uint32_t step;
	bool important; /* the scenario's own words, or the violation */
	char text[240];
};

#define EXPLORE_NOTES	 4096
#define EXPLORE_SCHEDULE 4096

struct explore_result {
	enum explore_verdict verdict;
	uint64_t schedules, steps;
	bool exhausted; /* every schedule up to the bound has run */
	bool complete;	/* and the bound cut none off */
	unsigned bound; /* at which the verdict was found, or the last one tried */
	unsigned preemptions;
	char misfit[96]; /* why --replay is no schedule of this program; else empty */
	char why[256];
	char schedule[EXPLORE_SCHEDULE]; /* of the failing run: replays it */
};

/* explore - run @program as @limits say. With a violation or replay, explore_notes() has the timeline of that run. */
void explore(const struct explore_program *program, const struct explore_limits *limits,
	     struct explore_result *result);
const struct explore_note *explore_notes(unsigned *count);

/* For scenarios, inside a run. */

/* explore_fail - the oracle speaks: this schedule is a violation. Does not return in a thread. */
void explore_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* explore_say - a line in the timeline, in the reader's words. */
void explore_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* explore_trace - the same from the library: less important. */
void explore_trace(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* explore_mark - a scheduling point that conflicts with every other mark on @object. */
void explore_mark(void *object, const char *what);
/* Is @p, of the library's heap, freed? Its memory is not reused within a run. */
bool explore_is_freed(const void *p);

/* Mutants: bit n of a set. */
void explore_set_mutant(unsigned n); /* 0: none; mutant_on() of mmu/base/mutant.h tells */

#endif
