// SPDX-License-Identifier: BSD-2-Clause
/* Flushes: each is counted, a range has one, and who protects a long one lets others in between. */
#include "mmu/host/hostmm_actors.h"
#include "mmu/shadow/dirty.h"
#include "mmu/shadow/shadow_priv.h"
#include "tests/rig.h"
#include "tests/test.h"

#define PAGES 64UL
#define GFN   RIG_GFN
#define SLOT  1u

static struct rig r;
static uint64_t before; /* flushes at the last count */

static void up(void)
{
	rig_up(&r, &(struct rig_opts){ .pages = PAGES, .around = 1, .max_level = 1 });
	before = 0;
}

static void down(void)
{
	if (!r.shadow)
		return;
	rig_check(&r);
	rig_down(&r);
}

static struct shadow_stats stats(void)
{
	struct shadow_stats s;

	shadow_get_stats(r.shadow, &s);
	return s;
}

static void touch(bool write)
{
	for (uint64_t page = 0; page < PAGES; page++)
		check(shadow_fault(r.shadow, GFN + page, write) >= 0);
}

/* @n since the last time; and what the backend was called for is what is counted. */
static void flushed(uint64_t n)
{
	check_eq(stats().flushes - before, n);
	before = stats().flushes;
	check_eq(before, r.zaps + r.ages + r.wrprotects + r.zap_alls);
}

UTEST(shadow_flush, each_is_counted_and_a_range_has_one, .init = up, .fini = down)
{
	uint64_t bitmap[PAGES / 64], used;

	touch(true);
	flushed(0);
	check_eq(hostmm_discard(r.mm, r.hva, rig_hva(&r, PAGES)), 0);
	flushed(1);
	touch(true);
	check_eq(shadow_set_slot_flags(r.shadow, SLOT, MEMSLOT_LOG_DIRTY), 0);
	flushed(1);
	touch(true);
	check_eq(shadow_get_dirty_log(r.shadow, SLOT, bitmap), 0);
	check_eq(bitmap[0], UINT64_MAX);
	flushed(1);
	check_eq(shadow_set_slot_flags(r.shadow, SLOT, MEMSLOT_READONLY), 0);
	flushed(1);
	check_eq(shadow_set_slot_flags(r.shadow, SLOT, 0), 0);
	flushed(0);
	touch(true);
	check_eq(shadow_age(r.shadow, GFN, PAGES, NULL, &used), 0);
	check_eq(used, PAGES);
	flushed(1);
	check_eq(shadow_age(r.shadow, GFN, PAGES, NULL, &used), 0);
	flushed(0);
	touch(true);
	check_eq(hostmm_wrprotect(r.mm, r.hva, rig_hva(&r, PAGES)), 0);
	flushed(1);
	touch(false);
	/* CHANGE: nothing may be stored to, so start has nothing to protect; then a page at a time gets its frame. */
	check_eq(hostmm_migrate(r.mm, r.hva, rig_hva(&r, 8), HOSTMM_MIGRATE_AWAY), 0);
	check_eq(stats().repointed, 8);
	flushed(8);
	check_eq(shadow_zap_all(r.shadow), 0);
	flushed(1);
}

static void *make_read_only(void *arg)
{
	expect(!shadow_set_slot_flags(r.shadow, SLOT, MEMSLOT_READONLY));
	return arg;
}

static void *load(void *arg)
{
	expect(shadow_fault(r.shadow, GFN + PAGES - 1, false) >= 0);
	return arg;
}

/* A writer, and behind it a fault that needs the lock. */
UTEST(shadow_flush, who_protects_a_long_range_yields, .init = up, .fini = down)
{
	pthread_t writer, reader;

	touch(true);
	check_eq(hostmm_zap(r.mm, rig_hva(&r, PAGES - 1), rig_hva(&r, PAGES)), 0);
	flushed(1);
	atomic_store(&r.shadow->zap_piece, 16);
	rwlock_read_acquire(&r.shadow->mmu_lock);
	writer = rig_thread(make_read_only, NULL);
	rig_wait_writer(&r.shadow->mmu_lock);
	reader = rig_thread(load, NULL);
	while (atomic_load(&r.shadow->mmu_lock.waiting) < 2)
		sched_yield();
	rwlock_read_release(&r.shadow->mmu_lock);
	rig_join(writer);
	rig_join(reader);
	check(stats().yields >= 1 && stats().yields <= 3, "%lu yields", stats().yields);
	flushed(stats().yields + 1);
	for (uint64_t page = 0; page < PAGES; page++)
		check(!spte_is_writable(ept_peek(&r.shadow->ept, GFN + page, NULL)));
}
