/* SPDX-License-Identifier: BSD-2-Clause */
/* Taking away: leaves, the right to store, dirty bits; and giving a leaf another frame. */
#include <errno.h>

#include "mmu/base/mutant.h"
#include "mmu/shadow/ept_priv.h"

/* Does the range end inside the leaf on which the walk stands? */
static bool is_part(const struct ept_iter *it, gfn_t gfn, gfn_t end)
{
	return it->level > SPTE_LEVEL_4K &&
	       (iter_first(it) < gfn || iter_first(it) + spte_level_pages(it->level) > end);
}

/* From the entry on which the walk stands to the last of its table that is asked for: a loop that has no levels to mind. */
static void zap_leaves(struct ept_tally *tally, struct ept_iter *it, struct ept_span *span)
{
	const gfn_t table_end = spte_level_start(it->gfn, SPTE_LEVEL_2M) + SPTE_PER_TABLE;
	const gfn_t last = min_u64(it->end, table_end) - 1;
	_Atomic uint64_t *sptep = iter_entry(it);
	struct ept_span zapped = { .count = 0 };

	for (;;) {
		if (iter_on_leaf(it)) {
			spte_write_excl(tally, sptep, it->gfn, it->spte, SPTE_NONE, SPTE_LEVEL_4K);
			span_add(&zapped, it);
		}
		if (it->gfn == last)
			break;
		it->gfn++;
		it->spte = spte_read(++sptep);
	}
	ept_span_join(span, zapped);
}

static void zap_root(struct ept_tally *tally, struct ept_page *root, gfn_t gfn, gfn_t end,
		     struct ept_span *span)
{
	struct ept_iter it;

	iter_start(&it, root, gfn, end, SPTE_LEVEL_4K);
	for (;;) {
		while (iter_down(&it))
			;
		/* Read once: what was nothing may be a table now, linked by ept_populate() under no lock. */
		if (it.level == SPTE_LEVEL_4K) {
			zap_leaves(tally, &it, span);
		} else if (iter_on_leaf(&it)) {
			if (is_part(&it, gfn, end) &&
			    split_entry(tally, iter_entry(&it), it.spte, it.level) != -ENOMEM)
				continue;
			spte_write_excl(tally, iter_entry(&it), it.gfn, it.spte, SPTE_NONE,
					it.level);
			span_add(span, &it);
		}
		if (!iter_next(&it))
			break;
	}
}

struct ept_span ept_zap(struct ept *ept, gfn_t gfn, gfn_t end)
{
	struct ept_span span = { .start = 0 };
	struct ept_tally tally;

	if (gfn >= end)
		return span;
	tally_start(&tally, ept);
	for_each_root(ept, root, invalid)
		if (!invalid || !mutant(143))
			zap_root(&tally, root, gfn, end, &span);
	tally_end(&tally);
	return span;
}

/* Of the leaf on which the walk stands only some pages lose rights, or all do one by one. */
static bool splits(const struct ept_iter *it, gfn_t gfn, gfn_t end, int what)
{
	return it->level > SPTE_LEVEL_4K &&
	       ((what & EPT_WP_SPLIT) || ((what & EPT_WP_PART) && is_part(it, gfn, end)));
}

static void wrprotect_root(struct ept_tally *tally, struct ept_page *root, gfn_t gfn, gfn_t end,
			   int what, struct ept_span *span)
{
	const uint64_t rights = what & EPT_WP_HOST ? SPTE_MAY_WRITE : SPTE_WRITE;
	struct ept_iter it;

	iter_start(&it, root, gfn, end, SPTE_LEVEL_4K);
	for (;;) {
		while (iter_down(&it))
			;
		if (iter_on_leaf(&it) && (it.spte & rights)) {
			if (splits(&it, gfn, end, what) &&
			    split_entry(tally, iter_entry(&it), it.spte, it.level) != -ENOMEM)
				continue;
			/* A and D may change meanwhile, and rights by the fast path: look again. */
			if (!spte_cas(tally, iter_entry(&it), it.gfn, it.spte, it.spte & ~rights,
				      it.level))
				continue;
			span_add(span, &it);
		}
		if (!iter_next(&it))
			break;
	}
}

struct ept_span ept_wrprotect(struct ept *ept, gfn_t gfn, gfn_t end, int what)
{
	struct ept_span span = { .start = 0 };
	struct ept_tally tally;

	if (gfn >= end)
		return span;
	tally_start(&tally, ept);
	sync_rcu_read_lock(); /* ept_root_teardown() may be at work beside this */
	for_each_root(ept, root, invalid)
		if (!invalid || (what & EPT_WP_HOST))
			wrprotect_root(&tally, root, gfn, end, what, &span);
	sync_rcu_read_unlock();
	tally_end(&tally);
	return span;
}

/* @dirty: NULL, or is told each. */
static void clear_dirty_root(struct ept_tally *tally, struct ept_page *root, gfn_t gfn, gfn_t end,
			     struct ept_span *span,
			     void (*dirty)(void *ctx, gfn_t gfn, uint64_t npages), void *ctx)
{
	struct ept_iter it;

	iter_start(&it, root, gfn, end, SPTE_LEVEL_4K);
	for (;;) {
		while (iter_down(&it))
			;
		if (iter_on_leaf(&it) && spte_is_dirty(it.spte)) {
			uint64_t bit = spte_has_ad(it.spte) ? SPTE_DIRTY : SPTE_WRITE;

			if (!spte_cas(tally, iter_entry(&it), it.gfn, it.spte, it.spte & ~bit,
				      it.level))
				continue;
			span_add(span, &it);
			if (dirty)
				dirty(ctx, iter_first(&it), spte_level_pages(it.level));
		}
		if (!iter_next(&it))
			break;
	}
}

struct ept_span ept_clear_dirty(struct ept *ept, gfn_t gfn, gfn_t end,
				void (*dirty)(void *ctx, gfn_t gfn, uint64_t npages), void *ctx)
{
	struct ept_span span = { .start = 0 };
	struct ept_tally tally;

	if (gfn >= end)
		return span;
	tally_start(&tally, ept);
	tally.quiet = true;
	clear_dirty_root(&tally, root_current(ept), gfn, end, &span, dirty, ctx);
	tally_end(&tally);
	return span;
}

void ept_tell_dirty(struct ept *ept, gfn_t gfn, gfn_t end)
{
	struct ept_span span = { .start = 0 };
	struct ept_tally tally;

	if (gfn >= end)
		return;
	tally_start(&tally, ept);
	for_each_root(ept, root, invalid)
		if (invalid)
			clear_dirty_root(&tally, root, gfn, end, &span, NULL, NULL);
	tally_end(&tally);
}

/* The walk to the 4K leaf of @gfn in @root, through splits. 1, 0: no leaf, -ENOMEM. */
static int find_small(struct ept_tally *tally, struct ept_page *root, gfn_t gfn,
		      struct ept_iter *it)
{
	iter_start(it, root, gfn, gfn + 1, SPTE_LEVEL_4K);
	for (;;) {
		while (iter_down(it))
			;
		if (!iter_on_leaf(it) || it->level == SPTE_LEVEL_4K)
			return iter_on_leaf(it);
		if (split_entry(tally, iter_entry(it), it->spte, it->level) == -ENOMEM)
			return -ENOMEM;
	}
}

int ept_repoint_begin(struct ept *ept, gfn_t gfn)
{
	struct ept_span span = { .start = 0 };
	struct ept_tally tally;
	struct ept_iter it;
	int rc;

	tally_start(&tally, ept);
	rc = find_small(&tally, root_current(ept), gfn, &it);
	if (rc >= 0)
		for_each_root(ept, root, invalid)
			if (invalid)
				zap_root(&tally, root, gfn, gfn + 1, &span);
	if (rc > 0)
		spte_write_excl(&tally, iter_entry(&it), gfn, it.spte, SPTE_FROZEN, it.level);
	tally_end(&tally);
	return rc;
}

void ept_repoint_end(struct ept *ept, gfn_t gfn, fn_t fn)
{
	uint64_t new = ept_make_leaf(ept, fn, mutant(29), SPTE_LEVEL_4K);
	bool lawful = spte_check_repoint(new) || mutant(29);
	struct ept_iter it;

	iter_start(&it, root_current(ept), gfn, gfn + 1, SPTE_LEVEL_4K);
	while (iter_down(&it))
		;
	bug_on(it.spte != SPTE_FROZEN || it.level != SPTE_LEVEL_4K || !lawful);
	bug_on(sync_exchange(iter_entry(&it), new) != SPTE_FROZEN);
	atomic_fetch_add_explicit(&ept->leaves[SPTE_LEVEL_4K], 1, memory_order_relaxed);
}
