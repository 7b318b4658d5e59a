/* SPDX-License-Identifier: BSD-2-Clause */
#include "mmu/notify/lint.h"

#if defined(UMBRA_DEBUG) || defined(UMBRA_EXPLORER)

#include <stdlib.h>

#define LINT_RECORDS 256 /* a power of two */

/* An entry that has changed inside a bracket that is still open. */
struct lint_record {
	hva_t addr;
	bool is_used;
	bool is_untold;	 /* it has lost something that nobody was told of */
	bool lost_frame; /* that is its frame, not only rights */
	bool is_kept;	 /* it was lost with no start to have subscribers let go, only CHANGE */
	fn_t stale;	 /* the frame that subscribers may still reach; FN_NONE: none */
	fn_t announced;	 /* by change_pte; FN_NONE: nothing */
};

struct notify_lint {
	struct lock lock;
	struct list_node open; /* brackets */
	uint64_t tlbs;	       /* list notifiers with the secondary-TLB op */
	struct lint_record record[LINT_RECORDS];
};

/* An instrument is no part of a schedule: the explorer runs one thread at a time, and is not asked here. */
static void lint_lock(struct notify_lint *lint)
{
#ifndef UMBRA_EXPLORER
	lock_acquire(&lint->lock);
#else
	(void)lint;
#endif
}

static void lint_unlock(struct notify_lint *lint)
{
#ifndef UMBRA_EXPLORER
	lock_release(&lint->lock);
#else
	(void)lint;
#endif
}

struct notify_lint *notify_lint_create(void)
{
	struct notify_lint *lint = calloc(1, sizeof(*lint));

	if (!lint)
		return NULL;
	lock_init(&lint->lock);
	list_init(&lint->open);
	return lint;
}

void notify_lint_destroy(struct notify_lint *lint)
{
	if (!lint)
		return;
	bug_on(!list_is_empty(&lint->open)); /* a start without its end */
	lock_fini(&lint->lock);
	free(lint);
}

static struct mmu_notifier_range *range_of(const struct list_node *node)
{
	return list_entry(node, struct mmu_notifier_range, linted);
}

/* Is a bracket open over @addr; is one of them for CHANGE? @only_change: all, so that no start has had anybody let go. */
static bool is_covered(const struct notify_lint *lint, hva_t addr, bool *by_change,
		       bool *only_change)
{
	bool covered = false;

	*by_change = false;
	*only_change = true;
	for (const struct list_node *at = lint->open.next; at != &lint->open; at = at->next) {
		const struct mmu_notifier_range *range = range_of(at);

		if (addr < range->start || addr >= range->end)
			continue;
		covered = true;
		*by_change |= range->event == MMU_NOTIFY_CHANGE;
		*only_change &= range->event == MMU_NOTIFY_CHANGE;
	}
	return covered;
}

static struct lint_record *slot_of(struct notify_lint *lint, hva_t addr)
{
	return &lint->record[(addr >> PAGE_SHIFT) & (LINT_RECORDS - 1)];
}

static struct lint_record *find(struct notify_lint *lint, hva_t addr)
{
	struct lint_record *r = slot_of(lint, addr);

	return r->is_used && r->addr == addr ? r : NULL;
}

/* The record of @addr; a new one pushes another out. */
static struct lint_record *find_or_add(struct notify_lint *lint, hva_t addr)
{
	struct lint_record *r = slot_of(lint, addr);

	if (!r->is_used || r->addr != addr)
		*r = (struct lint_record){ .addr = addr,
					   .is_used = true,
					   .stale = FN_NONE,
					   .announced = FN_NONE };
	return r;
}

/* Does somebody reach the frame until told, whatever start did? */
static bool is_reachable(const struct notify_lint *lint, const struct lint_record *r)
{
	return r->is_kept || lint->tlbs;
}

static void note_loss(struct notify_lint *lint, hva_t addr, fn_t old_fn, fn_t new_fn, bool kept)
{
	struct lint_record *r = find_or_add(lint, addr);

	if (old_fn == new_fn) {
		r->is_untold = true;
		return;
	}
	/* change_pte has told already, if it is the new frame that stands here from now on. */
	if (new_fn != FN_NONE && r->announced == new_fn && !r->is_untold)
		return;
	r->is_untold = true;
	r->lost_frame = true;
	r->is_kept |= kept;
	if (r->stale == FN_NONE)
		r->stale = old_fn;
}

void notify_lint_entry(struct mmu_notifier_subscriptions *mm, hva_t addr, fn_t old_fn,
		       unsigned old_rights, fn_t new_fn, unsigned new_rights)
{
	struct notify_lint *lint = mm->lint;
	bool loses = old_fn != FN_NONE && (new_fn != old_fn || (old_rights & ~new_rights));
	bool covered, by_change, only_change;
	struct lint_record *r;

	if (!lint)
		return;
	lint_lock(lint);
	covered = is_covered(lint, addr, &by_change, &only_change);
	bug_on(loses && !covered); /* L1 */
	if (loses)
		note_loss(lint, addr, old_fn, new_fn, only_change);
	r = find(lint, addr);
	if (r && new_fn != FN_NONE) {
		bug_on(is_reachable(lint, r) && r->is_untold && r->lost_frame &&
		       r->stale != new_fn); /* L2 */
		bug_on(r->announced != FN_NONE && r->announced != new_fn &&
		       old_fn != new_fn); /* L3 */
		if (!r->is_untold || r->stale == new_fn)
			r->is_used = false;
	}
	lint_unlock(lint);
}

static void tell(struct lint_record *r)
{
	r->is_untold = false;
	r->lost_frame = false;
	r->is_kept = false;
	r->stale = FN_NONE;
}

void notify_lint_change(struct mmu_notifier_subscriptions *mm, hva_t addr, fn_t fn)
{
	struct notify_lint *lint = mm->lint;
	struct lint_record *r;
	bool by_change, only_change;

	if (!lint)
		return;
	lint_lock(lint);
	bug_on(!is_covered(lint, addr, &by_change, &only_change) || !by_change); /* L5 */
	r = find_or_add(lint, addr);
	tell(r);
	r->announced = fn;
	lint_unlock(lint);
}

void notify_lint_tlbs(struct mmu_notifier_subscriptions *mm, hva_t start, hva_t end)
{
	struct notify_lint *lint = mm->lint;

	if (!lint)
		return;
	lint_lock(lint);
	for (struct lint_record *r = lint->record; r < lint->record + LINT_RECORDS; r++) {
		if (!r->is_used || r->addr < start || r->addr >= end)
			continue;
		/* Who was to be told by change_pte has not been told by this. */
		if (!r->is_kept)
			tell(r);
	}
	lint_unlock(lint);
}

void notify_lint_listed(struct mmu_notifier *mn, bool is_listed)
{
	struct notify_lint *lint = mn->mm->lint;

	if (!lint || !mn->ops->arch_invalidate_secondary_tlbs)
		return;
	lint_lock(lint);
	lint->tlbs += is_listed ? 1 : -1;
	lint_unlock(lint);
}

void notify_lint_start(struct mmu_notifier_range *range)
{
	struct notify_lint *lint = range->mm->lint;

	if (!lint)
		return;
	lint_lock(lint);
	list_add_tail(&lint->open, &range->linted);
	lint_unlock(lint);
}

void notify_lint_end(struct mmu_notifier_range *range)
{
	struct notify_lint *lint = range->mm->lint;

	if (!lint)
		return;
	lint_lock(lint);
	list_del(&range->linted);
	for (struct lint_record *r = lint->record; r < lint->record + LINT_RECORDS; r++) {
		bool by_change, only_change;

		if (!r->is_used || r->addr < range->start || r->addr >= range->end)
			continue;
		/* Another bracket is open over it, and may be the one that has yet to tell. */
		if (is_covered(lint, r->addr, &by_change, &only_change))
			continue;
		bug_on(r->is_untold && (lint->tlbs || r->is_kept)); /* L4 */
		r->is_used = false;
	}
	lint_unlock(lint);
}

#endif
