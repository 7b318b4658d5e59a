// SPDX-License-Identifier: BSD-2-Clause
/* Large leaves in the window: when there is one, what splits it, what makes it again; everything at once; faults on request. */
#include <errno.h>

#include "mmu/shadow/shadow_priv.h"
#include "tests/rig.h"
#include "tests/test.h"

#define GFN   0x400UL /* a multiple of 512: frames and gfns are congruent */
#define LARGE 512UL

static struct rig r;

/* Page n of the host has n in its first word. */
static void up_with(struct rig_opts opts)
{
	opts.pages = opts.pages ? opts.pages : 2 * LARGE;
	opts.gfn = opts.gfn ? opts.gfn : GFN;
	rig_up(&r, &opts);
	for (uint64_t page = 0; page < r.pages; page++)
		check_eq(hostmm_write(r.mm, rig_hva(&r, page), &page, 8), 0);
}

static void down(void)
{
	rig_check(&r);
	check_eq(r.window_fatal, 0);
	rig_down(&r);
}

static struct shadow_stats stats(void)
{
	struct shadow_stats s;

	shadow_get_stats(r.shadow, &s);
	return s;
}

static void check_pages(void)
{
	for (uint64_t page = 0; page < r.pages; page++)
		check_eq(rig_load(rig_word(r.guest, page, 0)), page);
}

UTEST(shadow_large, one_fault_one_leaf_one_call)
{
	up_with((struct rig_opts){ .canary = true });
	check_eq(shadow_fault(r.shadow, GFN + 300, false), SHADOW_FIXED);
	check(stats().leaves_2m == 1 && stats().leaves_4k == 0 && stats().pages == LARGE);
	check_eq(r.maps, 1);
	check_eq(shadow_fault(r.shadow, GFN + 7, true), SHADOW_SPURIOUS);
	check_pages();
	check_eq(stats().leaves_2m, 2);
	/* A change of one page leaves the other 511. */
	check_eq(hostmm_discard(r.mm, rig_hva(&r, 5), rig_hva(&r, 6)), 0);
	check(stats().leaves_2m == 1 && stats().leaves_4k == LARGE - 1);
	check_eq(rig_load(rig_word(r.guest, 5, 0)), 0);
	check_eq(rig_load(rig_word(r.guest, 6, 0)), 6);
	down();
}

UTEST(shadow_large, needs_room_frames_and_leave)
{
	up_with((struct rig_opts){ .gfn = RIG_GFN }); /* not congruent */
	check_pages();
	check_eq(stats().leaves_2m, 0);
	down();
	up_with((struct rig_opts){ .max_level = 1 });
	check_pages();
	check_eq(stats().leaves_2m, 0);
	down();
	up_with((struct rig_opts){ .pages = LARGE + 100 }); /* the second block is cut off */
	check_pages();
	check_eq(stats().leaves_2m, 1);
	down();
	up_with((struct rig_opts){ .slot_flags = 0 });
	check_eq(shadow_set_slot_flags(r.shadow, 1, MEMSLOT_LOG_DIRTY), 0);
	check_pages();
	check_eq(stats().leaves_2m, 0);
	down();
}

/* A store to a page of a read-only leaf: the leaf is split for one page, and upgraded whole where all may be written. */
UTEST(shadow_large, a_store_splits_or_upgrades)
{
	up_with((struct rig_opts){ .around = 1 });
	check_eq(hostmm_wrprotect(r.mm, rig_hva(&r, 0), rig_hva(&r, 2 * LARGE)), 0);
	check_eq(shadow_fault(r.shadow, GFN, false), SHADOW_FIXED);
	check_eq(shadow_fault(r.shadow, GFN + LARGE, false), SHADOW_FIXED);
	check_eq(stats().leaves_2m, 2);
	rig_store(rig_word(r.guest, 9, 0), 10);
	check(stats().leaves_2m == 1 && stats().leaves_4k == LARGE && stats().splits == 1);
	check_eq(stats().upgrades, 1);
	for (uint64_t page = LARGE; page < 2 * LARGE; page++)
		check_eq(hostmm_write(r.mm, rig_hva(&r, page), &page, 8), 0);
	rig_store(rig_word(r.guest, LARGE + 9, 0), 10);
	check(stats().leaves_2m == 1 && stats().upgrades == 2 && stats().splits == 1);
	check(spte_is_writable(ept_peek(&r.shadow->ept, GFN + LARGE, NULL)));
	check_eq(rig_load(rig_word(r.host, LARGE + 9, 0)), 10);
	down();
}

UTEST(shadow_large, split_and_recover)
{
	up_with((struct rig_opts){ .around = 1 });
	check_pages();
	check_eq(shadow_split(r.shadow, GFN + 1, GFN + 2), 0);
	check(stats().leaves_2m == 1 && stats().leaves_4k == LARGE && stats().splits == 1);
	check_eq(shadow_split(r.shadow, 0, 1UL << 36), 0);
	check_eq(shadow_split(r.shadow, 0, (1UL << 36) + 1), -EINVAL);
	check(stats().leaves_2m == 0 && stats().leaves_4k == 2 * LARGE);
	check_eq(shadow_recover(r.shadow, 0, UINT64_MAX), 2);
	check(stats().leaves_2m == 2 && stats().leaves_4k == 0 && stats().collapses == 2);
	check_eq(shadow_recover(r.shadow, 0, UINT64_MAX), 0);
	check_pages();
	/* Not where the primary has a page elsewhere; and room is made where nothing is mapped. */
	check_eq(hostmm_migrate(r.mm, rig_hva(&r, 3), rig_hva(&r, 4), HOSTMM_MIGRATE_AWAY), 0);
	check_eq(hostmm_zap(r.mm, rig_hva(&r, LARGE + 3), rig_hva(&r, 2 * LARGE)), 0);
	check_pages();
	check_eq(shadow_recover(r.shadow, 0, UINT64_MAX), 1);
	check_eq(hostmm_zap(r.mm, rig_hva(&r, 0), rig_hva(&r, LARGE)), 0);
	check_eq(hostmm_migrate(r.mm, rig_hva(&r, 3), rig_hva(&r, 4), HOSTMM_MIGRATE_HOME), 0);
	check_eq(shadow_recover(r.shadow, 0, UINT64_MAX), 0);
	check_eq(shadow_fault(r.shadow, GFN, false), SHADOW_FIXED);
	check_eq(stats().leaves_2m, 2);
	check_pages();
	down();
}

/* What a zap leaves of small leaves is an empty table: no obstacle. It is freed when enough of them have come together. */
UTEST(shadow_large, an_empty_table_makes_room)
{
	uint64_t tables;

	up_with((struct rig_opts){ .around = 1 });
	check_pages();
	tables = stats().table_pages;
	check_eq(shadow_split(r.shadow, 0, 1UL << 36), 0);
	check_eq(stats().table_pages, tables + 2);
	check_eq(hostmm_zap(r.mm, rig_hva(&r, 0), rig_hva(&r, LARGE - 1)), 0);
	/* One leaf is left: the table is not empty. */
	check_eq(shadow_fault(r.shadow, GFN + 9, false), SHADOW_FIXED);
	check(stats().leaves_2m == 0 && stats().pruned == 0);
	check_eq(hostmm_zap(r.mm, rig_hva(&r, 0), rig_hva(&r, LARGE)), 0);
	check_eq(shadow_fault(r.shadow, GFN + 9, false), SHADOW_FIXED);
	check(stats().leaves_2m == 1 && stats().pruned == 1);
	check_eq(r.shadow->ept.dead_pages, 1);
	check_eq(stats().table_pages, tables + 2);
	atomic_store(&r.shadow->reap_batch, 2);
	check_eq(hostmm_zap(r.mm, rig_hva(&r, LARGE), rig_hva(&r, 2 * LARGE)), 0);
	check_eq(shadow_fault(r.shadow, GFN + LARGE, true), SHADOW_FIXED);
	check(stats().leaves_2m == 2 && stats().pruned == 2);
	check_eq(r.shadow->ept.dead_pages, 0);
	check_eq(stats().table_pages, tables);
	check_pages();
	down();
}

UTEST(shadow_large, the_end_of_a_dirty_log_makes_large_leaves_again)
{
	up_with((struct rig_opts){ .around = 0 });
	check_pages();
	check_eq(shadow_set_slot_flags(r.shadow, 1, MEMSLOT_LOG_DIRTY), 0);
	for (uint64_t page = 0; page < r.pages; page++)
		rig_store(rig_word(r.guest, page, 8), page);
	check(stats().leaves_2m == 0 && stats().leaves_4k == 2 * LARGE);
	check_eq(shadow_set_slot_flags(r.shadow, 1, 0), 0);
	check(stats().leaves_2m == 2 && stats().leaves_4k == 0 && stats().collapses == 2);
	check_pages();
	rig_store(rig_word(r.guest, 3, 8), 4);
	check_eq(rig_load(rig_word(r.host, 3, 8)), 4);
	down();
}

UTEST(shadow_large, zap_all_is_one_flush)
{
	up_with((struct rig_opts){ .around = 8 });
	check_pages();
	check_eq(shadow_zap_all(r.shadow), 0);
	check(stats().leaves == 0 && stats().zap_alls == 1 && stats().table_pages == 1);
	check_pages();
	rig_store(rig_word(r.guest, 4, 0), 4);
	down();
}

UTEST(shadow_large, prefault_goes_as_far_as_it_can)
{
	uint64_t done, maps;

	up_with((struct rig_opts){ .pages = LARGE + 100 });
	check_eq(shadow_prefault(r.shadow, GFN, LARGE + 200, &done), 0);
	check_eq(done, LARGE + 100);
	check_eq(shadow_prefault(r.shadow, GFN + done, 100, &done), -ENOENT);
	check_eq(done, 0);
	check_eq(shadow_prefault(r.shadow, GFN, 1UL << 36, &done), -EINVAL);
	check_eq(shadow_prefault(r.shadow, GFN, 0, &done), 0);
	maps = r.maps;
	check_pages();
	check_eq(r.maps, maps);
	down();
}

/* Rights that aging and logging take: given back without the primary, and the window follows. */
UTEST(shadow_large, fast_faults)
{
	struct memslot slot;

	up_with((struct rig_opts){ .around = 1, .max_level = 1 });
	rig_store(rig_word(r.guest, 3, 0), 3);
	check(shadow_slot(r.shadow, GFN, &slot));
	sync_rcu_read_lock();
	check_eq(ept_age(&r.shadow->ept, GFN + 3, GFN + 4).count, 1);
	r.shadow->ops->age(slot.backend, 3, 1);
	sync_rcu_read_unlock();
	check(spte_is_access_tracked(ept_peek(&r.shadow->ept, GFN + 3, NULL)));
	check_eq(rig_load(rig_word(r.guest, 3, 0)), 3);
	check_eq(stats().fast, 1);
	rig_store(rig_word(r.guest, 3, 0), 4);
	check_eq(stats().fast, 2);
	check_eq(rig_load(rig_word(r.host, 3, 0)), 4);
	rig_store(rig_word(r.guest, 3, 0), 3);
	while (stats().fixed < 3) /* a fault is counted after its thread has been woken */
		sched_yield();
	check_eq(stats().fixed, 3);
	down();
}

/* ---- Backends that fail ---- */

static const int errors[] = { -ENOMEM, -EEXIST, -ENOENT, -ESRCH };

UTEST(shadow_large, what_cannot_be_mapped_is_taken_back)
{
	for (unsigned i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		up_with((struct rig_opts){ .canary = true });
		r.map_error = errors[i];
		r.map_half = true;
		check_eq(shadow_fault(r.shadow, GFN + 300, true), errors[i]);
		check_eq(stats().leaves, 0);
		rig_check(&r);
		r.map_error = 0;
		check_eq(hostmm_wrprotect(r.mm, rig_hva(&r, 0), rig_hva(&r, LARGE)), 0);
		check_eq(shadow_fault(r.shadow, GFN + 300, false), SHADOW_FIXED);
		r.writable_error = errors[i];
		check_eq(shadow_fault(r.shadow, GFN + 300, true), SHADOW_FIXED);
		rig_check(&r);
		r.writable_error = 0;
		r.restore_error = errors[i];
		/* Out of memory, the page is taken home and mapped anew, which does not fail here. */
		check_eq(shadow_fault(r.shadow, GFN + 1, false),
			 errors[i] == -ENOMEM ? SHADOW_FIXED : errors[i]);
		check_eq(spte_is_present(ept_peek(&r.shadow->ept, GFN + 1, NULL)),
			 errors[i] == -ENOMEM);
		r.restore_error = 0;
		check_pages();
		down();
	}
}

static void fail_once(struct rig *rig, uint64_t page, uint64_t n)
{
	(void)page;
	(void)n;
	rig->map_error = 0;
}

UTEST(shadow_large, what_cannot_be_mapped_whole_is_mapped_by_pages)
{
	up_with((struct rig_opts){ .canary = true });
	r.map_error = -ENOMEM;
	r.map_half = true;
	r.before_map = fail_once;
	check_eq(shadow_fault(r.shadow, GFN + 300, true), SHADOW_FIXED);
	check_eq(stats().leaves, 1);
	check_eq(stats().leaves_4k, 1);
	rig_check(&r);
	r.before_map = NULL;
	check_pages();
	down();
}

/* ---- A long zap lets others in ---- */

static void *zap_host(void *arg)
{
	expect(hostmm_zap(r.mm, rig_hva(&r, 0), rig_hva(&r, 64)) == 0);
	return arg;
}

static void *load_guest(void *arg)
{
	expect(shadow_fault(r.shadow, GFN + 1000, false) >= 0);
	return arg;
}

UTEST(shadow_large, a_long_zap_yields)
{
	pthread_t zapper, faulter;

	up_with((struct rig_opts){ .max_level = 1 });
	check_pages();
	atomic_store(&r.shadow->zap_piece, 16);
	rwlock_read_acquire(&r.shadow->mmu_lock);
	zapper = rig_thread(zap_host, NULL);
	rig_wait_writer(&r.shadow->mmu_lock);
	faulter = rig_thread(load_guest, NULL);
	while (atomic_load(&r.shadow->mmu_lock.waiting) < 2)
		sched_yield();
	rwlock_read_release(&r.shadow->mmu_lock);
	rig_join(zapper);
	rig_join(faulter);
	check(stats().yields >= 1 && stats().yields <= 3, "%lu yields", stats().yields);
	check_eq(stats().flushes, stats().yields + 1);
	check_eq(stats().zapped, 64);
	down();
}
