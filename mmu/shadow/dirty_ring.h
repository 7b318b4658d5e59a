/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Dirty rings: stores as entries in the order in which they began, one ring a producer, instead of bits to search.
 * Owns the rings of a shadow. Faults produce; one thread of the embedder collects and resets. Knows no bitmap but as the
 * place for what nobody can wait with. Kernel: virt/kvm/dirty_ring.c.
 *
 * An entry:	free -- fault --> DIRTY -- collect --> RESET -- reset --> free
 *
 * An entry that has been collected, but not reset, stands for a page that is still stored to unseen. On return of reset
 * the next store to it makes an entry again: copy the page after that.
 */
#ifndef UMBRA_MMU_SHADOW_DIRTY_RING_H
#define UMBRA_MMU_SHADOW_DIRTY_RING_H

#include "mmu/shadow/dirty.h"

#define SHADOW_DIRTY_RINGS_MAX 64u
#define SHADOW_DIRTY_RING_MIN  4u
#define SHADOW_DIRTY_RING_MAX  65536u

struct shadow_dirty_gfn {
	unsigned slot;	 /* its id */
	uint64_t offset; /* pages from its start */
};

/*
 * shadow_dirty_ring_enable - give each of producers 0..@rings-1 a ring of @size entries. From now on slots that log do so
 * by entries; what has no producer (VMM writes, zaps of dirty leaves, faults of other producers) stays in the bitmaps,
 * and so does what meets a ring that is full to the last entry. Read both. Takes slots_lock.
 * 0; -EINVAL: numbers out of range, @size no power of two; -EEXIST: there are rings; -EBUSY: a slot logs; -EOPNOTSUPP: the
 * table has D bits, no store faults; -ENOMEM. Kernel: KVM_ENABLE_CAP of KVM_CAP_DIRTY_LOG_RING, .._RING_WITH_BITMAP.
 */
int shadow_dirty_ring_enable(struct shadow *shadow, unsigned rings, unsigned size);

/*
 * shadow_dirty_ring_bind - thread @tid (sync_tid(); 0: none any more) is producer @ring, before or after there are rings: its stores
 * are entries of that one, and wait for room in that one alone, also where fault threads resolve its faults for it. A thread that
 * is not bound is producer 0. Any thread. 0; -EINVAL: @ring is SHADOW_DIRTY_RINGS_MAX or more. Kernel: a vCPU has its
 * ring, kvm_get_running_vcpu().
 * shadow_dirty_ring_of - the producer that @tid is.
 */
int shadow_dirty_ring_bind(struct shadow *shadow, unsigned ring, uint32_t tid);
unsigned shadow_dirty_ring_of(struct shadow *shadow, uint32_t tid);

/*
 * shadow_dirty_ring_collect - copy up to @max entries of @ring, oldest first, that were not collected yet. How many;
 * -EINVAL: no such ring. Any thread, but one a ring at a time.
 */
int shadow_dirty_ring_collect(struct shadow *shadow, unsigned ring, struct shadow_dirty_gfn *to,
			      unsigned max);

/*
 * shadow_dirty_ring_reset - of all rings: protect the pages of collected entries, those and no others, and free the entries.
 * Who waits for room goes on. How many entries. Takes slots_lock and mmu_lock. Kernel: KVM_RESET_DIRTY_RINGS.
 */
unsigned shadow_dirty_ring_reset(struct shadow *shadow);

/*
 * shadow_dirty_ring_wait_full - sleep until some ring is soft-full, so that a store may be waiting: then collect and reset.
 * False: the rings were released. Kernel: KVM_EXIT_DIRTY_RING_FULL.
 * shadow_dirty_ring_release - nobody waits any more, now and later; entries that find no room are bits. Before the end.
 */
bool shadow_dirty_ring_wait_full(struct shadow *shadow);
void shadow_dirty_ring_release(struct shadow *shadow);

struct shadow_dirty_ring_stats {
	uint64_t pushed, reset, overflowed; /* overflowed: into the bitmap, for want of an entry */
	uint64_t waits;			    /* stores that waited for room */
	uint64_t protect_calls;		    /* groups of up to 64 pages protected at once */
};
void shadow_dirty_ring_get_stats(struct shadow *shadow, struct shadow_dirty_ring_stats *stats);

#endif
