// SPDX-License-Identifier: BSD-2-Clause
/* Slots when memory, VMAs or the backend run out: an errno, and everything as it was. */
#include <linux/userfaultfd.h>

#include "mmu/shadow/shadow_priv.h"
#include "tests/rig.h"
#include "tests/test.h"
#include "tests/unit/fail_calls.h"
#include "tests/unit/fake_calloc.h"

static struct rig r;

static void up(void)
{
	rig_up(&r, &(struct rig_opts){ .pages = 2048 });
}

static void down(void)
{
	rig_down(&r);
}

/* Everything that a caller can see of slots. */
struct state {
	uint64_t leaves, zapped, count;
	struct memslot slot;
};

static struct state look(gfn_t gfn)
{
	struct shadow_stats stats;
	struct state state;

	shadow_get_stats(r.shadow, &stats);
	check(shadow_slot(r.shadow, gfn, &state.slot));
	state.leaves = stats.leaves;
	state.zapped = stats.zapped;
	state.count = r.shadow->slots.count;
	check_eq(interval_tree_check(&r.shadow->slots.set[0].gfns), state.count);
	check_eq(interval_tree_check(&r.shadow->slots.set[1].hvas), state.count);
	check_eq(interval_tree_check(&r.shadow->slots.ids), state.count);
	return state;
}

static void same(struct state a)
{
	struct state b = look(RIG_GFN);

	check_eq(a.leaves, b.leaves);
	check_eq(a.zapped, b.zapped);
	check_eq(a.count, b.count);
	check_eq(a.slot.flags, b.slot.flags);
	check(a.slot.backend == b.slot.backend);
	rig_check(&r);
}

static int add(void)
{
	return shadow_add_slot(r.shadow, 2, 0x9000, 2048, r.hva, 0);
}

static int add_small(void)
{
	return shadow_add_slot(r.shadow, 2, 0x9000, 4, r.hva, MEMSLOT_LOG_DIRTY);
}

static int move(void)
{
	return shadow_move_slot(r.shadow, 1, 0x9000);
}

static int protect(void)
{
	return shadow_set_slot_flags(r.shadow, 1, MEMSLOT_READONLY);
}

static int drop(void)
{
	return shadow_remove_slot(r.shadow, 1);
}

#define CALLOC CALLS /* the one that fake_calloc.h knows */

static void fail_at(enum call call, unsigned n)
{
	if (call == CALLOC)
		fake_calloc_at = n;
	else
		rule_set(call, call == IOCTL ? UFFDIO_REGISTER : 0, ENOMEM, n, n);
}

/* Has the call come that was to fail? */
static bool has_failed(enum call call, unsigned n)
{
	bool failed = call == CALLOC ? !fake_calloc_at : rule_seen() >= n;

	fake_calloc_at = 0;
	rule_clear();
	return failed;
}

/* Each call of one kind fails in turn, until none is left to fail and @fn works. Returns how many did. */
static unsigned fail_each(int (*fn)(void), enum call call)
{
	struct state before = look(RIG_GFN);

	for (unsigned n = 1;; n++) {
		int rc;

		fail_at(call, n);
		rc = fn();
		if (!has_failed(call, n)) {
			check_eq(rc, 0);
			return n - 1;
		}
		check_eq(rc, -ENOMEM);
		same(before);
	}
}

UTEST(slot_fail, each_allocation_of_each_change, .init = up, .fini = down)
{
	rig_store(rig_word(r.guest, 7, 0), 7);
	check(fail_each(add, CALLOC) >= 3); /* slot, pane, view */
	check_eq(shadow_remove_slot(r.shadow, 2), 0);
	check(fail_each(add_small, CALLOC) >= 4);
	check_eq(shadow_remove_slot(r.shadow, 2), 0);
	check(fail_each(protect, CALLOC) >= 1);
	check_eq(shadow_set_slot_flags(r.shadow, 1, 0), 0);
	check(fail_each(move, CALLOC) >= 2);
	check_eq(shadow_move_slot(r.shadow, 1, RIG_GFN), 0);
	check_eq(rig_load(rig_word(r.guest, 7, 0)), 7);
	check(fail_each(drop, CALLOC) >= 1);
}

UTEST(slot_fail, each_mapping_of_a_pane, .init = up, .fini = down)
{
	check(fail_each(add, MMAP) >= 2);
	check_eq(shadow_remove_slot(r.shadow, 2), 0);
	check(fail_each(add_small, MMAP) >= 1);
}

UTEST(slot_fail, userfaultfd_does_not_take_the_pane, .init = up, .fini = down)
{
	check_eq(fail_each(add, IOCTL), 1);
	check_eq(shadow_remove_slot(r.shadow, 2), 0);
	check_eq(fail_each(add_small, IOCTL), 1);
}
