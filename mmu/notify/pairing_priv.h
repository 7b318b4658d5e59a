/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Do users keep the pairs? start and end, begin and retry, and the locks that go with them (A32, A37). Debug builds
 * end in bug_on() where one does not; in the others these functions are empty.
 * Owns, per thread, the begins that wait for their retry. Who may call: the files of mmu/notify.
 */
#ifndef UMBRA_MMU_NOTIFY_PAIRING_PRIV_H
#define UMBRA_MMU_NOTIFY_PAIRING_PRIV_H

#include "mmu/notify/interval.h"
#include "mmu/notify/notify_priv.h"

#if defined(UMBRA_DEBUG) || defined(UMBRA_EXPLORER)
#define NOTIFY_CHECKED 1
#else
#define NOTIFY_CHECKED 0
#endif

/* A bracket opens, once. */
static inline void pairing_start(struct mmu_notifier_range *range)
{
	if (!NOTIFY_CHECKED)
		return;
	bug_on(range->thread != NULL);
	range->thread = notify_self();
}

/* It closes, once, in the thread that has opened it. */
static inline void pairing_end(struct mmu_notifier_range *range)
{
	if (!NOTIFY_CHECKED)
		return;
	bug_on(range->thread != notify_self());
	range->thread = NULL;
}

/* A thread with a bracket of @mm open is about to wait for all brackets of @mm: for itself. mm->lock held. */
static inline void pairing_check_outside(const struct mmu_notifier_subscriptions *mm)
{
	if (!NOTIFY_CHECKED)
		return;
	for (const struct list_node *at = mm->open.next; at != &mm->open; at = at->next)
		bug_on(list_entry(at, struct mmu_notifier_range, open)->thread == notify_self());
}

/* The lock that the user has named is held. */
static inline void pairing_check_user_lock(const struct mmu_interval_notifier *sub)
{
	if (!NOTIFY_CHECKED)
		return;
	if (sub->user_lock)
		lock_assert_held(sub->user_lock);
	if (sub->user_rwlock)
		rwlock_assert_held(sub->user_rwlock);
}

/*
 * A begin may be abandoned, and the next one on the same subscription takes its place. A retry needs a begin of its own. The
 * explorer's threads share what is per thread: not checked there.
 */
#if defined(UMBRA_DEBUG) && !defined(UMBRA_EXPLORER)
void pairing_begin(const struct mmu_interval_notifier *sub, uint64_t seq);
void pairing_retry(const struct mmu_interval_notifier *sub, uint64_t seq);
#else
static inline void pairing_begin(const struct mmu_interval_notifier *sub, uint64_t seq)
{
	(void)sub;
	(void)seq;
}

static inline void pairing_retry(const struct mmu_interval_notifier *sub, uint64_t seq)
{
	(void)sub;
	(void)seq;
}
#endif

#endif
