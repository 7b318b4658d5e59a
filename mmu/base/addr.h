/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Addresses and page numbers of the three worlds umbra joins: host VA, guest PA, pool frame.
 * Owns no state. Anyone may include it. Knows nothing above mmu/base.
 * Every range in umbra is half-open: [start, end).
 */
#ifndef UMBRA_MMU_BASE_ADDR_H
#define UMBRA_MMU_BASE_ADDR_H

#include <stdbool.h>
#include <stdint.h>

#define PAGE_SHIFT 12
#ifndef PAGE_SIZE
#define PAGE_SIZE (1UL << PAGE_SHIFT)
#endif
#ifndef PAGE_MASK
#define PAGE_MASK (~(PAGE_SIZE - 1))
#endif

typedef uint64_t gfn_t; /* guest frame number: gpa >> PAGE_SHIFT */
typedef uint64_t gpa_t; /* guest physical address, bytes */
typedef uint64_t hva_t; /* host virtual address, bytes */
typedef uint64_t fn_t;	/* frame number: offset in the pool >> PAGE_SHIFT */

#define FN_NONE (~(fn_t)0)

static inline uint64_t page_align_up(uint64_t bytes)
{
	return (bytes + PAGE_SIZE - 1) & PAGE_MASK;
}

static inline bool is_page_aligned(uint64_t bytes)
{
	return (bytes & ~PAGE_MASK) == 0;
}

/* Do [a, a_end) and [b, b_end) share an element? */
static inline bool ranges_overlap(uint64_t a, uint64_t a_end, uint64_t b, uint64_t b_end)
{
	return a < b_end && b < a_end;
}

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

#endif
