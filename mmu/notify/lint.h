/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Does the primary keep its half of the contract? It reports every change of a host entry, notify/ reports what it
 * told the subscribers, and an order that could leave a subscriber with a stale translation ends in bug_on().
 * Owns a bounded memory of open brackets and entries under change per mm: it may forget, never accuse wrongly.
 * In debug and explorer builds; else every function is empty. Who may call: host/ and notify/. Knows no shadow.
 *
 * The rules (A20: "notify after clear or demote, never after set"):
 *
 *	L1  An entry loses its frame or rights only inside an open bracket that covers it (A17).
 *	L2  Where an entry has lost its frame and a subscriber may still reach it, because start did not have it let go (a
 *	    CHANGE bracket, or a TLB without start), the loss is told before another frame is set (M1). With
 *	    change_pte the frame may be replaced in one step, since what it tells is the new one.
 *	L3  What was set is what change_pte has announced.
 *	L4  A bracket does not end with such a loss untold.
 *	L5  change_pte is called inside a CHANGE bracket only.
 *
 * A secondary-TLB call that comes before the clear counts for nothing: the TLB may have fetched the entry again.
 */
#ifndef UMBRA_MMU_NOTIFY_LINT_H
#define UMBRA_MMU_NOTIFY_LINT_H

#include "mmu/notify/notifier.h"

enum { LINT_READ = 1, LINT_WRITE = 2 };

#if defined(UMBRA_DEBUG) || defined(UMBRA_EXPLORER)

/*
 * notify_lint_entry - the entry at @addr changes, for host/, from the one place that writes entries, just before it does,
 * the entry locked. No frame is FN_NONE; rights are LINT_*. Row A20.
 */
void notify_lint_entry(struct mmu_notifier_subscriptions *mm, hva_t addr, fn_t old_fn,
		       unsigned old_rights, fn_t new_fn, unsigned new_rights);

/* The rest for notify/. create returns NULL without memory: then nothing is checked. */
struct notify_lint *notify_lint_create(void);
void notify_lint_destroy(struct notify_lint *lint);
void notify_lint_listed(struct mmu_notifier *mn, bool is_listed); /* mm->lock held */
void notify_lint_start(struct mmu_notifier_range *range);
void notify_lint_end(struct mmu_notifier_range *range);
void notify_lint_change(struct mmu_notifier_subscriptions *mm, hva_t addr, fn_t fn);
void notify_lint_tlbs(struct mmu_notifier_subscriptions *mm, hva_t start, hva_t end);

#else

static inline void notify_lint_entry(struct mmu_notifier_subscriptions *mm, hva_t addr, fn_t old_fn,
				     unsigned old_rights, fn_t new_fn, unsigned new_rights)
{
	(void)mm, (void)addr, (void)old_fn, (void)old_rights, (void)new_fn, (void)new_rights;
}

static inline struct notify_lint *notify_lint_create(void)
{
	return NULL;
}

static inline void notify_lint_destroy(struct notify_lint *lint)
{
	(void)lint;
}

static inline void notify_lint_listed(struct mmu_notifier *mn, bool is_listed)
{
	(void)mn, (void)is_listed;
}

static inline void notify_lint_start(struct mmu_notifier_range *range)
{
	(void)range;
}

static inline void notify_lint_end(struct mmu_notifier_range *range)
{
	(void)range;
}

static inline void notify_lint_change(struct mmu_notifier_subscriptions *mm, hva_t addr, fn_t fn)
{
	(void)mm, (void)addr, (void)fn;
}

static inline void notify_lint_tlbs(struct mmu_notifier_subscriptions *mm, hva_t start, hva_t end)
{
	(void)mm, (void)start, (void)end;
}

#endif

#endif
