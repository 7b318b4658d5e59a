// SPDX-License-Identifier: BSD-2-Clause
/* The KSM-like service: what it merges and what not, that contents stay, that memory comes back, and that it is counted. */
#include "mmu/host/ksm.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "mmu/host/hostmm_actors.h"
#include "tests/rig_share.h"
#include "tests/test.h"

#define PAGES 16

static struct rig r;
static struct ksm *ksm;

static void build(const struct ksm_opts *opts)
{
	rig_up(&r, &(struct rig_opts){ .pages = PAGES,
				       .pool_frames = 6 * PAGES + 1024,
				       .canary = true,
				       .around = 1 });
	check_eq(ksm_create(&ksm, r.pool, opts), 0);
}

static void up(void)
{
	build(&(struct ksm_opts){ 0 });
}

static void up_zero(void)
{
	build(&(struct ksm_opts){ .use_zero_pages = true });
}

static void up_slow(void)
{
	build(&(struct ksm_opts){ .pages_to_scan = 1, .sleep_millisecs = 3600000 });
}

static void up_few(void)
{
	build(&(struct ksm_opts){ .max_page_sharing = 2 });
}

static void down(void)
{
	if (!ksm)
		return;
	ksm_destroy(ksm);
	rig_down(&r);
}

static void watch(void)
{
	check_eq(ksm_register(ksm, r.mm, r.hva, rig_hva(&r, PAGES)), 0);
}

static void passes(unsigned n)
{
	while (n--)
		ksm_pass(ksm);
}

static struct ksm_stats stats(void)
{
	struct ksm_stats s;

	ksm_get_stats(ksm, &s);
	return s;
}

/* Pages [0, n) equal, the next two each different, the rest absent. Registered, and merged. */
static void merged(uint64_t n)
{
	for (uint64_t page = 0; page < n; page++)
		rig_put(&r, page, 7);
	rig_put(&r, n, 100);
	rig_put(&r, n + 1, 101);
	watch();
	passes(2);
}

UTEST(ksm, says_what_it_cannot_do, .init = up, .fini = down)
{
	struct ksm *other;
	hva_t end = rig_hva(&r, PAGES);

	check_eq(ksm_create(&other, r.pool, &(struct ksm_opts){ .max_page_sharing = 1 }), -EINVAL);
	check_eq(ksm_register(ksm, r.mm, r.hva + 8, end), -EINVAL);
	check_eq(ksm_register(ksm, r.mm, r.hva, r.hva), -EINVAL);
	check_eq(ksm_register(ksm, r.mm, r.hva, end + 4096), -EINVAL);
	check_eq(ksm_register(ksm, r.mm, 4096, 8192), -EFAULT);
	check_eq(ksm_unregister(ksm, r.mm, 4096, 8192), -EFAULT);
	check_eq(ksm_unregister(ksm, r.mm, r.hva, end), 0);
	check_eq(ksm_scan(ksm, 100), 0);
	watch();
	watch();
	check_eq(ksm_create(&other, r.pool, &(struct ksm_opts){ 0 }), 0);
	check_eq(ksm_register(other, r.mm, r.hva, end), -EINVAL);
	ksm_destroy(other);
	check_eq(ksm_start(ksm), 0);
	check_eq(ksm_start(ksm), -EALREADY);
	ksm_stop(ksm);
	ksm_stop(ksm);
}

/* An hour of sleep, and one page at a time: neither goes on when the rate is another. */
UTEST(ksm, rate_counts_at_once, .init = up_slow, .fini = down)
{
	for (uint64_t page = 0; page < 4; page++)
		rig_put(&r, page, 7);
	watch();
	check_eq(ksm_start(ksm), 0);
	ksm_set_rate(ksm, 10 * PAGES, 0);
	while (stats().merged < 3)
		sched_yield();
	ksm_set_rate(ksm, 0, 3600000);
	ksm_stop(ksm);
	check_eq(stats().pages_sharing, 3);
}

UTEST(ksm, merges_what_stands_still, .init = up, .fini = down)
{
	struct ksm_stats s;

	for (uint64_t page = 0; page < 4; page++)
		rig_put(&r, page, 7);
	rig_put(&r, 4, 100);
	watch();
	passes(1);
	check_eq(stats().merged, 0); /* only looked at */
	passes(1);
	s = stats();
	check_eq(s.merged, 3);
	check_eq(s.pages_shared, 1);
	check_eq(s.pages_sharing, 3);
	check_eq(s.pages_unshared, 1);
	check_eq(s.full_scans, 2);
	check_eq(s.pages_scanned, 2 * PAGES);
	check_eq(pool_used(r.pool), 2);
	check_eq(rig_maps(&r, 0), 5); /* one is the service's */
	check_eq(rig_refs(&r, 0), 5);
	for (uint64_t page = 1; page < 4; page++)
		check_eq(rig_frame(&r, page), rig_frame(&r, 0));
	passes(1);
	check_eq(stats().merged, 3);
	check_eq(stats().pages_sharing, 3);
	rig_put(&r, 5, 7); /* joins what is stable */
	passes(2);
	check_eq(stats().pages_sharing, 4);
	check_eq(pool_used(r.pool), 2);
	for (uint64_t page = 0; page < 6; page++)
		check_eq(rig_load(rig_word(r.guest, page, 0)), page == 4 ? 100 : 7);
	rig_check(&r);
}

UTEST(ksm, goes_on_where_it_ended, .init = up, .fini = down)
{
	for (uint64_t page = 0; page < PAGES; page++)
		rig_put(&r, page, 7);
	watch();
	check_eq(ksm_scan(ksm, 5), 5);
	check_eq(stats().full_scans, 0);
	check_eq(ksm_scan(ksm, PAGES), PAGES);
	check_eq(stats().full_scans, 1);
	check_eq(ksm_scan(ksm, PAGES), PAGES);
	check_eq(stats().pages_sharing, PAGES - 1);
	check_eq(pool_used(r.pool), 1);
	/* Only what is registered. */
	check_eq(ksm_unregister(ksm, r.mm, r.hva, rig_hva(&r, 10)), 0);
	check_eq(stats().pages_sharing, PAGES - 10 - 1);
	check_eq(pool_used(r.pool), 11);
	ksm_pass(ksm);
	check_eq(ksm_pass(ksm), PAGES - 10);
}

UTEST(ksm, passes_over_what_changes, .init = up, .fini = down)
{
	for (uint64_t page = 0; page < 3; page++)
		rig_put(&r, page, 7);
	watch();
	for (uint64_t value = 8; value < 12; value++) {
		passes(1);
		rig_put(&r, 2, value);
	}
	check_eq(stats().pages_volatile, 1);
	check_eq(stats().pages_sharing, 1);
	rig_put(&r, 2, 7);
	passes(2);
	check_eq(stats().pages_sharing, 2);
	check_eq(stats().pages_volatile, 0);
}

UTEST(ksm, zeros_share_frames_of_zeros, .init = up_zero, .fini = down)
{
	for (uint64_t page = 0; page < 6; page++)
		rig_put(&r, page, 0);
	watch();
	passes(2);
	check_eq(stats().ksm_zero_pages, 6);
	check_eq(stats().pages_shared, 0);
	check_eq(pool_used(r.pool), 0);
	for (uint64_t page = 0; page < 6; page++)
		check_eq(rig_load(rig_word(r.guest, page, 0)), 0);
	rig_guest_store(&r, rig_word(r.guest, 2, 0), 9);
	check_eq(stats().ksm_zero_pages, 5);
	check_eq(rig_peek(&r, 1), 0);
	rig_check(&r);
	check_eq(ksm_unregister(ksm, r.mm, r.hva, rig_hva(&r, PAGES)), 0);
	check_eq(stats().ksm_zero_pages, 0);
	check_eq(pool_used(r.pool), 6);
	rig_check(&r);
}

static void store_reaches_one(enum rig_store by)
{
	merged(4);
	for (uint64_t page = 0; page < 4; page++)
		check_eq(rig_load(rig_word(r.guest, page, 0)), 7); /* mapped, read-only */
	rig_store_reaches_one(&r, by);
	/* The service had the last map of what they shared. */
	check_eq(stats().pages_shared, 0);
	passes(1);
	check_eq(pool_used(r.pool), 6);
	rig_check_all_home(&r);
}

UTEST(ksm, a_copied_store_reaches_one_page, .init = up, .fini = down)
{
	store_reaches_one(RIG_COPIES);
}

UTEST(ksm, a_host_store_reaches_one_page, .init = up, .fini = down)
{
	store_reaches_one(RIG_HOST_STORES);
}

UTEST(ksm, a_guest_store_reaches_one_page, .init = up, .fini = down)
{
	store_reaches_one(RIG_GUEST_STORES);
}

/* M29: what change_pte makes is as write-protected as what it replaces. */
UTEST(ksm, young_pages_stay_write_protected, .init = up, .fini = down)
{
	for (uint64_t page = 0; page < 4; page++)
		rig_guest_store(&r, rig_word(r.guest, page, 0), 7);
	watch();
	passes(1);
	for (uint64_t page = 0; page < 4; page++)
		check_eq(rig_load(rig_word(r.guest, page, 0)), 7);
	passes(1);
	check_eq(stats().merged_young, 3);
	for (uint64_t stored = 0; stored < 4; stored++) {
		rig_guest_store(&r, rig_word(r.guest, stored, 0), 100 + stored);
		for (uint64_t page = 0; page < 4; page++)
			check_eq(rig_peek(&r, page), page <= stored ? 100 + page : 7);
	}
}

UTEST(ksm, frames_are_shared_by_so_many_at_most, .init = up_few, .fini = down)
{
	for (uint64_t page = 0; page < 6; page++)
		rig_put(&r, page, 7);
	watch();
	passes(3);
	check_eq(stats().pages_shared, 3);
	check_eq(stats().pages_sharing, 3);
	check_eq(pool_used(r.pool), 3);
	for (uint64_t page = 0; page < 6; page++)
		check_eq(rig_maps(&r, page), 3);
}

UTEST(ksm, unmergeable_pages_are_alone, .init = up, .fini = down)
{
	uint64_t copies;
	struct hostmm_actor_stats actors;

	merged(4);
	check_eq(ksm_unregister(ksm, r.mm, r.hva, rig_hva(&r, PAGES)), 0);
	for (uint64_t page = 0; page < 6; page++) {
		check_eq(rig_maps(&r, page), 1);
		check_eq(rig_refs(&r, page), 1);
		check_eq(rig_peek(&r, page), page < 4 ? 7 : 96 + page);
	}
	hostmm_get_actor_stats(r.mm, &actors);
	copies = actors.cow_copies;
	check_eq(copies, 3); /* the last has the frame */
	check_eq(stats().pages_shared, 0);
	check_eq(ksm_scan(ksm, 100), 0);
	rig_put(&r, 0, 8);
	hostmm_get_actor_stats(r.mm, &actors);
	check_eq(actors.cow_copies, copies);
	rig_check_all_home(&r);
}

UTEST(ksm, what_is_shared_outlives_the_service, .init = up, .fini = down)
{
	merged(4);
	ksm_destroy(ksm);
	check_eq(pool_used(r.pool), 3);
	check_eq(rig_maps(&r, 0), 4);
	rig_put(&r, 1, 8);
	check_eq(rig_peek(&r, 0), 7);
	check_eq(ksm_create(&ksm, r.pool, &(struct ksm_opts){ 0 }), 0);
	rig_put(&r, 1, 7);
	watch();
	passes(2);
	check_eq(pool_used(r.pool), 3);
}

UTEST(ksm, regions_and_address_spaces_go, .init = up, .fini = down)
{
	const struct hostmm_opts opts = { .fault_threads = 1,
					  .source = rig_source(),
					  .audit = rig_audit() };
	uint64_t value = 7;
	struct hostmm *mm;
	hva_t hva[2];

	check_eq(hostmm_create(&mm, r.pool, &opts), 0);
	for (int i = 0; i < 2; i++) {
		check_eq(hostmm_map(mm, 4, HOSTMM_PROT_READ | HOSTMM_PROT_WRITE, NULL, NULL,
				    &hva[i]),
			 0);
		check_eq(hostmm_write(mm, hva[i], &value, sizeof(value)), 0);
		check_eq(ksm_register(ksm, mm, hva[i], hva[i] + 4 * PAGE_SIZE), 0);
	}
	merged(2);
	check_eq(stats().pages_sharing, 3);
	check_eq(pool_used(r.pool), 3);
	check_eq(ksm_scan(ksm, 2), 2); /* in the middle of what goes */
	check_eq(hostmm_unmap(mm, hva[0]), 0);
	passes(2);
	check_eq(stats().pages_sharing, 2);
	check_eq(ksm_scan(ksm, 2), 2);
	hostmm_destroy(mm);
	passes(2);
	check_eq(stats().pages_sharing, 1);
	check_eq(rig_peek(&r, 0), 7);
	check_eq(pool_used(r.pool), 3);
}

UTEST(ksm, a_child_is_merged_as_its_parent, .init = up, .fini = down)
{
	struct rig child;
	uint64_t value = 9;

	merged(4);
	rig_fork(&child, &r);
	check_eq(rig_maps(&r, 0), 9);
	check_eq(hostmm_write(child.mm, rig_hva(&child, 0), &value, sizeof(value)), 0);
	check_eq(rig_peek(&r, 0), 7);
	check_eq(rig_peek(&child, 1), 7);
	value = 7;
	check_eq(hostmm_write(child.mm, rig_hva(&child, 0), &value, sizeof(value)), 0);
	passes(2);
	check_eq(rig_frame(&child, 0), rig_frame(&r, 0));
	check_eq(stats().pages_sharing, 7 + 2); /* what fork shares counts, too */
	rig_fork_down(&child);
	check_eq(rig_maps(&r, 0), 5);
	passes(1);
	check_eq(stats().pages_sharing, 3);
}

UTEST(ksm, a_merged_page_moves, .init = up, .fini = down)
{
	merged(4);
	check_eq(hostmm_migrate(r.mm, rig_hva(&r, 1), rig_hva(&r, 2), HOSTMM_MIGRATE_AWAY), 0);
	check_eq(rig_peek(&r, 1), 7);
	check(rig_frame(&r, 1) != rig_frame(&r, 0));
	passes(2);
	check_eq(rig_frame(&r, 1), rig_frame(&r, 0));
	check_eq(hostmm_discard(r.mm, r.hva, rig_hva(&r, 2)), 0);
	check_eq(rig_load(rig_word(r.guest, 0, 0)), 0);
	check_eq(rig_load(rig_word(r.guest, 2, 0)), 7);
	rig_check(&r);
}

/* ---- What a store that comes at the worst moment does ---- */

/* In the bracket, while the primary still lets host threads store. */
static int store_late(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	(void)mn;
	if (range->start <= rig_hva(&r, 3) && rig_hva(&r, 3) < range->end)
		rig_store(rig_word(r.host, 3, 0), 8);
	return 0;
}

UTEST(ksm, compares_after_it_has_write_protected, .init = up, .fini = down)
{
	const struct mmu_notifier_ops ops = { .invalidate_range_start = store_late };
	struct mmu_notifier late = { .ops = &ops };

	for (uint64_t page = 0; page < 4; page++)
		rig_store(rig_word(r.host, page, 0), 7);
	watch();
	passes(1);
	check_eq(hostmm_subscribe(r.mm, &late), 0);
	passes(1);
	mmu_notifier_unregister(&late);
	check_eq(rig_peek(&r, 3), 8);
	check_eq(rig_peek(&r, 2), 7);
	check_eq(stats().failed, 1);
	check_eq(stats().merged, 2);
	check_eq(rig_maps(&r, 3), 1);
	rig_check(&r);
}

/* ---- Readers ---- */

static uint64_t faults(void)
{
	struct shadow_stats s;

	shadow_get_stats(r.shadow, &s);
	return s.faults;
}

UTEST(ksm, young_pages_keep_their_readers, .init = up, .fini = down)
{
	uint64_t before;

	for (uint64_t page = 0; page < 6; page++)
		rig_guest_store(&r, rig_word(r.guest, page, 0), 7);
	watch();
	passes(1);
	/* Used again: 0, 1 and 2. The others are old. */
	for (uint64_t page = 0; page < 3; page++)
		check_eq(rig_load(rig_word(r.guest, page, 0)), 7);
	before = faults();
	passes(1);
	check_eq(stats().merged, 5);
	check_eq(stats().merged_young, 2); /* page 0 has the frame */
	for (uint64_t page = 0; page < 3; page++)
		check_eq(rig_load(rig_word(r.guest, page, 0)), 7);
	check_eq(faults(), before);
	for (uint64_t page = 3; page < 6; page++)
		check_eq(rig_load(rig_word(r.guest, page, 0)), 7);
	check_eq(faults(), before + 3);
	rig_check(&r);
}

/* ---- The kernel's own ---- */

static bool is_marked_mergeable(const void *at)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	unsigned long start, end;
	bool inside = false, marked = false;
	char line[512];

	check(f != NULL);
	while (fgets(line, sizeof(line), f)) {
		char *after;

		start = strtoul(line, &after, 16);
		end = *after == '-' ? strtoul(after + 1, NULL, 16) : 0;
		if (end) /* the head of a mapping, not one of its fields */
			inside = start <= (unsigned long)(uintptr_t)at &&
				 (unsigned long)(uintptr_t)at < end;
		if (inside && !strncmp(line, "VmFlags:", 8))
			marked = strstr(line, " mg") != NULL;
	}
	fclose(f);
	return marked;
}

/* M29: it would drop the write protection of userfaultfd. It merges private memory only, and the pool is shared. */
UTEST(ksm, the_kernel_does_not_merge_a_pool, .init = up, .fini = down)
{
	void *private = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			     -1, 0);
	int rc = madvise(private, PAGE_SIZE, MADV_MERGEABLE);
	bool can = !rc && is_marked_mergeable(private);

	munmap(private, PAGE_SIZE);
	if (!can)
		test_skip("no KSM in this kernel");
	(void)madvise(r.host, PAGES * PAGE_SIZE, MADV_MERGEABLE);
	(void)madvise(r.guest, PAGES * PAGE_SIZE, MADV_MERGEABLE);
	(void)madvise(pool_direct(r.pool, 0), PAGES * PAGE_SIZE, MADV_MERGEABLE);
	check(!is_marked_mergeable(r.host));
	check(!is_marked_mergeable(r.guest));
	check(!is_marked_mergeable(pool_direct(r.pool, 0)));
}
