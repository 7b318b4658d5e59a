// SPDX-License-Identifier: BSD-2-Clause
/*
 * After the kernel's mm/pagemap_ioctl.c, with the dirty log for PAGEMAP_SCAN with PAGE_IS_WRITTEN: which pages were stored to,
 * got and protected in one step. Bad arguments; nothing, all, every other page; pages of a large run; what is not there;
 * scans beside stores.
 */
#include <errno.h>

#include "mmu/shadow/dirty.h"
#include "tests/rig.h"
#include "tests/test.h"

#define PAGES 1024UL
#define WORDS (PAGES / 64)

static struct rig r;
static uint64_t bits[WORDS];

static void up(void)
{
	rig_up(&r, &(struct rig_opts){ .pages = PAGES, .gfn = 512 });
	for (uint64_t page = 0; page < PAGES / 2; page++)
		check_eq(hostmm_write(r.mm, rig_hva(&r, page), &page, 8), 0);
	check_eq(shadow_set_slot_flags(r.shadow, 1, MEMSLOT_LOG_DIRTY), 0);
}

static void down(void)
{
	rig_down(&r);
}

static uint64_t scan(void)
{
	uint64_t n = 0;

	check_eq(shadow_get_dirty_log(r.shadow, 1, bits), 0);
	for (unsigned i = 0; i < WORDS; i++)
		n += (uint64_t)__builtin_popcountll(bits[i]);
	return n;
}

static void store(uint64_t first, uint64_t end, uint64_t step)
{
	for (uint64_t page = first; page < end; page += step)
		rig_store(rig_word(r.guest, page, 8), page);
}

/* sanity_tests_sd(), unmapped_region_tests() */
UTEST(mm_pagemap_ioctl, bad_arguments, .init = up, .fini = down)
{
	check_eq(shadow_get_dirty_log(r.shadow, 2, bits), -ENOENT);
	check_eq(shadow_clear_dirty_log(r.shadow, 1, 1, 64, bits), -EINVAL);
	check_eq(shadow_clear_dirty_log(r.shadow, 1, 0, PAGES + 64, bits), -EINVAL);
	check_eq(shadow_clear_dirty_log(r.shadow, 1, PAGES, 64, bits), -EINVAL);
	check_eq(shadow_set_slot_flags(r.shadow, 1, 0), 0);
	check_eq(shadow_get_dirty_log(r.shadow, 1, bits), -ENOENT);
}

/* base_tests(), hpage_unit_tests(): the first half is one large run, the other does not exist yet. */
UTEST(mm_pagemap_ioctl, none_all_and_every_other_page, .init = up, .fini = down)
{
	check_eq(scan(), 0);
	store(0, PAGES, 1);
	check_eq(scan(), PAGES);
	check_eq(scan(), 0);
	store(0, PAGES, 2);
	check_eq(scan(), PAGES / 2);
	for (unsigned i = 0; i < WORDS; i++)
		check_eq(bits[i], 0x5555555555555555UL);
	check_eq(scan(), 0);
	store(511, 512, 1); /* the last page of the run */
	check_eq(scan(), 1);
	check_eq(bits[7] >> 63, 1);
	rig_check(&r);
}

/* What is only read is not written, there or not. */
UTEST(mm_pagemap_ioctl, loads_are_not_stores, .init = up, .fini = down)
{
	for (uint64_t page = 0; page < PAGES; page++)
		(void)rig_load(rig_word(r.guest, page, 0));
	check_eq(scan(), 0);
	check_eq(hostmm_discard(r.mm, rig_hva(&r, 0), rig_hva(&r, 4)), 0);
	(void)rig_load(rig_word(r.guest, 0, 0));
	check_eq(scan(), 0);
	store(1, 2, 1);
	check_eq(scan(), 1);
}

static atomic_bool stop;

static void *store_on(void *arg)
{
	uint64_t n = 0;

	while (!atomic_load(&stop)) {
		rig_store(rig_word(r.guest, n % PAGES, 16), n + 1);
		n++;
	}
	*(uint64_t *)arg = n;
	return NULL;
}

/* transact_test(): each store is in a scan after it; with nobody storing, the next to last scan is the last with any. */
UTEST(mm_pagemap_ioctl, scans_beside_stores, .init = up, .fini = down)
{
	static uint64_t ever[WORDS];
	uint64_t stores = 0;
	pthread_t t;

	atomic_store(&stop, false);
	t = rig_thread(store_on, &stores);
	for (int i = 0; i < 50; i++) {
		(void)scan();
		for (unsigned w = 0; w < WORDS; w++)
			ever[w] |= bits[w];
	}
	atomic_store(&stop, true);
	rig_join(t);
	(void)scan();
	for (unsigned w = 0; w < WORDS; w++)
		ever[w] |= bits[w];
	for (uint64_t page = 0; page < PAGES && page < stores; page++)
		check(ever[page / 64] >> page % 64 & 1, "page %lu", page);
	check_eq(scan(), 0);
}
