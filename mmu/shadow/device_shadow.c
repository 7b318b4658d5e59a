/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The device below a shadow: it walks the shadow's table as hardware does, and is the backend that keeps its TLB in step.
 * So map and make_writable have nothing to do: a TLB holds no absent translations, and one that it holds without the
 * right to store is looked up anew when a store comes. zap and wrprotect are the same flush: what the table still
 * allows is found there again.
 */
#include <errno.h>
#include <stdlib.h>

#include "mmu/base/mutant.h"
#include "mmu/shadow/device_priv.h"
#include "mmu/shadow/shadow_priv.h"

/* slot->backend. gfn: under dev->lock, since aging takes no other. */
struct device_slot {
	struct device *dev;
	gfn_t gfn;
};

static int device_slot_add(void *ctx, struct memslot *slot, fn_t home)
{
	struct device_slot *ds = malloc(sizeof(*ds));

	(void)home;
	if (!ds)
		return -ENOMEM;
	*ds = (struct device_slot){ .dev = ctx, .gfn = slot->gfn };
	slot->backend = ds;
	return 0;
}

static void device_slot_remove(void *ctx, struct memslot *slot)
{
	(void)ctx;
	free(slot->backend);
}

/* Nothing of it is mapped. An ager that knows the slot at its old place may flush at the new one, which costs a walk. */
static void device_slot_move(void *ctx, struct memslot *slot)
{
	struct device_slot *ds = slot->backend;
	struct device *dev = ctx;

	lock_acquire(&dev->lock);
	ds->gfn = slot->gfn;
	lock_release(&dev->lock);
}

static int device_map(void *slot_backend, uint64_t page, uint64_t n, fn_t fn, bool writable)
{
	(void)slot_backend;
	(void)page;
	(void)n;
	(void)fn;
	(void)writable;
	return 0;
}

static int device_make_writable(void *slot_backend, uint64_t page, uint64_t n)
{
	(void)slot_backend;
	(void)page;
	(void)n;
	return 0;
}

static void device_flush_pages(void *slot_backend, uint64_t page, uint64_t n)
{
	struct device_slot *ds = slot_backend;

	lock_acquire(&ds->dev->lock);
	device_flush(ds->dev, ds->gfn + page, ds->gfn + page + n);
	lock_release(&ds->dev->lock);
}

static void device_flush_all(void *ctx)
{
	struct device *dev = ctx;

	lock_acquire(&dev->lock);
	device_flush(dev, 0, 1UL << SPTE_GFN_BITS);
	lock_release(&dev->lock);
}

static void device_wake(void *slot_backend, uint64_t page, uint64_t n)
{
	(void)slot_backend;
	(void)page;
	(void)n;
}

/* Does the entry let more pass than the table? Of one that spans more than the block, what lies in the block. */
static bool is_more(const struct device_entry *e, uint64_t page, const struct backend_page *allowed)
{
	return allowed->fn != e->fn + (page - e->page) || (e->writable && !allowed->writable);
}

static uint64_t device_compare(void *slot_backend, uint64_t page, uint64_t n,
			       const struct backend_page *allowed,
			       void (*wrong)(void *ctx, uint64_t page, const char *what), void *ctx)
{
	struct device_slot *ds = slot_backend;
	struct device *dev = ds->dev;
	uint64_t count = 0;

	for (uint64_t i = 0; i < n; i++) {
		uint64_t at = ds->gfn + page + i;
		const struct device_entry *small = &dev->tlb[at % DEVICE_TLB_ENTRIES];
		const struct device_large *large =
			&dev->large[at / DEVICE_LARGE_PAGES % DEVICE_TLB_LARGE];
		bool more;

		lock_acquire(&dev->lock);
		more = (small->fn != FN_NONE && small->page == at &&
			is_more(small, at, &allowed[i])) ||
		       (device_large_has(large, at) && is_more(&large->e, at, &allowed[i]));
		lock_release(&dev->lock);
		if (!more)
			continue;
		count++;
		wrong(ctx, page + i, "TLB entry that the table does not allow");
	}
	return count;
}

static const struct backend_ops device_ops = {
	.walks_table = true,
	.slot_add = device_slot_add,
	.slot_remove = device_slot_remove,
	.slot_move = device_slot_move,
	.map = device_map,
	.make_writable = device_make_writable,
	.wrprotect = device_flush_pages,
	.zap = device_flush_pages,
	.zap_all = device_flush_all,
	.age = device_flush_pages,
	.compare = device_compare,
	.wake = device_wake,
};

/*
 * As hardware does: A and D are set before the entry is in the TLB, and one filled by a load allows no store unless D was
 * set already, so that a store walks again. Whoever clears them flushes afterwards, and finds the entry.
 */
bool device_shadow_walk(struct device *dev, uint64_t page, bool write)
{
	uint64_t spte, block = page - page % DEVICE_LARGE_PAGES;
	bool writable;
	gfn_t start;
	int level;

	if (page >= 1UL << SPTE_GFN_BITS)
		return false;
	sync_rcu_read_lock();
	spte = ept_walk(&dev->shadow->ept, page, write, &level);
	sync_rcu_read_unlock();
	if (!spte_is_present(spte))
		return false;
	start = spte_level_start(page, level);
	writable = spte_is_writable(spte) && (spte_is_dirty(spte) || mutant(115));
	if (level > SPTE_LEVEL_4K && dev->profile->tlb == DEVICE_TLB_MIXED)
		device_fill_large(dev, block, spte_fn(spte) + block - start, writable);
	else
		device_fill(dev, page, spte_fn(spte) + page - start, writable);
	return true;
}

int device_shadow_fault(struct device *dev, uint64_t page, bool write)
{
	int rc;

	lock_release(&dev->lock);
	rc = shadow_fault(dev->shadow, page, write);
	if (rc < 0)
		return rc;
	lock_acquire(&dev->lock);
	return 0;
}

int device_shadow_attach(struct device *dev, unsigned prot)
{
	struct shadow_opts opts = {
		.fault_around = dev->profile->fault_around,
		.max_level = dev->profile->max_level,
		.no_ad = dev->profile->no_ad,
	};
	unsigned flags = prot & HOSTMM_PROT_WRITE ? 0 : MEMSLOT_READONLY;
	int rc = shadow_create(&dev->shadow, dev->mm, &device_ops, dev, &opts);

	if (rc)
		return rc;
	rc = shadow_add_slot(dev->shadow, 0, dev->first, dev->npages, dev->first << PAGE_SHIFT,
			     flags);
	if (rc)
		shadow_destroy(dev->shadow);
	return rc;
}

void device_shadow_detach(struct device *dev)
{
	shadow_destroy(dev->shadow);
}
