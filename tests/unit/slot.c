// SPDX-License-Identifier: BSD-2-Clause
/* Memslots: the sorted array, copies of it, and what the shadow refuses. */
#include "mmu/shadow/slot.h"

#include <errno.h>
#include <stdlib.h>

#include "tests/rig.h"
#include "tests/test.h"

static void publish(struct slots *s, struct memslots *next)
{
	free(slots_publish(s, next));
}

static int add(struct slots *s, unsigned id, gfn_t gfn, uint64_t n)
{
	struct memslot slot = { .id = id, .gfn = gfn, .npages = n };
	struct memslots *next;
	int rc = slots_with(s, &slot, &next);

	if (!rc)
		publish(s, next);
	return rc;
}

static unsigned id_at(struct slots *s, gfn_t gfn)
{
	const struct memslot *slot = memslots_find(slots_get(s), gfn);

	return slot ? slot->id : 0;
}

UTEST(slot, finds_by_gfn)
{
	struct slots s;

	check_eq(slots_init(&s), 0);
	check_eq(id_at(&s, 0), 0);
	check_eq(add(&s, 2, 100, 10), 0);
	check_eq(add(&s, 1, 0, 1), 0);
	check_eq(add(&s, 3, 110, 1), 0); /* touching is not overlapping */
	check_eq(add(&s, 4, (1UL << 36) - 1, 1), 0);
	check_eq(id_at(&s, 0), 1);
	check_eq(id_at(&s, 1), 0);
	check_eq(id_at(&s, 99), 0);
	check_eq(id_at(&s, 100), 2);
	check_eq(id_at(&s, 109), 2);
	check_eq(id_at(&s, 110), 3);
	check_eq(id_at(&s, 111), 0);
	check_eq(id_at(&s, (1UL << 36) - 1), 4);
	check_eq(slots_get(&s)->count, 4);
	slots_fini(&s);
}

UTEST(slot, refuses_overlaps_and_used_ids)
{
	struct slots s;

	check_eq(slots_init(&s), 0);
	check_eq(add(&s, 1, 100, 10), 0);
	check_eq(add(&s, 1, 500, 10), -EEXIST);
	check_eq(add(&s, 2, 90, 11), -EEXIST);
	check_eq(add(&s, 2, 109, 1), -EEXIST);
	check_eq(add(&s, 2, 0, 1000), -EEXIST);
	check_eq(add(&s, 2, 103, 2), -EEXIST);
	check_eq(add(&s, 2, 90, 10), 0);
	slots_fini(&s);
}

UTEST(slot, removes_and_marks)
{
	struct memslots *next;
	struct slots s;

	check_eq(slots_init(&s), 0);
	for (unsigned i = 1; i <= 9; i++)
		check_eq(add(&s, i, i * 10, 10), 0);
	check_eq(slots_without(&s, 77, &next), -ENOENT);
	check_eq(slots_invalid(&s, 77, &next), -ENOENT);
	check_eq(slots_invalid(&s, 5, &next), 0);
	publish(&s, next);
	check(memslots_find(slots_get(&s), 55)->flags & MEMSLOT_INVALID);
	check(!(memslots_find(slots_get(&s), 45)->flags & MEMSLOT_INVALID));
	check_eq(slots_without(&s, 5, &next), 0);
	publish(&s, next);
	check_eq(id_at(&s, 49), 4);
	check_eq(id_at(&s, 50), 0);
	check_eq(id_at(&s, 60), 6);
	check_eq(slots_get(&s)->count, 8);
	slots_fini(&s);
}

UTEST(slot, shadow_refuses_what_makes_no_slot)
{
	struct memslot slot;
	struct rig r;
	hva_t ro;

	rig_up(&r, &(struct rig_opts){ .pages = 16, .no_slot = true });
	check_eq(hostmm_map(r.mm, 4, HOSTMM_PROT_READ, NULL, NULL, &ro), 0);
	check_eq(shadow_add_slot(r.shadow, 1, 0, 0, r.hva, 0), -EINVAL);
	check_eq(shadow_add_slot(r.shadow, 1, 0, 1, r.hva + 8, 0), -EINVAL);
	check_eq(shadow_add_slot(r.shadow, 1, 0, 1, r.hva, MEMSLOT_INVALID), -EINVAL);
	check_eq(shadow_add_slot(r.shadow, 1, 1UL << 36, 1, r.hva, 0), -EINVAL);
	check_eq(shadow_add_slot(r.shadow, 1, (1UL << 36) - 1, 2, r.hva, 0), -EINVAL);
	check_eq(shadow_add_slot(r.shadow, 1, UINT64_MAX, 2, r.hva, 0), -EINVAL);
	check_eq(shadow_add_slot(r.shadow, 1, 2, UINT64_MAX, r.hva, 0), -EINVAL);
	check_eq(shadow_add_slot(r.shadow, 1, 0, 17, r.hva, 0), -EFAULT);
	check_eq(shadow_add_slot(r.shadow, 1, 0, 1, 0x1000, 0), -EFAULT);
	check_eq(shadow_add_slot(r.shadow, 1, 0, 4, ro, 0), -EFAULT);
	check_eq(shadow_add_slot(r.shadow, 1, 0, 4, ro, MEMSLOT_READONLY), 0);
	check_eq(shadow_add_slot(r.shadow, 1, 100, 4, r.hva, 0), -EEXIST);
	check_eq(shadow_add_slot(r.shadow, 2, 3, 4, r.hva, 0), -EEXIST);
	check_eq(shadow_remove_slot(r.shadow, 2), -ENOENT);
	check_eq(shadow_remove_slot(r.shadow, 1), 0);
	check(!shadow_slot(r.shadow, 0, &slot));
	rig_down(&r);
}

/* The last gfn that four levels reach. */
UTEST(slot, reaches_the_last_gfn)
{
	gfn_t last = (1UL << 36) - 1;
	struct shadow_stats stats;
	struct memslot slot;
	uint64_t word = 42;
	struct rig r;

	rig_up(&r, &(struct rig_opts){ .pages = 16, .no_slot = true });
	check_eq(shadow_add_slot(r.shadow, 9, last - 3, 4, rig_hva(&r, 8), 0), 0);
	check(shadow_slot(r.shadow, last, &slot));
	check_eq(slot.id, 9);
	check(!shadow_slot(r.shadow, last + 1, &slot));
	check(!shadow_slot(r.shadow, UINT64_MAX, &slot));
	rig_store(rig_word(window_base(&slot), 3, 0), 5);
	check_eq(rig_load(rig_word(r.host, 11, 0)), 5);
	check_eq(shadow_fault(r.shadow, last + 1, false), -ENXIO);
	check_eq(shadow_fault(r.shadow, UINT64_MAX, true), -ENXIO);
	check_eq(shadow_read(r.shadow, last << 12, &word, 8), 0);
	check_eq(word, 5);
	check_eq(shadow_read(r.shadow, (last + 1) << 12, &word, 8), -EFAULT);
	check_eq(shadow_read(r.shadow, ((last + 1) << 12) - 4, &word, 8), -EFAULT);
	check_eq(shadow_write(r.shadow, UINT64_MAX - 3, &word, 8), -EFAULT);
	shadow_get_stats(r.shadow, &stats);
	check(stats.leaves >= 1 && stats.table_pages == 4);
	rig_check(&r);
	check_eq(shadow_remove_slot(r.shadow, 9), 0);
	shadow_get_stats(r.shadow, &stats);
	check_eq(stats.leaves, 0);
	rig_down(&r);
}
