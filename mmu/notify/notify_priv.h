/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the files of mmu/notify share, and nobody else.
 * Owns nothing. Knows neither host/ nor shadow/.
 */
#ifndef UMBRA_MMU_NOTIFY_NOTIFY_PRIV_H
#define UMBRA_MMU_NOTIFY_NOTIFY_PRIV_H

#include "mmu/notify/notifier.h"

/* A traversal of the list: inside an RCU section. Each notifier is seen at most once; newest first. */
#define for_each_notifier(mn, mm)                                           \
	for (struct mmu_notifier *mn = sync_load_acquire(&(mm)->first); mn; \
	     mn = sync_load_acquire(&mn->next))

/* The thread that runs, for checks of who does what. */
static inline const void *notify_self(void)
{
#ifdef UMBRA_EXPLORER
	return explore_self();
#else
	return &sync_self;
#endif
}

/* A subscriber has refused where it may not. */
static inline void notify_misuse(struct mmu_notifier_subscriptions *mm)
{
	atomic_fetch_add_explicit(&mm->misuses, 1, memory_order_relaxed);
}

/* Somebody asks about open brackets: count them from now on. mmap_lock held for writing, if the mm has one. */
void notify_track(struct mmu_notifier_subscriptions *mm);

/*
 * Count @range, and have the interval subscriptions that it meets let go. 0, or -EAGAIN with everything undone.
 * Its counterpart thaws the tree if it is the last.
 */
int notify_itree_start(struct mmu_notifier_range *range);
void notify_itree_end(struct mmu_notifier_range *range);

#endif
