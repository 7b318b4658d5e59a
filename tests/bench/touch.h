/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Threads that touch memory as the guest's workload "touch" does, in the place of vCPUs.
 * Owns nothing. Called by groups that measure without KVM. Knows no umbra.
 */
#ifndef UMBRA_TESTS_BENCH_TOUCH_H
#define UMBRA_TESTS_BENCH_TOUCH_H

#include <stdint.h>

enum touch_pattern { TOUCH_SEQ, TOUCH_RANDOM, TOUCH_STRIDE };

#define TOUCH_STRIDE_PAGES 16u

/*
 * touch_all - each of @threads (crew.h) threads loads a word of each of @pages pages from @base on, in its order. *@ns: from when all are
 * awake until the last has done. 0 or -errno.
 */
int touch_all(const void *base, uint64_t pages, enum touch_pattern pattern, unsigned threads,
	      uint64_t *ns);

#endif
