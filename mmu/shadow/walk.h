/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Walking the table: a position that goes down into tables, and on to the next entry. Kernel: struct tdp_iter.
 * Owns nothing. ept*.c alone walk; what to do with an entry is theirs. Knows no lock: the walker keeps the tables alive.
 *
 *	iter_start(&it, root, gfn, end, SPTE_LEVEL_4K);
 *	do {
 *		while (iter_down(&it))
 *			;
 *		... it.spte is what the entry of it.level over it.gfn said ...
 *	} while (iter_next(&it));
 */
#ifndef UMBRA_MMU_SHADOW_WALK_H
#define UMBRA_MMU_SHADOW_WALK_H

#include "mmu/base/sync.h"
#include "mmu/shadow/spte.h"

struct ept_page {
	_Atomic uint64_t spte[SPTE_PER_TABLE];
};

static_assert(sizeof(struct ept_page) == PAGE_SIZE, "a table is one page");

struct ept_iter {
	gfn_t gfn, end;				 /* where it stands; where the range ends */
	int level;				 /* of the entry on which it stands */
	int min_level;				 /* it goes no deeper */
	uint64_t spte;				 /* the entry as iter_down() last saw it */
	struct ept_page *table[SPTE_LEVELS + 1]; /* [level] the one whose entries have that level */
};

static inline uint64_t spte_read(_Atomic uint64_t *sptep)
{
	/* Acquire: a table that is linked is filled. Pairs with the writers of ept_priv.h. */
	return sync_load_acquire(sptep);
}

static inline struct ept_page *spte_child(uint64_t spte)
{
	return (struct ept_page *)(uintptr_t)(spte & SPTE_ADDR_MASK);
}

/* Step 1: stand on the first entry of @root that covers @gfn. @gfn < @end. */
static inline void iter_start(struct ept_iter *it, struct ept_page *root, gfn_t gfn, gfn_t end,
			      int min_level)
{
	bug_on(end > 1UL << SPTE_GFN_BITS);
	it->gfn = gfn;
	it->end = end;
	it->level = SPTE_LEVELS;
	it->min_level = min_level;
	it->spte = SPTE_NONE;
	it->table[SPTE_LEVELS] = root;
}

static inline _Atomic uint64_t *iter_entry(const struct ept_iter *it)
{
	return &it->table[it->level]->spte[spte_index(it->gfn, it->level)];
}

/* The first gfn of the entry: before it->gfn where the range begins inside a large leaf. */
static inline gfn_t iter_first(const struct ept_iter *it)
{
	return spte_level_start(it->gfn, it->level);
}

static inline bool iter_on_leaf(const struct ept_iter *it)
{
	return spte_is_leaf(it->spte, it->level);
}

/* Step 2: descend through the entry if it is a table. False at a leaf, at nothing, at FROZEN, or deep enough. */
static inline bool iter_down(struct ept_iter *it)
{
	it->spte = spte_read(iter_entry(it));
	if (it->level <= it->min_level || !spte_is_table(it->spte, it->level))
		return false;
	it->level--;
	it->table[it->level] = spte_child(it->spte);
	return true;
}

/* Step 3: on to the next entry, up as far as tables end here. False when the range is done. */
static inline bool iter_next(struct ept_iter *it)
{
	it->gfn = iter_first(it) + spte_level_pages(it->level);
	if (it->gfn >= it->end)
		return false;
	while (it->level < SPTE_LEVELS && spte_index(it->gfn, it->level) == 0)
		it->level++;
	return true;
}

#endif
