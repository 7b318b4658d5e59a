/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * XXH3-128, built twice: for any vCPU, and eight times faster with SSE2.
 * Owns nothing.
 * Called by guest/digest.c.
 * Does not know where the bytes come from.
 */
#ifndef UMBRA_GUEST_XXH3_H
#define UMBRA_GUEST_XXH3_H

#include <stdint.h>

struct digest {
	uint64_t high, low;
};

struct digest xxh3_scalar(const void *buf, uint64_t len);

/* Not at CPL 0, which some hosts interpret, and then without SSE2 arithmetic. */
struct digest xxh3_sse2(const void *buf, uint64_t len);

#endif
