/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A host mm with one region and a shadow on it, for measuring: below it a window, or nothing at all, so that what is left
 * is the library's own cost.
 * Owns what shadow_rig_up() builds. Included by tests/bench/shadow*.c. Knows no KVM.
 */
#ifndef UMBRA_TESTS_BENCH_SHADOW_RIG_H
#define UMBRA_TESTS_BENCH_SHADOW_RIG_H

#include "mmu/shadow/window.h"

struct shadow_rig {
	struct pool *pool;
	struct hostmm *mm;
	struct window *window; /* NULL: below the shadow is nothing */
	struct shadow *shadow;
	hva_t hva;
	uint64_t pages;
};

#define SHADOW_RIG_WINDOW   1u
#define SHADOW_RIG_POPULATE 2u /* the host has all pages; nothing is mapped */
#define SHADOW_RIG_LARGE    4u /* leaves may be larger than 4K */

/* 0 or -errno; undone by shadow_rig_down() either way. */
int shadow_rig_up(struct shadow_rig *r, uint64_t pages, unsigned flags);
void shadow_rig_down(struct shadow_rig *r);

/* Fault every page in, in order. 0 or -errno. */
int shadow_rig_map(struct shadow_rig *r);

static inline hva_t shadow_rig_end(const struct shadow_rig *r)
{
	return r->hva + (r->pages << PAGE_SHIFT);
}

#endif
