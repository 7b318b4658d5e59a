// SPDX-License-Identifier: BSD-2-Clause
/* Large leaves: zapped in part, split, collapsed; A and D through all of it. */
#include "mmu/shadow/ept.h"

#include <errno.h>
#include <stdlib.h>

#include "tests/test.h"

#define PAGES_2M 512UL
#define PAGES_1G (512UL * 512)

/* Takes the place of the C library's in this program: tables come from here. */
static unsigned allocations_left = ~0U;

void *aligned_alloc(size_t alignment, size_t size)
{
	void *p = NULL;

	if (!allocations_left || (~allocations_left && !allocations_left--))
		return NULL;
	return posix_memalign(&p, alignment, size) ? NULL : p;
}

static uint64_t dirtied_pages;

static void dirtied(void *ctx, gfn_t gfn, uint64_t npages)
{
	(void)ctx;
	(void)gfn;
	dirtied_pages += npages;
}

static const struct ept_opts with_ad = { .ad = true, .dirtied = dirtied, .chunk = 1 };
static const struct ept_opts without_ad = { .ad = false, .dirtied = dirtied, .chunk = 1 };

static struct ept ept;

static void up(const struct ept_opts *opts)
{
	dirtied_pages = 0;
	sync_rcu_read_lock();
	check_eq(ept_init(&ept, opts), 0);
}

/* Tests stand in one section throughout. */
static void reap(void)
{
	sync_rcu_read_unlock();
	ept_reap(&ept);
	sync_rcu_read_lock();
}

static void down(void)
{
	ept_zap(&ept, 0, 1UL << 36);
	sync_rcu_read_unlock();
	ept_reap(&ept);
	ept_fini(&ept);
	check_eq(ept.table_pages, 0);
}

static void install(gfn_t gfn, fn_t fn, bool writable, int level)
{
	check_eq(ept_populate(&ept, ept_root(&ept), gfn, gfn + 1, level), 0);
	check(ept_install(&ept, ept_root(&ept), gfn, level, SPTE_NONE,
			  ept_make_leaf(&ept, fn, writable, level)));
}

static uint64_t peek(gfn_t gfn, int level)
{
	int found;
	uint64_t spte = ept_peek(&ept, gfn, &found);

	check(!spte || found == level, "level %d", found);
	return spte;
}

UTEST(ept_huge, leaves_of_each_size)
{
	int level;

	up(&with_ad);
	check_eq(ept_hole_level(ept_root(&ept), 5), 3);
	install(0, PAGES_1G, true, 3);
	install(PAGES_1G, PAGES_2M, false, 2);
	install(PAGES_1G + PAGES_2M, 7, false, 1);
	check_eq(ept_peek(&ept, 12345, &level), spte_make_sized(PAGES_1G, true, 3, true));
	check_eq(level, 3);
	check_eq(ept_peek(&ept, PAGES_1G + 511, &level), spte_make_sized(PAGES_2M, false, 2, true));
	check_eq(level, 2);
	check_eq(ept_hole_level(ept_root(&ept), 5), 0);
	check_eq(ept_hole_level(ept_root(&ept), PAGES_1G + PAGES_2M + 1), 1);
	check_eq(ept_hole_level(ept_root(&ept), PAGES_1G + 2 * PAGES_2M), 2);
	check(ept.leaves[1] == 1 && ept.leaves[2] == 1 && ept.leaves[3] == 1);
	/* No table leads below a large leaf. */
	check_eq(ept_populate(&ept, ept_root(&ept), 0, PAGES_1G + 1, 1), 0);
	check(!ept_install(&ept, ept_root(&ept), 3, 1, SPTE_NONE, spte_make_leaf(3, true)));
	check_eq(ept_install_run(&ept, ept_root(&ept), 3, 1, spte_make_leaf(3, true)), 0);
	down();
}

UTEST(ept_huge, zap_of_a_part_keeps_the_rest)
{
	struct ept_span span;

	up(&with_ad);
	install(0, PAGES_1G, true, 3);
	span = ept_zap(&ept, PAGES_2M + 5, PAGES_2M + 8);
	check(span.start == PAGES_2M + 5 && span.end == PAGES_2M + 8 && span.count == 3);
	check_eq(dirtied_pages, 3);
	check_eq(peek(PAGES_2M + 5, 1), SPTE_NONE);
	check_eq(spte_fn(peek(PAGES_2M + 4, 1)), PAGES_1G + PAGES_2M + 4);
	check_eq(peek(0, 2), spte_make_sized(PAGES_1G, true, 2, true));
	check(ept.leaves[1] == 509 && ept.leaves[2] == 511 && !ept.leaves[3]);
	span = ept_zap(&ept, 2 * PAGES_2M, 3 * PAGES_2M);
	check(span.count == PAGES_2M && span.start == 2 * PAGES_2M);
	check_eq(ept.leaves[2], 510);
	down();
}

UTEST(ept_huge, split_and_collapse)
{
	uint64_t table_pages;

	up(&with_ad);
	install(PAGES_2M, PAGES_2M * 3, true, 2);
	table_pages = ept.table_pages;
	check_eq(ept_split(&ept, PAGES_2M + 9), 0);
	check_eq(ept_split(&ept, PAGES_2M + 9), 0);
	check_eq(ept.table_pages, table_pages + 1);
	check_eq(peek(PAGES_2M + 9, 1), spte_make_leaf(PAGES_2M * 3 + 9, true));
	check_eq(dirtied_pages, 0);
	check(ept_collapse(&ept, PAGES_2M + 100, 2));
	check(!ept_collapse(&ept, PAGES_2M + 100, 2));
	check_eq(peek(PAGES_2M + 9, 2), spte_make_sized(PAGES_2M * 3, true, 2, true));
	check_eq(dirtied_pages, 0);
	check_eq(ept.table_pages, table_pages + 1);
	reap();
	check_eq(ept.table_pages, table_pages);
	check(ept.leaves[2] == 1 && !ept.leaves[1]);
	down();
	check_eq(dirtied_pages, PAGES_2M);
}

UTEST(ept_huge, without_a_and_d)
{
	struct ept_span span;

	up(&without_ad);
	install(0, 0, true, 2);
	check_eq(spte_fn(ept_walk(&ept, 3, true, NULL)), 0);
	check(ept_test_young(&ept, 1, 2));
	span = ept_age(&ept, 1, 2);
	check(span.start == 0 && span.end == PAGES_2M);
	check_eq(dirtied_pages, PAGES_2M);
	check(!ept_test_young(&ept, 0, PAGES_2M) && !ept_age(&ept, 0, PAGES_2M).count);
	check(spte_is_access_tracked(peek(0, 2)));
	check_eq(ept_walk(&ept, 3, false, NULL), SPTE_NONE);
	check_eq(ept_split(&ept, 0), 0);
	check(spte_is_access_tracked(peek(77, 1)));
	check(ept_collapse(&ept, 0, 2));
	check(spte_is_access_tracked(peek(77, 2)));
	down();
	check_eq(dirtied_pages, PAGES_2M);
}

UTEST(ept_huge, without_memory)
{
	struct ept_page *root;
	struct ept_span span;
	struct ept none;

	up(&with_ad);
	root = ept_root(&ept);
	install(0, 0, true, 2);
	install(PAGES_2M, PAGES_2M, true, 2);
	install(PAGES_1G, PAGES_1G, true, 3);
	allocations_left = 0;
	check_eq(ept_init(&none, NULL), -ENOMEM);
	check(!ept_root_alloc(&ept));
	check_eq(ept_split(&ept, 3), -ENOMEM);
	check_eq(ept_repoint_begin(&ept, 3), -ENOMEM);
	check_eq(ept_populate(&ept, root, 2 * PAGES_1G, 2 * PAGES_1G + 1, 1), -ENOMEM);
	/* Two of three tables: what was linked stays, and serves the next try. */
	allocations_left = 1;
	check_eq(ept_populate(&ept, root, 2 * PAGES_1G, 2 * PAGES_1G + 1, 1), -ENOMEM);
	allocations_left = 1;
	check_eq(ept_populate(&ept, root, 2 * PAGES_1G, 2 * PAGES_1G + 1, 1), 0);
	allocations_left = 0;
	check_eq(dirtied_pages, 0);
	check_eq(peek(3, 2), spte_make_sized(0, true, 2, true));
	/* Whole: no page is protected or zapped in part. */
	span = ept_wrprotect(&ept, 5, 6, EPT_WP_LOG | EPT_WP_SPLIT);
	check(span.start == 0 && span.end == PAGES_2M && span.count == PAGES_2M);
	check(!spte_is_writable(peek(3, 2)));
	span = ept_zap(&ept, PAGES_2M + 1, PAGES_2M + 2);
	check(span.start == PAGES_2M && span.end == 2 * PAGES_2M && span.count == PAGES_2M);
	check_eq(dirtied_pages, PAGES_2M);
	/* 1G: one table there, the second is missing. */
	allocations_left = 1;
	span = ept_zap(&ept, PAGES_1G + 1, PAGES_1G + 2);
	check(span.start == PAGES_1G && span.count == PAGES_2M);
	check_eq(ept.leaves[2], 512); /* 511 of them, and that of gfn 0 */
	allocations_left = ~0U;
	down();
}

UTEST(ept_huge, wrprotect_splits_on_demand)
{
	struct ept_span span;

	up(&with_ad);
	install(0, PAGES_1G, true, 3);
	span = ept_wrprotect(&ept, 7, 9, EPT_WP_LOG | EPT_WP_SPLIT);
	check(span.start == 7 && span.end == 9 && span.count == 2);
	check(!spte_is_writable(peek(7, 1)) && spte_is_writable(peek(9, 1)));
	check(peek(7, 1) & SPTE_MMU_WRITABLE);
	check_eq(ept_wrprotect(&ept, 7, 9, EPT_WP_LOG | EPT_WP_SPLIT).count, 0);
	/* Not writable: nothing to split for. */
	span = ept_wrprotect(&ept, 0, PAGES_1G, EPT_WP_HOST);
	check_eq(span.count, PAGES_1G);
	check_eq(ept.leaves[2], 511);
	check_eq(ept_wrprotect(&ept, 0, PAGES_1G, EPT_WP_HOST | EPT_WP_SPLIT).count, 0);
	check_eq(ept.leaves[2], 511);
	check_eq(dirtied_pages, 0);
	down();
	check_eq(dirtied_pages, PAGES_1G);
}

/* Install [0, 512) in 4K leaves of frames from @fn on, then let @change break one rule. */
static bool collapses(fn_t fn, int change)
{
	uint64_t first, second;
	bool did;

	up(&with_ad);
	check_eq(ept_populate(&ept, ept_root(&ept), 0, PAGES_2M, 1), 0);
	check_eq(ept_install_run(&ept, ept_root(&ept), 0, PAGES_2M, spte_make_leaf(fn, true)),
		 PAGES_2M);
	first = ept_peek(&ept, 0, NULL);
	second = ept_peek(&ept, 77, NULL);
	if (change == 1)
		ept_zap(&ept, 511, 512);
	if (change == 2)
		ept_wrprotect(&ept, 77, 78, EPT_WP_LOG);
	if (change == 3) {
		ept_zap(&ept, 77, 78);
		check(ept_install(&ept, ept_root(&ept), 77, 1, SPTE_NONE, first));
	}
	if (change == 4)
		check(ept_install(&ept, ept_root(&ept), 77, 1, second, second & ~SPTE_EXEC));
	if (change == 5) {
		ept_zap(&ept, 77, 78);
		check(ept_install(&ept, ept_root(&ept), 77, 1, SPTE_NONE,
				  spte_make_sized(fn + 77, true, 1, false)));
	}
	if (change == 8)
		ept_wrprotect(&ept, 77, 78, EPT_WP_HOST);
	if (change == 6)
		check(ept_install(&ept, ept_root(&ept), 77, 1, second,
				  second & ~(SPTE_ACCESSED | SPTE_DIRTY)));
	if (change == 7)
		ept_zap(&ept, 0, 1);
	did = ept_collapse(&ept, 100, 2);
	check_eq(ept.leaves[2], did);
	check(did || ept.leaves[1] >= 511);
	if (did)
		check_eq(peek(77, 2),
			 spte_make_sized(fn, true, 2, true) & ~(change == 2 ? SPTE_WRITE : 0));
	down();
	return did;
}

UTEST(ept_huge, collapse_is_refused_unless_all_is_alike)
{
	check(collapses(PAGES_2M, 0));
	check(!collapses(PAGES_2M, 1)); /* the last is missing */
	check(collapses(PAGES_2M, 2));	/* protected for a while: so is the whole */
	check(!collapses(PAGES_2M, 8)); /* other rights: A7 */
	check(!collapses(PAGES_2M, 3)); /* not contiguous */
	check(!collapses(PAGES_2M, 4));
	check(!collapses(PAGES_2M, 5));
	check(collapses(PAGES_2M, 6));	    /* A and D are the union */
	check(!collapses(PAGES_2M, 7));	    /* the first is missing */
	check(!collapses(PAGES_2M + 1, 0)); /* not aligned */
	check(!collapses(PAGES_2M + 256, 0));
}

UTEST(ept_huge, collapse_to_1g)
{
	up(&with_ad);
	install(0, PAGES_1G, true, 3);
	check_eq(ept_split(&ept, 0), 0);
	check_eq(ept_split(&ept, PAGES_2M * 3), 0);
	check(!ept_collapse(&ept, 0, 3));
	check(ept_collapse(&ept, PAGES_2M * 3, 2));
	check(ept_collapse(&ept, PAGES_2M * 3, 3));
	check_eq(peek(5, 3), spte_make_sized(PAGES_1G, true, 3, true));
	down();
}

UTEST(ept_huge, repoint_splits)
{
	up(&with_ad);
	install(0, 0, true, 2);
	check_eq(ept_repoint_begin(&ept, 5), 1);
	check_eq(dirtied_pages, 1);
	check_eq(ept_peek(&ept, 5, NULL), SPTE_NONE);
	check_eq(ept_hole_level(ept_root(&ept), 5), 0);
	check(!ept_install(&ept, ept_root(&ept), 5, 1, SPTE_NONE, spte_make_leaf(9, true)));
	check(!ept_collapse(&ept, 5, 2));
	ept_repoint_end(&ept, 5, 9);
	check_eq(spte_fn(peek(5, 1)), 9);
	check_eq(spte_fn(peek(6, 1)), 6);
	check_eq(ept.leaves[1], 512);
	check_eq(ept_repoint_begin(&ept, PAGES_2M), 0);
	down();
}

UTEST(ept_huge, prune_makes_room)
{
	up(&with_ad);
	install(5, 5, true, 1);
	install(PAGES_1G + 5, 5, true, 1);
	check_eq(ept_prune(&ept, 0, 2 * PAGES_1G), 0);
	ept_zap(&ept, 5, 6);
	check_eq(ept_hole_level(ept_root(&ept), 5), 1);
	check_eq(ept_prune(&ept, 0, PAGES_2M - 1), 0); /* in part */
	check_eq(ept_prune(&ept, 0, PAGES_2M), 1);
	check_eq(ept_hole_level(ept_root(&ept), 5), 2);
	check_eq(ept_prune(&ept, 0, PAGES_1G), 1);
	check_eq(ept_hole_level(ept_root(&ept), 5), 3);
	check(peek(PAGES_1G + 5, 1));
	ept_zap(&ept, PAGES_1G + 5, PAGES_1G + 6);
	check_eq(ept_prune(&ept, 0, 1UL << 36), 1); /* with all below it */
	reap();
	check_eq(ept.table_pages, 1);
	down();
}

UTEST(ept_huge, roots)
{
	struct ept_page *old;
	struct ept_page *fresh;
	unsigned steps = 1;

	up(&with_ad);
	install(0, PAGES_1G, true, 3);
	install(PAGES_1G, 5, true, 1);
	install(PAGES_1G + PAGES_2M, 6, true, 1);
	fresh = ept_root_alloc(&ept);
	check(fresh);
	ept_root_swap(&ept, fresh, &old);
	check(ept_root(&ept) == fresh);
	check_eq(ept_peek(&ept, 0, NULL), SPTE_NONE);
	check_eq(ept_zap(&ept, 0, 1).count, 1);
	check_eq(dirtied_pages, 1);
	while (!ept_root_teardown(&ept, old, 1))
		steps++;
	check_eq(steps, 6);
	check_eq(dirtied_pages, PAGES_1G + 2);
	check_eq(ept_count_leaves(&ept), 0);
	reap();
	check_eq(ept.table_pages, 1);
	down();
}
