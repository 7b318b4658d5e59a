// SPDX-License-Identifier: BSD-2-Clause
/* The break of sharing by a store: who is copied, where to, and who is told (rules of sharing, hostmm_actors.h). */
#include <errno.h>
#include <string.h>

#include "mmu/host/hostmm_actors.h"
#include "tests/rig_fork.h"
#include "tests/test.h"

#define PAGES 8

static struct rig r, child;

static void up(void)
{
	rig_up(&r, &(struct rig_opts){ .pages = PAGES,
				       .pool_frames = 8 * PAGES,
				       .canary = true,
				       .around = 1 });
	for (uint64_t page = 0; page < PAGES; page++)
		rig_store(rig_word(r.host, page, 0), 100 + page);
}

static void up_child(void)
{
	up();
	rig_fork(&child, &r);
}

static void down(void)
{
	if (r.pool)
		rig_down(&r);
}

static uint64_t copies(struct rig *of)
{
	struct hostmm_actor_stats stats;

	hostmm_get_actor_stats(of->mm, &stats);
	return stats.cow_copies;
}

static void put(struct rig *of, uint64_t page, uint64_t value)
{
	check_eq(hostmm_write(of->mm, rig_hva(of, page), &value, sizeof(value)), 0);
}

/* ---- A page that is alone ---- */

UTEST(cow, a_reference_alone_forces_no_copy, .init = up, .fini = down)
{
	struct gup_page page;
	fn_t fn = rig_frame(&r, 3);

	check_eq(hostmm_gup(r.mm, rig_hva(&r, 3), 1, 0, 0, false, &page), 0);
	check_eq(hostmm_wrprotect(r.mm, rig_hva(&r, 3), rig_hva(&r, 4)), 0);
	check_eq(rig_refs(&r, 3), 2);
	check_eq(rig_maps(&r, 3), 1);
	rig_store(rig_word(r.host, 3, 0), 7);
	check_eq(rig_frame(&r, 3), fn);
	check_eq(copies(&r), 0);
	hostmm_put_pages(r.mm, &page, 1);
}

UTEST(cow, the_last_sharer_reuses, .init = up_child, .fini = down)
{
	fn_t fn = rig_frame(&r, 2);

	check_eq(rig_frame(&child, 2), fn);
	check_eq(rig_maps(&r, 2), 2);
	put(&child, 2, 1);
	check_eq(rig_maps(&r, 2), 1);
	put(&r, 2, 2);
	check_eq(rig_frame(&r, 2), fn);
	check_eq(copies(&r), 0);
	check_eq(copies(&child), 1);
	rig_fork_down(&child);
}

UTEST(cow, an_end_of_sharing_needs_no_copy, .init = up_child, .fini = down)
{
	fn_t fn = rig_frame(&r, 2);

	rig_fork_down(&child);
	check_eq(rig_maps(&r, 2), 1);
	rig_store(rig_word(r.host, 2, 0), 5);
	check_eq(rig_frame(&r, 2), fn);
	check_eq(copies(&r), 0);
	check_eq(rig_foreign(&r), 0);
}

/* ---- Where the copy goes ---- */

UTEST(cow, the_copy_goes_home, .init = up_child, .fini = down)
{
	for (uint64_t page = 0; page < PAGES; page++) {
		rig_store(rig_word(child.host, page, 8), page);
		check_eq(rig_frame(&child, page), rig_home(&child, page));
		check_eq(rig_peek(&child, page), 100 + page);
	}
	check_eq(rig_foreign(&child), 0);
	rig_check(&child);
	rig_fork_down(&child);
}

UTEST(cow, the_owner_of_the_frame_is_copied_elsewhere_and_comes_home, .init = up_child,
      .fini = down)
{
	fn_t home = rig_home(&r, 4);

	rig_store(rig_word(r.host, 4, 0), 9);
	check(rig_frame(&r, 4) != home);
	check_eq(rig_foreign(&r), 1);
	check_eq(rig_frame(&child, 4), home);
	check_eq(rig_peek(&child, 4), 104);
	rig_fork_down(&child);
	rig_check_all_home(&r);
	check_eq(rig_peek(&r, 4), 9);
}

UTEST(cow, a_taken_home_is_left_alone, .init = up_child, .fini = down)
{
	check(pool_get_unless_used(r.pool, rig_home(&child, 1))); /* a slow reader */
	put(&child, 1, 5);
	check(rig_frame(&child, 1) != rig_home(&child, 1));
	check_eq(rig_peek(&r, 1), 101);
	pool_put(r.pool, rig_home(&child, 1), 1);
	rig_fork_down(&child);
}

/* ---- Every way to store ---- */

UTEST(cow, gup_for_writing_breaks_and_for_reading_does_not, .init = up_child, .fini = down)
{
	struct gup_page page;

	check_eq(hostmm_gup(child.mm, rig_hva(&child, 5), 1, 0, 0, false, &page), 0);
	check_eq(page.fn, rig_frame(&r, 5));
	check(!page.writable);
	hostmm_put_pages(child.mm, &page, 1);
	check_eq(hostmm_gup(child.mm, rig_hva(&child, 5), 1, 0, 0, true, &page), 0);
	check(page.fn != rig_frame(&r, 5) && page.writable);
	hostmm_put_pages(child.mm, &page, 1);
	rig_fork_down(&child);
}

UTEST(cow, a_guest_store_breaks_and_a_guest_load_does_not, .init = up_child, .fini = down)
{
	check_eq(rig_load(rig_word(child.guest, 6, 0)), 106);
	check_eq(rig_frame(&child, 6), rig_frame(&r, 6));
	rig_guest_store(&child, rig_word(child.guest, 6, 0), 1);
	check(rig_frame(&child, 6) != rig_frame(&r, 6));
	check_eq(rig_load(rig_word(child.guest, 6, 0)), 1);
	check_eq(rig_load(rig_word(r.guest, 6, 0)), 106);
	rig_check(&r);
	rig_check(&child);
	rig_fork_down(&child);
}

/* A host thread cannot repeat a store, so its view never shows a foreign frame read-only. */
UTEST(cow, a_host_load_through_the_gap_breaks_and_one_at_home_does_not, .init = up_child,
      .fini = down)
{
	check_eq(rig_load(rig_word(r.host, 0, 0)), 100);
	check_eq(rig_maps(&r, 0), 2);
	check_eq(rig_load(rig_word(child.host, 0, 0)), 100);
	check_eq(rig_maps(&r, 0), 1);
	check_eq(rig_frame(&child, 0), rig_home(&child, 0));
	rig_fork_down(&child);
}

/* ---- Who is told ---- */

static struct seen {
	unsigned starts, ends, clears;
	hva_t start, end;
} seen;

static int see_start(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	(void)mn;
	seen.starts++;
	seen.clears += range->event == MMU_NOTIFY_CLEAR;
	seen.start = range->start;
	seen.end = range->end;
	return 0;
}

static void see_end(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	(void)mn;
	(void)range;
	seen.ends++;
}

static const struct mmu_notifier_ops see_ops = { .invalidate_range_start = see_start,
						 .invalidate_range_end = see_end };

UTEST(cow, stores_in_order_are_copied_together, .init = up_child, .fini = down)
{
	put(&r, 0, 1);
	check_eq(copies(&r), 1);
	put(&r, 1, 1);
	check_eq(copies(&r), PAGES);
	for (uint64_t page = 1; page < PAGES; page++) {
		check_eq(rig_frame(&r, page), rig_frame(&r, 1) + page - 1);
		check_eq(rig_maps(&r, page), 1);
		check_eq(rig_load(rig_word(r.host, page, 0)), page == 1 ? 1 : 100 + page);
		rig_store(rig_word(r.host, page, 0), 200 + page);
		check_eq(rig_peek(&r, page), 200 + page);
		check_eq(rig_peek(&child, page), 100 + page);
	}
	check_eq(copies(&r), PAGES);
	put(&child, 1, 2);
	check_eq(copies(&child), 0);
	rig_check(&r);
	rig_check(&child);
	rig_fork_down(&child);
	rig_check_all_home(&r);
}

UTEST(cow, those_of_a_child_go_home_together, .init = up_child, .fini = down)
{
	put(&child, 1, 1);
	check_eq(copies(&child), 1);
	put(&child, 4, 1);
	check_eq(copies(&child), 2);
	put(&child, 2, 1); /* as far as they share */
	check_eq(copies(&child), 4);
	for (uint64_t page = 1; page < 5; page++)
		check_eq(rig_frame(&child, page), rig_home(&child, page));
	check_eq(rig_maps(&r, 5), 2);
	rig_fork_down(&child);
}

UTEST(cow, one_clear_bracket_for_a_copy_and_none_for_a_reuse, .init = up_child, .fini = down)
{
	struct mmu_notifier mn = { .ops = &see_ops };

	memset(&seen, 0, sizeof(seen));
	check_eq(hostmm_subscribe(r.mm, &mn), 0);
	put(&r, 3, 1);
	check_eq(seen.starts, 1);
	check_eq(seen.ends, 1);
	check_eq(seen.clears, 1);
	check_eq(seen.start, rig_hva(&r, 3));
	check_eq(seen.end, rig_hva(&r, 4));
	put(&r, 3, 2);
	put(&child, 4, 2);
	put(&r, 4, 2);
	check_eq(seen.starts, 1);
	mmu_notifier_unregister(&mn);
	rig_fork_down(&child);
}

UTEST(cow, a_full_pool_is_said, .fini = down)
{
	rig_up(&r, &(struct rig_opts){ .pages = 4, .pool_frames = 8 });
	for (uint64_t page = 0; page < 4; page++)
		put(&r, page, page);
	rig_fork(&child, &r);
	check_eq(hostmm_write(r.mm, rig_hva(&r, 0), "x", 1), -ENOSPC);
	put(&child, 0, 7);
	check_eq(hostmm_write(r.mm, rig_hva(&r, 0), "x", 1), 0);
	rig_fork_down(&child);
}
