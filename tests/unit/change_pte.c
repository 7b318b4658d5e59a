// SPDX-License-Identifier: BSD-2-Clause
/* change_pte under a running guest: which refaults it spares, against a shadow that zaps instead (no_change_pte). */
#include "mmu/host/hostmm_actors.h"
#include "mmu/shadow/shadow_priv.h"
#include "tests/rig.h"
#include "tests/test.h"

#define PAIRS 16UL
#define PAGES (2 * PAIRS)

static struct rig r;
static atomic_bool stop;

static struct shadow_stats stats(void)
{
	struct shadow_stats s;

	shadow_get_stats(r.shadow, &s);
	return s;
}

/* Pages 2i and 2i + 1 have the same contents, and the guest has all mapped. */
static void up(bool no_change_pte, uint64_t gfn, uint64_t pages)
{
	rig_up(&r, &(struct rig_opts){ .pages = pages,
				       .gfn = gfn,
				       .canary = true,
				       .no_change_pte = no_change_pte });
	for (uint64_t page = 0; page < pages; page++)
		check_eq(hostmm_write(r.mm, rig_hva(&r, page), &(uint64_t){ page / 2 }, 8), 0);
	for (uint64_t page = 0; page < pages; page++)
		check_eq(rig_load(rig_word(r.guest, page, 0)), page / 2);
}

static void merge_pairs(void)
{
	for (uint64_t page = 0; page < PAGES; page += 2)
		check_eq(hostmm_merge(r.mm, rig_hva(&r, page), r.mm, rig_hva(&r, page + 1)), 0);
}

static uint64_t faults_of_loads(void)
{
	uint64_t before = stats().faults;

	for (uint64_t page = 0; page < PAGES; page++)
		check_eq(rig_load(rig_word(r.guest, page, 0)), page / 2);
	return stats().faults - before;
}

/* KSM-like merge, then migration of what is shared: with change_pte not one load faults. */
UTEST(change_pte, spares_the_refaults_of_readers)
{
	for (int spare = 1; spare >= 0; spare--) {
		uint64_t refaults;

		up(!spare, 0, PAGES);
		merge_pairs();
		refaults = faults_of_loads();
		check(spare ? !refaults : refaults > 0, "%lu refaults", refaults);
		check_eq(stats().repointed, spare ? PAIRS : 0);
		check_eq(hostmm_migrate(r.mm, r.hva, rig_hva(&r, PAGES), HOSTMM_MIGRATE_AWAY), 0);
		refaults = faults_of_loads();
		check(spare ? !refaults : refaults > 0, "%lu refaults", refaults);
		check_eq(stats().repointed, spare ? PAIRS + PAGES : 0);
		/* A CoW break is no CHANGE: who stores needs a writable leaf next. */
		check_eq(hostmm_write(r.mm, rig_hva(&r, 1), &(uint64_t){ 0 }, 8), 0);
		check_eq(rig_load(rig_word(r.guest, 1, 0)), 0);
		rig_check(&r);
		rig_down(&r);
	}
}

static void *keep_loading(void *arg)
{
	while (!atomic_load(&stop))
		for (uint64_t page = 0; page < PAGES; page++)
			expect(rig_load(rig_word(r.guest, page, 0)) == page / 2);
	return arg;
}

UTEST(change_pte, works_under_a_running_guest)
{
	for (int spare = 1; spare >= 0; spare--) {
		pthread_t guest[2];

		up(!spare, 0, PAGES);
		atomic_store(&stop, false);
		for (int i = 0; i < 2; i++)
			guest[i] = rig_thread(keep_loading, NULL);
		for (int round = 0; round < 5; round++) {
			merge_pairs();
			for (uint64_t page = 1; page < PAGES; page += 2)
				check_eq(hostmm_unmerge(r.mm, rig_hva(&r, page)), 0);
			check_eq(hostmm_migrate(r.mm, r.hva, rig_hva(&r, PAGES),
						HOSTMM_MIGRATE_AWAY),
				 0);
			check_eq(hostmm_migrate(r.mm, r.hva, rig_hva(&r, PAGES),
						HOSTMM_MIGRATE_HOME),
				 0);
		}
		atomic_store(&stop, true);
		for (int i = 0; i < 2; i++)
			rig_join(guest[i]);
		check(spare ? stats().repointed > 0 : !stats().repointed);
		check_eq(faults_of_loads() > PAGES, 0);
		check_eq(r.window_fatal, 0);
		rig_check(&r);
		rig_down(&r);
	}
}

/* One page under a 2M leaf, and under a second slot: both follow, 511 small leaves and the other slot's stay. */
UTEST(change_pte, splits_large_leaves_and_serves_all_slots)
{
	struct memslot slot;
	uint64_t before;
	char *other;

	up(false, 512, 512);
	check_eq(shadow_add_slot(r.shadow, 2, 1 << 20, 512, r.hva, 0), 0);
	check(shadow_slot(r.shadow, 1 << 20, &slot));
	other = window_base(&slot);
	check_eq(rig_load(rig_word(other, 9, 0)), 4);
	check_eq(stats().leaves_2m, 2);
	check_eq(hostmm_merge(r.mm, rig_hva(&r, 8), r.mm, rig_hva(&r, 9)), 0);
	check_eq(stats().repointed, 2);
	check(stats().leaves_2m == 0 && stats().leaves_4k == 1024);
	before = stats().faults;
	for (uint64_t page = 0; page < 512; page++) {
		check_eq(rig_load(rig_word(r.guest, page, 0)), page / 2);
		check_eq(rig_load(rig_word(other, page, 0)), page / 2);
	}
	check_eq(stats().faults, before);
	rig_check(&r);
	rig_down(&r);
}
