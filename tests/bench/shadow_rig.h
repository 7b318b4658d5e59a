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
	bool owns_pool;
	struct hostmm *mm;
	struct window *window; /* NULL: below the shadow is nothing */
	struct shadow *shadow;
	hva_t hva;
	uint64_t pages;
};

#define SHADOW_RIG_WINDOW   1u
#define SHADOW_RIG_POPULATE 2u /* the host has all pages; nothing is mapped */
#define SHADOW_RIG_LARGE    4u /* leaves may be larger than 4K */
#define SHADOW_RIG_TRAP	    8u /* the host view needs no userfaultfd: source mprotect */

#define SHADOW_RIG_BARE	    16u /* no slot */

/* 0 or -errno; undone by shadow_rig_down() either way. */
int shadow_rig_up(struct shadow_rig *r, uint64_t pages, unsigned flags);
/* The same with @around pages a fault, 0 for what the shadow finds best, and as many fault threads as told. */
int shadow_rig_up_around(struct shadow_rig *r, uint64_t pages, unsigned flags, unsigned around,
			 unsigned fault_threads);
/* The same on a pool of the caller's, which stays. */
int shadow_rig_up_on(struct shadow_rig *r, struct pool *pool, uint64_t pages, unsigned flags,
		     unsigned around, unsigned fault_threads);
void shadow_rig_down(struct shadow_rig *r);

/* Where the guest's memory lies: a thread that loads there, between window_start() and window_stop(), is as good as a guest. */
void *shadow_rig_window(const struct shadow_rig *r);

/* Fault every page in, in order. 0 or -errno. */
int shadow_rig_map(struct shadow_rig *r);

static inline hva_t shadow_rig_end(const struct shadow_rig *r)
{
	return r->hva + (r->pages << PAGE_SHIFT);
}

#endif
