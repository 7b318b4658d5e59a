// SPDX-License-Identifier: BSD-2-Clause
/* Very many slots, very large ones, and every change against a model. */
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "tests/rig.h"
#include "tests/test.h"

#define MANY 32000u

static struct rig r;

static void down(void)
{
	rig_down(&r);
}

static unsigned id_at(gfn_t gfn)
{
	struct memslot slot;

	return shadow_slot(r.shadow, gfn, &slot) ? slot.id : UINT32_MAX;
}

/* ---- The trees alone ---- */

static void change(struct slots *s, struct memslot *old, struct memslot *next)
{
	slots_stage(s, old, next);
	slots_publish(s);
	slots_mirror(s, old, next);
	memslot_free(old);
}

/* Slots by id: what must be found. npages 0: none. */
struct model {
	struct slots slots;
	struct memslot slot[MANY];
};

static struct model model;

static void put(struct model *m, const struct memslot *slot)
{
	change(&m->slots, slots_find_id(&m->slots, slot->id), memslot_alloc(slot));
	m->slot[slot->id] = *slot;
}

static void drop(struct model *m, unsigned id)
{
	change(&m->slots, slots_find_id(&m->slots, id), NULL);
	m->slot[id].npages = 0;
}

static void drop_all(struct model *m)
{
	for (unsigned id = 0; id < MANY; id++)
		if (m->slot[id].npages)
			drop(m, id);
	slots_fini(&m->slots);
}

/* Ids that differ, as many as the model has, and each meets the range. */
static uint64_t hits(struct model *m, hva_t start, hva_t end)
{
	static unsigned seen[MANY], turn;
	const struct memslot *slot;
	uint64_t n = 0;

	turn++;
	memslots_for_each_hva(slot, slots_get(&m->slots), start, end)
	{
		check(seen[slot->id] != turn);
		seen[slot->id] = turn;
		check(ranges_overlap(slot->hva, memslot_hva_end(slot), start, end));
		n++;
	}
	return n;
}

UTEST(slot_many, finds_each_of_32000)
{
	slots_init(&model.slots);
	/* In an order that is not theirs; two slots for each host page. */
	for (unsigned i = 0; i < MANY; i++) {
		unsigned id = i * 12347u % MANY;
		struct memslot slot = { .id = id,
					.gfn = (gfn_t)id * 3,
					.npages = 2,
					.hva = (hva_t)(id / 2) << (PAGE_SHIFT + 1) };

		put(&model, &slot);
	}
	check_eq(model.slots.count, MANY);
	check_eq(interval_tree_check(&model.slots.set[0].gfns), MANY);
	check_eq(interval_tree_check(&model.slots.set[1].hvas), MANY);
	for (unsigned id = 0; id < MANY; id++) {
		gfn_t gfn = (gfn_t)id * 3;

		check_eq(memslots_find(slots_get(&model.slots), gfn)->id, id);
		check_eq(memslots_find(slots_get(&model.slots), gfn + 1)->id, id);
		check(!memslots_find(slots_get(&model.slots), gfn + 2));
		check_eq(slots_find_id(&model.slots, id)->gfn, gfn);
	}
	for (hva_t page = 0; page < MANY; page += 97)
		check_eq(hits(&model, page << PAGE_SHIFT, (page + 1) << PAGE_SHIFT), 2);
	check_eq(hits(&model, 0, UINT64_MAX), MANY);
	drop_all(&model);
}

UTEST(slot_many, agrees_with_a_model)
{
	enum { IDS = 64, SPACE = 256 };
	uint64_t seed = 7;

	memset(model.slot, 0, sizeof(model.slot));
	slots_init(&model.slots);
	for (unsigned round = 0; round < 20000; round++) {
		struct memslot slot = { .id = rig_random(&seed) % IDS,
					.flags = rig_random(&seed) % 8,
					.gfn = rig_random(&seed) % SPACE,
					.npages = 1 + rig_random(&seed) % 9,
					.hva = rig_random(&seed) % SPACE << PAGE_SHIFT };
		struct memslot *old = slots_find_id(&model.slots, slot.id);
		hva_t start = rig_random(&seed) % SPACE << PAGE_SHIFT;
		hva_t end = start + ((1 + rig_random(&seed) % 8) << PAGE_SHIFT);
		uint64_t want = 0, met = 0;

		check_eq(old != NULL, model.slot[slot.id].npages != 0);
		for (unsigned id = 0; id < IDS; id++) {
			const struct memslot *s = &model.slot[id];

			met += s->npages && id != slot.id &&
			       ranges_overlap(s->gfn, memslot_end(s), slot.gfn, memslot_end(&slot));
		}
		check_eq(slots_overlap(&model.slots, slot.gfn, memslot_end(&slot), old), met != 0);
		if (old && rig_random(&seed) % 3 == 0)
			drop(&model, slot.id);
		else if (!met) /* a new one, or the old one elsewhere */
			put(&model, &slot);
		for (unsigned id = 0; id < IDS; id++)
			want += model.slot[id].npages &&
				ranges_overlap(model.slot[id].hva, memslot_hva_end(&model.slot[id]),
					       start, end);
		check_eq(hits(&model, start, end), want);
	}
	drop_all(&model);
}

/* ---- A backend that does nothing, so that the time is the library's ---- */

static int no_slot_add(void *ctx, struct memslot *slot, fn_t home)
{
	(void)ctx;
	(void)slot;
	(void)home;
	return 0;
}

static void no_slot_remove(void *ctx, struct memslot *slot)
{
	(void)ctx;
	(void)slot;
}

static int no_map(void *backend, uint64_t page, uint64_t n, fn_t fn, bool writable)
{
	(void)backend;
	(void)page;
	(void)n;
	(void)fn;
	(void)writable;
	return 0;
}

static int no_make_writable(void *backend, uint64_t page, uint64_t n)
{
	(void)backend;
	(void)page;
	(void)n;
	return 0;
}

static void no_zap(void *backend, uint64_t page, uint64_t n)
{
	(void)backend;
	(void)page;
	(void)n;
}

static const struct backend_ops no_ops = {
	.slot_add = no_slot_add,
	.slot_remove = no_slot_remove,
	.map = no_map,
	.make_writable = no_make_writable,
	.zap = no_zap,
	.wake = no_zap,
};

UTEST(slot_many, the_shadow_takes_32000, .fini = down)
{
	struct shadow *sh;

	rig_up(&r, &(struct rig_opts){ .pages = MANY, .no_slot = true });
	check_eq(shadow_create(&sh, r.mm, &no_ops, NULL,
			       &(struct shadow_opts){ .fault_around = 1 }),
		 0);
	for (unsigned id = 0; id < MANY; id++)
		check_eq(shadow_add_slot(sh, id, 2ul * id, 1, rig_hva(&r, id), 0), 0);
	check_eq(shadow_add_slot(sh, MANY, MANY, 1, r.hva, 0), -EEXIST);
	for (unsigned id = 0; id < MANY; id += 101) {
		check_eq(shadow_fault(sh, 2ul * id, true), SHADOW_FIXED);
		check_eq(shadow_fault(sh, 2ul * id + 1, true), -ENXIO);
	}
	check_eq(shadow_check(sh, NULL, NULL), 0);
	for (unsigned id = 0; id < MANY; id += 2)
		check_eq(shadow_remove_slot(sh, id), 0);
	shadow_destroy(sh);
}

/* A window with as many panes. */
UTEST(slot_many, a_window_has_32000_panes, .fini = down)
{
	struct memslot slot;

	rig_up(&r, &(struct rig_opts){ .pages = MANY, .no_slot = true });
	/* Each page for itself: no two panes are one VMA. */
	for (unsigned i = 0; i < MANY; i++) {
		unsigned id = i * 12347u % MANY;

		check_eq(shadow_add_slot(r.shadow, id, id, 1, rig_hva(&r, id), 0), 0);
	}
	for (unsigned id = 0; id < MANY; id += 997) {
		check(shadow_slot(r.shadow, id, &slot));
		check_eq(slot.id, id);
		rig_store(rig_word(window_base(&slot), 0, 0), id + 1);
		check_eq(rig_load(rig_word(r.host, id, 0)), id + 1);
	}
	check_eq(id_at(MANY), UINT32_MAX);
	check_eq(hostmm_zap(r.mm, r.hva, rig_hva(&r, MANY)), 0);
	check(shadow_slot(r.shadow, 997, &slot));
	check_eq(rig_load(rig_word(window_base(&slot), 0, 0)), 998);
	rig_check(&r);
	check_eq(shadow_remove_slot(r.shadow, 3), 0);
}

/* ---- Very large ---- */

/*
 * 1 TiB in one region and one slot: only what is touched costs. Then slots of it, 1 GiB each.
 * Without the checker, which reads the pagemap of all.
 */
UTEST(slot_many, a_tebibyte_is_sparse, .fini = down)
{
	const uint64_t pages = 1UL << 28;
	struct rusage before, after;
	struct shadow_stats stats;
	struct memslot slot;

#ifdef UMBRA_SANITIZED
	r.pool = NULL; /* .fini sees what is up */
	test_skip("a sanitizer has no room for a TiB");
#endif
	rig_up(&r, &(struct rig_opts){ .pages = pages, .pool_frames = pages + 64, .around = 1 });
	for (uint64_t page = 0; page < pages; page += pages / 8 + 12345) {
		rig_store(rig_word(r.guest, page, 0), page + 1);
		check_eq(rig_load(rig_word(r.host, page, 0)), page + 1);
	}
	rig_store(rig_word(r.guest, pages - 1, 0), 7);
	shadow_get_stats(r.shadow, &stats);
	check_eq(stats.leaves, 9);
	check(stats.table_pages <= 1 + 3 * stats.leaves);
	check_eq(shadow_remove_slot(r.shadow, 1), 0);
	for (unsigned id = 0; id < 1024; id++)
		check_eq(shadow_add_slot(r.shadow, id, (gfn_t)id << 18, 1UL << 18,
					 rig_hva(&r, (uint64_t)id << 18), 0),
			 0);
	check(shadow_slot(r.shadow, pages - 1, &slot));
	check_eq(slot.id, 1023);
	check_eq(rig_load(rig_word(window_base(&slot), (1UL << 18) - 1, 0)), 7);

	/* Nor is what nobody has touched read on the way out: a page for each 512 entries would be. */
	check_eq(getrusage(RUSAGE_SELF, &before), 0);
	check_eq(hostmm_unmap(r.mm, r.hva), 0);
	check_eq(getrusage(RUSAGE_SELF, &after), 0);
	check(after.ru_minflt - before.ru_minflt < (long)(pages / 512 / 16), "%ld faults",
	      after.ru_minflt - before.ru_minflt);
}

static long anonymous_pages(void)
{
	FILE *f = fopen("/proc/self/statm", "re");
	char line[128] = "", *at = line;
	long resident;

	malloc_trim(0); /* what free() keeps is nobody's */
	check(f && fgets(line, sizeof(line), f));
	if (f)
		fclose(f);
	(void)strtol(at, &at, 10); /* addresses */
	resident = strtol(at, &at, 10);
	return resident - strtol(at, NULL, 10); /* what is shared */
}

/* The C library gives memory that was freed before again, and clears it: not to arrays for pages that nobody has touched. */
UTEST(slot_many, another_tebibyte_is_sparse_too)
{
	/* The source that needs no privilege. */
	const struct hostmm_opts opts = { .fault_threads = 1, .source = HOSTMM_SOURCE_MPROTECT };
	const uint64_t pages = 1UL << 28;
	void *above[3];

#ifdef UMBRA_SANITIZED
	test_skip("a sanitizer has no room for a TiB");
#endif
	for (unsigned round = 0; round < 3; round++) {
		long before = anonymous_pages();
		struct pool *pool;
		struct hostmm *mm;
		hva_t hva;

		check_eq(pool_create(&pool, pages + 64, false), 0);
		check_eq(hostmm_create(&mm, pool, &opts), 0);
		check_eq(hostmm_map(mm, pages, HOSTMM_PROT_READ | HOSTMM_PROT_WRITE, NULL, NULL,
				    &hva),
			 0);
		check(anonymous_pages() - before < (long)(pages / 512 / 512), "round %u: %ld pages",
		      round, anonymous_pages() - before);
		above[round] = malloc(1 << 16); /* what is below cannot go back to the system */
		check(above[round]);
		hostmm_destroy(mm);
		pool_destroy(pool);
	}
	for (unsigned round = 0; round < 3; round++)
		free(above[round]);
}
