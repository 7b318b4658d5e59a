/* SPDX-License-Identifier: BSD-2-Clause */
/* The subscriber: what the primary's brackets do to the table, and how faults wait for them. */
#include "mmu/base/mutant.h"
#include "mmu/base/trace.h"
#include "mmu/shadow/shadow_priv.h"

/* What a bracket passes over: nothing. */
static bool is_skipped(const struct memslot *slot)
{
	return mutant(141) && (slot->flags & MEMSLOT_INVALID);
}

/* Widen the range that faults must not install. mmu_lock held for writing. */
static void widen(struct zap_batch *z, const struct memslot *slot, gfn_t gfn, gfn_t end)
{
	struct shadow *sh = z->sh;

	(void)slot;
	sync_store(&sh->invalidate_start, min_u64(gfn, sync_load(&sh->invalidate_start)));
	sync_store(&sh->invalidate_end, max_u64(end, sync_load(&sh->invalidate_end)));
}

/*
 * What a bracket does to the leaves of its pages. They may stay, for loads, where the frames do (PROTECTION_PAGE) or where
 * change_pte() says which do not.
 */
static zap_fn zap_for(const struct shadow *sh, enum mmu_notifier_event event)
{
	if (event == MMU_NOTIFY_PROTECTION_PAGE ||
	    mutant(1241)) /* 1241: who only loads does no harm */
		return wrprotect_range_yield;
	if (event == MMU_NOTIFY_CHANGE && !sh->no_change_pte)
		return wrprotect_range_yield;
	return zap_range_yield;
}

/* @fn for the part of each slot that lies in the range. False: no slot does. */
static bool for_each_slot(struct shadow *sh, const struct mmu_notifier_range *range, zap_fn fn,
			  struct zap_batch *z)
{
	const struct memslots *all = slots_get(&sh->slots);
	const struct memslot *slot;
	bool met = false;

	memslots_for_each_hva(slot, all, range->start, range->end)
	{
		gfn_t gfn, end;

		if (is_skipped(slot))
			continue;
		memslot_gfns(slot, range->start, range->end, &gfn, &end);
		met = true;
		if (!fn)
			break;
		fn(z, slot, gfn, end);
	}
	return met;
}

/*
 * What a fault and a bracket may do to each other; the four ways to overlap (semantics B "KVM retry"):
 *
 *	fault:	snapshot ---- lookup ---- lock, check, install
 *	(1)	  [start ... end]				seq has changed: RETRY
 *	(2)		   [start ......................... end]	in progress: RETRY
 *	(3) [start ..... end]					seq has changed, or the lookup came after the change
 *	(4)						    [start	zaps what was installed: the lock orders them
 */
static int shadow_range_start(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	struct shadow *sh = (struct shadow *)((char *)mn - offsetof(struct shadow, mn));
	struct zap_batch z;

	lock_acquire(&sh->mn_lock);
	sh->mn_active++;
	lock_release(&sh->mn_lock);

	/* From here to the end of the bracket the slots stay: change() in memslots.c waits. */
	if (!for_each_slot(sh, range, NULL, NULL))
		return 0;
	zap_begin(&z, sh);
	if (!sync_load(&sh->invalidate_in_progress)) {
		sync_store(&sh->invalidate_start, UINT64_MAX);
		sync_store(&sh->invalidate_end, 0);
	}
	for_each_slot(sh, range, widen, &z);
	/* From here on nobody installs in the range, so a long walk may let others in. */
	sync_fetch_add(&sh->invalidate_in_progress, 1);
	for_each_slot(sh, range, zap_for(sh, range->event), &z);
	zap_end(&z);
	count(&sh->invalidations, 1);
	trace_instant(kvm_unmap_hva_range, range->start, range->end, range->event);
	return 0;
}

static void shadow_range_end(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	struct shadow *sh = (struct shadow *)((char *)mn - offsetof(struct shadow, mn));

	if (for_each_slot(sh, range, NULL, NULL)) {
		rwlock_write_acquire(&sh->mmu_lock);
		/* The sequence first: whoever sees the count down must see the sequence up. */
		uint64_t seq = sync_fetch_add(&sh->invalidate_seq, 1);

		bug_on(!sync_load(&sh->invalidate_in_progress));
		sync_fetch_sub(&sh->invalidate_in_progress, 1);
		rwlock_write_release(&sh->mmu_lock);
		trace_instant(umbra_invalidate_end, range->start, range->end, seq + 1);
	}
	lock_acquire(&sh->mn_lock);
	bug_on(!sh->mn_active);
	if (!--sh->mn_active || sh->retry_waiters)
		cond_broadcast(&sh->mn_changed);
	lock_release(&sh->mn_lock);
}

/*
 * The primary has another frame for a page that the open bracket has left readable. Without the old frame in any TLB, the
 * leaf is let reach the new one, and the refault is spared. With a second bracket open the entry must go: the start of
 * that one is over, and would not take back what is made now (M2).
 */
static void repoint(struct zap_batch *z, const struct memslot *slot, gfn_t gfn, hva_t addr, fn_t fn)
{
	struct shadow *sh = z->sh;
	uint64_t page = gfn - slot->gfn, age_seq = shadow_age_seq(sh);
	int rc;

	if (!mmu_notifier_may_repoint(&sh->mn, addr)) {
		zap_range(z, slot, gfn, gfn + 1);
		return;
	}
	rc = ept_repoint_begin(&sh->ept, gfn);
	if (rc < 0)
		zap_range(z, slot, gfn, gfn + 1);
	if (rc <= 0)
		return;
	flush_zap(sh, slot, gfn, gfn + 1);
	ept_repoint_end(&sh->ept, gfn, fn);
	if (sh->ops->map(slot->backend, page, 1, fn, false)) {
		zap_range(z, slot, gfn, gfn + 1);
		return;
	}
	shadow_age_recheck(sh, slot, gfn, gfn + 1, age_seq);
	count(&sh->repointed, 1);
	trace_instant(kvm_set_spte_hva, gfn, 1, fn);
}

/* Read-only whatever @writable says, as in the kernel: a store faults, and finds the primary's entry as it is then. */
static void shadow_change_pte(struct mmu_notifier *mn, hva_t addr, fn_t fn, bool writable)
{
	struct shadow *sh = (struct shadow *)((char *)mn - offsetof(struct shadow, mn));
	const struct memslots *all = slots_get(&sh->slots);
	const struct memslot *slot;
	struct zap_batch z;

	(void)writable;
	if (mutant(122)) /* "end is soon enough" */
		return;
	zap_begin(&z, sh);
	memslots_for_each_hva(slot, all, addr, addr + PAGE_SIZE)
		repoint(&z, slot, slot->gfn + ((addr - slot->hva) >> PAGE_SHIFT), addr, fn);
	zap_end(&z);
}

/* The mm dies: nothing may reach its pages. Faults find no region from now on. */
static void shadow_release(struct mmu_notifier *mn)
{
	struct shadow *sh = (struct shadow *)((char *)mn - offsetof(struct shadow, mn));
	const struct memslots *all = slots_get(&sh->slots);
	const struct memslot *slot;
	struct zap_batch z;

	/* Before the root goes: what a fault has looked up is nobody's. */
	zap_begin(&z, sh);
	sync_fetch_add(&sh->invalidate_seq, 1);
	zap_end(&z);
	if (!shadow_drop_root(sh))
		return;
	zap_begin(&z, sh);
	memslots_for_each_gfn(slot, all, 0, 1UL << SPTE_GFN_BITS)
		zap_range_yield(&z, slot, slot->gfn, memslot_end(slot));
	zap_end(&z);
}

const struct mmu_notifier_ops shadow_notifier_ops = {
	.release = shadow_release,
	.clear_flush_young = shadow_clear_flush_young,
	.clear_young = shadow_clear_young,
	.test_young = shadow_test_young,
	.change_pte = shadow_change_pte,
	.invalidate_range_start = shadow_range_start,
	.invalidate_range_end = shadow_range_end,
};

static bool is_slot_invalid(struct shadow *sh, gfn_t gfn)
{
	const struct memslot *slot;
	bool invalid;

	sync_rcu_read_lock();
	slot = memslots_find(slots_get(&sh->slots), gfn);
	invalid = slot && (slot->flags & MEMSLOT_INVALID);
	sync_rcu_read_unlock();
	return invalid;
}

void shadow_wait_retry(struct shadow *sh, gfn_t gfn)
{
	lock_acquire(&sh->mn_lock);
	sh->retry_waiters++;
	/* The end counts down before it takes mn_lock to wake: seen here, or the wake comes. */
	while ((is_invalidating(sh, gfn, gfn + 1) || is_slot_invalid(sh, gfn)) && !mutant(8))
		cond_wait(&sh->mn_changed, &sh->mn_lock);
	sh->retry_waiters--;
	lock_release(&sh->mn_lock);
}
