/* SPDX-License-Identifier: BSD-2-Clause */
/* What the primary says: brackets, and the calls inside them. Interval subscriptions first, then the list. */
#include <errno.h>

#include "mmu/base/mutant.h"
#include "mmu/notify/lint.h"
#include "mmu/notify/notify_priv.h"
#include "mmu/notify/pairing_priv.h"

/*
 * All are told, also after one has refused: it cannot know of the others, and they do not know of it. So who refuses has
 * no end, or it would get one for a start that it did not carry out.
 */
static int list_start(const struct mmu_notifier_range *range)
{
	int result = 0;

	sync_rcu_read_lock();
	for_each_notifier(mn, range->mm)
	{
		int rc = 0;

		if (mn->ops->invalidate_range_start)
			rc = sync_callback(mn->ops->invalidate_range_start)(mn, range);
		if (!rc)
			continue;
		bug_on(mn->ops->invalidate_range_end != NULL);
		if (rc != -EAGAIN || mmu_notifier_range_blockable(range))
			notify_misuse(range->mm);
		if (!mmu_notifier_range_blockable(range) || mutant(136))
			result = -EAGAIN;
	}
	sync_rcu_read_unlock();
	return result;
}

static void list_end(const struct mmu_notifier_range *range)
{
	sync_rcu_read_lock();
	for_each_notifier(mn, range->mm) if (mn->ops->invalidate_range_end)
		sync_callback(mn->ops->invalidate_range_end)(mn, range);
	sync_rcu_read_unlock();
}

static bool has_list(struct mmu_notifier_subscriptions *mm)
{
	return sync_load_acquire(&mm->first) != NULL;
}

int mmu_notifier_invalidate_range_start(struct mmu_notifier_range *range)
{
	int rc = 0;

	bug_on(range->start >= range->end);
	pairing_start(range);
	if (sync_load_acquire(&range->mm->is_tracked))
		rc = notify_itree_start(range);
	if (!rc && has_list(range->mm)) {
		rc = list_start(range);
		/* The tree has accepted, and some of the list may have: they all hear that it is over. */
		if (rc && range->is_tracked && !mutant(11))
			notify_itree_end(range);
		if (rc && !mutant(10))
			list_end(range);
	}
	if (rc)
		pairing_end(range);
	else
		notify_lint_start(range);
	return rc;
}

void mmu_notifier_invalidate_range_end(struct mmu_notifier_range *range)
{
	if (range->is_tracked)
		notify_itree_end(range);
	pairing_end(range);
	notify_lint_end(range);
	if (has_list(range->mm))
		list_end(range);
}

/* ---- Inside a bracket ---- */

void mmu_notifier_change_pte(struct mmu_notifier_subscriptions *mm, hva_t addr, fn_t fn,
			     bool writable)
{
	notify_lint_change(mm, addr, fn);
	if (!has_list(mm))
		return;
	sync_rcu_read_lock();
	for_each_notifier(mn, mm)
	{
		if (mn->ops->change_pte)
			sync_callback(mn->ops->change_pte)(mn, addr, fn, writable);
		else if (mn->ops->arch_invalidate_secondary_tlbs)
			sync_callback(mn->ops->arch_invalidate_secondary_tlbs)(mn, addr,
									       addr + PAGE_SIZE);
	}
	sync_rcu_read_unlock();
}

void mmu_notifier_arch_invalidate_secondary_tlbs(struct mmu_notifier_subscriptions *mm, hva_t start,
						 hva_t end)
{
	notify_lint_tlbs(mm, start, end);
	if (!has_list(mm))
		return;
	sync_rcu_read_lock();
	for_each_notifier(mn, mm) if (mn->ops->arch_invalidate_secondary_tlbs)
		sync_callback(mn->ops->arch_invalidate_secondary_tlbs)(mn, start, end);
	sync_rcu_read_unlock();
}

uint64_t mmu_notifier_outstanding(struct mmu_notifier_subscriptions *mm, hva_t addr)
{
	uint64_t count = 0;

	lock_acquire(&mm->lock);
	for (const struct list_node *at = mm->open.next; at != &mm->open; at = at->next) {
		const struct mmu_notifier_range *range = list_entry(at, struct mmu_notifier_range,
								    open);

		count += range->start <= addr && addr < range->end;
	}
	lock_release(&mm->lock);
	return count;
}

bool mmu_notifier_may_repoint(struct mmu_notifier *mn, hva_t addr)
{
	return mmu_notifier_outstanding(mn->mm, addr) == 1 || mutant(2);
}

/* ---- Young? ---- */

/* Every one is asked: a mark that is cleared in one place only would be an answer for half a page. */
#define any_young(mm, op, ...)                                                        \
	({                                                                            \
		bool young = false;                                                   \
		if (has_list(mm)) {                                                   \
			sync_rcu_read_lock();                                         \
			for_each_notifier(mn, (mm)) if (mn->ops->op)                  \
				young |= sync_callback(mn->ops->op)(mn, __VA_ARGS__); \
			sync_rcu_read_unlock();                                       \
		}                                                                     \
		young;                                                                \
	})

bool mmu_notifier_clear_flush_young(struct mmu_notifier_subscriptions *mm, hva_t start, hva_t end)
{
	return any_young(mm, clear_flush_young, start, end);
}

bool mmu_notifier_clear_young(struct mmu_notifier_subscriptions *mm, hva_t start, hva_t end)
{
	return any_young(mm, clear_young, start, end);
}

bool mmu_notifier_test_young(struct mmu_notifier_subscriptions *mm, hva_t addr)
{
	return any_young(mm, test_young, addr);
}
