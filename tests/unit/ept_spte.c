// SPDX-License-Identifier: BSD-2-Clause
/* The layout of an entry, bit by bit, and every pair of states at every level. */
#include "mmu/shadow/spte.h"

#include <stdatomic.h>

#include "tests/test.h"

static const fn_t frame = 512UL * 512 * 3; /* aligned for every size */

static uint64_t leaf(int level, bool writable, bool ad)
{
	return spte_make_sized(frame, writable, level, ad);
}

UTEST(spte, bits_lie_where_intel_and_kvm_have_them)
{
	const struct {
		uint64_t mask;
		unsigned bit;
	} bits[] = {
		{ SPTE_READ, 0 },	    { SPTE_WRITE, 1 },	       { SPTE_EXEC, 2 },
		{ SPTE_IPAT, 6 },	    { SPTE_LARGE, 7 },	       { SPTE_ACCESSED, 8 },
		{ SPTE_DIRTY, 9 },	    { SPTE_MMU_PRESENT, 11 },  { SPTE_AD_DISABLED, 52 },
		{ SPTE_HOST_WRITABLE, 57 }, { SPTE_MMU_WRITABLE, 58 },
	};

	for (unsigned i = 0; i < sizeof(bits) / sizeof(bits[0]); i++)
		check_eq(bits[i].mask, 1UL << bits[i].bit);
	check_eq(SPTE_MT_WB, 0x30);
	check_eq(SPTE_SAVED, 1UL << 54 | 1UL << 56);
	check_eq(SPTE_ADDR_MASK, ((1UL << 52) - 1) & ~0xfffUL);
	check_eq(leaf(1, true, true), frame << 12 | 0x0600000000000b77UL);
	check_eq(leaf(2, false, true), frame << 12 | 0x9f5UL);
	check_eq(leaf(3, true, false), frame << 12 | 0x06100000000008f7UL);
	check_eq(spte_make_table((void *)0x7f0000123000), 0x7f0000123907UL);
	check(spte_is_frozen(SPTE_FROZEN) && spte_is_frozen(SPTE_FROZEN | 0x7f0000123000UL));
	check(!spte_is_frozen(SPTE_NONE) && !spte_is_frozen(leaf(2, true, true)));
}

UTEST(spte, access_tracking_saves_read_and_execute)
{
	uint64_t rw = leaf(1, true, false), old = spte_track_access(rw);

	check(!(old & SPTE_RIGHTS) && (old & SPTE_SAVED) == SPTE_SAVED);
	check_eq(old & ~SPTE_SAVED, rw & ~SPTE_RIGHTS);
	check(spte_is_access_tracked(old) && !spte_is_access_tracked(rw));
	check_eq(spte_track_access(old), old);
	check_eq(spte_restore_access(old), rw & ~SPTE_WRITE);
	check(spte_is_young(rw) && !spte_is_young(old));
	check(spte_is_dirty(rw) && !spte_is_dirty(old));
	check(!spte_is_access_tracked(leaf(1, true, true)));
}

enum kind { NONE, FROZEN, AD, NO_AD, OTHER, TABLE, KINDS };

struct state {
	enum kind kind;
	uint64_t spte;
};

static unsigned states(struct state s[16], int level)
{
	unsigned n = 0;

	s[n++] = (struct state){ NONE, SPTE_NONE };
	s[n++] = (struct state){ FROZEN, SPTE_FROZEN };
	if (level > 1)
		s[n++] = (struct state){ TABLE, spte_make_table((void *)0x7f0000123000) };
	if (level > 1)
		s[n++] = (struct state){ TABLE, spte_make_table((void *)0x7f0000124000) };
	if (level == 4)
		return n;
	s[n++] = (struct state){ AD, leaf(level, true, true) };
	s[n++] = (struct state){ AD, leaf(level, false, true) };
	s[n++] = (struct state){ AD, leaf(level, true, true) & ~SPTE_WRITE };
	s[n++] = (struct state){ AD, leaf(level, true, true) & ~(SPTE_ACCESSED | SPTE_DIRTY) };
	s[n++] = (struct state){ AD, leaf(level, true, true) & ~SPTE_EXEC };
	s[n++] = (struct state){ NO_AD, leaf(level, true, false) };
	s[n++] = (struct state){ NO_AD, leaf(level, false, false) };
	s[n++] = (struct state){ NO_AD, spte_track_access(leaf(level, true, false)) };
	s[n++] = (struct state){ OTHER, spte_make_sized(0, true, level, true) };
	return n;
}

UTEST(spte, every_pair_of_states_at_every_level)
{
	static const bool lawful[KINDS][KINDS] = {
		[NONE] = { [AD] = true, [NO_AD] = true, [OTHER] = true, [TABLE] = true },
		[FROZEN] = { [NONE] = true },
		[AD] = { [NONE] = true, [FROZEN] = true, [AD] = true },
		[NO_AD] = { [NONE] = true, [FROZEN] = true, [NO_AD] = true },
		[OTHER] = { [NONE] = true, [FROZEN] = true, [OTHER] = true },
		[TABLE] = { [FROZEN] = true },
	};
	struct state s[16];

	for (int level = 1; level <= SPTE_LEVELS; level++) {
		unsigned n = states(s, level);

		for (unsigned from = 0; from < n; from++)
			for (unsigned to = 0; to < n; to++)
				check(spte_check_change(s[from].spte, s[to].spte, level) ==
					      lawful[s[from].kind][s[to].kind],
				      "level %d: %#lx -> %#lx", level, s[from].spte, s[to].spte);
	}
}

UTEST(spte, refuses_malformed_leaves)
{
	uint64_t rw = leaf(1, true, true), off = leaf(1, true, false);
	const struct {
		uint64_t spte;
		int level;
	} bad[] = {
		{ leaf(2, true, true), 1 },
		{ leaf(3, true, true), 4 },
		{ spte_make_sized(frame + 1, true, 2, true), 2 },
		{ spte_make_sized(frame + 256, true, 2, true), 2 },
		{ spte_make_sized(frame + 512, true, 3, true), 3 },
		{ rw & ~SPTE_MMU_WRITABLE, 1 },
		{ rw & ~SPTE_HOST_WRITABLE, 1 },
		{ rw & ~SPTE_READ, 1 },
		{ rw & ~SPTE_RIGHTS, 1 }, /* tracked, with A and D */
		{ rw & ~SPTE_IPAT, 1 },
		{ rw & ~(2UL << 3), 1 },
		{ rw | 1UL << 10, 1 },
		{ rw | 1UL << 53, 1 },
		{ rw | 1UL << 63, 1 },
		{ rw | SPTE_SAVED, 1 },
		{ off | SPTE_ACCESSED, 1 },
		{ off | SPTE_DIRTY, 1 },
		{ off | SPTE_SAVED, 1 },
		{ off & ~SPTE_RIGHTS, 1 }, /* nothing saved */
		{ (off & ~SPTE_RIGHTS) | SPTE_EXEC << SPTE_SAVED_SHIFT, 1 },
		{ spte_track_access(off) | SPTE_READ, 1 },
	};

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		check(!spte_check_leaf(bad[i].spte, bad[i].level), "case %u: %#lx", i, bad[i].spte);
		check(!spte_check_change(SPTE_NONE, bad[i].spte, bad[i].level), "case %u", i);
	}
	/* A table that is none, or at the bottom; leaves without PS are tables above level 1. */
	check(!spte_check_change(SPTE_NONE, spte_make_table(NULL), 2));
	check(!spte_check_change(SPTE_NONE, spte_make_table((void *)0x1000), 1));
	check(!spte_check_change(SPTE_NONE, rw, 2));
}

UTEST(spte, a_split_says_what_the_leaf_said)
{
	static _Atomic uint64_t child[SPTE_PER_TABLE];
	uint64_t large;

	for (int level = 2; level <= 3; level++) {
		large = leaf(level, true, true) & ~SPTE_DIRTY;
		for (unsigned i = 0; i < SPTE_PER_TABLE; i++) {
			child[i] = spte_make_small(large, level, i);
			check(spte_check_leaf(child[i], level - 1));
			check_eq(spte_fn(child[i]), frame + i * spte_level_pages(level - 1));
		}
		check(spte_check_split(large, child, level));
		check(!spte_check_split(large | SPTE_DIRTY, child, level));
		check(!spte_check_split(large & ~SPTE_WRITE, child, level));
		check(!spte_check_split(SPTE_FROZEN, child, level));
		check(!spte_check_split(child[0], child, 1));
		child[511] = SPTE_NONE;
		check(!spte_check_split(large, child, level));
		check(spte_check_collapse(child[0], large | SPTE_DIRTY, level));
		check(!spte_check_collapse(child[1], large, level));
		check(!spte_check_collapse(SPTE_NONE, large, level));
		check(!spte_check_collapse(child[0], leaf(level, true, false), level));
		check(!spte_check_collapse(child[0], large, level - 1));
	}
}
