/* SPDX-License-Identifier: BSD-2-Clause */
#include "mmu/shadow/ept.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mmu/base/mutant.h"
#include "mmu/base/sync.h"

struct ept_page {
	_Atomic uint64_t spte[SPTE_PER_TABLE];
};

static_assert(sizeof(struct ept_page) == PAGE_SIZE, "a table is one page");

/* A position in the table: which entry of which level covers gfn. Kernel: struct tdp_iter, cut to what is used. */
struct ept_iter {
	gfn_t gfn, end;
	int level;
	uint64_t spte;				 /* the entry as iter_down() last saw it */
	struct ept_page *table[SPTE_LEVELS + 1]; /* [level] whose entries have that level */
};

bool spte_check_change(uint64_t old, uint64_t new, int level)
{
	uint64_t w = new &SPTE_WRITE, mw = new &SPTE_MMU_WRITABLE, hw = new &SPTE_HOST_WRITABLE;

	if (!spte_is_present(new)) {
		if (new == SPTE_FROZEN)
			return spte_is_present(old);
		return new == SPTE_NONE &&old != SPTE_NONE;
	}
	if (old == SPTE_FROZEN)
		return false;
	if (spte_is_leaf(new, level)) {
		if ((w && !mw) || (mw && !hw) || !(new &SPTE_READ))
			return false;
		if (!spte_is_present(old))
			return true;
		return spte_is_leaf(old, level) && spte_fn(old) == spte_fn(new) &&
		       !((old ^ new) & SPTE_LARGE);
	}
	return !spte_is_present(old);
}

static uint64_t spte_read(_Atomic uint64_t *sptep)
{
	return sync_load_acquire(sptep);
}

/* Where every change of an entry passes; accounts for it. */
static void handle_changed_spte(struct ept *ept, uint64_t old, uint64_t new, int level)
{
	bool was = spte_is_leaf(old, level), is = spte_is_leaf(new, level);

	bug_on(!spte_check_change(old, new, level));
	if (was != is)
		atomic_fetch_add_explicit(&ept->leaves, is ? 1 : (uint64_t)-1,
					  memory_order_relaxed);
}

/* M16: whoever writes between the two is overwritten. */
static bool load_and_store(_Atomic uint64_t *sptep, uint64_t old, uint64_t new)
{
	if (sync_load(sptep) != old)
		return false;
	sync_store(sptep, new);
	return true;
}

/* Beside other installers. */
static bool spte_cas(struct ept *ept, _Atomic uint64_t *sptep, uint64_t old, uint64_t new,
		     int level)
{
	if (old == SPTE_FROZEN ||
	    !(mutant(161) ? load_and_store(sptep, old, new) : sync_cas(sptep, &old, new)))
		return false;
	handle_changed_spte(ept, old, new, level);
	return true;
}

/* Alone with the table; an exchange all the same, since A and D change under no lock (M16). */
static uint64_t spte_write_excl(struct ept *ept, _Atomic uint64_t *sptep, uint64_t new, int level)
{
	uint64_t old = mutant(16) ? sync_load(sptep) : sync_exchange(sptep, new);

	if (mutant(16))
		sync_store(sptep, new);
	handle_changed_spte(ept, old, new, level);
	return old;
}

static struct ept_page *spte_child(uint64_t spte)
{
	return (struct ept_page *)(uintptr_t)(spte & SPTE_ADDR_MASK);
}

static struct ept_page *table_alloc(struct ept *ept)
{
	struct ept_page *table = aligned_alloc(PAGE_SIZE, sizeof(*table));

	if (table) {
		memset(table, 0, sizeof(*table));
		atomic_fetch_add_explicit(&ept->table_pages, 1, memory_order_relaxed);
	}
	return table;
}

static void table_free(struct ept *ept, struct ept_page *table)
{
	free(table);
	atomic_fetch_sub_explicit(&ept->table_pages, 1, memory_order_relaxed);
}

int ept_init(struct ept *ept)
{
	atomic_init(&ept->table_pages, 0);
	atomic_init(&ept->leaves, 0);
	ept->root = table_alloc(ept);
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
	table_free(ept, table);
}

void ept_fini(struct ept *ept)
{
	free_tree(ept, ept->root, SPTE_LEVELS);
	ept->root = NULL;
}

/* Step 1: stand on the first entry of the root that covers @gfn. */
static void iter_start(struct ept_iter *it, struct ept *ept, gfn_t gfn, gfn_t end)
{
	bug_on(end > 1UL << SPTE_GFN_BITS);
	*it = (struct ept_iter){ .gfn = gfn, .end = end, .level = SPTE_LEVELS };
	it->table[SPTE_LEVELS] = ept->root;
}

static _Atomic uint64_t *iter_entry(struct ept_iter *it)
{
	return &it->table[it->level]->spte[spte_index(it->gfn, it->level)];
}

/* Step 2: descend through a present table entry. False at a leaf, at nothing, or at the bottom. */
static bool iter_down(struct ept_iter *it)
{
	it->spte = spte_read(iter_entry(it));
	if (it->level == SPTE_LEVEL_4K || !spte_is_present(it->spte) ||
	    spte_is_leaf(it->spte, it->level))
		return false;
	it->level--;
	it->table[it->level] = spte_child(it->spte);
	return true;
}

/* Step 3: on to the next entry, up as far as tables end here. False when the range is done. */
static bool iter_next(struct ept_iter *it)
{
	it->gfn = (it->gfn & ~(spte_level_pages(it->level) - 1)) + spte_level_pages(it->level);
	if (it->gfn >= it->end)
		return false;
	while (it->level < SPTE_LEVELS && spte_index(it->gfn, it->level) == 0)
		it->level++;
	return true;
}

uint64_t ept_peek(struct ept *ept, gfn_t gfn)
{
	struct ept_iter it;

	iter_start(&it, ept, gfn, gfn + 1);
	while (iter_down(&it))
		;
	return spte_is_leaf(it.spte, it.level) ? it.spte : SPTE_NONE;
}

/* Link a new table under the entry, unless another installer has just done so. */
static int link_table(struct ept *ept, struct ept_iter *it)
{
	struct ept_page *table = table_alloc(ept);

	if (!table)
		return -ENOMEM;
	/* Release: pairs with spte_read() of walkers, which then find the new table zeroed. */
	if (!spte_cas(ept, iter_entry(it), SPTE_NONE, spte_make_table(table), it->level))
		table_free(ept, table);
	return 0;
}

int ept_populate(struct ept *ept, gfn_t gfn, gfn_t end)
{
	while (gfn < end) {
		struct ept_iter it;

		iter_start(&it, ept, gfn, end);
		while (it.level > SPTE_LEVEL_4K) {
			int rc = iter_down(&it) ? 0 : link_table(ept, &it);

			if (rc)
				return rc;
		}
		gfn = (gfn | (SPTE_PER_TABLE - 1)) + 1;
	}
	return 0;
}

bool ept_install(struct ept *ept, gfn_t gfn, uint64_t old, uint64_t new)
{
	struct ept_iter it;

	iter_start(&it, ept, gfn, gfn + 1);
	while (iter_down(&it))
		;
	bug_on(it.level != SPTE_LEVEL_4K);
	return spte_cas(ept, iter_entry(&it), old, new, it.level);
}

struct ept_span ept_zap(struct ept *ept, gfn_t gfn, gfn_t end)
{
	struct ept_span span = { .start = 0 };
	struct ept_iter it;

	if (gfn >= end)
		return span;
	iter_start(&it, ept, gfn, end);
	do {
		while (iter_down(&it))
			;
		/* Read once: what was nothing may be a table now, linked by ept_populate() under no lock. */
		if (!spte_is_present(it.spte))
			continue;
		spte_write_excl(ept, iter_entry(&it), SPTE_NONE, it.level);
		if (!span.count++ || mutant(15))
			span.start = it.gfn;
		span.end = it.gfn + spte_level_pages(it.level);
	} while (iter_next(&it));
	return span;
}

struct ept_span ept_wrprotect(struct ept *ept, gfn_t gfn, gfn_t end)
{
	const uint64_t rights = SPTE_WRITE | SPTE_MMU_WRITABLE | SPTE_HOST_WRITABLE;
	struct ept_span span = { .start = 0 };
	struct ept_iter it;

	if (gfn >= end)
		return span;
	iter_start(&it, ept, gfn, end);
	do {
		while (iter_down(&it))
			;
		if (!spte_is_leaf(it.spte, it.level) || !(it.spte & rights))
			continue;
		/* Only A and D can change meanwhile. */
		while (!spte_cas(ept, iter_entry(&it), it.spte, it.spte & ~rights, it.level))
			it.spte = spte_read(iter_entry(&it));
		if (!span.count++)
			span.start = it.gfn;
		span.end = it.gfn + spte_level_pages(it.level);
	} while (iter_next(&it));
	return span;
}

bool ept_repoint_begin(struct ept *ept, gfn_t gfn)
{
	struct ept_iter it;

	iter_start(&it, ept, gfn, gfn + 1);
	while (iter_down(&it))
		;
	if (it.level != SPTE_LEVEL_4K || !spte_is_leaf(it.spte, it.level))
		return false;
	spte_write_excl(ept, iter_entry(&it), SPTE_FROZEN, it.level);
	return true;
}

void ept_repoint_end(struct ept *ept, gfn_t gfn, fn_t fn)
{
	uint64_t new = spte_make_leaf(fn, false);
	struct ept_iter it;

	iter_start(&it, ept, gfn, gfn + 1);
	while (iter_down(&it))
		;
	bug_on(it.spte != SPTE_FROZEN || !spte_check_repoint(new));
	bug_on(sync_exchange(iter_entry(&it), new) != SPTE_FROZEN);
	atomic_fetch_add_explicit(&ept->leaves, 1, memory_order_relaxed);
}

void ept_for_each(struct ept *ept, gfn_t gfn, gfn_t end,
		  void (*visit)(void *ctx, gfn_t gfn, uint64_t spte), void *ctx)
{
	struct ept_iter it;

	if (gfn >= end)
		return;
	iter_start(&it, ept, gfn, end);
	do {
		while (iter_down(&it))
			;
		if (spte_is_present(it.spte))
			visit(ctx, it.gfn, it.spte);
	} while (iter_next(&it));
}
