/* SPDX-License-Identifier: BSD-2-Clause */
/* The subscriber: what the primary's brackets do to the table, and how faults wait for them. */
#include "mmu/base/mutant.h"
#include "mmu/base/trace.h"
#include "mmu/shadow/shadow_priv.h"

/* The gfns of @slot that lie in the host range. False: none. */
static bool slot_gfns(const struct memslot *slot, const struct mmu_notifier_range *range,
		      gfn_t *gfn, gfn_t *end)
{
	hva_t slot_end = slot->hva + (slot->npages << PAGE_SHIFT);

	if (!ranges_overlap(slot->hva, slot_end, range->start, range->end))
		return false;
	*gfn = slot->gfn + ((max_u64(slot->hva, range->start) - slot->hva) >> PAGE_SHIFT);
	*end = slot->gfn +
	       ((min_u64(slot_end, range->end) - slot->hva + PAGE_SIZE - 1) >> PAGE_SHIFT);
	return true;
}

/* Count the bracket and widen the range that faults must not install. mmu_lock held for writing. */
static void invalidate_begin(struct shadow *sh, gfn_t gfn, gfn_t end, bool first)
{
	if (first && !sync_load(&sh->invalidate_in_progress)) {
		sync_store(&sh->invalidate_start, gfn);
		sync_store(&sh->invalidate_end, end);
	} else {
		sync_store(&sh->invalidate_start, min_u64(gfn, sync_load(&sh->invalidate_start)));
		sync_store(&sh->invalidate_end, max_u64(end, sync_load(&sh->invalidate_end)));
	}
	if (first)
		sync_fetch_add(&sh->invalidate_in_progress, 1);
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
	const struct memslots *all;
	bool locked = false;

	lock_acquire(&sh->mn_lock);
	sh->mn_active++;
	lock_release(&sh->mn_lock);

	/* From here to the end of the bracket the array stays: swap_slots() waits. */
	all = slots_get(&sh->slots);
	for (unsigned i = 0; i < all->count; i++) {
		gfn_t gfn, end;

		if (!slot_gfns(&all->slot[i], range, &gfn, &end))
			continue;
		if (mutant(141) && (all->slot[i].flags & MEMSLOT_INVALID))
			continue;
		if (!locked)
			rwlock_write_acquire(&sh->mmu_lock);
		invalidate_begin(sh, gfn, end, !locked);
		locked = true;
		shadow_zap(sh, &all->slot[i], gfn, end);
	}
	if (locked) {
		rwlock_write_release(&sh->mmu_lock);
		count(&sh->invalidations, 1);
		trace_instant(kvm_unmap_hva_range, range->start, range->end, range->event);
	}
	return 0;
}

static bool meets_slot(struct shadow *sh, const struct mmu_notifier_range *range)
{
	const struct memslots *all = slots_get(&sh->slots);
	gfn_t gfn, end;

	for (unsigned i = 0; i < all->count; i++)
		if (slot_gfns(&all->slot[i], range, &gfn, &end))
			return true;
	return false;
}

static void shadow_range_end(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	struct shadow *sh = (struct shadow *)((char *)mn - offsetof(struct shadow, mn));

	if (meets_slot(sh, range)) {
		rwlock_write_acquire(&sh->mmu_lock);
		/* The sequence first: whoever sees the count down must see the sequence up. */
		uint64_t seq = sync_fetch_add(&sh->invalidate_seq, 1);

		bug_on(!sync_load(&sh->invalidate_in_progress));
		sync_fetch_sub(&sh->invalidate_in_progress, 1);
		rwlock_write_release(&sh->mmu_lock);
		trace_instant(kvm_mmu_invalidate_end, range->start, range->end, seq + 1);
	}
	lock_acquire(&sh->mn_lock);
	bug_on(!sh->mn_active);
	if (!--sh->mn_active || sh->retry_waiters)
		cond_broadcast(&sh->mn_changed);
	lock_release(&sh->mn_lock);
}

/* The mm dies: nothing may reach its pages. Faults find no region from now on. */
static void shadow_release(struct mmu_notifier *mn)
{
	struct shadow *sh = (struct shadow *)((char *)mn - offsetof(struct shadow, mn));
	const struct memslots *all = slots_get(&sh->slots);

	rwlock_write_acquire(&sh->mmu_lock);
	sync_fetch_add(&sh->invalidate_seq, 1);
	for (unsigned i = 0; i < all->count; i++)
		shadow_zap(sh, &all->slot[i], all->slot[i].gfn, memslot_end(&all->slot[i]));
	rwlock_write_release(&sh->mmu_lock);
}

const struct mmu_notifier_ops shadow_notifier_ops = {
	.release = shadow_release,
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
