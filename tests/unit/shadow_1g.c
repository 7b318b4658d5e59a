// SPDX-License-Identifier: BSD-2-Clause
/* Leaves of 1G in the fault path, in a window: one fault, a zap of one page, split and recovery, a root. Takes 1 GiB. */
#include "mmu/shadow/shadow_priv.h"
#include "tests/rig.h"
#include "tests/test.h"

#define PAGES_1G (1UL << 18)
#define GFN	 PAGES_1G

static struct rig r;
static hva_t hva;
static char *guest;

static struct shadow_stats stats(void)
{
	struct shadow_stats s;

	shadow_get_stats(r.shadow, &s);
	return s;
}

/* A region whose home frames begin where a leaf of 1G may: what lies before is taken, and never touched. */
static void map_aligned(void)
{
	hva_t filler;
	unsigned prot;
	fn_t home;

	check_eq(hostmm_map(r.mm, PAGES_1G, HOSTMM_PROT_READ | HOSTMM_PROT_WRITE, NULL, NULL, &hva),
		 0);
	check_eq(hostmm_home(r.mm, hva, PAGES_1G, &home, &prot), 0);
	if (!(home % PAGES_1G))
		return;
	check_eq(hostmm_unmap(r.mm, hva), 0);
	check_eq(hostmm_map(r.mm, PAGES_1G - home % PAGES_1G, HOSTMM_PROT_READ, NULL, NULL,
			    &filler),
		 0);
	check_eq(hostmm_map(r.mm, PAGES_1G, HOSTMM_PROT_READ | HOSTMM_PROT_WRITE, NULL, NULL, &hva),
		 0);
	check_eq(hostmm_home(r.mm, hva, PAGES_1G, &home, &prot), 0);
	check_eq(home % PAGES_1G, 0);
}

static void populate(void)
{
	static struct gup_page page[512];

	for (uint64_t at = 0; at < PAGES_1G; at += 512) {
		check_eq(hostmm_gup(r.mm, hva + (at << PAGE_SHIFT), 512, 0, 511, true, page), 0);
		hostmm_put_pages(r.mm, page, 512);
	}
}

static void up(void)
{
	struct memslot slot;

	rig_up(&r, &(struct rig_opts){ .pages = 8,
				       .no_slot = true,
				       .max_level = 3,
				       .pool_frames = 4 * PAGES_1G });
	map_aligned();
	populate();
	check_eq(shadow_add_slot(r.shadow, 1, GFN, PAGES_1G, hva, 0), 0);
	check(shadow_slot(r.shadow, GFN, &slot));
	guest = window_base(&slot);
}

static void down(void)
{
	rig_down(&r);
}

static void touch(uint64_t page, uint64_t value)
{
	uint64_t word = 0;

	rig_store(rig_word(guest, page, 0), value);
	check_eq(hostmm_read(r.mm, hva + (page << PAGE_SHIFT), &word, 8), 0);
	check_eq(word, value);
}

static void one_leaf_split_and_made_again(void)
{
	const hva_t at = hva + (1000UL << PAGE_SHIFT);

	touch(77777, 1);
	check(stats().leaves_1g == 1 && stats().leaves == 1 && stats().pages == PAGES_1G);
	check_eq(stats().faults, 1);
	touch(PAGES_1G - 1, 2);
	check_eq(stats().faults, 1);
	rig_check(&r);
	/* One page goes: the others stay, in as large leaves as can be. */
	check_eq(hostmm_zap(r.mm, at, at + PAGE_SIZE), 0);
	check(stats().leaves_1g == 0 && stats().leaves_2m == 511 && stats().leaves_4k == 511);
	touch(0, 3);
	check_eq(stats().faults, 1);
	touch(1000, 4);
	check(stats().faults == 2 && stats().leaves_4k == 512);
	rig_check(&r);
	/* Both levels, one after the other. */
	check_eq(shadow_recover(r.shadow, 0, UINT64_MAX), 2);
	check(stats().leaves_1g == 1 && stats().leaves == 1);
	touch(1001, 5);
	touch(77777, 6);
	check_eq(stats().faults, 2);
	rig_check(&r);
}

static void empty_tables_make_room(void)
{
	touch(5, 1);
	check_eq(shadow_split(r.shadow, GFN, GFN + 1), 0);
	check(stats().leaves_1g == 0 && stats().splits >= 2);
	check_eq(hostmm_zap(r.mm, hva, hva + (PAGES_1G << PAGE_SHIFT)), 0);
	check_eq(stats().leaves, 0);
	touch(6, 2);
	check(stats().leaves_1g == 1 && stats().leaves == 1 && stats().pruned > 0);
	rig_check(&r);
	/* Where the host lets nobody write a page, a leaf of 1G stands for none that may. */
	check_eq(hostmm_wrprotect(r.mm, hva, hva + PAGE_SIZE), 0);
	touch(7, 3);
	touch(0, 4);
	rig_check(&r);
	check_eq(shadow_zap_all(r.shadow), 0);
	check_eq(stats().leaves, 0);
	touch(8, 5);
	check_eq(stats().leaves_1g, 1);
}

/* A dirty log: split down to 4K where it is stored to, one leaf again at the end. */
static void dirty_log(void)
{
	touch(5, 1);
	check_eq(shadow_set_slot_flags(r.shadow, 1, MEMSLOT_LOG_DIRTY), 0);
	check_eq(stats().leaves_1g, 0);
	touch(9, 2);
	check_eq(shadow_set_slot_flags(r.shadow, 1, 0), 0);
	check(stats().leaves_1g == 1 && stats().leaves == 1);
	touch(10, 3);
	rig_check(&r);
}

UTEST(shadow_1g, in_the_fault_path, .init = up, .fini = down)
{
	one_leaf_split_and_made_again();
	check_eq(shadow_zap_all(r.shadow), 0);
	dirty_log();
	check_eq(shadow_zap_all(r.shadow), 0);
	empty_tables_make_room();
}
