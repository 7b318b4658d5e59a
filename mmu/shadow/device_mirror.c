/* SPDX-License-Identifier: BSD-2-Clause */
/* The mirror: a table of the device's own, one entry a page, between the host and the TLB. */
#include <errno.h>
#include <stdlib.h>

#include "mmu/shadow/device_priv.h"

int device_mirror_init(struct device *dev)
{
	if (dev->profile->walk != DEVICE_WALK_MIRROR)
		return 0;
	dev->mirror = calloc(dev->npages, sizeof(*dev->mirror));
	if (!dev->mirror)
		return -ENOMEM;
	for (uint64_t i = 0; i < dev->npages; i++)
		dev->mirror[i] = (struct device_entry){ .page = dev->first + i, .fn = FN_NONE };
	return 0;
}

void device_mirror_fini(struct device *dev)
{
	free(dev->mirror);
}

static struct device_entry *mirror_entry(struct device *dev, uint64_t page)
{
	return &dev->mirror[page - dev->first];
}

static void mirror_unpin(struct device *dev, const struct device_entry *e)
{
	struct gup_page page = { .fn = e->fn };

	if (!dev->profile->pins)
		return;
	hostmm_put_pages(dev->mm, &page, 1);
	dev->stats.pinned--;
}

void device_mirror_drop(struct device *dev, uint64_t start, uint64_t end)
{
	start = max_u64(start, dev->first);
	end = min_u64(end, dev->first + dev->npages);
	for (uint64_t page = start; page < end; page++) {
		struct device_entry *e = mirror_entry(dev, page);

		if (e->fn == FN_NONE)
			continue;
		mirror_unpin(dev, e);
		e->fn = FN_NONE;
		e->young = false;
		dev->stats.unmapped++;
	}
}

bool device_mirror_is_young(struct device *dev, uint64_t start, uint64_t end)
{
	bool young = false;

	lock_assert_held(&dev->lock);
	for (uint64_t page = start; page < end; page++)
		young |= mirror_entry(dev, page)->young;
	return young;
}

bool device_mirror_make_old(struct device *dev, uint64_t start, uint64_t end)
{
	bool young = device_mirror_is_young(dev, start, end);

	for (uint64_t page = start; page < end; page++)
		mirror_entry(dev, page)->young = false;
	return young;
}

void device_mirror_install(struct device *dev, uint64_t page, const struct gup_page *found)
{
	struct device_entry *e = mirror_entry(dev, page);

	lock_assert_held(&dev->lock);
	if (e->fn != FN_NONE)
		mirror_unpin(dev, e);
	e->fn = found->fn;
	e->writable = found->writable;
	if (dev->profile->pins)
		dev->stats.pinned++;
	else
		hostmm_put_pages(dev->mm, found, 1);
}

void device_mirror_install_large(struct device *dev, uint64_t block, const struct gup_page *first)
{
	bug_on(dev->profile->pins);
	for (uint64_t i = 0; i < DEVICE_LARGE_PAGES; i++) {
		struct device_entry *e = mirror_entry(dev, block + i);

		e->fn = first->fn + i;
		e->writable = first->writable;
	}
}

void device_mirror_repoint(struct device *dev, uint64_t page, fn_t fn)
{
	*mirror_entry(dev, page) = (struct device_entry){ .page = page, .fn = fn };
}

/* May a TLB entry of 2M stand for the mirror's 512? */
static bool is_large(struct device *dev, uint64_t page, uint64_t *block)
{
	const struct device_entry *first;

	if (!device_block(dev, page, block))
		return false;
	first = mirror_entry(dev, *block);
	if (first->fn == FN_NONE || first->fn % DEVICE_LARGE_PAGES)
		return false;
	for (uint64_t i = 1; i < DEVICE_LARGE_PAGES; i++)
		if (first[i].fn != first->fn + i || first[i].writable != first->writable)
			return false;
	return true;
}

bool device_mirror_walk(struct device *dev, uint64_t page, bool write)
{
	struct device_entry *e;
	uint64_t block;

	lock_assert_held(&dev->lock);
	if (page < dev->first || page - dev->first >= dev->npages)
		return false;
	e = mirror_entry(dev, page);
	if (e->fn == FN_NONE || (write && !e->writable))
		return false;
	e->young = true;
	if (is_large(dev, page, &block))
		device_fill_large(dev, block, mirror_entry(dev, block)->fn, e->writable);
	else
		device_fill(dev, page, e->fn, e->writable);
	return true;
}
