/* SPDX-License-Identifier: BSD-2-Clause */
/* The writer of entries, and who looks up and installs. */
#include "mmu/shadow/ept.h"

#include <errno.h>

#include "mmu/shadow/ept_priv.h"

void tell_dirtied(struct ept *ept, gfn_t gfn, gfn_t end)
{
	if (gfn < end && ept->opts.dirtied)
		ept->opts.dirtied(ept->opts.ctx, gfn, end - gfn);
}

void tally_end(struct ept_tally *tally)
{
	for (int level = SPTE_LEVEL_4K; level <= SPTE_LEVEL_1G; level++)
		if (tally->leaves[level])
			atomic_fetch_add_explicit(&tally->ept->leaves[level], tally->leaves[level],
						  memory_order_relaxed);
	tell_dirtied(tally->ept, tally->dirty, tally->dirty_end);
}

uint64_t spte_freeze(_Atomic uint64_t *sptep)
{
	uint64_t old;

	do
		old = sync_exchange(sptep, SPTE_FROZEN);
	while (spte_is_frozen(old));
	return old;
}

int ept_init(struct ept *ept, const struct ept_opts *opts)
{
	*ept = (struct ept){ .opts = opts ? *opts : (struct ept_opts){ .ad = true } };
	lock_init(&ept->roots_lock);
	mem_init(ept);
	atomic_init(&ept->root, ept_root_alloc(ept));
	return ept->root ? 0 : -ENOMEM;
}

static void free_tree(struct ept *ept, struct ept_page *table, int level)
{
	for (unsigned i = 0; i < SPTE_PER_TABLE; i++) {
		uint64_t spte = spte_read(&table->spte[i]);

		bug_on(spte_is_leaf(spte, level));
		if (spte_is_present(spte))
			free_tree(ept, spte_child(spte), level - 1);
	}
	if (level == SPTE_LEVELS)
		ept_root_free(ept, table);
	else
		table_free(ept, table);
}

void ept_fini(struct ept *ept)
{
	struct ept_root *root = root_first_invalid(ept);

	while (root) {
		struct ept_root *next = sync_load(&root->next);

		free_tree(ept, &root->page, SPTE_LEVELS);
		root = next;
	}
	free_tree(ept, root_current(ept), SPTE_LEVELS);
	mem_fini(ept);
	lock_fini(&ept->roots_lock);
	atomic_init(&ept->root, NULL);
}

uint64_t ept_count_leaves(struct ept *ept)
{
	return sync_load(&ept->leaves[SPTE_LEVEL_4K]) + sync_load(&ept->leaves[SPTE_LEVEL_2M]) +
	       sync_load(&ept->leaves[SPTE_LEVEL_1G]);
}

struct ept_page *ept_root(struct ept *ept)
{
	return root_current(ept);
}

uint64_t ept_peek(struct ept *ept, gfn_t gfn, int *level)
{
	struct ept_iter it;

	iter_start(&it, root_current(ept), gfn, gfn + 1, SPTE_LEVEL_4K);
	while (iter_down(&it))
		;
	if (level)
		*level = it.level;
	return iter_on_leaf(&it) ? it.spte : SPTE_NONE;
}

int ept_hole_level(struct ept_page *root, gfn_t gfn)
{
	struct ept_iter it;

	iter_start(&it, root, gfn, gfn + 1, SPTE_LEVEL_4K);
	while (iter_down(&it))
		;
	if (it.spte != SPTE_NONE)
		return 0;
	return it.level < SPTE_LEVEL_1G ? it.level : SPTE_LEVEL_1G;
}

/* Link a new table under the entry, unless another installer has just done so. */
static int link_table(struct ept_tally *tally, const struct ept_iter *it)
{
	struct ept_page *table = table_alloc(tally->ept);

	if (!table)
		return -ENOMEM;
	if (!spte_cas(tally, iter_entry(it), it->gfn, it->spte, spte_make_table(table), it->level))
		table_free(tally->ept, table);
	return 0;
}

int ept_populate(struct ept *ept, struct ept_page *root, gfn_t gfn, gfn_t end, int level)
{
	struct ept_tally tally;
	struct ept_iter it;
	int rc = 0;

	if (gfn >= end)
		return 0;
	tally_start(&tally, ept);
	iter_start(&it, root, gfn, end, level + 1);
	for (;;) {
		while (iter_down(&it))
			;
		if (it.spte == SPTE_NONE || (mutant(144) && it.spte == SPTE_FROZEN)) {
			rc = link_table(&tally, &it);
			if (rc)
				break;
		} else if (!iter_next(&it))
			break;
	}
	tally_end(&tally);
	return rc;
}

bool ept_install(struct ept *ept, struct ept_page *root, gfn_t gfn, int level, uint64_t old,
		 uint64_t new)
{
	struct ept_tally tally;
	struct ept_iter it;
	bool done;

	iter_start(&it, root, gfn, gfn + 1, level);
	while (iter_down(&it))
		;
	if (it.level != level || it.spte != old)
		return false;
	bug_on(!spte_is_leaf(new, level));
	tally_start(&tally, ept);
	done = spte_cas(&tally, iter_entry(&it), gfn, old, new, level);
	tally_end(&tally);
	return done;
}

/* The same in one table, of which @sptep is the entry of @gfn. */
static uint64_t install_in_table(struct ept_tally *tally, _Atomic uint64_t *sptep, gfn_t gfn,
				 uint64_t n, uint64_t leaf)
{
	uint64_t i;

	for (i = 0; i < n; i++)
		if (!spte_cas(tally, &sptep[i], gfn + i, SPTE_NONE, leaf + (i << PAGE_SHIFT),
			      SPTE_LEVEL_4K))
			break;
	return i;
}

uint64_t ept_install_run(struct ept *ept, struct ept_page *root, gfn_t gfn, uint64_t n,
			 uint64_t leaf)
{
	struct ept_tally tally;
	struct ept_iter it;
	uint64_t done = 0;

	if (!n)
		return 0;
	tally_start(&tally, ept);
	iter_start(&it, root, gfn, gfn + n, SPTE_LEVEL_4K);
	do {
		uint64_t part;

		while (iter_down(&it))
			;
		if (it.level != SPTE_LEVEL_4K)
			break;
		part = min_u64(SPTE_PER_TABLE - spte_index(it.gfn, it.level), it.end - it.gfn);
		n = install_in_table(&tally, iter_entry(&it), it.gfn, part,
				     leaf + (done << PAGE_SHIFT));
		done += n;
		if (n < part)
			break;
		it.gfn += n - 1;
	} while (iter_next(&it));
	tally_end(&tally);
	return done;
}

uint64_t ept_taken_run(struct ept_page *root, gfn_t gfn, uint64_t n)
{
	struct ept_iter it;
	uint64_t taken = 0;

	if (!n)
		return 0;
	iter_start(&it, root, gfn, gfn + n, SPTE_LEVEL_4K);
	do {
		while (iter_down(&it))
			;
		if (it.level != SPTE_LEVEL_4K || it.spte == SPTE_NONE)
			break;
		taken++;
	} while (iter_next(&it));
	return taken;
}
