/* SPDX-License-Identifier: BSD-2-Clause */
/* The checker: do TLB and table of a device say only what the primary says? */
#include "mmu/shadow/device_priv.h"
#include "mmu/shadow/spte.h"

struct device_checker {
	struct device *dev;
	void (*report)(void *ctx, hva_t addr, fn_t fn, const char *what);
	void *ctx;
	uint64_t wrong;
};

static void found_wrong(struct device_checker *c, hva_t addr, fn_t fn, const char *what)
{
	c->wrong++;
	if (c->report)
		c->report(c->ctx, addr, fn, what);
}

/* Where the host has what the device calls @page. False: the slot is gone. */
static bool to_hva(struct device *dev, uint64_t page, hva_t *hva, bool *read_only)
{
	struct memslot slot;

	*hva = page << PAGE_SHIFT;
	*read_only = false;
	if (!dev->shadow)
		return true;
	if (!shadow_slot(dev->shadow, page, &slot))
		return false;
	*hva = slot.hva + ((page - slot.gfn) << PAGE_SHIFT);
	*read_only = slot.flags & MEMSLOT_READONLY;
	return true;
}

/* What is wrong with @page reaching @fn. NULL: nothing. */
static const char *judge(struct device *dev, uint64_t page, fn_t fn, bool writable)
{
	struct gup_page has;
	bool read_only;
	hva_t hva;

	if (!to_hva(dev, page, &hva, &read_only))
		return "entry without a slot";
	if (!hostmm_peek_owner(dev->mm, dev->shadow ? NULL : dev, hva, &has))
		return "entry of a page that the primary does not have";
	if (has.fn != fn)
		return "entry with a frame that is not the primary's";
	if (writable && (!has.writable || read_only))
		return "entry writable though the primary's entry or the slot is not";
	return NULL;
}

/* Entries are copied under the lock: the primary's own locks come before it. */
static void check_entry(struct device_checker *c, const struct device_entry *at)
{
	struct device_entry e;
	const char *what;

	lock_acquire(&c->dev->lock);
	e = *at;
	lock_release(&c->dev->lock);
	what = e.fn == FN_NONE ? NULL : judge(c->dev, e.page, e.fn, e.writable);
	if (what)
		found_wrong(c, e.page << PAGE_SHIFT, e.fn, what);
}

/* 512 pages, each as if it had an entry of its own (A7). One report an entry, of the first that is wrong. */
static void check_large(struct device_checker *c, const struct device_large *at)
{
	struct device_large l;

	lock_acquire(&c->dev->lock);
	l = *at;
	lock_release(&c->dev->lock);
	for (uint64_t i = 0; l.e.fn != FN_NONE && i < DEVICE_LARGE_PAGES; i++) {
		uint64_t page = l.e.page + i;
		const char *what = device_large_has(&l, page)
					   ? judge(c->dev, page, l.e.fn + i, l.e.writable)
					   : NULL;

		if (what) {
			found_wrong(c, page << PAGE_SHIFT, l.e.fn + i, what);
			return;
		}
	}
}

static void leaf_wrong(void *ctx, gfn_t gfn, uint64_t spte, const char *what)
{
	found_wrong(ctx, gfn << PAGE_SHIFT, spte_fn(spte), what);
}

uint64_t device_check(struct device *dev,
		      void (*report)(void *ctx, hva_t addr, fn_t fn, const char *what), void *ctx)
{
	struct device_checker c = { .dev = dev, .report = report, .ctx = ctx };

	for (unsigned i = 0; i < DEVICE_TLB_ENTRIES; i++)
		check_entry(&c, &dev->tlb[i]);
	for (unsigned i = 0; i < DEVICE_TLB_LARGE; i++)
		check_large(&c, &dev->large[i]);
	for (uint64_t i = 0; dev->mirror && i < dev->npages; i++)
		check_entry(&c, &dev->mirror[i]);
	if (dev->shadow)
		shadow_check(dev->shadow, leaf_wrong, &c);
	return c.wrong;
}
