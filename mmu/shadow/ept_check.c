/* SPDX-License-Identifier: BSD-2-Clause */
/* Is the table sound in itself? */
#include "mmu/shadow/ept_priv.h"

struct ept_checker {
	void (*wrong)(void *ctx, gfn_t gfn, uint64_t spte, const char *what);
	void *ctx;
	uint64_t count; /* of what is wrong */
	uint64_t tables, leaves[SPTE_LEVELS + 1];
};

static void found_wrong(struct ept_checker *c, gfn_t gfn, uint64_t spte, const char *what)
{
	c->count++;
	c->wrong(c->ctx, gfn, spte, what);
}

static void check_table(struct ept_checker *c, struct ept_page *table, gfn_t gfn, int level)
{
	c->tables++;
	for (unsigned i = 0; i < SPTE_PER_TABLE; i++, gfn += spte_level_pages(level)) {
		uint64_t spte = spte_read(&table->spte[i]);

		if (spte_is_table(spte, level)) {
			check_table(c, spte_child(spte), gfn, level - 1);
		} else if (spte_is_leaf(spte, level)) {
			c->leaves[level]++;
			if (!spte_check_leaf(spte, level))
				found_wrong(c, gfn, spte, "leaf that is malformed");
		} else if (spte != SPTE_NONE) {
			found_wrong(c, gfn, spte,
				    spte_is_frozen(spte) ? "entry left frozen"
							 : "entry that is nothing known");
		}
	}
}

uint64_t ept_check(struct ept *ept,
		   void (*wrong)(void *ctx, gfn_t gfn, uint64_t spte, const char *what), void *ctx)
{
	struct ept_checker c = { .wrong = wrong, .ctx = ctx };
	/* In this order: those that are reaped meanwhile are fewer tables first (free_dead()). */
	uint64_t dead = atomic_load(&ept->dead_pages);
	uint64_t tables = sync_load(&ept->table_pages);

	for_each_root(ept, root, invalid)
		check_table(&c, root, 0, SPTE_LEVELS);
	for (int level = SPTE_LEVEL_4K; level <= SPTE_LEVELS; level++)
		if (c.leaves[level] != sync_load(&ept->leaves[level]))
			found_wrong(&c, 0, sync_load(&ept->leaves[level]),
				    "leaves counted that are not there, or not counted");
	/* Those that are dead count until they are reaped: with the list they are on, and after, while ept_reap() waits. */
	if (tables < c.tables || tables > c.tables + dead)
		found_wrong(&c, 0, tables, "tables counted that are not there, or not counted");
	return c.count;
}
