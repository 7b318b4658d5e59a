/* SPDX-License-Identifier: BSD-2-Clause */
#include "mmu/host/hpte.h"

#include <errno.h>

#include "mmu/base/trace.h"

/* A fault in the host view shows this many present pages around it: one wake-up for all. */
#define SHOW_AROUND 16UL

static uint64_t hpte_read(struct region *r, uint64_t page)
{
	return sync_load(&r->hpte[page]);
}

/*
 * The one writer of entries. A present entry never changes its frame while the view shows it; and only a busy entry
 * becomes present.
 */
static void hpte_set(struct region *r, uint64_t page, uint64_t new)
{
	uint64_t old = hpte_read(r, page);

	lock_assert_held(&region_chunk(r, page)->lock);
	bug_on((new &HPTE_BUSY) && (new &HPTE_PRESENT));
	bug_on(!(new &HPTE_PRESENT) && (new &(HPTE_WRITE | HPTE_VIEW)));
	bug_on((new &HPTE_PRESENT) && !(old & (HPTE_PRESENT | HPTE_BUSY)));
	bug_on((old & HPTE_VIEW) && ((old ^ new) & HPTE_FN_MASK));
	sync_store(&r->hpte[page], new);
}

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

	while (page + n < end && !hpte_read(r, page + n) && pool_get_unless_used(r->pool, fn + n)) {
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
		hpte_set(r, page + i,
			 rc ? 0
			    : (fn + i) << PAGE_SHIFT | HPTE_PRESENT |
					 (r->prot & HOSTMM_PROT_WRITE ? HPTE_WRITE : 0));
	if (rc) {
		pool_put(r->pool, fn, n);
	} else {
		atomic_fetch_add_explicit(&r->page_ins, 1, memory_order_relaxed);
		atomic_fetch_add_explicit(&r->pages_in, n, memory_order_relaxed);
	}
	cond_broadcast(&chunk->page_in_done);
	trace_span(host_page_in, begin, r->start + (page << PAGE_SHIFT), n, rc);
	return rc;
}

int hpte_get(struct region *r, uint64_t page, uint64_t ahead_end, bool write, uint64_t *hpte)
{
	struct chunk_lock *chunk = region_chunk(r, page);
	uint64_t end = max_u64(page + 1, chunk_end(page, ahead_end));
	uint64_t entry;

	if (write && !(r->prot & HOSTMM_PROT_WRITE))
		return -EFAULT;
	while (!((entry = hpte_read(r, page)) & HPTE_PRESENT)) {
		int rc;

		if (entry & HPTE_BUSY) {
			cond_wait(&chunk->page_in_done, &chunk->lock);
			continue;
		}
		rc = page_in(r, page, end);
		if (rc && end == page + 1)
			return rc;
		if (rc) /* what was read ahead may be what failed */
			end = page + 1;
	}
	/* More rights need no notification: nobody holds a translation that says too much. */
	if (write && !(entry & HPTE_WRITE)) {
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
 * to at once, and shown writable.
 */
static uint64_t avoid_gap(struct region *r, uint64_t page)
{
	uint64_t entry = hpte_read(r, page);

	if ((r->prot & HOSTMM_PROT_WRITE) && !(entry & HPTE_WRITE) &&
	    view_has_gap(r->view, page, hpte_fn(entry))) {
		entry |= HPTE_WRITE;
		hpte_set(r, page, entry);
	}
	return entry;
}

/* Can the view take @page in one run behind a page with entry @prev? */
static bool extends_run(struct region *r, uint64_t page, uint64_t prev)
{
	uint64_t entry = hpte_read(r, page);

	if (!(entry & HPTE_PRESENT) || (entry & HPTE_VIEW) || hpte_fn(entry) != hpte_fn(prev) + 1)
		return false;
	return (avoid_gap(r, page) & HPTE_WRITE) == (prev & HPTE_WRITE);
}

int hpte_show(struct region *r, uint64_t page)
{
	uint64_t entry = avoid_gap(r, page);
	uint64_t limit = min_u64((page / SHOW_AROUND + 1) * SHOW_AROUND, region_pages(r));
	uint64_t n = 1;
	int rc = 0;

	bug_on(!(entry & HPTE_PRESENT));
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
	view_wake(r->view, page, n);
	return rc;
}

void hpte_wait_idle(struct region *r, uint64_t page, uint64_t end)
{
	struct chunk_lock *chunk = region_chunk(r, page);
	uint64_t i = page;

	while (i < end) {
		if (hpte_read(r, i) & HPTE_BUSY) {
			cond_wait(&chunk->page_in_done, &chunk->lock);
			i = page; /* those before may have become busy meanwhile */
		} else {
			i++;
		}
	}
}

void hpte_hide(struct region *r, uint64_t page, uint64_t end)
{
	uint64_t first = end, last = page;

	for (; page < end; page++) {
		uint64_t entry = hpte_read(r, page);

		if (!(entry & HPTE_VIEW))
			continue;
		hpte_set(r, page, entry & ~HPTE_VIEW);
		first = min_u64(first, page);
		last = page;
	}
	if (first < end)
		view_zap(r->view, first, last + 1 - first);
}

uint64_t hpte_wrprotect(struct region *r, uint64_t page, uint64_t end)
{
	uint64_t first = end, last = page, count = 0;

	for (; page < end; page++) {
		uint64_t entry = hpte_read(r, page);

		if (!(entry & HPTE_WRITE))
			continue;
		hpte_set(r, page, entry & ~HPTE_WRITE);
		count++;
		if (entry & HPTE_VIEW) {
			first = min_u64(first, page);
			last = page;
		}
	}
	if (first < end)
		view_wrprotect(r->view, first, last + 1 - first);
	return count;
}

void hpte_clear(struct region *r, uint64_t page, uint64_t end)
{
	fn_t run = 0;
	uint64_t n = 0;

	hpte_hide(r, page, end);
	/* References go in runs of frames, so that holes are punched in runs. */
	for (; page < end; page++) {
		uint64_t entry = hpte_read(r, page);

		if (!(entry & HPTE_PRESENT))
			continue;
		hpte_set(r, page, 0);
		if (n && hpte_fn(entry) == run + n) {
			n++;
			continue;
		}
		if (n)
			pool_put(r->pool, run, n);
		run = hpte_fn(entry);
		n = 1;
	}
	if (n)
		pool_put(r->pool, run, n);
}

void hpte_move(struct region *r, uint64_t page, fn_t fn)
{
	uint64_t entry;

	hpte_hide(r, page, page + 1);
	entry = hpte_read(r, page);
	bug_on(!(entry & HPTE_PRESENT));
	pool_copy(r->pool, fn, hpte_fn(entry));
	hpte_set(r, page, (entry & ~HPTE_FN_MASK) | fn << PAGE_SHIFT);
	pool_put(r->pool, hpte_fn(entry), 1);
}
