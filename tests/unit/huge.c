// SPDX-License-Identifier: BSD-2-Clause
/* Large pages of the primary: what is one, and what is not. */
#include "mmu/host/hostmm.h"

#include <errno.h>
#include <string.h>

#include "tests/rig.h"
#include "tests/test.h"

#define LARGE 512UL

static struct rig r;

static void up(void)
{
	rig_up(&r, &(struct rig_opts){ .pages = 3 * LARGE, .canary = true, .around = 1 });
}

static void down(void)
{
	rig_down(&r);
}

static void touch(uint64_t page, uint64_t n)
{
	for (uint64_t i = page; i < page + n; i++)
		check_eq(hostmm_write(r.mm, rig_hva(&r, i), &i, sizeof(i)), 0);
}

static bool is_huge(uint64_t page, uint64_t n, struct gup_page *first)
{
	return hostmm_huge(r.mm, rig_hva(&r, page), n, first);
}

UTEST(huge, pages_at_home_are_a_run_and_begin_where_a_large_page_may, .init = up, .fini = down)
{
	struct gup_page first;

	check(!is_huge(0, LARGE, &first));
	check_eq(first.fn, FN_NONE);
	touch(0, 2 * LARGE);
	check(is_huge(LARGE, LARGE, &first));
	check_eq(first.fn % LARGE, 0);
	check_eq(r.hva % (LARGE << PAGE_SHIFT), 0);
	check(first.writable);
	check(is_huge(0, 2 * LARGE, &first));
	check(is_huge(7, 1, &first));
	check(!is_huge(2 * LARGE - 1, 2, &first));
	check(!is_huge(2 * LARGE, 2 * LARGE, &first)); /* beyond the region */
	check(!is_huge(0, UINT64_MAX, &first));
	check(!is_huge(0, 0, &first));
	check(!hostmm_huge(r.mm, 0, 1, &first));
}

/* At any place of the run: a page of other rights, of another frame, or none. */
UTEST(huge, one_page_that_differs_makes_it_none, .init = up, .fini = down)
{
	static const uint64_t places[] = { 0, 1, 100, 256, 510, 511 };
	struct gup_page first;
	uint64_t word = 1;

	touch(0, LARGE);
	for (unsigned i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		hva_t at = rig_hva(&r, places[i]);

		check(is_huge(0, LARGE, &first));
		check_eq(hostmm_wrprotect(r.mm, at, at + PAGE_SIZE), 0);
		check(!is_huge(0, LARGE, &first));
		check_eq(hostmm_write(r.mm, at, &word, sizeof(word)), 0);
		check(is_huge(0, LARGE, &first));
		check_eq(hostmm_migrate(r.mm, at, at + PAGE_SIZE, HOSTMM_MIGRATE_AWAY), 0);
		check(!is_huge(0, LARGE, &first));
		check_eq(hostmm_migrate(r.mm, at, at + PAGE_SIZE, HOSTMM_MIGRATE_HOME), 0);
		check(is_huge(0, LARGE, &first));
		check_eq(hostmm_discard(r.mm, at, at + PAGE_SIZE), 0);
		check(!is_huge(0, LARGE, &first));
		check_eq(hostmm_write(r.mm, at, &word, sizeof(word)), 0);
	}
	check_eq(hostmm_wrprotect(r.mm, rig_hva(&r, 0), rig_hva(&r, LARGE)), 0);
	check(is_huge(0, LARGE, &first));
	check(!first.writable);
}
