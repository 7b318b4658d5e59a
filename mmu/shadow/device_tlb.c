/* SPDX-License-Identifier: BSD-2-Clause */
/* The TLB: entries of 4K and of 2M, each kind by page and direct mapped; what an invalidation leaves of them. */
#include "mmu/shadow/device_priv.h"

static struct device_entry *small_slot(struct device *dev, uint64_t page)
{
	return &dev->tlb[page % DEVICE_TLB_ENTRIES];
}

static struct device_large *large_slot(struct device *dev, uint64_t page)
{
	return &dev->large[page / DEVICE_LARGE_PAGES % DEVICE_TLB_LARGE];
}

bool device_large_has(const struct device_large *l, uint64_t page)
{
	uint64_t i = page % DEVICE_LARGE_PAGES;

	return l->e.fn != FN_NONE && l->e.page == page - i && !(l->hole[i / 64] >> i % 64 & 1);
}

void device_tlb_init(struct device *dev)
{
	for (unsigned i = 0; i < DEVICE_TLB_ENTRIES; i++)
		dev->tlb[i].fn = FN_NONE;
	for (unsigned i = 0; i < DEVICE_TLB_LARGE; i++)
		dev->large[i].e.fn = FN_NONE;
}

fn_t device_tlb_find(struct device *dev, uint64_t page, bool write, bool *large)
{
	struct device_entry *e = small_slot(dev, page);
	struct device_large *l = large_slot(dev, page);

	lock_assert_held(&dev->lock);
	*large = false;
	if (e->fn != FN_NONE && e->page == page && (e->writable || !write))
		return e->fn;
	if (!device_large_has(l, page) || (write && !l->e.writable))
		return FN_NONE;
	*large = true;
	return l->e.fn + page % DEVICE_LARGE_PAGES;
}

void device_fill(struct device *dev, uint64_t page, fn_t fn, bool writable)
{
	lock_assert_held(&dev->lock);
	*small_slot(dev,
		    page) = (struct device_entry){ .page = page, .fn = fn, .writable = writable };
}

void device_fill_large(struct device *dev, uint64_t page, fn_t fn, bool writable)
{
	lock_assert_held(&dev->lock);
	bug_on(page % DEVICE_LARGE_PAGES || fn % DEVICE_LARGE_PAGES);
	*large_slot(dev, page) =
		(struct device_large){ .e = { .page = page, .fn = fn, .writable = writable } };
	dev->stats.large_fills++;
}

/* The invalidation names a part of the entry alone: pages [start, end). True: the whole entry goes. */
static bool drop_part(const struct device *dev, struct device_large *l, uint64_t start,
		      uint64_t end)
{
	if (mutant(30) || dev->profile->part == DEVICE_PART_IGNORED)
		return false;
	if (dev->profile->part == DEVICE_PART_WHOLE)
		return true;
	for (uint64_t page = start; page < end; page++) {
		uint64_t i = page % DEVICE_LARGE_PAGES;

		l->hole[i / 64] |= 1UL << i % 64;
	}
	return false;
}

static void drop_large(struct device *dev, struct device_large *l, uint64_t start, uint64_t end)
{
	uint64_t first = l->e.page, last = first + (mutant(105) ? 1 : DEVICE_LARGE_PAGES);

	if (l->e.fn == FN_NONE || !ranges_overlap(first, last, start, end))
		return;
	if ((start > first || end < last) &&
	    !drop_part(dev, l, max_u64(first, start), min_u64(last, end)))
		return;
	l->e.fn = FN_NONE;
	dev->stats.dropped++;
	dev->stats.large_dropped++;
}

void device_tlb_drop(struct device *dev, uint64_t start, uint64_t end)
{
	lock_assert_held(&dev->lock);
	for (unsigned i = 0; i < DEVICE_TLB_ENTRIES; i++) {
		struct device_entry *e = &dev->tlb[i];

		if (e->fn == FN_NONE || e->page < start || e->page >= end)
			continue;
		e->fn = FN_NONE;
		dev->stats.dropped++;
	}
	for (unsigned i = 0; i < DEVICE_TLB_LARGE; i++)
		drop_large(dev, &dev->large[i], start, end);
	dev->stats.flushes++;
}
