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

/* The entry is copied under the lock: the primary's own locks come before it. */
static void check_entry(struct device_checker *c, const struct device_entry *at)
{
	struct device_entry e;
	struct gup_page page;
	const char *what = NULL;
	bool read_only;
	hva_t hva;

	lock_acquire(&c->dev->lock);
	e = *at;
	lock_release(&c->dev->lock);
	if (e.fn == FN_NONE)
		return;
	if (!to_hva(c->dev, e.page, &hva, &read_only))
		what = "entry without a slot";
	else if (!hostmm_peek(c->dev->mm, hva, &page))
		what = "entry of a page that the primary does not have";
	else if (page.fn != e.fn)
		what = "entry with a frame that is not the primary's";
	else if (e.writable && (!page.writable || read_only))
		what = "entry writable though the primary's entry or the slot is not";
	if (what)
		found_wrong(c, e.page << PAGE_SHIFT, e.fn, what);
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
	for (uint64_t i = 0; dev->mirror && i < dev->npages; i++)
		check_entry(&c, &dev->mirror[i]);
	if (dev->shadow)
		shadow_check(dev->shadow, leaf_wrong, &c);
	return c.wrong;
}
