/* SPDX-License-Identifier: BSD-2-Clause */
#include "mmu/host/hpte.h"

#include <errno.h>

#include "mmu/base/mutant.h"
#include "mmu/base/trace.h"
#include "mmu/notify/lint.h"

/* A fault in the host view shows this many present pages around it: one wake-up for all. */
#define SHOW_AROUND 16UL

static uint64_t hpte_read(struct region *r, uint64_t page)
{
	return sync_load(&r->hpte[page]);
}

static unsigned lint_rights(uint64_t hpte)
{
	return LINT_READ | (hpte & HPTE_WRITE ? LINT_WRITE : 0);
}

/* What the linter makes of an entry: one that is not present has neither frame nor rights. */
static void lint_change(struct region *r, uint64_t page, uint64_t old, uint64_t new)
{
	bool was = old & HPTE_PRESENT, is = new &HPTE_PRESENT;

	notify_lint_entry(hostmm_subscriptions(r->mm), r->start + (page << PAGE_SHIFT),
			  was ? hpte_fn(old) : FN_NONE, was ? lint_rights(old) : 0,
			  is ? hpte_fn(new) : FN_NONE, is ? lint_rights(new) : 0);
}

/*
 * The one writer of entries, and of their frames' map counts. A present entry never changes its frame while the view
 * shows it; only a busy entry becomes present; and an entry that becomes writable has its frame alone.
 */
static void hpte_set(struct region *r, uint64_t page, uint64_t new)
{
	uint64_t old = hpte_read(r, page);

	lock_assert_held(&region_chunk(r, page)->lock);
	bug_on((new &HPTE_BUSY) && (new &HPTE_PRESENT));
	bug_on(!(new &HPTE_PRESENT) && (new &(HPTE_WRITE | HPTE_VIEW)));
	bug_on((new &HPTE_PRESENT) && !(old & (HPTE_PRESENT | HPTE_BUSY)));
	bug_on((old & HPTE_VIEW) && ((old ^ new) & HPTE_FN_MASK));
	if ((new &HPTE_PRESENT) && (!(old & HPTE_PRESENT) || ((old ^ new) & HPTE_FN_MASK)))
		pool_map(r->pool, hpte_fn(new));
	bug_on((new &HPTE_WRITE) && ((old ^ new) & (HPTE_WRITE | HPTE_FN_MASK)) &&
	       pool_maps(r->pool, hpte_fn(new)) != 1);
	lint_change(r, page, old, new);
	sync_store(&r->hpte[page], new);
	if ((old & HPTE_PRESENT) && (!(new &HPTE_PRESENT) || ((old ^ new) & HPTE_FN_MASK)))
		pool_unmap(r->pool, hpte_fn(old));
}

bool hpte_is_shared(struct region *r, uint64_t page)
{
	return pool_maps(r->pool, hpte_fn(hpte_read(r, page))) > 1;
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
	trace_span(umbra_page_in, begin, r->start + (page << PAGE_SHIFT), n, rc);
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

	if (!(r->prot & HOSTMM_PROT_WRITE) || (entry & HPTE_WRITE) ||
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

	if (!(entry & HPTE_PRESENT) || (entry & HPTE_VIEW) || hpte_fn(entry) != hpte_fn(prev) + 1)
		return false;
	return avoid_gap(r, page) && !((hpte_read(r, page) ^ prev) & HPTE_WRITE);
}

int hpte_show(struct region *r, uint64_t page)
{
	uint64_t limit = min_u64((page / SHOW_AROUND + 1) * SHOW_AROUND, region_pages(r));
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

/* What a walk has taken out of the view, and still has to flush. */
struct hidden {
	uint64_t first, end;
};

static struct hidden hide_entries(struct region *r, uint64_t page, uint64_t end)
{
	struct hidden hidden = { .first = end, .end = page };

	for (; page < end; page++) {
		uint64_t entry = hpte_read(r, page);

		if (!(entry & HPTE_VIEW))
			continue;
		hpte_set(r, page, entry & ~HPTE_VIEW);
		hidden.first = min_u64(hidden.first, page);
		hidden.end = page + 1;
	}
	return hidden;
}

static void flush_hidden(struct region *r, struct hidden hidden)
{
	if (hidden.first < hidden.end)
		view_zap(r->view, hidden.first, hidden.end - hidden.first);
}

void hpte_hide(struct region *r, uint64_t page, uint64_t end)
{
	flush_hidden(r, hide_entries(r, page, end));
}

uint64_t hpte_wrprotect(struct region *r, uint64_t page, uint64_t end)
{
	uint64_t first = end, last = page, start = page, count = 0;

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
	if (count)
		hpte_tell_tlbs(r, start, page);
	return count;
}

void hpte_tell_tlbs(struct region *r, uint64_t page, uint64_t end)
{
	mmu_notifier_arch_invalidate_secondary_tlbs(hostmm_subscriptions(r->mm),
						    r->start + (page << PAGE_SHIFT),
						    r->start + (end << PAGE_SHIFT));
}

/* Drop what entries that hpte_take() has cleared still name. References go in runs, so that holes are punched in runs. */
static void put_taken(struct region *r, uint64_t page, uint64_t end)
{
	fn_t run = 0;
	uint64_t n = 0;

	for (; page < end; page++) {
		uint64_t entry = hpte_read(r, page);

		if (!entry)
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

void hpte_clear(struct region *r, uint64_t page, uint64_t end)
{
	struct hidden hidden = hide_entries(r, page, end);

	if (!mutant(211))
		flush_hidden(r, hidden);
	for (uint64_t i = page; i < end; i++)
		if (hpte_read(r, i) & HPTE_PRESENT)
			hpte_take(r, i);
	if (mutant(24))
		put_taken(r, page, end);
	hpte_tell_tlbs(r, page, end);
	put_taken(r, page, end);
	if (mutant(211))
		flush_hidden(r, hidden);
}

fn_t hpte_take(struct region *r, uint64_t page)
{
	uint64_t entry = hpte_read(r, page);

	bug_on(!(entry & HPTE_PRESENT) || (entry & HPTE_VIEW));
	hpte_set(r, page, (entry & HPTE_FN_MASK) | HPTE_BUSY);
	return hpte_fn(entry);
}

void hpte_give(struct region *r, uint64_t page, fn_t fn, bool writable)
{
	hpte_set(r, page, fn << PAGE_SHIFT | HPTE_PRESENT | (writable ? HPTE_WRITE : 0));
}

void hpte_share(struct region *r, uint64_t page, fn_t fn)
{
	pool_get(r->pool, fn);
	hpte_set(r, page, HPTE_BUSY);
	hpte_set(r, page, fn << PAGE_SHIFT | HPTE_PRESENT);
}
