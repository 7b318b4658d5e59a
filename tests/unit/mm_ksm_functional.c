// SPDX-License-Identifier: BSD-2-Clause
/*
 * After the kernel's mm/ksm_functional_tests.c: merge and unmerge; pages that were discarded, or that are write-protected;
 * pages of zeros; pages without rights; a fork. Merging is hostmm_merge(), page by page: there is no scanner and no prctl().
 */
#include <errno.h>

#include "mmu/host/hostmm_actors.h"
#include "mmu/shadow/dirty.h"
#include "tests/rig_fork.h"
#include "tests/test.h"

#define PAGES 32UL

static struct rig r;

static hva_t at(uint64_t page)
{
	return rig_hva(&r, page);
}

/* mmap_and_merge_range(): all pages with @value, of one frame; the guest has mapped them. */
static void up_merged(uint64_t value)
{
	rig_up(&r, &(struct rig_opts){ .pages = PAGES, .canary = true });
	for (uint64_t page = 0; page < PAGES; page++) {
		check_eq(hostmm_write(r.mm, at(page), &value, 8), 0);
		check_eq(rig_load(rig_word(r.guest, page, 0)), value);
	}
	for (uint64_t page = 1; page < PAGES; page++)
		check_eq(hostmm_merge(r.mm, at(0), r.mm, at(page)), 0);
	check_eq(rig_maps(&r, 0), PAGES);
}

static void check_unmerged(uint64_t first, uint64_t value)
{
	for (uint64_t page = first; page < PAGES; page++)
		check_eq(hostmm_unmerge(r.mm, at(page)), 0);
	for (uint64_t page = first; page < PAGES; page++) {
		check_eq(rig_maps(&r, page), 1);
		check_eq(rig_load(rig_word(r.guest, page, 0)), value);
	}
	rig_check(&r);
}

UTEST(mm_ksm_functional, unmerge)
{
	up_merged(0xcf);
	check_unmerged(0, 0xcf);
	rig_down(&r);
}

UTEST(mm_ksm_functional, unmerge_zero_pages)
{
	up_merged(0);
	check_unmerged(0, 0);
	rig_store(rig_word(r.guest, 3, 0), 1);
	check_eq(rig_load(rig_word(r.guest, 4, 0)), 0);
	rig_down(&r);
}

UTEST(mm_ksm_functional, unmerge_discarded)
{
	up_merged(0xcf);
	check_eq(hostmm_discard(r.mm, at(0), at(PAGES / 2)), 0);
	check_eq(rig_maps(&r, PAGES - 1), PAGES / 2);
	check_unmerged(PAGES / 2, 0xcf);
	check_eq(hostmm_unmerge(r.mm, at(0)), -ENOENT);
	check_eq(rig_load(rig_word(r.guest, 0, 0)), 0);
	rig_down(&r);
}

/* The kernel's own test looks at pagemap; what counts is that no store after it is missed (M29). */
UTEST(mm_ksm_functional, unmerge_uffd_wp)
{
	uint64_t bits[1];

	up_merged(0xcf);
	check_eq(shadow_set_slot_flags(r.shadow, 1, MEMSLOT_LOG_DIRTY), 0);
	check_unmerged(0, 0xcf);
	check_eq(shadow_get_dirty_log(r.shadow, 1, bits), 0);
	for (uint64_t page = 0; page < PAGES; page += 2)
		rig_store(rig_word(r.guest, page, 0), page);
	check_eq(hostmm_write(r.mm, at(0), &(uint64_t){ 1 }, 8), 0);
	for (uint64_t page = 1; page < PAGES; page += 2)
		check_eq(hostmm_merge(r.mm, at(1), r.mm, at(page)), page == 1 ? -EINVAL : 0);
	rig_store(rig_word(r.guest, 5, 0), 5); /* after a merge */
	check_eq(shadow_get_dirty_log(r.shadow, 1, bits), 0);
	check_eq(bits[0], 0x55555555UL | 1UL << 5);
	rig_down(&r);
}

/* Rights have nothing to do with it. Stores by ptrace() are not mirrored: nobody stores where he may not. */
UTEST(mm_ksm_functional, prot_none)
{
	up_merged(0xcf);
	check_unmerged(0, 0xcf);
	check_eq(hostmm_protect(r.mm, at(0), at(PAGES), 0), 0);
	for (uint64_t page = 1; page < PAGES; page++)
		check_eq(hostmm_merge(r.mm, at(0), r.mm, at(page)), 0);
	check_eq(hostmm_protect(r.mm, at(0), at(PAGES), HOSTMM_PROT_READ | HOSTMM_PROT_WRITE), 0);
	check_eq(rig_maps(&r, 0), PAGES);
	rig_store(rig_word(r.guest, 7, 0), 7);
	check_eq(rig_load(rig_word(r.guest, 8, 0)), 0xcf);
	rig_store(rig_word(r.guest, 7, 0), 0xcf);
	check_unmerged(0, 0xcf);
	rig_down(&r);
}

UTEST(mm_ksm_functional, fork)
{
	struct rig child;

	up_merged(0xcf);
	rig_fork(&child, &r);
	check_eq(rig_maps(&r, 0), 2 * PAGES);
	check_unmerged(0, 0xcf);
	rig_store(rig_word(r.guest, 2, 0), 1);
	for (uint64_t page = 0; page < PAGES; page++)
		check_eq(rig_peek(&child, page), 0xcf);
	rig_fork_down(&child);
	rig_down(&r);
}
