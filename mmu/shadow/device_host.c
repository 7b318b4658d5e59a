/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Devices that walk the host: how each kind of subscriber finds out that what hostmm_gup() gave is stale, and lets go
 * when told. With and without a table (mirror) between host and TLB.
 */
#include <errno.h>

#include "mmu/shadow/device_priv.h"

/* The pages of the device that lie in [start, end) of the host. False: none. */
static bool device_pages(const struct device *dev, hva_t start, hva_t end, uint64_t *first,
			 uint64_t *last)
{
	*first = max_u64(start >> PAGE_SHIFT, dev->first);
	*last = min_u64((end >> PAGE_SHIFT) + !is_page_aligned(end), dev->first + dev->npages);
	return *first < *last;
}

/* ---- Begin, look up, retry ---- */

static bool is_busy(const struct device *dev, uint64_t start, uint64_t end)
{
	return !mutant(19) && dev->in_progress &&
	       ranges_overlap(start, end, dev->busy_start, dev->busy_end);
}

/* The snapshot before anything is looked up. Lock held, and given up on return. */
static uint64_t begin(struct device *dev, uint64_t page)
{
	uint64_t seq;

	while (is_busy(dev, page, page + 1))
		device_wait(dev);
	seq = dev->seq;
	lock_release(&dev->lock);
	if (dev->profile->subscription == DEVICE_INTERVAL)
		seq = mmu_interval_read_begin(&dev->sub);
	return seq;
}

/* Lock held. */
static bool is_stale(struct device *dev, uint64_t page, uint64_t seq)
{
	if (dev->profile->subscription == DEVICE_INTERVAL)
		return mmu_interval_read_retry(&dev->sub, seq) && !mutant(41);
	return is_busy(dev, page, page + 1) || dev->seq != seq;
}

/* Does the host have one run of frames for the block with @page, which an entry of 2M may reach? No lock held. */
static bool look_up_large(struct device *dev, uint64_t page, uint64_t *block,
			  struct gup_page *first)
{
	uint64_t from;

	if (!device_block(dev, page, block) || dev->profile->pins)
		return false;
	from = mutant(33) ? page : *block;
	if (!hostmm_huge(dev->mm, from << PAGE_SHIFT, *block + DEVICE_LARGE_PAGES - from, first))
		return false;
	first->fn -= from - *block;
	return first->fn % DEVICE_LARGE_PAGES == 0;
}

bool device_host_walk(struct device *dev, uint64_t page, bool write)
{
	return dev->mirror && device_mirror_walk(dev, page, write);
}

/* What was looked up is not stale. The reference on @found is given back, or goes into the mirror. Lock held. */
static void install(struct device *dev, uint64_t page, const struct gup_page *found)
{
	if (dev->mirror) {
		device_mirror_install(dev, page, found);
		return;
	}
	device_fill(dev, page, found->fn, found->writable);
	hostmm_put_pages(dev->mm, found, 1);
}

static void install_large(struct device *dev, uint64_t block, const struct gup_page *first)
{
	if (dev->mirror)
		device_mirror_install_large(dev, block, first);
	else
		device_fill_large(dev, block, first->fn, first->writable);
}

int device_host_fault(struct device *dev, uint64_t page, bool write)
{
	struct gup_page found, first;
	uint64_t seq, block;
	bool large;
	int rc;

	if (page < dev->first || page - dev->first >= dev->npages) {
		lock_release(&dev->lock);
		return -EFAULT;
	}
	seq = begin(dev, page);
	rc = hostmm_gup_owner(dev->mm, dev, page << PAGE_SHIFT, 1, 0, 0, write, &found);
	if (rc)
		return rc;
	large = look_up_large(dev, page, &block, &first);
	lock_acquire(&dev->lock);
	if (!is_stale(dev, page, seq)) {
		/* The sequence is the whole device's; an open bracket may lie in the block, beside the page. */
		if (large && !is_busy(dev, block, block + DEVICE_LARGE_PAGES) &&
		    (first.writable || !write)) {
			install_large(dev, block, &first);
			hostmm_put_pages(dev->mm, &found, 1);
		} else {
			install(dev, page, &found);
		}
		return 0;
	}
	dev->stats.retries++;
	lock_release(&dev->lock);
	hostmm_put_pages(dev->mm, &found, 1); /* may be the last: it frees the frame */
	lock_acquire(&dev->lock);
	return 0;
}

/* ---- Subscriber: list notifier with start and end ---- */

static struct device *mn_device(struct mmu_notifier *mn)
{
	return (struct device *)((char *)mn - offsetof(struct device, mn));
}

/* Forbidden: the range is as good as unmapped when start returns, and the device still reaches it (A23, M30). */
static void defer(struct device *dev, uint64_t first, uint64_t last)
{
	if (dev->deferred_start == dev->deferred_end) {
		dev->deferred_start = first;
		dev->deferred_end = last;
	} else {
		dev->deferred_start = min_u64(first, dev->deferred_start);
		dev->deferred_end = max_u64(last, dev->deferred_end);
	}
	dev->stats.deferred++;
}

static int device_range_start(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	struct device *dev = mn_device(mn);
	uint64_t first, last;

	if (!device_pages(dev, range->start, range->end, &first, &last))
		return 0;
	lock_acquire(&dev->lock);
	dev->busy_start = dev->in_progress ? min_u64(first, dev->busy_start) : first;
	dev->busy_end = dev->in_progress ? max_u64(last, dev->busy_end) : last;
	dev->in_progress++;
	if (dev->profile->defers)
		defer(dev, first, last);
	else
		device_flush(dev, first, last);
	lock_release(&dev->lock);
	return 0;
}

static void device_range_end(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	struct device *dev = mn_device(mn);
	uint64_t first, last;

	if (!device_pages(dev, range->start, range->end, &first, &last))
		return;
	lock_acquire(&dev->lock);
	bug_on(!dev->in_progress);
	dev->in_progress--;
	dev->seq++;
	if (dev->waiters)
		cond_broadcast(&dev->changed);
	lock_release(&dev->lock);
}

/*
 * Start has dropped the page, and lookups of it wait for the end: the new frame, told now, spares them. Unless another bracket
 * is open, whose start is over, and whose end would leave here what it takes away (M2).
 */
static void device_change_pte(struct mmu_notifier *mn, hva_t addr, fn_t fn, bool writable)
{
	struct device *dev = mn_device(mn);
	uint64_t page, end;

	(void)writable; /* for loads only: a store asks the host */
	if (!device_pages(dev, addr, addr + PAGE_SIZE, &page, &end))
		return;
	lock_acquire(&dev->lock);
	device_flush(dev, page, end);
	if (mmu_notifier_may_repoint(mn, addr))
		device_mirror_repoint(dev, page, fn);
	lock_release(&dev->lock);
}

/*
 * A mirror has marks, as a table that hardware walks. Who walks the host finds none to set there, and an interval notifier is
 * never asked. No holder is waited for: what the TLB loses, the mirror still has.
 */
static bool device_age(struct mmu_notifier *mn, hva_t start, hva_t end, bool flush)
{
	struct device *dev = mn_device(mn);
	uint64_t first, last;
	bool young;

	if (!dev->mirror || !device_pages(dev, start, end, &first, &last))
		return false;
	lock_acquire(&dev->lock);
	young = device_mirror_make_old(dev, first, last);
	/* What was not walked to is in no TLB since it was asked for with a flush. */
	if (young && flush)
		device_tlb_drop(dev, first, last);
	lock_release(&dev->lock);
	return young;
}

static bool device_clear_flush_young(struct mmu_notifier *mn, hva_t start, hva_t end)
{
	return device_age(mn, start, end, true);
}

static bool device_clear_young(struct mmu_notifier *mn, hva_t start, hva_t end)
{
	return device_age(mn, start, end, false);
}

static bool device_test_young(struct mmu_notifier *mn, hva_t addr)
{
	struct device *dev = mn_device(mn);
	uint64_t first, last;
	bool young;

	if (!dev->mirror || !device_pages(dev, addr, addr + 1, &first, &last))
		return false;
	lock_acquire(&dev->lock);
	young = device_mirror_is_young(dev, first, last);
	lock_release(&dev->lock);
	return young;
}

/* The mm dies, or the device detaches. Lookups under way are stale; later ones find no region. */
static void device_mn_release(struct mmu_notifier *mn)
{
	struct device *dev = mn_device(mn);

	lock_acquire(&dev->lock);
	dev->seq++;
	device_flush(dev, dev->first, dev->first + dev->npages);
	lock_release(&dev->lock);
}

static const struct mmu_notifier_ops start_end_ops = {
	.release = device_mn_release,
	.clear_flush_young = device_clear_flush_young,
	.clear_young = device_clear_young,
	.test_young = device_test_young,
	.invalidate_range_start = device_range_start,
	.invalidate_range_end = device_range_end,
};

static const struct mmu_notifier_ops follow_ops = {
	.release = device_mn_release,
	.clear_flush_young = device_clear_flush_young,
	.clear_young = device_clear_young,
	.test_young = device_test_young,
	.change_pte = device_change_pte,
	.invalidate_range_start = device_range_start,
	.invalidate_range_end = device_range_end,
};

/* ---- Subscriber: list notifier with the secondary-TLB op ---- */

/* Called between clear and set: a lookup sees what is new, or this makes it stale. No end is needed. */
static void device_invalidate_tlb(struct mmu_notifier *mn, hva_t start, hva_t end)
{
	struct device *dev = mn_device(mn);
	uint64_t first, last;

	if (!device_pages(dev, start, end, &first, &last))
		return;
	lock_acquire(&dev->lock);
	dev->seq++;
	device_flush(dev, first, last);
	lock_release(&dev->lock);
}

static const struct mmu_notifier_ops secondary_tlb_ops = {
	.release = device_mn_release,
	.arch_invalidate_secondary_tlbs = device_invalidate_tlb,
};

/* ---- Subscriber: interval notifier ---- */

static bool device_invalidate(struct mmu_interval_notifier *sub,
			      const struct mmu_notifier_range *range, uint64_t cur_seq)
{
	struct device *dev = (struct device *)((char *)sub - offsetof(struct device, sub));
	uint64_t first, last;

	bug_on(!device_pages(dev, range->start, range->end, &first, &last));
	lock_acquire(&dev->lock);
	if (!mmu_notifier_range_blockable(range) && (dev->holders || !dev->profile->atomic)) {
		dev->stats.refused++;
		lock_release(&dev->lock);
		return false;
	}
	mmu_interval_set_seq(sub, cur_seq);
	device_flush(dev, first, last);
	lock_release(&dev->lock);
	return true;
}

static const struct mmu_interval_notifier_ops interval_ops = {
	.invalidate = device_invalidate,
};

/* ---- Attach, detach ---- */

int device_host_attach(struct device *dev)
{
	if (dev->profile->subscription == DEVICE_INTERVAL) {
		dev->sub.user_lock = &dev->lock;
		return mmu_interval_notifier_insert(&dev->sub, hostmm_subscriptions(dev->mm),
						    dev->first << PAGE_SHIFT,
						    dev->npages << PAGE_SHIFT, &interval_ops);
	}
	if (dev->profile->subscription == DEVICE_SECONDARY_TLB)
		dev->mn.ops = &secondary_tlb_ops;
	else
		dev->mn.ops = dev->profile->follows ? &follow_ops : &start_end_ops;
	return hostmm_subscribe(dev->mm, &dev->mn);
}

void device_host_detach(struct device *dev)
{
	if (dev->profile->subscription == DEVICE_INTERVAL)
		mmu_interval_notifier_remove(&dev->sub);
	else
		mmu_notifier_unregister(&dev->mn);
	if (dev->mirror)
		device_mirror_drop(dev, dev->first, dev->first + dev->npages);
}
