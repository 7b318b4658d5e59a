// SPDX-License-Identifier: BSD-2-Clause
/* The table and the life of an entry. */
#include "mmu/shadow/ept.h"

#include <signal.h>

#include "tests/rig.h"
#include "tests/test.h"

UTEST(spte, has_the_layout_of_intel)
{
	uint64_t leaf = spte_make_leaf(0x12345, true);

	check_eq(leaf & 7, 7);	    /* R W X */
	check_eq(leaf >> 3 & 7, 6); /* write back */
	check_eq(leaf >> 6 & 1, 1);
	check_eq(leaf >> 8 & 3, 3); /* A D */
	check_eq(leaf >> 12 & 0xffffffffff, 0x12345);
	check_eq(leaf >> 57 & 3, 3);
	check_eq(spte_fn(leaf), 0x12345);
	leaf = spte_make_leaf(1, false);
	check(!spte_is_writable(leaf) && spte_is_present(leaf) && spte_is_leaf(leaf, 1));
	check(!spte_is_leaf(leaf, 2));
	check(!spte_is_present(SPTE_FROZEN) && !spte_is_present(SPTE_NONE));
	check_eq(spte_level_pages(1), 1);
	check_eq(spte_level_pages(4), 1UL << 27);
	check_eq(spte_index(0x1ff, 1), 0x1ff);
	check_eq(spte_index((1UL << 36) - 1, 4), 0x1ff);
}

UTEST(spte, knows_every_lawful_change)
{
	static _Alignas(4096) char table_memory[4096];
	uint64_t none = SPTE_NONE, frozen = SPTE_FROZEN, ro = spte_make_leaf(7, false),
		 rw = spte_make_leaf(7, true), other = spte_make_leaf(8, true),
		 table = spte_make_table(table_memory),
		 huge = spte_make_leaf(512, true) | SPTE_LARGE;
	struct {
		uint64_t old, new;
		int level;
		bool lawful;
	} c[] = {
		{ none, ro, 1, true },
		{ none, rw, 1, true },
		{ none, table, 2, true },
		{ none, huge, 2, true },
		{ none, huge, 1, false },
		{ none, huge, 3, false },
		{ none, huge, 4, false },
		{ ro, rw, 1, true },
		{ rw, ro, 1, true },
		{ rw, rw & ~SPTE_ACCESSED, 1, true },
		{ rw, none, 1, true },
		{ rw, frozen, 1, true },
		{ table, frozen, 2, true },
		{ table, none, 2, false },
		{ frozen, none, 2, true },
		{ huge, none, 2, true },
		/* M17: a present leaf never changes its frame. */
		{ rw, other, 1, false },
		{ ro, other, 1, false },
		{ table, huge, 2, false },
		{ huge, table, 2, false },
		{ table, spte_make_table(&c), 2, false },
		{ none, none, 1, false },
		{ none, frozen, 1, false },
		{ frozen, rw, 1, false },
		{ frozen, frozen, 1, false },
		{ frozen, table, 2, false },
		{ none, 1, 1, false },
		/* W implies MW implies HW, and nobody writes what he cannot read. */
		{ none, rw & ~SPTE_MMU_WRITABLE, 1, false },
		{ none, rw & ~SPTE_HOST_WRITABLE, 1, false },
		{ none, (rw & ~SPTE_READ), 1, false },
		{ none, rw & ~SPTE_WRITE, 1, true },
	};

	for (unsigned i = 0; i < sizeof(c) / sizeof(c[0]); i++)
		check(spte_check_change(c[i].old, c[i].new, c[i].level) == c[i].lawful,
		      "case %u: %#lx -> %#lx", i, c[i].old, c[i].new);
}

struct visit {
	uint64_t count;
	gfn_t first, last;
};

static void visit(void *ctx, gfn_t gfn, uint64_t spte, int level)
{
	struct visit *v = ctx;

	check(spte_is_present(spte) && level == SPTE_LEVEL_4K);
	if (!v->count++)
		v->first = gfn;
	else
		check(gfn > v->last);
	v->last = gfn;
}

UTEST(ept, installs_finds_and_zaps)
{
	/* Ends and beginnings of tables at each level. */
	static const gfn_t at[] = {
		0, 511, 512, (1UL << 18) - 1, 1UL << 18, (1UL << 27) - 1, 1UL << 27, (1UL << 36) - 1
	};
	const unsigned n = sizeof(at) / sizeof(at[0]);
	struct visit v = { .count = 0 };
	struct ept_span span;
	struct ept ept;

	check_eq(ept_init(&ept, NULL), 0);
	check_eq(ept_peek(&ept, 12345, NULL), SPTE_NONE);
	for (unsigned i = 0; i < n; i++) {
		check_eq(ept_populate(&ept, ept_root(&ept), at[i], at[i] + 1, 1), 0);
		check(ept_install(&ept, ept_root(&ept), at[i], 1, SPTE_NONE,
				  spte_make_leaf(i, true)));
		check(!ept_install(&ept, ept_root(&ept), at[i], 1, SPTE_NONE,
				   spte_make_leaf(i, true)));
	}
	check_eq(ept_count_leaves(&ept), n);
	for (unsigned i = 0; i < n; i++)
		check_eq(spte_fn(ept_peek(&ept, at[i], NULL)), i);
	check_eq(ept_peek(&ept, 1, NULL), SPTE_NONE);
	ept_for_each(&ept, 0, 1UL << 36, visit, &v);
	check(v.count == n && v.first == 0 && v.last == (1UL << 36) - 1);
	v.count = 0;
	ept_for_each(&ept, 511, 513, visit, &v);
	check(v.count == 2 && v.first == 511 && v.last == 512);

	span = ept_zap(&ept, 5, 5);
	check_eq(span.count, 0);
	span = ept_zap(&ept, 1, 511);
	check_eq(span.count, 0);
	span = ept_zap(&ept, 1, 1UL << 18);
	check(span.count == 3 && span.start == 511 && span.end == 1UL << 18);
	span = ept_zap(&ept, 0, 1UL << 36);
	check(span.count == n - 3 && span.start == 0 && span.end == 1UL << 36);
	check_eq(ept_count_leaves(&ept), 0);
	ept_fini(&ept);
	check_eq(ept.table_pages, 0);
}

UTEST(ept, changes_rights_in_place)
{
	uint64_t ro = spte_make_leaf(3, false), rw = spte_make_leaf(3, true);
	struct ept ept;

	check_eq(ept_init(&ept, NULL), 0);
	check_eq(ept_populate(&ept, ept_root(&ept), 600, 601, 1), 0);
	check(ept_install(&ept, ept_root(&ept), 600, 1, SPTE_NONE, ro));
	check(!ept_install(&ept, ept_root(&ept), 600, 1, rw, ro));
	check(ept_install(&ept, ept_root(&ept), 600, 1, ro, rw));
	check_eq(ept_count_leaves(&ept), 1);
	ept_zap(&ept, 600, 601);
	ept_fini(&ept);
}

static void change_frame(void *arg)
{
	(void)ept_install(arg, ept_root(arg), 9, 1, spte_make_leaf(3, false),
			  spte_make_leaf(4, false));
}

static void fini_with_leaf(void *arg)
{
	ept_fini(arg);
}

UTEST(ept, refuses_unlawful_changes)
{
	struct ept ept;

	check_eq(ept_init(&ept, NULL), 0);
	check_eq(ept_populate(&ept, ept_root(&ept), 9, 10, 1), 0);
	check(ept_install(&ept, ept_root(&ept), 9, 1, SPTE_NONE, spte_make_leaf(3, false)));
	check_eq(test_signal_of(change_frame, &ept), SIGABRT);
	check_eq(test_signal_of(fini_with_leaf, &ept), SIGABRT);
	ept_zap(&ept, 9, 10);
	ept_fini(&ept);
}

/* Installers run beside each other: each leaf has one winner, tables are linked once. */
static struct ept shared;
static atomic_uint won;

static void *install_all(void *arg)
{
	for (gfn_t gfn = 0; gfn < 1UL << 14; gfn += 7) {
		expect(ept_populate(&shared, ept_root(&shared), gfn, gfn + 1, 1) == 0);
		if (ept_install(&shared, ept_root(&shared), gfn, 1, SPTE_NONE,
				spte_make_leaf(gfn, false)))
			atomic_fetch_add(&won, 1);
	}
	return arg;
}

UTEST(ept, has_one_winner_a_leaf)
{
	pthread_t t[3];
	unsigned leaves = ((1u << 14) + 6) / 7;

	check_eq(ept_init(&shared, NULL), 0);
	for (int i = 0; i < 3; i++)
		t[i] = rig_thread(install_all, NULL);
	for (int i = 0; i < 3; i++)
		rig_join(t[i]);
	check_eq(won, leaves);
	check_eq(ept_count_leaves(&shared), leaves);
	check_eq(ept_zap(&shared, 0, 1UL << 36).count, leaves);
	ept_fini(&shared);
}
