/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The inside of struct shadow, shared by the files of mmu/shadow only.
 * Owns nothing of its own. Knows no backend but by its ops.
 */
#ifndef UMBRA_MMU_SHADOW_SHADOW_PRIV_H
#define UMBRA_MMU_SHADOW_SHADOW_PRIV_H

#include "mmu/base/mutant.h"
#include "mmu/shadow/around.h"
#include "mmu/shadow/dirty_priv.h"
#include "mmu/shadow/ept.h"
#include "mmu/shadow/flush.h"
#include "mmu/shadow/shadow.h"
#include "mmu/shadow/zap.h"

/* So many dead tables a fault leaves lying: 256 KiB. */
#define REAP_BATCH 64u

/*
 * Locks used to protect members:
 *	I	immutable after create
 *	s	slots_lock; readers in an RCU section, or a bracket
 *	u	mmu_lock: written holding it for writing, read holding it either way
 *	U	as u, and read without it as a hint
 *	n	mn_lock
 *	a	atomic
 */
struct shadow {
	struct hostmm *mm;	       /* [I] */
	const struct backend_ops *ops; /* [I] */
	void *backend_ctx;	       /* [I] */
	int max_level;		       /* [I] of leaves */
	bool no_change_pte;	       /* [I] */
	struct mmu_notifier mn;

	struct lock slots_lock;
	struct slots slots; /* [s] */

	struct rwlock mmu_lock; /* faults install as readers, invalidations zap as writers */
	struct ept ept;		/* [u] entries by compare-and-swap under read, freely under write */
	_Atomic uint64_t invalidate_seq;	 /* [U] ends seen; full width everywhere (M6) */
	_Atomic uint64_t invalidate_in_progress; /* [U] brackets open that met a slot */
	_Atomic gfn_t invalidate_start;		 /* [U] union of the open ones; empty when none */
	_Atomic gfn_t invalidate_end;		 /* [U] */

	struct lock mn_lock;
	uint64_t mn_active;	/* [n] all brackets open: slots change only at 0 (M9) */
	uint64_t retry_waiters; /* [n] */
	struct cond mn_changed; /* mn_active reached 0, an invalidation ended, or slots changed */

	struct around around; /* has its own lock */
	struct dirty dirty;   /* has its own guards */

	/* [a] agers that began, and that have told the backend: monotonic. age.c draws why two. */
	_Atomic uint64_t age_begun, age_done;

	_Atomic uint64_t zap_piece;  /* [a] ZAP_PIECE; tests take less */
	_Atomic uint64_t reap_batch; /* [a] REAP_BATCH; as well */

	_Atomic uint64_t faults, fixed, spurious, retries, fast, pages, batches, upgrades,
		repointed;					 /* [a] */
	_Atomic uint64_t zap_alls, collapses, pruned, aged;	 /* [a] */
	_Atomic uint64_t invalidations, zapped, flushes, yields; /* [a] */
};

static inline void count(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/* Is anything of [start, end) being invalidated? Exact with mmu_lock held, a hint without. */
static inline bool is_invalidating(struct shadow *sh, gfn_t start, gfn_t end)
{
	return !mutant(18) && sync_load_acquire(&sh->invalidate_in_progress) &&
	       ranges_overlap(start, end, sync_load(&sh->invalidate_start),
			      sync_load(&sh->invalidate_end));
}

/* shadow_remove_slots - all of them. Nothing is mapped, nobody faults, no bracket comes any more. */
void shadow_remove_slots(struct shadow *sh);

/*
 * May a leaf larger than 4K be installed under @slot, or made writable? Not while stores are followed page by page: a store to
 * one page of it would stand for all (M20). RCU section.
 */
static inline bool slot_allows_large(struct shadow *sh, const struct memslot *slot)
{
	return !dirty_is_followed(sh, slot) || mutant(20);
}

/* The frame of @gfn under the leaf @spte of @level. */
static inline fn_t leaf_fn(uint64_t spte, gfn_t gfn, int level)
{
	return spte_fn(spte) + (gfn - spte_level_start(gfn, level));
}

/* shadow_drop_root - as shadow_zap_all(), also in an RCU section: the tables wait for the next ept_reap(). */
int shadow_drop_root(struct shadow *sh);

/*
 * shadow_split_leaf - split the large leaf over @gfn, and what comes of it, down to 4K. mmu_lock held either way, RCU
 * section. 0 (also without one), -ENOMEM.
 */
int shadow_split_leaf(struct shadow *sh, gfn_t gfn);

/*
 * For who maps what leaves say into a backend: aging takes no lock, and may have gone by meanwhile.
 * shadow_age_seq - before a leaf is looked at or installed. shadow_age_recheck - after the backend has mapped pages of
 * [gfn, end), all in @slot, and before mmu_lock is dropped: take what has become access-tracked away again.
 * shadow_is_aging - some leaf may have lost its rights, and the backend not know yet. Acquire; after looking at leaves.
 */
uint64_t shadow_age_seq(struct shadow *sh);
void shadow_age_recheck(struct shadow *sh, const struct memslot *slot, gfn_t gfn, gfn_t end,
			uint64_t seq);
bool shadow_is_aging(struct shadow *sh);

/*
 * Has an ager taken rights, W with them, from leaves that the backend may still let others store to? For who takes W from
 * leaves and has to flush: those of the ager had none left, and count as not changed. After looking at leaves.
 */
static inline bool shadow_must_flush_aged(struct shadow *sh)
{
	return !sh->ept.opts.ad && !mutant(153) && shadow_is_aging(sh);
}

/* Of shadow_notifier_ops. */
bool shadow_clear_flush_young(struct mmu_notifier *mn, hva_t start, hva_t end);
bool shadow_clear_young(struct mmu_notifier *mn, hva_t start, hva_t end);
bool shadow_test_young(struct mmu_notifier *mn, hva_t addr);

extern const struct mmu_notifier_ops shadow_notifier_ops;

/* shadow_wait_retry - sleep while @gfn is being invalidated or its slot removed. No lock held, no RCU section. */
void shadow_wait_retry(struct shadow *sh, gfn_t gfn);

#endif
