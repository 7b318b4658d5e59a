/* SPDX-License-Identifier: BSD-2-Clause */
/* The tree half of a bracket, and its readers. The states and the sequence are explained in interval.h. */
#include "mmu/notify/interval.h"

#include <errno.h>

#include "mmu/base/mutant.h"
#include "mmu/notify/notify_priv.h"
#include "mmu/notify/pairing_priv.h"

static struct mmu_interval_notifier *sub_of(struct interval_node *node)
{
	return node ? list_entry(node, struct mmu_interval_notifier, node) : NULL;
}

/* Brackets walk the tree without a lock: nobody may change it. */
static bool is_frozen(struct mmu_notifier_subscriptions *mm)
{
	lock_assert_held(&mm->lock);
	return mm->invalidate_seq & 1;
}

/* ---- Brackets ---- */

int notify_itree_start(struct mmu_notifier_range *range)
{
	struct mmu_notifier_subscriptions *mm = range->mm;
	struct interval_node *node;
	uint64_t seq;

	lock_acquire(&mm->lock);
	mm->active++;
	list_add_tail(&mm->open, &range->open);
	range->is_tracked = true;
	node = interval_tree_first(&mm->itree, range->start, range->end);
	if (node)
		mm->invalidate_seq |= 1;
	seq = mm->invalidate_seq;
	lock_release(&mm->lock);

	for (; node; node = interval_tree_next(node, range->start, range->end)) {
		struct mmu_interval_notifier *sub = sub_of(node);

		if (sync_callback(sub->ops->invalidate)(sub, range, seq))
			continue;
		if (mmu_notifier_range_blockable(range) && !mutant(136)) {
			notify_misuse(mm);
			continue;
		}
		/* No end will follow, so this is it, also for those that have let go. */
		notify_itree_end(range);
		return -EAGAIN;
	}
	return 0;
}

static void apply_deferred(struct mmu_notifier_subscriptions *mm)
{
	while (!list_is_empty(&mm->deferred)) {
		struct mmu_interval_notifier *sub =
			list_entry(mm->deferred.next, struct mmu_interval_notifier, deferred);

		list_del(&sub->deferred);
		sub->is_deferred = false;
		if (sub->is_in_tree)
			interval_tree_remove(&mm->itree, &sub->node);
		else
			interval_tree_insert(&mm->itree, &sub->node);
		sub->is_in_tree = !sub->is_in_tree;
	}
}

/* M12: whoever waits can see the new sequence before what it stands for is done. */
static void wake_too_early(struct mmu_notifier_subscriptions *mm)
{
	cond_broadcast(&mm->changed);
	lock_release(&mm->lock);
	lock_acquire(&mm->lock);
}

/* The last bracket of an odd sequence has ended. */
static void thaw(struct mmu_notifier_subscriptions *mm)
{
	mm->invalidate_seq++;
	if (mutant(12))
		wake_too_early(mm);
	apply_deferred(mm);
	if (mm->waiters)
		cond_broadcast(&mm->changed);
}

void notify_itree_end(struct mmu_notifier_range *range)
{
	struct mmu_notifier_subscriptions *mm = range->mm;

	lock_acquire(&mm->lock);
	bug_on(!mm->active);
	list_del(&range->open);
	range->is_tracked = false;
	mm->active--;
	if ((!mm->active || mutant(135)) && is_frozen(mm))
		thaw(mm);
	lock_release(&mm->lock);
}

/* Sleep until @seq, which is odd and the current one, is over. Once (M13). */
static void wait_for_thaw(struct mmu_notifier_subscriptions *mm, uint64_t seq)
{
	mm->waiters++;
	while (mm->invalidate_seq == seq)
		cond_wait(&mm->changed, &mm->lock);
	mm->waiters--;
}

/* ---- Subscriptions ---- */

static int insert(struct mmu_interval_notifier *sub, struct mmu_notifier_subscriptions *mm)
{
	int rc = -EINVAL;

	lock_acquire(&mm->lock);
	if (mm->is_dead)
		goto out;
	if (is_frozen(mm) && !mutant(134)) {
		sub->is_deferred = true;
		list_add_tail(&mm->deferred, &sub->deferred);
	} else {
		/* An open bracket may cover @sub, and has not told it. */
		if (mm->active && !mutant(138))
			mm->invalidate_seq |= 1;
		sub->is_in_tree = true;
		interval_tree_insert(&mm->itree, &sub->node);
	}
	/* Being invalidated, or else an odd number that has passed long ago. */
	atomic_init(&sub->invalidate_seq,
		    is_frozen(mm) ? mm->invalidate_seq : mm->invalidate_seq - !mutant(131));
	mm->grabs++;
	rc = 0;
out:
	lock_release(&mm->lock);
	return rc;
}

static int prepare(struct mmu_interval_notifier *sub, struct mmu_notifier_subscriptions *mm,
		   hva_t start, uint64_t length, const struct mmu_interval_notifier_ops *ops)
{
	if (!ops->invalidate)
		return -EINVAL;
	if (!length || start + length < start)
		return -EOVERFLOW;
	sub->node.start = start;
	sub->node.end = start + length;
	sub->ops = ops;
	sub->mm = mm;
	sub->is_in_tree = false;
	sub->is_deferred = false;
	return 0;
}

int mmu_interval_notifier_insert(struct mmu_interval_notifier *sub,
				 struct mmu_notifier_subscriptions *mm, hva_t start,
				 uint64_t length, const struct mmu_interval_notifier_ops *ops)
{
	int rc = prepare(sub, mm, start, length, ops);

	if (rc)
		return rc;
	if (!sync_load_acquire(&mm->is_tracked)) {
		if (mm->mmap_lock)
			rwlock_write_acquire(mm->mmap_lock);
		notify_track(mm);
		if (mm->mmap_lock)
			rwlock_write_release(mm->mmap_lock);
	}
	return insert(sub, mm);
}

int mmu_interval_notifier_insert_locked(struct mmu_interval_notifier *sub,
					struct mmu_notifier_subscriptions *mm, hva_t start,
					uint64_t length,
					const struct mmu_interval_notifier_ops *ops)
{
	int rc = prepare(sub, mm, start, length, ops);

	if (mm->mmap_lock)
		rwlock_assert_held_write(mm->mmap_lock);
	if (rc)
		return rc;
	notify_track(mm);
	return insert(sub, mm);
}

void mmu_interval_notifier_remove(struct mmu_interval_notifier *sub)
{
	struct mmu_notifier_subscriptions *mm = sub->mm;

	lock_acquire(&mm->lock);
	pairing_check_outside(mm);
	if (!is_frozen(mm) || mutant(134)) {
		bug_on(!sub->is_in_tree);
		interval_tree_remove(&mm->itree, &sub->node);
		sub->is_in_tree = false;
	} else if (!sub->is_in_tree) {
		/* Inserted since the tree froze: no bracket has seen it. */
		bug_on(!sub->is_deferred);
		list_del(&sub->deferred);
		sub->is_deferred = false;
	} else {
		bug_on(sub->is_deferred);
		sub->is_deferred = true;
		list_add_tail(&mm->deferred, &sub->deferred);
		wait_for_thaw(mm, mm->invalidate_seq);
	}
	mm->grabs--;
	lock_release(&mm->lock);
}

/* ---- Readers ---- */

uint64_t mmu_interval_read_begin(struct mmu_interval_notifier *sub)
{
	struct mmu_notifier_subscriptions *mm = sub->mm;
	uint64_t seq;

	lock_acquire(&mm->lock);
	pairing_check_outside(mm);
again:
	/* Written under the user's lock (mmu_interval_set_seq()), so a hit by an open bracket may show or not.
	 * Shown: equal to the mm's, wait. Not yet shown: it will differ under the user's lock, and retry sees it. */
	seq = sync_load(&sub->invalidate_seq);
	if (seq == mm->invalidate_seq)
		wait_for_thaw(mm, seq);
	if (mutant(132) && sync_load(&sub->invalidate_seq) == mm->invalidate_seq)
		goto again;
	lock_release(&mm->lock);
	pairing_begin(sub, seq);
	return mutant(6) ? (uint64_t)(int32_t)seq : seq;
}

bool mmu_interval_read_retry(struct mmu_interval_notifier *sub, uint64_t seq)
{
	pairing_check_user_lock(sub);
	pairing_retry(sub, seq);
	return sync_load(&sub->invalidate_seq) != seq;
}

bool mmu_interval_check_retry(struct mmu_interval_notifier *sub, uint64_t seq)
{
	return sync_load(&sub->invalidate_seq) != seq;
}

void mmu_interval_set_seq(struct mmu_interval_notifier *sub, uint64_t cur_seq)
{
	pairing_check_user_lock(sub);
	sync_store(&sub->invalidate_seq, cur_seq);
}
