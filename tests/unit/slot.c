// SPDX-License-Identifier: BSD-2-Clause
/* Memslots: the two sets of trees, and what the shadow refuses. */
#include "mmu/shadow/slot.h"

#include <errno.h>
#include <stdlib.h>

#include "tests/rig.h"
#include "tests/test.h"

/* A change as the shadow makes it, without readers. */
static void change(struct slots *s, struct memslot *old, struct memslot *new)
{
	slots_stage(s, old, new);
	slots_publish(s);
	slots_mirror(s, old, new);
	memslot_free(old);
}

static int add(struct slots *s, unsigned id, gfn_t gfn, uint64_t n, hva_t hva)
{
	struct memslot slot = { .id = id, .gfn = gfn, .npages = n, .hva = hva };

	if (slots_find_id(s, id) || slots_overlap(s, gfn, gfn + n, NULL))
		return -EEXIST;
	change(s, NULL, memslot_alloc(&slot));
	return 0;
}

static void remove_all(struct slots *s)
{
	struct memslot *slot;

	while ((slot = slots_first_id(s, 0)))
		change(s, slot, NULL);
	slots_fini(s);
}

static unsigned id_at(struct slots *s, gfn_t gfn)
{
	const struct memslot *slot = memslots_find(slots_get(s), gfn);

	return slot ? slot->id : 0;
}

UTEST(slot, finds_by_gfn)
{
	struct slots s;

	slots_init(&s);
	check_eq(id_at(&s, 0), 0);
	check_eq(add(&s, 2, 100, 10, 0), 0);
	check_eq(add(&s, 1, 0, 1, 0), 0);
	check_eq(add(&s, 3, 110, 1, 0), 0); /* touching is not overlapping */
	check_eq(add(&s, 4, (1UL << 36) - 1, 1, 0), 0);
	check_eq(id_at(&s, 0), 1);
	check_eq(id_at(&s, 1), 0);
	check_eq(id_at(&s, 99), 0);
	check_eq(id_at(&s, 100), 2);
	check_eq(id_at(&s, 109), 2);
	check_eq(id_at(&s, 110), 3);
	check_eq(id_at(&s, 111), 0);
	check_eq(id_at(&s, (1UL << 36) - 1), 4);
	check_eq(id_at(&s, UINT64_MAX), 0);
	check_eq(s.count, 4);
	remove_all(&s);
}

UTEST(slot, knows_overlaps_and_used_ids)
{
	struct slots s;

	slots_init(&s);
	check_eq(add(&s, 1, 100, 10, 0), 0);
	check_eq(add(&s, 1, 500, 10, 0), -EEXIST);
	check_eq(add(&s, 2, 90, 11, 0), -EEXIST);
	check_eq(add(&s, 2, 109, 1, 0), -EEXIST);
	check_eq(add(&s, 2, 0, 1000, 0), -EEXIST);
	check_eq(add(&s, 2, 103, 2, 0), -EEXIST);
	check_eq(add(&s, 2, 90, 10, 0), 0);
	check(!slots_overlap(&s, 105, 110, slots_find_id(&s, 1)));
	check(slots_overlap(&s, 99, 110, slots_find_id(&s, 1)));
	check(slots_overlap(&s, 99, 110, slots_find_id(&s, 2)));
	check(!slots_find_id(&s, 0) && !slots_find_id(&s, 3));
	check_eq(add(&s, UINT32_MAX, 0, 1, 0), 0);
	check_eq(slots_find_id(&s, UINT32_MAX)->gfn, 0);
	remove_all(&s);
}

/* Several gfns for one host page, and slots that share a part only. */
UTEST(slot, finds_all_of_a_host_page)
{
	const struct memslot *slot;
	unsigned seen = 0;
	struct slots s;

	slots_init(&s);
	check_eq(add(&s, 1, 100, 8, 0x10000), 0);
	check_eq(add(&s, 2, 200, 8, 0x10000), 0);
	check_eq(add(&s, 3, 300, 4, 0x14000), 0);
	check_eq(add(&s, 4, 400, 1, 0x18000), 0);
	memslots_for_each_hva(slot, slots_get(&s), 0x13000, 0x14000) seen |= 1u << slot->id;
	check_eq(seen, 1u << 1 | 1u << 2);
	seen = 0;
	memslots_for_each_hva(slot, slots_get(&s), 0x17fff, 0x18001) seen |= 1u << slot->id;
	check_eq(seen, 0x1e);
	memslots_for_each_hva(slot, slots_get(&s), 0x19000, 0x20000) check(!slot);
	remove_all(&s);
}

/* Staged is not published, published is not mirrored; each reader sees a whole change. */
UTEST(slot, two_sets_change_in_turn)
{
	struct memslot like = { .id = 7, .gfn = 10, .npages = 2 };
	struct memslot *one = memslot_alloc(&like), *two;
	const struct memslots *before;
	struct slots s;

	slots_init(&s);
	before = slots_get(&s);
	slots_stage(&s, NULL, one);
	check_eq(id_at(&s, 10), 0);
	slots_publish(&s);
	check_eq(id_at(&s, 10), 7);
	check(!memslots_find(before, 10)); /* a reader that came before */
	slots_mirror(&s, NULL, one);
	check_eq(memslots_find(before, 11)->id, 7);
	like.gfn = 20;
	like.flags = MEMSLOT_INVALID;
	two = memslot_alloc(&like);
	slots_stage(&s, one, two);
	check_eq(id_at(&s, 20), 0);
	check(slots_find_id(&s, 7) == two); /* the writer's own */
	slots_publish(&s);
	slots_mirror(&s, one, two);
	memslot_free(one);
	check_eq(id_at(&s, 10), 0);
	check(memslots_find(slots_get(&s), 21)->flags & MEMSLOT_INVALID);
	remove_all(&s);
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
	check_eq(shadow_add_slot(r.shadow, 1, 0, 1, r.hva, 1u << 3), -EINVAL);
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
