/* SPDX-License-Identifier: BSD-2-Clause */
/* Roots: swapped in constant time, torn down bit by bit. */
#include "mmu/shadow/ept_priv.h"

void ept_root_swap(struct ept *ept, struct ept_page *fresh, struct ept_page **old)
{
	struct ept_root *root = (struct ept_root *)root_current(ept);

	lock_acquire(&ept->roots_lock);
	sync_store(&root->next, sync_load(&ept->invalid));
	/* Release: pairs with root_first_invalid(). Listed before it is replaced: whoever looks for all roots finds it. */
	sync_store_release(&ept->invalid, root);
	lock_release(&ept->roots_lock);
	sync_store_release(&ept->root, fresh); /* pairs with root_current() */
	*old = &root->page;
}

void table_kill(struct ept_tally *tally, struct ept_page *table, gfn_t gfn, int level)
{
	for (unsigned i = 0; i < SPTE_PER_TABLE; i++, gfn += spte_level_pages(level)) {
		uint64_t old = spte_freeze(&table->spte[i]);

		if (old == SPTE_NONE)
			continue;
		handle_changed_spte(tally, gfn, old, SPTE_FROZEN, level);
		if (!spte_is_leaf(old, level))
			table_kill(tally, spte_child(old), gfn, level - 1);
	}
	if (level == SPTE_LEVELS)
		root_is_dead(tally->ept, table);
	else
		table_is_dead(tally->ept, table);
}

/*
 *	ept_root_teardown()			ept_populate() of a fault that found this root
 *	table -> FROZEN, by cas
 *						finds FROZEN: goes on, its install will be refused
 *	entries of the table -> FROZEN
 *						(inside the table) cas from nothing fails
 *	FROZEN -> none
 *						links an empty table here
 *	root off the list, its entries -> FROZEN,
 *	  that table with them
 */
static bool kill_below(struct ept_tally *tally, struct ept_page *table, gfn_t gfn, int level,
		       unsigned *budget)
{
	for (unsigned i = 0; i < SPTE_PER_TABLE; i++, gfn += spte_level_pages(level)) {
		_Atomic uint64_t *sptep = &table->spte[i];
		uint64_t spte = spte_read(sptep);

		/* Aging sets A and D back meanwhile. */
		while (spte_is_leaf(spte, level) &&
		       !spte_cas(tally, sptep, gfn, spte, SPTE_NONE, level))
			spte = spte_read(sptep);
		if (!spte_is_table(spte, level))
			continue;
		if (level - 1 > SPTE_LEVEL_4K &&
		    !kill_below(tally, spte_child(spte), gfn, level - 1, budget))
			return false;
		if (!*budget)
			return false;
		--*budget;
		if (!spte_cas(tally, sptep, gfn, spte, SPTE_FROZEN, level))
			continue;
		table_kill(tally, spte_child(spte), gfn, level - 1);
		bug_on(sync_exchange(sptep, SPTE_NONE) != SPTE_FROZEN);
	}
	return true;
}

static void unlist(struct ept *ept, struct ept_root *root)
{
	_Atomic(struct ept_root *) *link = &ept->invalid;

	lock_acquire(&ept->roots_lock);
	while (sync_load(link) != root)
		link = &sync_load(link)->next;
	sync_store_release(link, sync_load(&root->next));
	lock_release(&ept->roots_lock);
}

bool ept_root_teardown(struct ept *ept, struct ept_page *root, unsigned budget)
{
	struct ept_tally tally;
	bool empty;

	bug_on(root == root_current(ept));
	tally_start(&tally, ept);
	empty = kill_below(&tally, root, 0, SPTE_LEVELS, &budget);
	/* Told before it is unlisted: who finds no invalid root takes it that D bits of all are told. */
	tally_end(&tally);
	if (empty) {
		tally_start(&tally, ept);
		/* Without a leaf, and nobody may install one: it may be unknown to zaps. */
		unlist(ept, (struct ept_root *)root);
		table_kill(&tally, root, 0, SPTE_LEVELS);
		tally_end(&tally);
	}
	return empty;
}

static void visit_root(struct ept_page *root, gfn_t gfn, gfn_t end,
		       void (*visit)(void *ctx, gfn_t gfn, uint64_t spte, int level), void *ctx)
{
	struct ept_iter it;

	if (gfn >= end)
		return;
	iter_start(&it, root, gfn, end, SPTE_LEVEL_4K);
	do {
		while (iter_down(&it))
			;
		if (iter_on_leaf(&it))
			visit(ctx, iter_first(&it), it.spte, it.level);
	} while (iter_next(&it));
}

void ept_for_each(struct ept *ept, gfn_t gfn, gfn_t end,
		  void (*visit)(void *ctx, gfn_t gfn, uint64_t spte, int level), void *ctx)
{
	visit_root(root_current(ept), gfn, end, visit, ctx);
}

bool ept_has_invalid(struct ept *ept)
{
	return root_first_invalid(ept);
}

void ept_for_each_invalid(struct ept *ept, gfn_t gfn, gfn_t end,
			  void (*visit)(void *ctx, gfn_t gfn, uint64_t spte, int level), void *ctx)
{
	for_each_root(ept, root, invalid)
		if (invalid)
			visit_root(root, gfn, end, visit, ctx);
}
