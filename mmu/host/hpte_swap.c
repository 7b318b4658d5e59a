/* SPDX-License-Identifier: BSD-2-Clause */
/* Entries whose contents are elsewhere: in a backing file, in a region's store, or nowhere. */
#include <errno.h>

#include "mmu/base/trace.h"
#include "mmu/host/hpte.h"
#include "mmu/host/pool_priv.h"
#include "mmu/host/swap.h"

bool region_tells_clean(const struct region *r)
{
	return r->pager && (r->pager->writeback || r->pool->swap);
}

static uint64_t slot_of(uint64_t entry)
{
	return hpte_fn(entry);
}

void hpte_give_soft(struct region *r, uint64_t page, uint64_t entry)
{
	bug_on(!(entry & HPTE_SOFT) || (hpte_read(r, page) & ~(HPTE_BUSY | HPTE_FN_MASK)));
	hpte_set(r, page, entry);
}

uint64_t hpte_take_soft(struct region *r, uint64_t page)
{
	uint64_t entry = hpte_read(r, page);

	bug_on(!(entry & HPTE_SOFT));
	if (entry & HPTE_POISON) /* the view may have been told */
		view_zap(r->view, page, 1);
	hpte_set(r, page, 0);
	return entry;
}

void hpte_drop_soft(struct region *r, uint64_t page)
{
	uint64_t entry = hpte_take_soft(r, page);

	if (entry & HPTE_SWAP)
		swap_put(r->pool->swap, slot_of(entry), 1);
}

void hpte_give_clean(struct region *r, uint64_t page, fn_t fn)
{
	hpte_give(r, page, fn, false);
	hpte_set(r, page, hpte_read(r, page) | HPTE_CLEAN);
}

void hpte_begin_clean(struct region *r, uint64_t page)
{
	hpte_set(r, page, hpte_read(r, page) | HPTE_CLEANING);
}

void hpte_end_clean(struct region *r, uint64_t page, bool written)
{
	uint64_t entry = hpte_read(r, page);

	if (entry & HPTE_CLEANING)
		hpte_set(r, page, (entry & ~HPTE_CLEANING) | (written ? HPTE_CLEAN : 0));
}

/* The pages from @page on that lie in the file in a row, and whose home frames are free: these are taken. */
static uint64_t take_run(struct region *r, uint64_t page, uint64_t end)
{
	uint64_t first = hpte_read(r, page), n = 0;

	while (page + n < end && hpte_read(r, page + n) == first + (n << PAGE_SHIFT) &&
	       region_prot(r, page + n) == region_prot(r, page) &&
	       pool_get_unless_used(r->pool, r->home + page + n)) {
		hpte_set(r, page + n, HPTE_BUSY);
		n++;
	}
	return n;
}

/* The page has @fn, with the contents of @slot, of which the entry had a count. A load leaves it clean. */
static void give(struct region *r, uint64_t page, fn_t fn, uint64_t slot, bool write)
{
	if (write)
		swap_put(r->pool->swap, slot, 1);
	else
		swap_attach(r->pool->swap, fn, slot);
	hpte_give(r, page, fn, write);
}

int hpte_swap_in(struct region *r, uint64_t page, uint64_t end, bool write)
{
	struct chunk_lock *chunk = region_chunk(r, page);
	uint64_t entry = hpte_read(r, page), slot = slot_of(entry), begin = trace_begin(), n;
	fn_t fn = r->home + page;
	int rc = 0;

	n = take_run(r, page, end);
	if (!n) {
		rc = pool_alloc_loose(r->pool, &fn);
		if (rc)
			return rc;
		hpte_set(r, page, HPTE_BUSY);
		n = 1;
	}
	lock_release(&chunk->lock);
	rc = pool_populate(r->pool, fn, n);
	if (!rc)
		rc = swap_read(r->pool->swap, slot, pool_direct(r->pool, fn), n);
	lock_acquire(&chunk->lock);

	for (uint64_t i = 0; i < n; i++)
		if (rc)
			hpte_set(r, page + i, entry + (i << PAGE_SHIFT));
		else
			give(r, page + i, fn + i, slot + i, write && !i);
	if (rc) {
		pool_put(r->pool, fn, n);
	} else {
		atomic_fetch_add_explicit(&r->page_ins, 1, memory_order_relaxed);
		atomic_fetch_add_explicit(&r->pages_in, n, memory_order_relaxed);
	}
	cond_broadcast(&chunk->page_in_done);
	trace_span(umbra_page_in, begin, r->start + (page << PAGE_SHIFT), n, rc);
	return rc;
}
