/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Snapshots: the state of a range without faulting, of the primary as a mirror sees it, and of a shadow's table.
 * Owns nothing. Any thread calls, no lock held, not from a callback and not inside a bracket. States: hostmm_walk.h.
 *
 * A snapshot lies before or after each bracket, for all its pages; it never mixes the two sides of one. What brings
 * pages in or gives rights is no bracket, and may be seen on some pages and not yet on others.
 */
#ifndef UMBRA_MMU_SHADOW_SNAPSHOT_H
#define UMBRA_MMU_SHADOW_SNAPSHOT_H

#include "mmu/host/hostmm_walk.h"
#include "mmu/shadow/shadow.h"

/*
 * mirror_snapshot - the states of @npages pages of @mm from @start on, as an interval notifier sees them: looks, and
 * looks again as long as a bracket overlapped the look. @owner: the device that asks, for LOCAL and REMOTE; NULL none.
 * Subscribes for the time of the call (mmap_lock for writing, if it is the first of the mm); waits for brackets over the range.
 * 0; -EINVAL (unaligned, no page, beyond the address space, dead mm); @state is then untouched. Pages outside all
 * regions are HOLE. Rows A32, A33. Kernel: dmirror_snapshot() of lib/test_hmm.c.
 */
int mirror_snapshot(struct hostmm *mm, hva_t start, uint64_t npages, const void *owner,
		    uint8_t *state);

/*
 * shadow_snapshot - the states of @npages guest frames from @gfn on, as @shadow's table has them: HOLE without a slot,
 * NONE without a leaf, else the leaf's rights and level (one without rights, since it is access-tracked: NONE, the next
 * access faults). Waits for brackets over the range; faults and brackets wait while it looks, so ask for gigabytes in parts.
 * 0, -EINVAL (no page, or beyond 2^36 gfns; @state is then untouched). Row A32.
 */
int shadow_snapshot(struct shadow *shadow, gfn_t gfn, uint64_t npages, uint8_t *state);

#endif
