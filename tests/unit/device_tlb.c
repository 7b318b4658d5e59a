// SPDX-License-Identifier: BSD-2-Clause
/* Entries of 2M in the TLBs of devices: when there is one, and what an invalidation of a part of it does. */
#include <errno.h>

#include "mmu/shadow/shadow_priv.h"
#include "tests/unit/device.h"

static bool is_mixed(const struct device_profile *p)
{
	return p->tlb == DEVICE_TLB_MIXED;
}

/* A load fills the largest entry that the profile knows; all other pages of the block then hit it. */
UTEST(device_tlb, fills_2m_where_512_pages_are_one)
{
	for (const struct device_profile *p = device_profiles; p->name; p++) {
		bool mixed = p->tlb == DEVICE_TLB_MIXED;
		struct device *dev;
		struct rig r;

		large_up(&r, &dev, p);
		check_eq(load(&r, dev, 7), 0);
		check_eq(load(&r, dev, 511), 0);
		check_eq(load(&r, dev, 512), 0);
		check_of(p, stats(dev).large_fills, mixed ? 2 : 0);
		check_of(p, stats(dev).misses, mixed ? 2 : 3);
		check_of(p, stats(dev).large_hits, mixed ? 1 : 0);
		store(&r, dev, 100, 5);
		check_eq(host_load(&r, 100), 5);
		check_eq(load(&r, dev, 100), 5);
		down(&r, dev);
	}
}

/* A7: one page elsewhere, with other rights or not there, and the entries are of 4K; back again, and one is of 2M. */
UTEST(device_tlb, needs_equal_rights_and_consecutive_frames)
{
	for (const struct device_profile *p = device_profiles; p->name; p++) {
		struct device *dev;
		struct rig r;
		hva_t at;

		if (!is_mixed(p))
			continue;
		large_up(&r, &dev, p);
		at = rig_hva(&r, 300);
		check_eq(hostmm_migrate(r.mm, at, at + PAGE_SIZE, HOSTMM_MIGRATE_AWAY), 0);
		check_eq(load(&r, dev, 7), 0);
		check_eq(hostmm_migrate(r.mm, at, at + PAGE_SIZE, HOSTMM_MIGRATE_HOME), 0);
		check_eq(hostmm_wrprotect(r.mm, at, at + PAGE_SIZE), 0);
		check_eq(hostmm_zap(r.mm, r.hva, rig_hva(&r, LARGE)), 0);
		check_eq(load(&r, dev, 8), 0);
		check_eq(hostmm_discard(r.mm, at, at + PAGE_SIZE), 0);
		check_eq(hostmm_zap(r.mm, r.hva, rig_hva(&r, LARGE)), 0);
		check_eq(load(&r, dev, 9), 0);
		check_of(p, stats(dev).large_fills, 0);
		check_eq(hostmm_write(r.mm, at, &(uint64_t){ 1 }, 8), 0);
		check_eq(hostmm_zap(r.mm, r.hva, rig_hva(&r, LARGE)), 0);
		if (device_get_shadow(dev)) /* an empty table is in the way */
			shadow_recover(device_get_shadow(dev), r.hva >> PAGE_SHIFT,
				       (r.hva >> PAGE_SHIFT) + LARGE);
		check_eq(load(&r, dev, 9), 0);
		check_of(p, stats(dev).large_fills, 1);
		down(&r, dev);
	}
}

/* A device that begins or ends inside a block has no entry of 2M for it: it would reach what is not the device's. */
UTEST(device_tlb, keeps_within_the_pages_of_the_device)
{
	for (const struct device_profile *p = device_profiles; p->name; p++) {
		struct device *whole, *part;
		uint64_t value;
		struct rig r;

		large_up(&r, &whole, p);
		check_eq(device_create(&part, p, r.mm, rig_hva(&r, 1), 2 * LARGE - 2), 0);
		check_eq(device_read(part, rig_hva(&r, 5), &value, 8), 0);
		check_eq(device_read(part, rig_hva(&r, LARGE + 5), &value, 8), 0);
		check_of(p, stats(part).large_fills, 0);
		check(device_read(part, rig_hva(&r, 0), &value, 8) < 0, "%s", p->name);
		check(device_read(part, rig_hva(&r, 2 * LARGE - 1), &value, 8) < 0, "%s", p->name);
		check_eq(device_check(part, report, NULL), 0);
		device_destroy(part);
		down(&r, whole);
	}
}

/* ---- A part of an entry (A3, A4, A5, A29) ---- */

struct part {
	uint64_t page, n; /* of block 0 */
};

static const struct part parts[] = { { 0, 1 },	 { 1, 1 },   { 511, 1 },
				     { 3, 200 }, { 255, 2 }, { 1, 510 } };

/* Discarding a part: its pages are dropped by every device but the one that ignores it, wherever it lies. */
UTEST(device_tlb, a_part_of_an_entry_takes_its_pages_along)
{
	for (const struct device_profile *p = device_profiles; p->name; p++) {
		for (unsigned i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
			uint64_t page = parts[i].page, end = page + parts[i].n, other = 256 + 200;
			bool bad = p->defers || p->part == DEVICE_PART_IGNORED;
			struct device_stats before;
			struct device *dev;
			struct rig r;

			if (other >= page && other < end)
				other = page ? 0 : 511;
			large_up(&r, &dev, p);
			store(&r, dev, page, 1);
			store(&r, dev, end - 1, 2);
			store(&r, dev, other, 3);
			before = stats(dev);
			check_eq(hostmm_discard(r.mm, rig_hva(&r, page), rig_hva(&r, end)), 0);
			check_of(p, load(&r, dev, page) == 0, !bad);
			check_of(p, load(&r, dev, end - 1) == 0, !bad);
			check_eq(load(&r, dev, other), 3);
			if (is_mixed(p) && !bad)
				check_of(p, stats(dev).large_dropped - before.large_dropped,
					 p->part == DEVICE_PART_WHOLE);
			if (bad) /* its pages are still there, and the checker says so */
				check(device_check(dev, NULL, NULL) > 0, "%s", p->name);
			if (p->part == DEVICE_PART_IGNORED)
				check_eq(hostmm_zap(r.mm, r.hva, rig_hva(&r, LARGE)), 0);
			device_run_deferred(dev);
			check_eq(load(&r, dev, page), 0);
			down(&r, dev);
		}
	}
}

/* A29: where only the part goes, the rest goes on hitting the entry. */
UTEST(device_tlb, gru_goes_on_with_the_rest_of_an_entry)
{
	struct device_stats before;
	struct device *dev;
	struct rig r;

	large_up(&r, &dev, device_profile("gru"));
	check_eq(load(&r, dev, 0), 0);
	check_eq(hostmm_zap(r.mm, rig_hva(&r, 5), rig_hva(&r, 7)), 0);
	before = stats(dev);
	check_eq(load(&r, dev, 4), 0);
	check_eq(load(&r, dev, 7), 0);
	check_eq(stats(dev).misses, before.misses);
	check_eq(load(&r, dev, 6), 0);
	check_eq(stats(dev).misses, before.misses + 1);
	check_eq(stats(dev).large_dropped, 0);
	down(&r, dev);
}

/* The known bad device hears whole entries (a range of 2M), and is right then. */
UTEST(device_tlb, buggy_hears_ranges_of_its_entrys_size)
{
	struct device *dev;
	struct rig r;

	large_up(&r, &dev, device_profile("ats-mixed-buggy"));
	store(&r, dev, 5, 1);
	check_eq(hostmm_discard(r.mm, r.hva, rig_hva(&r, LARGE)), 0);
	check_eq(load(&r, dev, 5), 0);
	check_eq(stats(dev).large_dropped, 1);
	store(&r, dev, 5, 1);
	check_eq(hostmm_discard(r.mm, r.hva, rig_hva(&r, LARGE)), 0);
	check_eq(load(&r, dev, 5), 0);
	down(&r, dev);
}

/* The secondary-TLB op itself, at every size and offset (A5). */
UTEST(device_tlb, op_takes_any_range_of_pages)
{
	struct mmu_notifier_subscriptions *mm;
	struct device *dev;
	struct rig r;

	large_up(&r, &dev, device_profile("ats-mixed"));
	mm = hostmm_subscriptions(r.mm);
	for (uint64_t page = 0; page < 2 * LARGE; page += 73)
		for (uint64_t n = 1; page + n <= 2 * LARGE; n = n * 3 + 1) {
			uint64_t dropped = stats(dev).large_dropped;
			bool both = page < LARGE && page + n > LARGE;

			load(&r, dev, 0);
			load(&r, dev, LARGE);
			mmu_notifier_arch_invalidate_secondary_tlbs(mm, rig_hva(&r, page),
								    rig_hva(&r, page + n));
			check_eq(stats(dev).large_dropped - dropped, both ? 2 : 1);
		}
	/* From a page before the device to one after it, and all there is. */
	load(&r, dev, 0);
	mmu_notifier_arch_invalidate_secondary_tlbs(mm, r.hva - PAGE_SIZE,
						    rig_hva(&r, 2 * LARGE + 1));
	check_eq(load(&r, dev, 0), 0);
	mmu_notifier_arch_invalidate_secondary_tlbs(mm, 0, ~(hva_t)0);
	check_eq(device_check(dev, report, NULL), 0);
	for (unsigned i = 0; i < DEVICE_TLB_LARGE; i++)
		check_eq(dev->large[i].e.fn, FN_NONE);
	down(&r, dev);
}

/* ---- Whole ranges of 2M and more that must not block (A31) ---- */

static int announce(struct rig *r, struct mmu_notifier_range *range, hva_t end, bool blockable)
{
	mmu_notifier_range_init(range, MMU_NOTIFY_CLEAR, hostmm_subscriptions(r->mm), r->hva, end);
	if (!blockable)
		range->flags &= ~MMU_NOTIFIER_RANGE_BLOCKABLE;
	return mmu_notifier_invalidate_range_start(range);
}

UTEST(device_tlb, huge_range_is_one_call_and_may_be_refused)
{
	const uint64_t sizes[] = { 2UL << 20, 1UL << 30 };

	for (unsigned i = 0; i < 2; i++) {
		struct mmu_notifier_range range;
		struct device *dev;
		struct rig r;
		hva_t end;

		large_up(&r, &dev, device_profile("gru"));
		end = r.hva + sizes[i];
		load(&r, dev, 0);
		load(&r, dev, LARGE);
		device_hold(dev);
		check_eq(announce(&r, &range, end, false), -EAGAIN);
		check_eq(stats(dev).refused, 1);
		check_eq(stats(dev).dropped, 0);
		device_resume(dev);
		check_eq(announce(&r, &range, end, false), 0);
		check_eq(stats(dev).flushes, 1);
		check_eq(stats(dev).large_dropped, i ? 2 : 1);
		mmu_notifier_invalidate_range_end(&range);
		check_eq(mmu_notifier_misuses(hostmm_subscriptions(r.mm)), 0);
		down(&r, dev);
	}
}

/* ---- The checker ---- */

UTEST(device_tlb, checker_finds_each_page_that_is_wrong)
{
	struct device *dev;
	struct rig r;

	large_up(&r, &dev, device_profile("ats-mixed"));
	load(&r, dev, 0);
	dev->large[(r.hva >> PAGE_SHIFT) / LARGE % DEVICE_TLB_LARGE].e.fn += LARGE;
	check_eq(device_check(dev, NULL, NULL), 1);
	check_eq(hostmm_zap(r.mm, r.hva, rig_hva(&r, LARGE)), 0);
	check_eq(hostmm_wrprotect(r.mm, rig_hva(&r, 9), rig_hva(&r, 10)), 0);
	load(&r, dev, 0);
	lock_acquire(&dev->lock);
	device_fill_large(dev, r.hva >> PAGE_SHIFT,
			  dev->tlb[(r.hva >> PAGE_SHIFT) % DEVICE_TLB_ENTRIES].fn, true);
	lock_release(&dev->lock);
	check_eq(device_check(dev, NULL, NULL), 1); /* page 9 may not be written */
	check_eq(hostmm_zap(r.mm, r.hva, rig_hva(&r, LARGE)), 0);
	down(&r, dev);
}

/* ---- D in the table of a shadow ---- */

static void found_dirty(void *ctx, gfn_t gfn, uint64_t npages)
{
	(void)gfn;
	*(uint64_t *)ctx += npages;
}

/* What a dirty log does: D goes from the leaves, and then nothing may store by a TLB without setting it again. */
static uint64_t clear_dirty(struct rig *r, struct device *dev)
{
	struct shadow *sh = device_get_shadow(dev);
	gfn_t gfn = r->hva >> PAGE_SHIFT;
	struct ept_span span;
	uint64_t found = 0;

	sync_rcu_read_lock();
	rwlock_write_acquire(&sh->mmu_lock);
	span = ept_clear_dirty(&sh->ept, gfn, gfn + r->pages, found_dirty, &found);
	if (span.count) {
		lock_acquire(&dev->lock);
		device_flush(dev, span.start, span.end);
		lock_release(&dev->lock);
	}
	rwlock_write_release(&sh->mmu_lock);
	sync_rcu_read_unlock();
	return found;
}

UTEST(device_tlb, a_store_marks_its_leaf_also_after_a_load)
{
	struct device_stats before;
	struct device *dev;
	struct rig r;

	up(&r, &dev, "vmwgfx");
	store(&r, dev, 0, 1);
	store(&r, dev, 1, 1);
	check(clear_dirty(&r, dev) >= 2);
	check_eq(load(&r, dev, 0), 1);
	check_eq(load(&r, dev, 1), 1);
	check_eq(clear_dirty(&r, dev), 0);
	before = stats(dev);
	store(&r, dev, 0, 2); /* hits an entry that allows no store yet */
	store(&r, dev, 0, 3);
	check_eq(stats(dev).misses - before.misses, 1);
	check_eq(stats(dev).faults, before.faults);
	check_eq(clear_dirty(&r, dev), 1);
	check_eq(load(&r, dev, 0), 3);
	check_eq(clear_dirty(&r, dev), 0);
	down(&r, dev);
}
