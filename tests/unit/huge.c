// SPDX-License-Identifier: BSD-2-Clause
/* Large pages of the primary: what is one, and what is not. */
#include "mmu/host/hostmm_actors.h"

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

/* ---- Collapse, split ---- */

static int collapse(uint64_t page)
{
	return hostmm_collapse(r.mm, rig_hva(&r, page));
}

static void check_contents(uint64_t page, uint64_t n)
{
	uint64_t word;

	for (uint64_t i = page; i < page + n; i++) {
		check_eq(hostmm_read(r.mm, rig_hva(&r, i), &word, sizeof(word)), 0);
		check_eq(word, i);
		check_eq(rig_load(rig_word(r.guest, i, 0)), i);
		check_eq(rig_load(rig_word(r.host, i, 0)), i);
	}
}

UTEST(huge, refuses_places_that_are_none, .init = up, .fini = down)
{
	check_eq(collapse(1), -EINVAL);
	check_eq(hostmm_collapse(r.mm, r.hva + 8), -EINVAL);
	check_eq(hostmm_collapse(r.mm, 0), -EINVAL);
	check_eq(hostmm_split_huge(r.mm, rig_hva(&r, 7), HOSTMM_SPLIT_LOCKED), -EINVAL);
	check_eq(hostmm_truncate(r.mm, r.hva, 3 * LARGE - 1), 0);
	check_eq(collapse(2 * LARGE), -EINVAL);
	check_eq(hostmm_protect(r.mm, rig_hva(&r, 9), rig_hva(&r, 10), HOSTMM_PROT_READ), 0);
	check_eq(collapse(0), -EINVAL);
	check_eq(hostmm_protect(r.mm, r.hva, rig_hva(&r, LARGE), 0), 0);
	check_eq(collapse(0), -EFAULT);
	check_eq(hostmm_map_zero(r.mm, r.hva, rig_hva(&r, 1)), -EFAULT);
	check_eq(hostmm_map_zero(r.mm, r.hva, rig_hva(&r, 0)), -EINVAL);
	check_eq(hostmm_map_zero(r.mm, r.hva + 1, rig_hva(&r, 1)), -EINVAL);
}

/* Pages that are absent, elsewhere, protected, shown and hidden become one. */
UTEST(huge, collapse_gathers_pages_from_everywhere, .init = up, .fini = down)
{
	struct gup_page first;

	touch(LARGE, LARGE);
	check_contents(LARGE, LARGE);
	check_eq(hostmm_migrate(r.mm, rig_hva(&r, LARGE + 3), rig_hva(&r, LARGE + 90),
				HOSTMM_MIGRATE_AWAY),
		 0);
	check_contents(LARGE, 40);
	check_eq(hostmm_wrprotect(r.mm, rig_hva(&r, LARGE + 80), rig_hva(&r, LARGE + 99)), 0);
	check(!is_huge(LARGE, LARGE, &first));
	check_eq(collapse(LARGE), 0);
	check(is_huge(LARGE, LARGE, &first));
	check(first.writable);
	check_eq(first.fn % LARGE, 0);
	check_contents(LARGE, LARGE);
	check_eq(pool_used(r.pool), LARGE);
	rig_check(&r);
	/* One that is absent altogether: zeros. */
	check_eq(collapse(0), 0);
	check(is_huge(0, LARGE, &first));
	check_eq(rig_load(rig_word(r.guest, 17, 0)), 0);
	rig_check(&r);
}

UTEST(huge, split_is_undone_by_collapse, .init = up, .fini = down)
{
	struct gup_page first;

	touch(0, 2 * LARGE);
	check(is_huge(0, 2 * LARGE, &first));
	check_eq(hostmm_split_huge(r.mm, rig_hva(&r, LARGE), HOSTMM_SPLIT_LOCKED), 0);
	check(is_huge(0, LARGE, &first));
	check(!is_huge(LARGE, LARGE, &first) && !is_huge(0, 2 * LARGE, &first));
	check(is_huge(LARGE, LARGE - 1, &first)); /* a run all the same */
	check_contents(0, 2 * LARGE);
	check_eq(collapse(LARGE), 0);
	check(is_huge(0, 2 * LARGE, &first));
	check_contents(0, 2 * LARGE);
	rig_check(&r);
}

/* What somebody else has cannot be taken: all stays as it was. */
UTEST(huge, collapse_backs_out_whole, .init = up, .fini = down)
{
	struct gup_page held, first;
	uint64_t used;

	touch(0, LARGE);
	check_eq(hostmm_gup(r.mm, rig_hva(&r, 300), 1, 0, 0, false, &held), 0);
	check_eq(hostmm_migrate(r.mm, r.hva, rig_hva(&r, 400), HOSTMM_MIGRATE_AWAY), 0);
	used = pool_used(r.pool);
	check_eq(collapse(0), -EAGAIN);
	check_eq(pool_used(r.pool), used);
	check_contents(0, LARGE);
	hostmm_put_pages(r.mm, &held, 1);
	check_eq(collapse(0), 0);
	check(is_huge(0, LARGE, &first));
	check_contents(0, LARGE);
	rig_check(&r);
}

/* A frame at home that a child shares cannot become writable; one that is elsewhere gets a copy. */
UTEST(huge, collapse_of_shared_pages, .init = up, .fini = down)
{
	const struct hostmm_opts opts = { .fault_threads = 1 };
	struct hostmm *child;
	struct gup_page first;
	uint64_t word;
	hva_t hva;

	touch(0, LARGE);
	check_eq(hostmm_fork(r.mm, &opts, &child), 0);
	check_eq(collapse(0), 0); /* nobody may write any of them: a large page already */
	check(is_huge(0, LARGE, &first));
	check(!first.writable);
	word = 5;
	check_eq(hostmm_write(r.mm, rig_hva(&r, 5), &word, sizeof(word)), 0);
	check(!is_huge(0, LARGE, &first));
	check_eq(collapse(0), -EAGAIN);
	check_eq(hostmm_fork_hva(child, r.hva, &hva), 0);
	check_eq(hostmm_collapse(child, hva), 0); /* read-only: copies, all in its own home */
	check(hostmm_huge(child, hva, LARGE, &first));
	check_eq(hostmm_read(child, hva + 5 * PAGE_SIZE, &word, sizeof(word)), 0);
	check_eq(word, 5);
	check_eq(collapse(0), 0); /* alone now */
	check(is_huge(0, LARGE, &first));
	check(first.writable);
	check_contents(0, LARGE);
	hostmm_destroy(child);
	rig_check(&r);
}

/* ---- Zeros that all share ---- */

UTEST(huge, zeros_are_shared_until_a_store, .init = up, .fini = down)
{
	struct gup_page first, second;
	uint64_t word = 7;

	touch(2 * LARGE, 1);
	check_eq(hostmm_map_zero(r.mm, r.hva, rig_hva(&r, 3 * LARGE)), 0);
	check_eq(pool_used(r.pool), 1);
	check(is_huge(0, LARGE, &first) && is_huge(LARGE, LARGE, &second));
	check_eq(first.fn, second.fn);
	check(!first.writable && pool_is_zero(r.pool, first.fn));
	check(!is_huge(0, 2 * LARGE, &first) && !is_huge(2 * LARGE, LARGE, &first));
	for (uint64_t page = 0; page < LARGE; page += 7)
		check_eq(rig_load(rig_word(r.guest, page, 0)), 0);
	rig_check(&r);
	check_eq(hostmm_split_huge(r.mm, r.hva, HOSTMM_SPLIT_LATE), 0);
	check(!is_huge(0, LARGE, &first));
	check_eq(rig_load(rig_word(r.guest, 3, 0)), 0);
	/* One of them is replaced: at home, alone. */
	rig_store(rig_word(r.guest, LARGE + 3, 0), 5);
	check_eq(hostmm_write(r.mm, rig_hva(&r, LARGE + 4), &word, sizeof(word)), 0);
	check(!is_huge(LARGE, LARGE, &first));
	check_eq(rig_frame(&r, LARGE + 3) % LARGE, 3);
	check(!pool_is_zero(r.pool, rig_frame(&r, LARGE + 3)));
	check_eq(rig_load(rig_word(r.guest, 3, 0)), 0);
	check_eq(rig_load(rig_word(r.guest, LARGE + 5, 0)), 0);
	check_eq(rig_load(rig_word(r.host, LARGE + 3, 0)), 5);
	check_eq(collapse(LARGE), 0);
	check(is_huge(LARGE, LARGE, &first));
	check_eq(rig_load(rig_word(r.guest, LARGE + 4, 0)), 7);
	check_eq(rig_load(rig_word(r.guest, LARGE + 6, 0)), 0);
	rig_check(&r);
}
