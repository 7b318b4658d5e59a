// SPDX-License-Identifier: BSD-2-Clause
/* The scanner's thread beside guests and host threads that never stop, and when VMAs run out. */
#include <errno.h>

#include "mmu/host/hostmm_actors.h"
#include "mmu/host/ksm.h"
#include "mmu/host/view.h"
#include "tests/rig_share.h"
#include "tests/test.h"

#define PAGES 16

static struct rig r;
static struct ksm *ksm;

static void up(void)
{
	rig_up(&r, &(struct rig_opts){ .pages = PAGES,
				       .pool_frames = 8 * PAGES + 1024,
				       .canary = true,
				       .around = 1 });
	check_eq(ksm_create(&ksm, r.pool,
			    &(struct ksm_opts){ .use_zero_pages = true, .max_page_sharing = 4 }),
		 0);
	check_eq(ksm_register(ksm, r.mm, r.hva, rig_hva(&r, PAGES)), 0);
}

static void down(void)
{
	view_limit_foreign(0);
	if (!ksm)
		return;
	ksm_destroy(ksm);
	rig_down(&r);
}

/* What a step of the churn does beside scanner and owners; none of it changes contents. */
static void disturb(uint64_t n)
{
	struct rig child;

	switch (n % 6) {
	case 0:
		check_eq(hostmm_migrate(r.mm, r.hva, rig_hva(&r, PAGES), HOSTMM_MIGRATE_HOME), 0);
		break;
	case 1:
		check_eq(ksm_unregister(ksm, r.mm, rig_hva(&r, 2), rig_hva(&r, 9)), 0);
		break;
	case 2:
		check_eq(ksm_register(ksm, r.mm, r.hva, rig_hva(&r, PAGES)), 0);
		break;
	case 3:
		check_eq(hostmm_zap(r.mm, r.hva, rig_hva(&r, PAGES)), 0);
		break;
	case 4:
		rig_fork(&child, &r);
		for (uint64_t page = OWNERS; page < PAGES; page++)
			check_eq(rig_peek(&child, page), page % 3);
		rig_fork_down(&child);
		break;
	default:
		check(hostmm_unmerge(r.mm, rig_hva(&r, n % PAGES)) == 0);
	}
}

UTEST(ksm_churn, never_changes_what_an_owner_sees, .init = up, .fini = down)
{
	struct ksm_stats stats;
	uint64_t n = 0;
	double until;

	for (uint64_t page = 0; page < PAGES; page++)
		rig_put(&r, page, page % 3);
	owners_start(&r, 2000);
	check_eq(ksm_start(ksm), 0);
	for (until = rig_now() + rig_seconds(0.8); rig_now() < until || n < 12;) {
		disturb(n++);
		/* Passes of this thread, between those of the other. */
		ksm_pass(ksm);
		ksm_pass(ksm);
	}
	owners_stop();
	ksm_stop(ksm);
	ksm_get_stats(ksm, &stats);
	check(stats.merged > 0);
	for (uint64_t page = OWNERS; page < PAGES; page++)
		check_eq(rig_peek(&r, page), page % 3);
	check_eq(r.window_fatal, 0);
	check_eq(r.host_fatal, 0);
	rig_check(&r);
	check_eq(ksm_unregister(ksm, r.mm, r.hva, rig_hva(&r, PAGES)), 0);
	check_eq(pool_used(r.pool), PAGES);
	for (uint64_t page = 0; page < PAGES; page++)
		check_eq(rig_maps(&r, page), 1);
	rig_check_all_home(&r);
	rig_check(&r);
}

/* ---- Out of VMAs ---- */

/* Pages with others in their home frames: a store sends them elsewhere. */
static uint64_t crowded_out(void)
{
	uint64_t n = 0;

	for (uint64_t page = 0; page < PAGES; page++)
		n += rig_maps(&r, page) > 1 && rig_frame(&r, page) == rig_home(&r, page);
	return n;
}

static void few_vmas(char *view)
{
	uint64_t foreign = 0, limit = 2;

	view_limit_foreign(limit);
	for (uint64_t page = 0; page < PAGES; page++)
		rig_put(&r, page, 7 + page % 2);
	for (int pass = 0; pass < 2; pass++)
		ksm_pass(ksm);
	if (view == r.host && rig_loads_store())
		limit = max_u64(limit, crowded_out());
	for (uint64_t page = 0; page < PAGES; page++)
		check_eq(rig_load(rig_word(view, page, 0)), 7 + page % 2);
	for (uint64_t page = 0; page < PAGES; page++)
		foreign += rig_frame(&r, page) != rig_home(&r, page);
	check(foreign <= limit, "%lu", foreign);
	check_eq(r.window_fatal, 0);
	check_eq(r.host_fatal, 0);
	rig_guest_store(&r, rig_word(r.guest, 9, 0), 1);
	rig_store(rig_word(r.host, 8, 0), 2);
	for (uint64_t page = 0; page < PAGES; page++)
		check_eq(rig_peek(&r, page), page == 9 ? 1 : page == 8 ? 2 : 7 + page % 2);
	rig_check(&r);
}

UTEST(ksm_churn, a_window_without_vmas_unshares, .init = up, .fini = down)
{
	few_vmas(r.guest);
}

UTEST(ksm_churn, a_host_view_without_vmas_unshares, .init = up, .fini = down)
{
	few_vmas(r.host);
}

/* What cannot be shown when it merges is shown, or unshared, when it is touched. */
UTEST(ksm_churn, young_pages_without_vmas_are_shown_later, .init = up, .fini = down)
{
	struct ksm_stats stats;

	for (uint64_t page = 0; page < 8; page++)
		rig_guest_store(&r, rig_word(r.guest, page, 0), 7 + page % 2);
	ksm_pass(ksm);
	for (uint64_t page = 0; page < 8; page++)
		check_eq(rig_load(rig_word(r.guest, page, 0)), 7 + page % 2);
	view_limit_foreign(2);
	ksm_pass(ksm);
	ksm_get_stats(ksm, &stats);
	check(stats.merged_young > 2);
	for (uint64_t page = 0; page < 8; page++)
		check_eq(rig_load(rig_word(r.guest, page, 0)), 7 + page % 2);
	check_eq(r.window_fatal, 0);
	rig_check(&r);
}
