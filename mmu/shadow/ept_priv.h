/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The inside of the table: how an entry is written, tables and roots as memory. Shared by ept*.c only.
 * Owns nothing of its own. Knows what ept.h knows.
 */
#ifndef UMBRA_MMU_SHADOW_EPT_PRIV_H
#define UMBRA_MMU_SHADOW_EPT_PRIV_H

#include "mmu/base/mutant.h"
#include "mmu/shadow/ept.h"
#include "mmu/shadow/walk.h"

/* The top table of a tree, and its place among the invalid ones. */
struct ept_root {
	_Alignas(PAGE_SIZE) struct ept_page page;
	_Atomic(struct ept_root *)
		next; /* [r] stays when it leaves the list: a walker may stand here */
};

/* What a call has changed so far; accounted for once, not for each entry. */
struct ept_tally {
	struct ept *ept;
	uint64_t leaves[SPTE_LEVELS + 1]; /* more (or, wrapped, less) than before */
	gfn_t dirty, dirty_end;		  /* dirtied, and not told yet */
	bool quiet;			  /* whoever takes D tells it himself, or keeps it */
};

static inline void tally_start(struct ept_tally *tally, struct ept *ept)
{
	*tally = (struct ept_tally){ .ept = ept };
}
void tally_end(struct ept_tally *tally);

/* Who logs is told of pages [gfn, end), if there are any. */
void tell_dirtied(struct ept *ept, gfn_t gfn, gfn_t end);

static inline void tally_dirty(struct ept_tally *tally, gfn_t gfn, uint64_t npages)
{
	if (gfn != tally->dirty_end || tally->dirty == tally->dirty_end) {
		tell_dirtied(tally->ept, tally->dirty, tally->dirty_end);
		tally->dirty = gfn;
	}
	tally->dirty_end = gfn + npages;
}

/* Where every change of an entry passes that spte_check_change() knows: refuses it, or accounts for it. */
static inline void handle_changed_spte(struct ept_tally *tally, gfn_t gfn, uint64_t old,
				       uint64_t new, int level)
{
	bool was = spte_is_leaf(old, level), is = spte_is_leaf(new, level);

	bug_on(!spte_check_change(old, new, level));
	tally->leaves[level] += (uint64_t)is - (uint64_t)was;
	if (was && spte_is_dirty(old) && !(is && spte_is_dirty(new)) && !tally->quiet)
		tally_dirty(tally, spte_level_start(gfn, level), spte_level_pages(level));
}

/* M16: whoever writes between the two is overwritten. */
static inline bool load_and_store(_Atomic uint64_t *sptep, uint64_t old, uint64_t new)
{
	if (sync_load(sptep) != old)
		return false;
	sync_store(sptep, new);
	return true;
}

/* Beside other installers, aging and hardware. FROZEN belongs to whoever froze it. */
static inline bool spte_cas(struct ept_tally *tally, _Atomic uint64_t *sptep, gfn_t gfn,
			    uint64_t old, uint64_t new, int level)
{
	uint64_t seen = old;

	/* Release: pairs with spte_read() of walkers, which then find a new table filled. */
	if ((spte_is_frozen(old) && !mutant(144)) ||
	    !(mutant(161) ? load_and_store(sptep, old, new) : sync_cas(sptep, &seen, new)))
		return false;
	handle_changed_spte(tally, gfn, old, new, level);
	return true;
}

/*
 * With mmu_lock held for writing. What aging, a fast fault or hardware may change meanwhile is exchanged, not stored, and
 * what they did is seen here (M16).
 */
static inline void spte_write_excl(struct ept_tally *tally, _Atomic uint64_t *sptep, gfn_t gfn,
				   uint64_t old, uint64_t new, int level)
{
	if (spte_is_volatile(old) && !mutant(16))
		old = sync_exchange(sptep, new);
	else
		sync_store(sptep, new);
	handle_changed_spte(tally, gfn, old, new, level);
}

/* FROZEN from now on, and what the entry said. Another who has it frozen is waited for: he puts nothing there. */
uint64_t spte_freeze(_Atomic uint64_t *sptep);

/* ept_mem.c: before the first table, after the last. */
void mem_init(struct ept *ept);
void mem_fini(struct ept *ept);

/* A zeroed table and its end, not linked; roots are ept_root_alloc()'s. */
struct ept_page *table_alloc(struct ept *ept);
void table_free(struct ept *ept, struct ept_page *table);
/* No new walker finds @table, and all its entries are FROZEN: to be freed by ept_reap(). */
void table_is_dead(struct ept *ept, struct ept_page *table);
void root_is_dead(struct ept *ept, struct ept_page *root);

/*
 * Freeze all entries of @table, which is unlinked, and of the tables below it; zap what leaves there are.
 * @gfn: the first that it spans. @level: of its entries.
 */
void table_kill(struct ept_tally *tally, struct ept_page *table, gfn_t gfn, int level);

/* Split the large leaf @old at @sptep. 0, -ENOMEM, -EAGAIN (it is not @old any more). */
int split_entry(struct ept_tally *tally, _Atomic uint64_t *sptep, uint64_t old, int level);

static inline void span_add(struct ept_span *span, const struct ept_iter *it)
{
	if (!span->count || mutant(15) || iter_first(it) < span->start)
		span->start = iter_first(it);
	span->end = max_u64(span->end, iter_first(it) + spte_level_pages(it->level));
	span->count += spte_level_pages(it->level);
}

static inline struct ept_page *root_current(struct ept *ept)
{
	/* Acquire: the root is zeroed. Pairs with ept_root_swap(). */
	return sync_load_acquire(&ept->root);
}

static inline struct ept_root *root_first_invalid(struct ept *ept)
{
	return sync_load_acquire(&ept->invalid);
}

/* All roots, the current one first. */
static inline struct ept_page *root_next(struct ept *ept, struct ept_page *root, bool *invalid)
{
	struct ept_root *next = *invalid ? sync_load_acquire(&((struct ept_root *)root)->next)
					 : root_first_invalid(ept);

	*invalid = true;
	return next ? &next->page : NULL;
}

#define for_each_root(ept, root, invalid)                             \
	for (bool invalid = false, once = true; once; once = false)   \
		for (struct ept_page *root = root_current(ept); root; \
		     root = root_next(ept, root, &invalid))

#endif
