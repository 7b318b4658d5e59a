/* SPDX-License-Identifier: BSD-2-Clause */
#include "mmu/notify/notifier.h"

#include <errno.h>

void mmu_notifier_subscriptions_init(struct mmu_notifier_subscriptions *mm)
{
	lock_init(&mm->lock);
	atomic_init(&mm->first, NULL);
}

void mmu_notifier_subscriptions_fini(struct mmu_notifier_subscriptions *mm)
{
	bug_on(sync_load(&mm->first));
	lock_fini(&mm->lock);
}

int mmu_notifier_register(struct mmu_notifier *mn, struct mmu_notifier_subscriptions *mm)
{
	if (!mn->ops)
		return -EINVAL;
	mn->mm = mm;
	lock_acquire(&mm->lock);
	sync_store(&mn->next, sync_load(&mm->first));
	sync_store_release(&mm->first, mn); /* pairs with sync_load_acquire() of every traversal */
	lock_release(&mm->lock);
	return 0;
}

void mmu_notifier_unregister(struct mmu_notifier *mn)
{
	struct mmu_notifier_subscriptions *mm = mn->mm;
	_Atomic(struct mmu_notifier *) *link;

	sync_rcu_read_lock();
	if (mn->ops->release)
		mn->ops->release(mn);
	sync_rcu_read_unlock();

	lock_acquire(&mm->lock);
	for (link = &mm->first; sync_load(link) != mn; link = &sync_load(link)->next)
		bug_on(!sync_load(link));
	/* A traversal that stands on @mn still finds its way through mn->next. */
	sync_store_release(link, sync_load(&mn->next));
	lock_release(&mm->lock);
	sync_rcu_wait();
}

static void call_ends(const struct mmu_notifier_range *range)
{
	struct mmu_notifier *mn;

	for (mn = sync_load_acquire(&range->mm->first); mn; mn = sync_load_acquire(&mn->next))
		if (mn->ops->invalidate_range_end)
			mn->ops->invalidate_range_end(mn, range);
}

int mmu_notifier_invalidate_range_start(struct mmu_notifier_range *range)
{
	struct mmu_notifier *mn;
	int result = 0;

	sync_rcu_read_lock();
	for (mn = sync_load_acquire(&range->mm->first); mn; mn = sync_load_acquire(&mn->next)) {
		int rc;

		if (!mn->ops->invalidate_range_start)
			continue;
		rc = mn->ops->invalidate_range_start(mn, range);
		if (!rc)
			continue;
		/* Who may sleep may not refuse; who has an end could not be unwound. */
		bug_on(rc != -EAGAIN || mmu_notifier_range_blockable(range));
		bug_on(mn->ops->invalidate_range_end != NULL);
		result = rc;
	}
	if (result)
		call_ends(range);
	sync_rcu_read_unlock();
	return result;
}

void mmu_notifier_invalidate_range_end(struct mmu_notifier_range *range)
{
	sync_rcu_read_lock();
	call_ends(range);
	sync_rcu_read_unlock();
}
