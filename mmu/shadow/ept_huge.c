/* SPDX-License-Identifier: BSD-2-Clause */
/* Large leaves: split, collapse, and room for them. */
#include <errno.h>

#include "mmu/shadow/ept_priv.h"

/*
 *	split_entry()				whoever walks
 *						large leaf, or (old walk) its TLB entry: same frames, same rights
 *	fill the table, linked nowhere
 *	large leaf -> table, by cas
 *	  (A, D or a right set meanwhile:	small leaf
 *	   the cas fails, nothing is lost)
 */
int split_entry(struct ept_tally *tally, _Atomic uint64_t *sptep, uint64_t old, int level)
{
	struct ept_page *table = table_alloc(tally->ept);
	uint64_t seen = old;

	if (!table)
		return -ENOMEM;
	for (unsigned i = 0; i < SPTE_PER_TABLE && !mutant(162); i++)
		atomic_init(&table->spte[i], spte_make_small(old, level, i));
	if (!mutant(162))
		bug_on(!spte_check_split(old, table->spte, level));
	/* Release: pairs with spte_read(). */
	if (mutant(165))
		sync_store(sptep, spte_make_table(table));
	else if (!sync_cas(sptep, &seen, spte_make_table(table))) {
		table_free(tally->ept, table);
		return -EAGAIN;
	}
	for (unsigned i = 0; i < SPTE_PER_TABLE && mutant(162); i++)
		sync_store(&table->spte[i], spte_make_small(old, level, i));
	tally->leaves[level]--;
	tally->leaves[level - 1] += SPTE_PER_TABLE;
	atomic_fetch_add_explicit(&tally->ept->splits, 1, memory_order_relaxed);
	return 0;
}

int ept_split(struct ept *ept, gfn_t gfn)
{
	struct ept_tally tally;
	struct ept_iter it;
	int rc;

	iter_start(&it, root_current(ept), gfn, gfn + 1, SPTE_LEVEL_4K);
	while (iter_down(&it))
		;
	if (!iter_on_leaf(&it) || it.level == SPTE_LEVEL_4K)
		return 0;
	tally_start(&tally, ept);
	rc = split_entry(&tally, iter_entry(&it), it.spte, it.level);
	tally_end(&tally);
	return rc;
}

/*
 * The large leaf that says what the leaves of @table say, but for A, D, and W of a page that is protected for a while (MW);
 * SPTE_NONE if none does. @level: its own.
 */
static uint64_t large_of(struct ept_page *table, int level)
{
	uint64_t large = spte_read(&table->spte[0]) | SPTE_LARGE;
	const uint64_t may_differ = SPTE_ACCESSED | SPTE_DIRTY | SPTE_WRITE;

	if (!spte_check_leaf(large, level))
		return SPTE_NONE;
	for (unsigned i = 0; i < SPTE_PER_TABLE; i++) {
		uint64_t differ = spte_read(&table->spte[i]) ^ spte_make_small(large, level, i);

		if (mutant(174))
			continue;
		if ((differ & ~may_differ) && !mutant(176))
			return SPTE_NONE;
	}
	return large;
}

/*
 * Freeze the leaves of @table, which is out of reach for new walks, and return @large with what they say now: A and D of
 * all. Rights may have changed since large_of() looked (aging, a fast fault): the least of them, which costs a fault at
 * worst, and young if one is.
 */
static uint64_t freeze_leaves(struct ept_tally *tally, struct ept_page *table, gfn_t gfn,
			      uint64_t large, int level)
{
	uint64_t all = ~0UL, any = 0, rights = SPTE_RIGHTS | SPTE_SAVED;
	uint64_t pages = spte_level_pages(level - 1);

	for (unsigned i = 0; i < SPTE_PER_TABLE; i++) {
		uint64_t leaf = mutant(163) ? spte_read(&table->spte[i])
					    : spte_freeze(&table->spte[i]);

		handle_changed_spte(tally, gfn + i * pages, leaf, SPTE_FROZEN, level - 1);
		any |= leaf;
		all &= spte_is_access_tracked(leaf) ? spte_restore_access(leaf) : leaf;
	}
	if (mutant(174) || mutant(176))
		all = large;
	large = (large & ~rights) | (all & SPTE_RIGHTS) | (any & (SPTE_ACCESSED | SPTE_DIRTY));
	if (!spte_has_ad(large) && !(any & SPTE_RIGHTS))
		large = spte_track_access(large);
	if (!spte_has_ad(large) && (any & SPTE_WRITE) && !(large & SPTE_WRITE)) {
		tally->quiet = false;
		tally_dirty(tally, gfn, spte_level_pages(level));
	}
	return large;
}

/*
 *	ept_collapse()				walker, hardware, aging (RCU sections)
 *	all leaves alike?
 *	table -> FROZEN				new walks find nothing, and fault
 *						(old walk, in the table) sets D in a leaf
 *	each leaf -> FROZEN, by exchange
 *	  sees that D				(old walk) finds FROZEN, and faults
 *	FROZEN -> large leaf with A, D of all
 *	table dead
 *						grace period
 */
bool ept_collapse(struct ept *ept, gfn_t gfn, int level)
{
	struct ept_page *table;
	struct ept_tally tally;
	struct ept_iter it;
	uint64_t first, large;

	bug_on(level <= SPTE_LEVEL_4K || level > SPTE_LEVEL_1G);
	iter_start(&it, root_current(ept), gfn, gfn + 1, level);
	while (iter_down(&it))
		;
	if (it.level != level || !spte_is_table(it.spte, level))
		return false;
	table = spte_child(it.spte);
	first = spte_read(&table->spte[0]);
	large = spte_is_leaf(first, level - 1) ? large_of(table, level) : SPTE_NONE;
	if (large == SPTE_NONE)
		return false;
	tally_start(&tally, ept);
	tally.quiet = true;
	spte_write_excl(&tally, iter_entry(&it), gfn, it.spte, SPTE_FROZEN, level);
	large = freeze_leaves(&tally, table, iter_first(&it), large, level);
	bug_on(!spte_check_collapse(first, large, level));
	bug_on(sync_exchange(iter_entry(&it), large) != SPTE_FROZEN);
	tally.leaves[level]++;
	table_is_dead(ept, table);
	tally_end(&tally);
	return true;
}

/* Is there no leaf in or below @table? */
static bool is_empty(struct ept_page *table, int level)
{
	for (unsigned i = 0; i < SPTE_PER_TABLE; i++) {
		uint64_t spte = spte_read(&table->spte[i]);

		if (spte_is_leaf(spte, level) ||
		    (spte_is_present(spte) && !is_empty(spte_child(spte), level - 1)))
			return false;
	}
	return true;
}

bool ept_is_empty(struct ept_page *root, gfn_t gfn, int level)
{
	struct ept_iter it;

	iter_start(&it, root, gfn, gfn + 1, level);
	while (iter_down(&it))
		;
	return it.level == level && spte_is_table(it.spte, level) &&
	       is_empty(spte_child(it.spte), level - 1);
}

uint64_t ept_prune(struct ept *ept, gfn_t gfn, gfn_t end)
{
	uint64_t pruned = 0;
	struct ept_tally tally;
	struct ept_iter it;

	if (gfn >= end)
		return 0;
	tally_start(&tally, ept);
	iter_start(&it, root_current(ept), gfn, end, SPTE_LEVEL_4K);
	for (;;) {
		gfn_t first = iter_first(&it);

		it.spte = spte_read(iter_entry(&it));
		if (spte_is_table(it.spte, it.level)) {
			if (first < gfn || first + spte_level_pages(it.level) > end ||
			    !is_empty(spte_child(it.spte), it.level - 1)) {
				iter_down(&it);
				continue;
			}
			spte_write_excl(&tally, iter_entry(&it), first, it.spte, SPTE_FROZEN,
					it.level);
			table_kill(&tally, spte_child(it.spte), first, it.level - 1);
			spte_write_excl(&tally, iter_entry(&it), first, SPTE_FROZEN, SPTE_NONE,
					it.level);
			pruned++;
		}
		if (!iter_next(&it))
			break;
	}
	tally_end(&tally);
	return pruned;
}
