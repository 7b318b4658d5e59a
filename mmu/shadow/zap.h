/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Batches of zaps: who takes entries, or the right to store, out of the table opens one, which holds mmu_lock for writing, and
 * closes it, which flushes and unlocks. So the lock is never dropped, not even to let others in, with something out of the table
 * that a backend still has (M15, M21).
 * Owns what is not yet flushed. The files of shadow/ call; they know nothing of it but these functions.
 */
#ifndef UMBRA_MMU_SHADOW_ZAP_H
#define UMBRA_MMU_SHADOW_ZAP_H

#include "mmu/shadow/ept.h"
#include "mmu/shadow/slot.h"

struct shadow;

/* Between two looks at who waits, so many pages are walked: 64 tables, a fraction of a millisecond. */
#define ZAP_PIECE (1UL << 15)

/* On the caller's stack. The members belong to zap.c. */
struct zap_batch {
	struct shadow *sh;
	const struct memslot *slot; /* of the spans */
	struct ept_span zapped;	    /* out of the table, in the backend perhaps */
	struct ept_span protected;  /* not to be stored to any more, in the backend perhaps */
};

/*
 * zap_begin - take mmu_lock for writing. zap_end - flush what is pending, drop it. Kernel: KVM_MMU_LOCK() and
 * kvm_flush_remote_tlbs() around kvm_mmu_unmap_gfn_range().
 */
void zap_begin(struct zap_batch *z, struct shadow *sh);
void zap_end(struct zap_batch *z);

/*
 * zap_range - remove the leaves of [gfn, end), all in @slot, which stays until zap_end(). The lock is held throughout.
 * zap_range_yield - the same, but where others wait for mmu_lock they are let in between two pieces, after a flush: only
 * for a caller who has made sure that nothing of the range is installed meanwhile, or does not mind. Each time the range
 * has become shorter. Kernel: tdp_mmu_iter_cond_resched().
 * wrprotect_range_yield - in the same way: nobody stores to [gfn, end) when zap_end() returns, nor before the next install.
 * Loads go on where the backend can.
 */
typedef void (*zap_fn)(struct zap_batch *z, const struct memslot *slot, gfn_t gfn, gfn_t end);
void zap_range(struct zap_batch *z, const struct memslot *slot, gfn_t gfn, gfn_t end);
void zap_range_yield(struct zap_batch *z, const struct memslot *slot, gfn_t gfn, gfn_t end);
void wrprotect_range_yield(struct zap_batch *z, const struct memslot *slot, gfn_t gfn, gfn_t end);

#endif
