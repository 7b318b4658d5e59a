/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The checker: does the table say only what slots and primary say, is it sound in itself, and does the backend reach only
 * what the table allows?
 */
#include "mmu/shadow/shadow_priv.h"

/* Pages that the backend is asked about at once. */
#define BLOCK	  512u

#define GFN_LIMIT (1UL << SPTE_GFN_BITS)

struct check {
	struct shadow *sh;
	void (*report)(void *ctx, gfn_t gfn, uint64_t spte, const char *what);
	void *ctx;
	uint64_t wrong;
	/* For the backend: the block, and what the table allows of it. */
	gfn_t start, end;
	struct backend_page allowed[BLOCK];
};

static void found_wrong(void *ctx, gfn_t gfn, uint64_t spte, const char *what)
{
	struct check *check = ctx;

	check->wrong++;
	if (check->report)
		check->report(check->ctx, gfn, spte, what);
}

/* One page of a leaf against slot and hpte. */
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
	else if ((spte & SPTE_MMU_WRITABLE) && (!page.writable || (slot.flags & MEMSLOT_READONLY)))
		/* W needs MW; and where W is gone for a while, the fast path gives it back by MW alone. */
		what = "leaf writable though the primary's entry or the slot is not";
	if (what)
		found_wrong(check, gfn, spte, what);
}

static void check_leaf(void *arg, gfn_t gfn, uint64_t spte, int level)
{
	for (uint64_t i = 0; i < spte_level_pages(level); i++)
		check_page(arg, gfn + i, spte_fn(spte) + i, spte);
}

/*
 * What the leaf allows of the block. One that is access-tracked allows nothing. Stores only where they are in the log: one that
 * goes by a TLB sets no D, so the leaf has it already.
 */
static void allow_leaf(void *arg, gfn_t gfn, uint64_t spte, int level)
{
	struct check *check = arg;
	gfn_t end = min_u64(gfn + spte_level_pages(level), check->end);
	bool writable = spte_is_writable(spte) && spte_is_dirty(spte);

	if (!(spte & SPTE_READ))
		return;
	for (gfn_t at = max_u64(gfn, check->start); at < end; at++)
		check->allowed[at - check->start] =
			(struct backend_page){ .fn = spte_fn(spte) + (at - gfn),
					       .writable = writable };
}

struct backend_report {
	struct check *check;
	const struct memslot *slot;
};

static void backend_wrong(void *ctx, uint64_t page, const char *what)
{
	const struct backend_report *r = ctx;

	found_wrong(r->check, r->slot->gfn + page, SPTE_NONE, what);
}

static void check_backend(struct check *check, const struct memslot *slot)
{
	struct backend_report r = { .check = check, .slot = slot };

	for (gfn_t gfn = slot->gfn; gfn < memslot_end(slot); gfn = check->end) {
		check->start = gfn;
		check->end = min_u64(gfn + BLOCK, memslot_end(slot));
		for (uint64_t i = 0; i < BLOCK; i++)
			check->allowed[i] = (struct backend_page){ .fn = FN_NONE };
		ept_for_each(&check->sh->ept, gfn, check->end, allow_leaf, check);
		check->sh->ops->compare(slot->backend, gfn - slot->gfn, check->end - gfn,
					check->allowed, backend_wrong, &r);
	}
}

uint64_t shadow_check(struct shadow *sh,
		      void (*report)(void *ctx, gfn_t gfn, uint64_t spte, const char *what),
		      void *ctx)
{
	struct check check = { .sh = sh, .report = report, .ctx = ctx };
	const struct memslots *all;
	const struct memslot *slot;

	sync_rcu_read_lock();
	all = slots_get(&sh->slots);
	ept_check(&sh->ept, found_wrong, &check);
	ept_for_each(&sh->ept, 0, GFN_LIMIT, check_leaf, &check);
	ept_for_each_invalid(&sh->ept, 0, GFN_LIMIT, check_leaf, &check);
	if (sh->ops->compare)
		memslots_for_each_gfn(slot, all, 0, GFN_LIMIT) check_backend(&check, slot);
	sync_rcu_read_unlock();
	return check.wrong;
}
