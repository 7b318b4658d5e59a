// SPDX-License-Identifier: BSD-2-Clause
/* What snapshots by a dirty log have missed elsewhere (field: diff snapshots): offsets of several slots, pages that are not in memory. */
#include "mmu/host/hostmm_reclaim.h"
#include "mmu/shadow/dirty.h"
#include "tests/rig.h"
#include "tests/test.h"

#define PAGES 64UL

static struct rig r;

static void up(void)
{
	rig_up(&r, &(struct rig_opts){ .pages = PAGES, .pool_frames = 8 * PAGES, .around = 1 });
}

static void down(void)
{
	rig_down(&r);
}

static uint64_t get(unsigned slot)
{
	uint64_t bits[1] = { 0 };

	check_eq(shadow_get_dirty_log(r.shadow, slot, bits), 0);
	return bits[0];
}

/* Slots of unequal length, at gfns in another order than their addresses. */
UTEST(limits_dirty, each_slot_has_its_own_offsets, .init = up, .fini = down)
{
	static const struct {
		gfn_t gfn;
		uint64_t page, n, stored;
	} slots[] = { { 0x30000, 3, 5, 4 }, { 0x10007, 20, 17, 16 }, { 0x20001, 40, 9, 0 } };
	struct memslot slot;

	for (unsigned i = 0; i < 3; i++)
		check_eq(shadow_add_slot(r.shadow, 2 + i, slots[i].gfn, slots[i].n,
					 rig_hva(&r, slots[i].page), MEMSLOT_LOG_DIRTY),
			 0);
	for (unsigned i = 0; i < 3; i++) {
		check(shadow_slot(r.shadow, slots[i].gfn, &slot));
		rig_guest_store(&r, rig_word(window_base(&slot), slots[i].stored, 0), 50 + i);
	}
	for (unsigned i = 0; i < 3; i++) {
		uint64_t value;

		check_eq(get(2 + i), 1UL << slots[i].stored);
		/* What a copy by that offset finds. */
		check_eq(hostmm_read(r.mm, rig_hva(&r, slots[i].page + slots[i].stored), &value, 8),
			 0);
		check_eq(value, 50 + i);
	}
}

/* Stored to, then reclaimed, then told: the page has to be copied all the same, and what comes back is not dirty for having been out. */
UTEST(limits_dirty, pages_that_are_out_are_not_forgotten, .init = up, .fini = down)
{
	uint64_t n;

	check_eq(pool_swapon(r.pool, -1, PAGES), 0);
	for (uint64_t page = 0; page < PAGES; page++)
		check_eq(hostmm_write(r.mm, rig_hva(&r, page), &page, sizeof(page)), 0);
	check_eq(shadow_set_slot_flags(r.shadow, 1, MEMSLOT_LOG_DIRTY), 0);
	(void)get(1);
	rig_guest_store(&r, rig_word(r.guest, 5, 0), 105);
	rig_guest_store(&r, rig_word(r.guest, 9, 0), 109);
	check_eq(hostmm_reclaim(r.mm, r.hva, rig_hva(&r, PAGES), &n), 0);
	check_eq(n, PAGES);
	check_eq(get(1), 1UL << 5 | 1UL << 9);
	for (uint64_t page = 0; page < PAGES; page++)
		check_eq(rig_load(rig_word(r.guest, page, 0)),
			 page == 5 || page == 9 ? 100 + page : page);
	check_eq(get(1), 0);
	rig_guest_store(&r, rig_word(r.guest, 6, 0), 1);
	check_eq(get(1), 1UL << 6);
}
