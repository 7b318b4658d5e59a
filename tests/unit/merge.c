// SPDX-License-Identifier: BSD-2-Clause
/* Merge: contents never change by it, and a store after it reaches exactly one page. And change_pte, which it lives on. */
#include <errno.h>
#include <string.h>

#include "mmu/host/hostmm_actors.h"
#include "mmu/shadow/ept.h"
#include "tests/rig_share.h"
#include "tests/test.h"

#define PAGES 16

static struct rig r;

static void up(void)
{
	rig_up(&r, &(struct rig_opts){ .pages = PAGES,
				       .pool_frames = 6 * PAGES,
				       .canary = true,
				       .around = 1 });
}

static void down(void)
{
	if (r.pool)
		rig_down(&r);
}

static int merge(uint64_t a, uint64_t b)
{
	return hostmm_merge(r.mm, rig_hva(&r, a), r.mm, rig_hva(&r, b));
}

UTEST(merge, says_what_it_cannot_do, .init = up, .fini = down)
{
	rig_put(&r, 1, 1);
	rig_put(&r, 2, 2);
	check_eq(merge(1, 1), -EINVAL);
	check_eq(hostmm_merge(r.mm, r.hva + 8, r.mm, r.hva), -EINVAL);
	check_eq(hostmm_merge(r.mm, 4096, r.mm, r.hva), -EFAULT);
	check_eq(hostmm_merge(r.mm, r.hva, r.mm, 4096), -EFAULT);
	check_eq(merge(1, 3), -ENOENT);
	check_eq(merge(3, 1), -ENOENT);
	check_eq(merge(1, 2), -EAGAIN);
	check_eq(hostmm_unmerge(r.mm, rig_hva(&r, 3)), -ENOENT);
	check_eq(hostmm_unmerge(r.mm, 4096), -EFAULT);
	check_eq(hostmm_unmerge(r.mm, r.hva + 8), -EINVAL);
	check_eq(hostmm_unmerge(r.mm, rig_hva(&r, 1)), 0);
	for (uint64_t page = 1; page < 3; page++) {
		check_eq(rig_maps(&r, page), 1);
		check_eq(rig_refs(&r, page), 1);
		check_eq(rig_peek(&r, page), page);
	}
}

UTEST(merge, gives_a_frame_back, .init = up, .fini = down)
{
	fn_t fn;

	rig_put(&r, 1, 7);
	rig_put(&r, 2, 7);
	rig_put(&r, 3, 7);
	fn = rig_frame(&r, 1);
	check_eq(merge(1, 2), 0);
	check_eq(merge(1, 2), 0);
	check_eq(merge(3, 2), 0); /* leaves one sharer for another */
	check_eq(merge(1, 3), 0);
	check_eq(merge(1, 2), 0);
	check_eq(pool_used(r.pool), 1);
	for (uint64_t page = 1; page < 4; page++) {
		check_eq(rig_frame(&r, page), fn);
		check_eq(rig_peek(&r, page), 7);
		check_eq(rig_load(rig_word(r.guest, page, 0)), 7);
	}
	check_eq(rig_maps(&r, 1), 3);
	check_eq(rig_refs(&r, 1), 3);
	rig_check(&r);
}

static void store_reaches_one(enum rig_store by)
{
	for (uint64_t page = 0; page < 4; page++)
		rig_put(&r, page, 7);
	for (uint64_t page = 1; page < 4; page++)
		check_eq(merge(0, page), 0);
	rig_store_reaches_one(&r, by);
	rig_check_all_home(&r);
}

UTEST(merge, a_copied_store_reaches_one_page, .init = up, .fini = down)
{
	store_reaches_one(RIG_COPIES);
}

UTEST(merge, a_host_store_reaches_one_page, .init = up, .fini = down)
{
	store_reaches_one(RIG_HOST_STORES);
}

UTEST(merge, a_guest_store_reaches_one_page, .init = up, .fini = down)
{
	store_reaches_one(RIG_GUEST_STORES);
}

UTEST(merge, is_undone_on_request, .init = up, .fini = down)
{
	rig_put(&r, 1, 7);
	rig_put(&r, 2, 7);
	check_eq(merge(1, 2), 0);
	check_eq(hostmm_unmerge(r.mm, rig_hva(&r, 2)), 0);
	check(rig_frame(&r, 1) != rig_frame(&r, 2));
	check_eq(rig_peek(&r, 2), 7);
	check_eq(rig_maps(&r, 1), 1);
	rig_check_all_home(&r);
}

UTEST(merge, joins_two_address_spaces, .init = up, .fini = down)
{
	struct rig child;
	uint64_t value = 9;

	rig_put(&r, 1, 7);
	rig_fork(&child, &r);
	check_eq(hostmm_merge(r.mm, rig_hva(&r, 1), child.mm, rig_hva(&child, 1)), 0);
	rig_put(&r, 1, 9);
	check_eq(hostmm_merge(r.mm, rig_hva(&r, 1), child.mm, rig_hva(&child, 1)), -EAGAIN);
	check_eq(hostmm_write(child.mm, rig_hva(&child, 1), &value, sizeof(value)), 0);
	check_eq(hostmm_merge(child.mm, rig_hva(&child, 1), r.mm, rig_hva(&r, 1)), 0);
	check_eq(rig_frame(&child, 1), rig_frame(&r, 1));
	rig_fork_down(&child);
	check_eq(rig_peek(&r, 1), 9);
}

/* ---- change_pte ---- */

static uint64_t repointed(void)
{
	struct shadow_stats stats;

	shadow_get_stats(r.shadow, &stats);
	return stats.repointed;
}

static uint64_t faults(void)
{
	struct shadow_stats stats;

	shadow_get_stats(r.shadow, &stats);
	return stats.faults;
}

UTEST(merge, spares_readers_a_fault, .init = up, .fini = down)
{
	uint64_t before;

	for (uint64_t page = 1; page < 3; page++)
		rig_guest_store(&r, rig_word(r.guest, page, 0), 7);
	before = faults();
	check_eq(merge(1, 2), 0);
	check_eq(repointed(), 1);
	check_eq(rig_load(rig_word(r.guest, 1, 0)), 7);
	check_eq(rig_load(rig_word(r.guest, 2, 0)), 7);
	check_eq(faults(), before);
	rig_check(&r);
	rig_guest_store(&r, rig_word(r.guest, 2, 0), 8);
	check_eq(rig_load(rig_word(r.guest, 1, 0)), 7);
	check(faults() > before);
}

/* M2: the other bracket has been through its start, and trusts that nothing is left. */
UTEST(merge, leaves_no_entry_beside_a_second_bracket, .init = up, .fini = down)
{
	struct mmu_notifier_range other;
	uint64_t before;

	for (uint64_t page = 1; page < 3; page++)
		rig_guest_store(&r, rig_word(r.guest, page, 0), 7);
	before = faults();
	mmu_notifier_range_init(&other, MMU_NOTIFY_CHANGE, hostmm_subscriptions(r.mm),
				rig_hva(&r, 0), rig_hva(&r, PAGES));
	check_eq(mmu_notifier_invalidate_range_start(&other), 0);
	check_eq(merge(1, 2), 0);
	check_eq(repointed(), 0);
	mmu_notifier_invalidate_range_end(&other);
	check_eq(faults(), before);
	check_eq(rig_load(rig_word(r.guest, 2, 0)), 7);
	check(faults() > before);
}

UTEST(merge, pages_that_nobody_may_write_move_under_their_readers, .init = up, .fini = down)
{
	uint64_t before;

	rig_guest_store(&r, rig_word(r.guest, 1, 0), 7);
	check_eq(hostmm_migrate(r.mm, rig_hva(&r, 1), rig_hva(&r, 2), HOSTMM_MIGRATE_AWAY), 0);
	check_eq(repointed(), 0); /* may be written: zapped */
	check_eq(hostmm_wrprotect(r.mm, rig_hva(&r, 1), rig_hva(&r, 2)), 0);
	check_eq(rig_load(rig_word(r.guest, 1, 0)), 7);
	before = faults();
	check_eq(hostmm_migrate(r.mm, rig_hva(&r, 1), rig_hva(&r, 2), HOSTMM_MIGRATE_HOME), 0);
	check_eq(repointed(), 1);
	check_eq(rig_load(rig_word(r.guest, 1, 0)), 7);
	check_eq(faults(), before);
	check_eq(rig_frame(&r, 1), rig_home(&r, 1));
	rig_check(&r);
	rig_guest_store(&r, rig_word(r.guest, 1, 0), 8);
	check_eq(rig_peek(&r, 1), 8);
}

UTEST(merge, only_a_leaf_is_repointed, .init = NULL)
{
	struct ept ept;

	check(!spte_check_repoint(spte_make_leaf(3, true)));
	check(!spte_check_repoint(spte_make_leaf(3, false) | SPTE_LARGE));
	check(!spte_check_repoint(SPTE_NONE) && !spte_check_repoint(SPTE_FROZEN));
	check_eq(ept_init(&ept, NULL), 0);
	check(!ept_repoint_begin(&ept, 5));
	check_eq(ept_populate(&ept, ept_root(&ept), 0, 8, 1), 0);
	check(!ept_repoint_begin(&ept, 5));
	check(ept_install(&ept, ept_root(&ept), 5, 1, SPTE_NONE, spte_make_leaf(3, true)));
	check(ept_install(&ept, ept_root(&ept), 7, 1, SPTE_NONE, spte_make_leaf(4, false)));
	check_eq(ept_wrprotect(&ept, 0, 8, EPT_WP_HOST).count, 1);
	check_eq(ept_wrprotect(&ept, 0, 8, EPT_WP_HOST).count, 0);
	check(!spte_is_writable(ept_peek(&ept, 5, NULL)));
	check_eq(ept_count_leaves(&ept), 2);
	check(ept_repoint_begin(&ept, 5));
	check_eq(ept_peek(&ept, 5, NULL), SPTE_NONE);
	check_eq(ept_count_leaves(&ept), 1);
	ept_repoint_end(&ept, 5, 9);
	check_eq(spte_fn(ept_peek(&ept, 5, NULL)), 9);
	check_eq(ept_count_leaves(&ept), 2);
	check_eq(ept_zap(&ept, 0, 8).count, 2);
	ept_fini(&ept);
}

/* ---- Under guests that never stop ---- */

UTEST(merge, never_changes_what_an_owner_sees, .init = up, .fini = down)
{
	uint64_t seed = 4711, merged = 0;
	double until;

	for (uint64_t page = 0; page < PAGES; page++)
		rig_put(&r, page, page % 3);
	owners_start(&r, 200);
	for (until = rig_now() + rig_seconds(0.8); rig_now() < until || !merged;) {
		uint64_t a = rig_random(&seed) % PAGES, b = rig_random(&seed) % PAGES;
		int rc = a == b ? -EAGAIN : merge(a, b);

		check(rc == 0 || rc == -EAGAIN, "%d", rc);
		merged += !rc;
		if (merged % 16 == 1)
			check_eq(hostmm_unmerge(r.mm, rig_hva(&r, b)), 0);
		if (merged % 64 == 1)
			check_eq(hostmm_migrate(r.mm, r.hva, rig_hva(&r, PAGES),
						HOSTMM_MIGRATE_HOME),
				 0);
	}
	owners_stop();
	for (uint64_t page = OWNERS; page < PAGES; page++)
		check_eq(rig_peek(&r, page), page % 3);
	rig_check(&r);
	check_eq(r.window_fatal, 0);
	check_eq(r.host_fatal, 0);
	rig_check_all_home(&r);
	rig_check(&r);
}
