// SPDX-License-Identifier: BSD-2-Clause
/* Slots that move and change their flags: what is refused changes nothing, what is done shows at once. */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "mmu/shadow/shadow_priv.h"
#include "tests/rig.h"
#include "tests/test.h"

static struct rig r;

static void up(void)
{
	rig_up(&r, &(struct rig_opts){ .pages = 16 });
}

static void down(void)
{
	rig_down(&r);
}

static struct memslot slot_at(gfn_t gfn)
{
	struct memslot slot;

	check(shadow_slot(r.shadow, gfn, &slot));
	return slot;
}

static bool is_slot(gfn_t gfn)
{
	struct memslot slot;

	return shadow_slot(r.shadow, gfn, &slot);
}

static uint64_t leaf_of(gfn_t gfn)
{
	int level;

	return ept_peek(&r.shadow->ept, gfn, &level);
}

static bool is_mapped(gfn_t gfn)
{
	return spte_is_present(leaf_of(gfn));
}

UTEST(slot_change, a_moved_slot_is_at_its_new_place_only, .init = up, .fini = down)
{
	char *window = r.guest;

	for (uint64_t page = 0; page < 16; page++)
		rig_store(rig_word(r.guest, page, 0), page + 1);
	check_eq(shadow_move_slot(r.shadow, 1, 0x9000), 0);
	check(!is_slot(RIG_GFN) && !is_slot(RIG_GFN + 15));
	for (uint64_t page = 0; page < 16; page++)
		check(!is_mapped(RIG_GFN + page) && !is_mapped(0x9000 + page));
	check_eq(shadow_fault(r.shadow, RIG_GFN, false), -ENXIO);
	check_eq(slot_at(0x900f).id, 1);
	check(window_base(&(struct memslot){ .backend = slot_at(0x9000).backend }) == window);
	for (uint64_t page = 0; page < 16; page++)
		check_eq(rig_load(rig_word(r.guest, page, 0)), page + 1);
	check(is_mapped(0x9003) && !is_mapped(RIG_GFN + 3));
	/* Brackets find it there. */
	check_eq(hostmm_discard(r.mm, rig_hva(&r, 3), rig_hva(&r, 4)), 0);
	check(!is_mapped(0x9003));
	check_eq(rig_load(rig_word(r.guest, 3, 0)), 0);
	rig_check(&r);
}

/* Onto a part of itself, in both directions; by one page; to the end of the world and back. */
UTEST(slot_change, a_slot_moves_over_itself, .init = up, .fini = down)
{
	static const gfn_t to[] = { RIG_GFN + 1, RIG_GFN - 7, 0, (1UL << 36) - 16, RIG_GFN };

	rig_store(rig_word(r.guest, 5, 0), 55);
	for (size_t i = 0; i < sizeof(to) / sizeof(to[0]); i++) {
		uint64_t word = 0;

		check_eq(shadow_move_slot(r.shadow, 1, to[i]), 0);
		check_eq(rig_load(rig_word(r.guest, 5, 0)), 55);
		check_eq(shadow_read(r.shadow, (to[i] + 5) << PAGE_SHIFT, &word, 8), 0);
		check_eq(word, 55);
		check(is_mapped(to[i] + 5));
		rig_check(&r);
	}
}

UTEST(slot_change, refused_moves_change_nothing, .init = up, .fini = down)
{
	struct shadow_stats before, after;

	rig_store(rig_word(r.guest, 5, 0), 55);
	check_eq(shadow_add_slot(r.shadow, 2, 0x200, 4, r.hva, 0), 0);
	shadow_get_stats(r.shadow, &before);
	check_eq(shadow_move_slot(r.shadow, 3, 0x300), -ENOENT);
	check_eq(shadow_move_slot(r.shadow, UINT32_MAX, 0x300), -ENOENT);
	check_eq(shadow_move_slot(r.shadow, 1, 0x1f1), -EEXIST);
	check_eq(shadow_move_slot(r.shadow, 1, 0x203), -EEXIST);
	check_eq(shadow_move_slot(r.shadow, 1, 0x200), -EEXIST);
	check_eq(shadow_move_slot(r.shadow, 2, RIG_GFN + 15), -EEXIST);
	check_eq(shadow_move_slot(r.shadow, 1, (1UL << 36) - 15), -EINVAL);
	check_eq(shadow_move_slot(r.shadow, 1, 1UL << 36), -EINVAL);
	check_eq(shadow_move_slot(r.shadow, 1, UINT64_MAX), -EINVAL);
	check_eq(shadow_move_slot(r.shadow, 1, UINT64_MAX - 15), -EINVAL);
	check_eq(shadow_move_slot(r.shadow, 1, RIG_GFN), 0); /* there already */
	shadow_get_stats(r.shadow, &after);
	check_eq(after.zapped, before.zapped);
	check_eq(after.leaves, before.leaves);
	check(is_mapped(RIG_GFN + 5));
	check_eq(shadow_move_slot(r.shadow, 1, 0x1f0), 0); /* touching is not overlapping */
	check_eq(rig_load(rig_word(r.guest, 5, 0)), 55);
	rig_check(&r);
}

UTEST(slot_change, read_only_takes_the_right_to_store, .init = up, .fini = down)
{
	struct shadow_stats before, after;

	for (uint64_t page = 0; page < 16; page++)
		rig_store(rig_word(r.guest, page, 0), page + 1);
	shadow_get_stats(r.shadow, &before);
	check_eq(shadow_set_slot_flags(r.shadow, 1, MEMSLOT_READONLY), 0);
	check_eq(slot_at(RIG_GFN).flags, MEMSLOT_READONLY);
	for (uint64_t page = 0; page < 16; page++) {
		check(!spte_is_writable(leaf_of(RIG_GFN + page)));
		check_eq(rig_load(rig_word(r.guest, page, 0)), page + 1);
	}
	shadow_get_stats(r.shadow, &after);
	check_eq(after.faults, before.faults); /* loads went on */
	check_eq(after.zapped, before.zapped);
	check_eq(shadow_fault(r.shadow, RIG_GFN + 2, true), -EACCES);
	rig_check(&r);
	check_eq(shadow_set_slot_flags(r.shadow, 1, 0), 0);
	for (uint64_t page = 0; page < 16; page++)
		rig_store(rig_word(r.guest, page, 0), page + 100);
	check_eq(rig_load(rig_word(r.host, 15, 0)), 115);
	check_eq(r.window_fatal, 0);
	rig_check(&r);
}

/* A guest's store to a slot that has become read-only fails, it does not get through. */
UTEST(slot_change, a_store_to_a_read_only_slot_fails, .init = up, .fini = down)
{
	rig_store(rig_word(r.guest, 2, 0), 1);
	check_eq(shadow_set_slot_flags(r.shadow, 1, MEMSLOT_READONLY), 0);
	check(!rig_try_store(rig_word(r.guest, 2, 0), 2));
	rig_wait(&r.window_fatal);
	check_eq(r.window_error, -EACCES);
	check_eq(rig_load(rig_word(r.host, 2, 0)), 1);
}

UTEST(slot_change, refused_flags_change_nothing, .init = up, .fini = down)
{
	hva_t ro;

	check_eq(hostmm_map(r.mm, 4, HOSTMM_PROT_READ, NULL, NULL, &ro), 0);
	check_eq(shadow_add_slot(r.shadow, 2, 0x200, 4, ro, MEMSLOT_READONLY), 0);
	check_eq(shadow_set_slot_flags(r.shadow, 3, 0), -ENOENT);
	check_eq(shadow_set_slot_flags(r.shadow, 1, MEMSLOT_INVALID), -EINVAL);
	check_eq(shadow_set_slot_flags(r.shadow, 1, 1u << 3), -EINVAL);
	check_eq(shadow_set_slot_flags(r.shadow, 1, UINT32_MAX), -EINVAL);
	check_eq(shadow_set_slot_flags(r.shadow, 2, 0), -EFAULT);
	check_eq(shadow_set_slot_flags(r.shadow, 2, MEMSLOT_LOG_DIRTY), -EFAULT);
	check_eq(slot_at(RIG_GFN).flags, 0);
	check_eq(slot_at(0x200).flags, MEMSLOT_READONLY);
	check_eq(shadow_set_slot_flags(r.shadow, 2, MEMSLOT_READONLY), 0);
	check_eq(shadow_set_slot_flags(r.shadow, 1, MEMSLOT_LOG_DIRTY), 0);
	check_eq(slot_at(RIG_GFN).flags, MEMSLOT_LOG_DIRTY);
	check_eq(shadow_set_slot_flags(r.shadow, 1, 0), 0);
	rig_store(rig_word(r.guest, 2, 0), 1);
	rig_check(&r);
}

/* Of two slots on one host page, one read-only: each has its own rights, and both hear of brackets. */
UTEST(slot_change, two_slots_of_one_page, .init = up, .fini = down)
{
	struct memslot other;
	char *view;

	check_eq(shadow_add_slot(r.shadow, 2, 0x200, 8, rig_hva(&r, 4), MEMSLOT_READONLY), 0);
	other = slot_at(0x200);
	view = window_base(&other);
	rig_store(rig_word(r.guest, 5, 0), 5);
	check_eq(rig_load(rig_word(view, 1, 0)), 5);
	check(is_mapped(RIG_GFN + 5) && is_mapped(0x201));
	check_eq(hostmm_discard(r.mm, rig_hva(&r, 5), rig_hva(&r, 6)), 0);
	check(!is_mapped(RIG_GFN + 5) && !is_mapped(0x201));
	check_eq(rig_load(rig_word(view, 1, 0)), 0);
	check_eq(rig_load(rig_word(r.guest, 5, 0)), 0);
	check_eq(shadow_move_slot(r.shadow, 2, 0x1000), 0);
	check(is_mapped(RIG_GFN + 5));
	check_eq(shadow_set_slot_flags(r.shadow, 2, 0), 0);
	rig_store(rig_word(view, 1, 0), 7);
	check_eq(rig_load(rig_word(r.guest, 5, 0)), 7);
	rig_check(&r);
}

/* ---- A fault under way ---- */

static void *store_page_3(void *arg)
{
	rig_store(rig_word(r.guest, 3, 0), 33);
	return arg;
}

static void *move_away(void *arg)
{
	check_eq(shadow_move_slot(r.shadow, 1, 0x9000), 0);
	return arg;
}

/* It has found the slot at the old place, and installs there: the move waits, takes it back, and the thread comes again. */
UTEST(slot_change, a_slot_moves_under_a_fault, .init = up, .fini = down)
{
	pthread_t fault, mover;

	gate_arm(&r.in_backend);
	r.before_map = rig_stop;
	fault = rig_thread(store_page_3, NULL);
	gate_wait(&r.in_backend);
	mover = rig_thread(move_away, NULL);
	while (is_slot(RIG_GFN))
		sched_yield();
	check(!is_slot(0x9000));
	gate_open(&r.in_backend);
	rig_join(mover);
	rig_join(fault);
	check_eq(rig_load(rig_word(r.guest, 3, 0)), 33);
	check(!is_mapped(RIG_GFN + 3));
	check(is_mapped(0x9003));
	check_eq(r.window_fatal, 0);
	rig_check(&r);
}

static uint64_t faults(void)
{
	struct shadow_stats stats;

	shadow_get_stats(r.shadow, &stats);
	return stats.faults;
}

/* A thread faults while the slot is nowhere: it sleeps until that is there again, and is not told that nothing is. */
UTEST(slot_change, a_fault_waits_for_a_moving_slot, .init = up, .fini = down)
{
	pthread_t fault, mover;
	uint64_t before;

	rig_store(rig_word(r.guest, 9, 0), 9);
	gate_arm(&r.in_backend);
	r.before_zap = rig_stop;
	mover = rig_thread(move_away, NULL);
	gate_wait(&r.in_backend);
	before = faults();
	fault = rig_thread(store_page_3, NULL);
	while (faults() == before)
		sched_yield();
	gate_open(&r.in_backend);
	rig_join(mover);
	rig_join(fault);
	check_eq(rig_load(rig_word(r.guest, 3, 0)), 33);
	check_eq(rig_load(rig_word(r.host, 3, 0)), 33);
	check_eq(rig_load(rig_word(r.guest, 9, 0)), 9);
	check_eq(r.window_fatal, 0);
	rig_check(&r);
}
