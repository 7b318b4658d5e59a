/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Several searches at once, each in a child of its own: they share nothing and print in the order of their numbers.
 * Owns the children, and allocates nothing: what is allocated here belongs to a search (heap.h). main.c calls, before any search of its own. Knows nothing of scenarios.
 */
#ifndef UMBRA_TESTS_RACE_JOBS_H
#define UMBRA_TESTS_RACE_JOBS_H

#define JOBS_MAX 1024u

/*
 * jobs_run - call @job(@ctx, 0..@n - 1), at most JOBS_MAX, @at_once at a time.
 * Their standard output is copied here, the first first; on a terminal a line tells how many are done.
 * Returns the greatest value that one returned, -1 if a child could not be made or was killed.
 */
int jobs_run(unsigned n, unsigned at_once, int (*job)(void *ctx, unsigned i), void *ctx);

#endif
