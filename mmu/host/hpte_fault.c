/* SPDX-License-Identifier: BSD-2-Clause */
/* Faults of the primary: a page is brought in, becomes writable, is shown in the host view. */
#include <errno.h>

#include "mmu/base/trace.h"
#include "mmu/host/hpte.h"

/*
 * A fault in the host view shows present pages behind it, too: to the end of this many aligned ones if the page before it
 * is shown, as when somebody goes through memory, else few, since each costs a tenth of a fault.
 */
#define SHOW_AROUND 16UL
#define SHOW_FEW    4UL

static int fill_frames(struct region *r, uint64_t page, fn_t fn, uint64_t n)
{
	int rc;

	if (!r->pager)
		return pool_zero(r->pool, fn, n);
	rc = pool_populate(r->pool, fn, n);
	return rc ? rc : r->pager->fill(r->pager_ctx, page, pool_direct(r->pool, fn), n);
}

/*
 * Bring in [page, page + n), n as long as entries are empty, before @end, and their home frames free: consecutive frames
 * make one run in every view. A home frame that a slow reader still references is left to him, the page gets another.
 */
static int page_in(struct region *r, uint64_t page, uint64_t end)
{
	struct chunk_lock *chunk = region_chunk(r, page);
	fn_t fn = r->home + page;
	uint64_t n = 0, begin = trace_begin();
	int rc = 0;

	while (page + n < end && !hpte_read(r, page + n) &&
	       region_prot(r, page + n) == region_prot(r, page) &&
	       pool_get_unless_used(r->pool, fn + n)) {
		hpte_set(r, page + n, HPTE_BUSY);
		n++;
	}
	if (!n) {
		rc = pool_alloc_loose(r->pool, &fn);
		if (rc)
			return rc;
		hpte_set(r, page, HPTE_BUSY);
		n = 1;
	}
	lock_release(&chunk->lock);
	rc = fill_frames(r, page, fn, n);
	lock_acquire(&chunk->lock);

	for (uint64_t i = 0; i < n; i++)
		if (rc)
			hpte_set(r, page + i, 0);
		else if (region_tells_clean(r))
			hpte_give_clean(r, page + i, fn + i);
		else
			hpte_give(r, page + i, fn + i, true);
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

/*
 * What a store answers is about its contents. To a fault, "no such address" and "ask again" mean the table and the layout: it would
 * wait for a slot, or spin. Kernel: vmf_error().
 */
static int store_error(int rc)
{
	return rc == -ENXIO || rc == -EAGAIN ? -EIO : rc;
}

int hpte_get(struct region *r, uint64_t page, uint64_t ahead_end, bool write, uint64_t *hpte)
{
	struct chunk_lock *chunk = region_chunk(r, page);
	uint64_t end = max_u64(page + 1, chunk_end(page, ahead_end));
	uint64_t entry;

	if (!(region_prot(r, page) & (write ? HOSTMM_PROT_WRITE : HOSTMM_PROT_READ)))
		return -EFAULT;
	while (!((entry = hpte_read(r, page)) & HPTE_PRESENT)) {
		int rc;

		if (entry & HPTE_AWAY)
			return HPTE_TAKEN;
		if (entry & HPTE_BUSY) {
			cond_wait(&chunk->page_in_done, &chunk->lock);
			continue;
		}
		if (entry & HPTE_POISON)
			return -EHWPOISON;
		rc = entry & HPTE_SWAP ? hpte_swap_in(r, page, end, write) : page_in(r, page, end);
		if (rc && end == page + 1)
			return store_error(rc);
		if (rc) /* what was read ahead may be what failed */
			end = page + 1;
	}
	/* More rights need no notification: nobody holds a translation that says too much. */
	if (write && !(entry & HPTE_WRITE)) {
		if (hpte_is_shared(r, page))
			return HPTE_SHARED;
		if (entry & HPTE_VIEW) {
			int rc = view_make_writable(r->view, page, 1);

			if (rc)
				return rc;
		}
		entry |= HPTE_WRITE;
		hpte_set(r, page, entry);
	}
	*hpte = entry;
	return 0;
}

/*
 * Stores of host threads must not meet the gap: a page that can only be shown read-only through it is taken for stored
 * to at once, and shown writable. False if the page shares its frame, so that sharing would have to be broken first.
 */
static bool avoid_gap(struct region *r, uint64_t page)
{
	uint64_t entry = hpte_read(r, page);

	if (!(region_prot(r, page) & HOSTMM_PROT_WRITE) || (entry & HPTE_WRITE) ||
	    !view_has_gap(r->view, page, hpte_fn(entry)))
		return true;
	if (hpte_is_shared(r, page))
		return false;
	hpte_set(r, page, entry | HPTE_WRITE);
	return true;
}

/* Can the view take @page in one run behind a page with entry @prev? */
static bool extends_run(struct region *r, uint64_t page, uint64_t prev)
{
	uint64_t entry = hpte_read(r, page);

	if (!hpte_is_usable(entry) || (entry & HPTE_VIEW) || hpte_fn(entry) != hpte_fn(prev) + 1)
		return false;
	return avoid_gap(r, page) && !((hpte_read(r, page) ^ prev) & HPTE_WRITE);
}

static uint64_t show_end(struct region *r, uint64_t page)
{
	/* The page before a chunk has another lock. */
	bool in_order = page % CHUNK_PAGES && (hpte_read(r, page - 1) & HPTE_VIEW);
	uint64_t around = in_order ? SHOW_AROUND : SHOW_FEW;

	return min_u64((page / around + 1) * around, region_pages(r));
}

int hpte_show(struct region *r, uint64_t page)
{
	uint64_t limit = show_end(r, page);
	uint64_t n = 1, entry;
	int rc = 0;

	bug_on(!(hpte_read(r, page) & HPTE_PRESENT));
	if (!avoid_gap(r, page))
		return HPTE_SHARED;
	entry = hpte_read(r, page);
	/* An entry that is shown already: the fault was late, or the system took the page out of the view (swap). */
	if (entry & HPTE_VIEW) {
		rc = view_map(r->view, page, 1, hpte_fn(entry), entry & HPTE_WRITE);
	} else {
		while (page + n < limit && extends_run(r, page + n, hpte_read(r, page + n - 1)))
			n++;
		rc = view_map(r->view, page, n, hpte_fn(entry), entry & HPTE_WRITE);
		if (rc)
			view_zap(r->view, page, n);
		for (uint64_t i = 0; !rc && i < n; i++)
			hpte_set(r, page + i, hpte_read(r, page + i) | HPTE_VIEW);
	}
	/* After an error the page may be closed: who waits is woken when it is home, or when the region is shut. */
	if (!rc)
		view_wake(r->view, page, n);
	return rc;
}
