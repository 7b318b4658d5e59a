/* SPDX-License-Identifier: BSD-2-Clause */
/* The checker: does the table say only what the primary says? */
#include "mmu/shadow/shadow_priv.h"

struct check {
	struct shadow *sh;
	void (*report)(void *ctx, gfn_t gfn, uint64_t spte, const char *what);
	void *ctx;
	uint64_t wrong;
};

static void check_page(struct check *check, gfn_t gfn, fn_t fn, uint64_t spte)
{
	const char *what = NULL;
	struct gup_page page;
	struct memslot slot;

	if (!shadow_slot(check->sh, gfn, &slot))
		what = "leaf without a slot";
	else if (!hostmm_peek(check->sh->mm, slot.hva + ((gfn - slot.gfn) << PAGE_SHIFT), &page))
		what = "leaf of a page that the primary does not have";
	else if (page.fn != fn)
		what = "leaf with a frame that is not the primary's";
	else if (spte_is_writable(spte) && (!page.writable || (slot.flags & MEMSLOT_READONLY)))
		what = "leaf writable though the primary's entry or the slot is not";
	if (!what)
		return;
	check->wrong++;
	if (check->report)
		check->report(check->ctx, gfn, spte, what);
}

static void check_leaf(void *arg, gfn_t gfn, uint64_t spte, int level)
{
	for (uint64_t i = 0; i < spte_level_pages(level); i++)
		check_page(arg, gfn + i, spte_fn(spte) + i, spte);
}

uint64_t shadow_check(struct shadow *sh,
		      void (*report)(void *ctx, gfn_t gfn, uint64_t spte, const char *what),
		      void *ctx)
{
	struct check check = { .sh = sh, .report = report, .ctx = ctx };

	sync_rcu_read_lock();
	ept_for_each(&sh->ept, 0, 1UL << SPTE_GFN_BITS, check_leaf, &check);
	sync_rcu_read_unlock();
	return check.wrong;
}
