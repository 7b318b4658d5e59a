/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Threads that do the same at the same time, and how long that takes.
 * Owns the threads of a call. Called by groups that measure several threads beside one. Knows no umbra.
 */
#ifndef UMBRA_TESTS_BENCH_CREW_H
#define UMBRA_TESTS_BENCH_CREW_H

#include <stdint.h>

#define CREW_MAX	4u
#define CREW_ROUNDS_MAX 32u

struct crew_work {
	int (*work)(void *ctx, unsigned thread); /* what is measured; 0 or -errno */
	int (*after)(
		void *ctx,
		unsigned
			thread); /* optional: puts things back, unmeasured, beside the others' work */
	void *ctx;
};

/*
 * crew_time - let @threads threads work, @rounds times. *@ns: the shortest round but the first (if there are several), from when the first
 * begins until the last has done. All are awake before the clock starts: to be woken takes as long as thousands of pages. 0 or -errno.
 */
int crew_time(const struct crew_work *w, unsigned threads, unsigned rounds, uint64_t *ns);

#endif
