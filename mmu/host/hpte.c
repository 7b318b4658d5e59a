/* SPDX-License-Identifier: BSD-2-Clause */
#include "mmu/host/hpte.h"

#include "mmu/base/mutant.h"
#include "mmu/notify/lint.h"

static unsigned lint_rights(uint64_t hpte)
{
	return LINT_READ | (hpte & HPTE_WRITE ? LINT_WRITE : 0);
}

static bool is_linted(uint64_t hpte)
{
	return hpte_has_frame(hpte) && !(hpte & HPTE_NONE);
}

/* What the linter makes of an entry: one that nobody may use has neither frame nor rights. */
static void lint_change(struct region *r, uint64_t page, uint64_t old, uint64_t new)
{
	bool was = is_linted(old), is = is_linted(new);

	notify_lint_entry(hostmm_subscriptions(r->mm), r->start + (page << PAGE_SHIFT),
			  was ? hpte_fn(old) : FN_NONE, was ? lint_rights(old) : 0,
			  is ? hpte_fn(new) : FN_NONE, is ? lint_rights(new) : 0);
}

void hpte_store(struct region *r, uint64_t page, uint64_t old, uint64_t new)
{
	lint_change(r, page, old, new);
	sync_store(&r->hpte[page], new);
}

/* States that exist. */
static void check_state(uint64_t hpte)
{
	uint64_t kind = hpte & (HPTE_PRESENT | HPTE_BUSY | HPTE_AWAY | HPTE_SOFT);

	bug_on(kind & (kind - 1)); /* at most one */
	bug_on(!hpte_has_frame(hpte) && (hpte & (HPTE_WRITE | HPTE_NONE)));
	bug_on((hpte & HPTE_VIEW) && !hpte_is_usable(hpte));
	bug_on((hpte & HPTE_WRITE) && (hpte & HPTE_NONE));
	bug_on(!(hpte & HPTE_AWAY) != !hpte_owner(hpte));
	bug_on((hpte & HPTE_EXCL) && !(hpte & HPTE_WRITE));
	bug_on((hpte & (HPTE_CLEAN | HPTE_CLEANING)) &&
	       (hpte & (HPTE_PRESENT | HPTE_WRITE)) != HPTE_PRESENT);
}

/* Who shares the chunk keeps what it says now. What the view shows, and what the store has, is each region's own affair. */
static void unshare_for(struct region *r, uint64_t page, uint64_t old, uint64_t new)
{
	const uint64_t own = HPTE_VIEW | HPTE_CLEAN | HPTE_CLEANING;

	if (r->is_private && ((old ^ new) & ~own) && hpte_sharers(r, page))
		hpte_unshare(r, page);
}

/*
 * The one writer of entries, and of their frames' map counts. A present entry never changes its frame while the view
 * shows it; only a busy entry gets a frame; and an entry that becomes writable has its frame alone.
 */
void hpte_set(struct region *r, uint64_t page, uint64_t new)
{
	uint64_t old = hpte_read(r, page);
	bool had = hpte_has_frame(old), has = hpte_has_frame(new);
	bool moves = (old ^ new) & HPTE_FN_MASK;

	if (new &HPTE_WRITE)
		new &= ~(HPTE_CLEAN | HPTE_CLEANING);
	lock_assert_held(&region_chunk(r, page)->lock);
	check_state(new);
	unshare_for(r, page, old, new);
	hpte_chunk(r, page)->used = true;
	if (new &HPTE_WRITE)
		hpte_chunk(r, page)->writable = true;
	if (new &HPTE_VIEW)
		hpte_chunk(r, page)->shown = true;
	bug_on(has && !had && !(old & HPTE_BUSY));
	bug_on((old & HPTE_VIEW) && moves);
	if (has && (!had || moves))
		pool_map(r->pool, hpte_fn(new));
	if ((new &HPTE_WRITE) && ((old ^ new) & (HPTE_WRITE | HPTE_FN_MASK))) {
		bug_on(pool_maps(r->pool, hpte_fn(new)) != 1);
		pool_dirty(r->pool, hpte_fn(new));
	}
	if (had && (!has || moves))
		rmap_remove(r, page, hpte_fn(old));
	hpte_store(r, page, old, new);
	if (has && (!had || moves))
		rmap_add(r, page, hpte_fn(new));
	if (had && (!has || moves))
		pool_unmap(r->pool, hpte_fn(old));
}

/* In this order: who shares the chunk no longer has maps of his own. */
bool hpte_is_shared(struct region *r, uint64_t page)
{
	return (r->is_private && hpte_sharers(r, page) && !mutant(232)) ||
	       pool_maps(r->pool, hpte_fn(hpte_read(r, page))) > 1;
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

/* Of one chunk. */
static struct hidden hide_entries(struct region *r, uint64_t page, uint64_t end)
{
	struct hidden hidden = { .first = end, .end = page };
	struct hpte_chunk *chunk = hpte_chunk(r, page);

	bug_on(chunk_end(page, end) != end);
	if (!chunk->shown)
		return hidden;
	if (end - page == CHUNK_PAGES)
		chunk->shown = false;
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
	struct hidden hidden = hide_entries(r, page, end);

	if (mutant(211))
		lock_release(&region_chunk(r, page)->lock);
	flush_hidden(r, hidden);
	if (mutant(211))
		lock_acquire(&region_chunk(r, page)->lock);
}

void hpte_spoil(struct region *r, uint64_t page, uint64_t end)
{
	for (; page < end; page++) {
		uint64_t entry = hpte_read(r, page);

		if (!(entry & HPTE_PRESENT))
			continue;
		pool_dirty(r->pool, hpte_fn(entry));
		if (entry & (HPTE_CLEAN | HPTE_CLEANING))
			hpte_set(r, page, entry & ~(HPTE_CLEAN | HPTE_CLEANING));
	}
}

uint64_t hpte_wrprotect(struct region *r, uint64_t page, uint64_t end)
{
	uint64_t first = end, last = page, start = page, count = 0;

	for (; page < end; page++) {
		uint64_t entry = hpte_read(r, page);

		if (!(entry & HPTE_WRITE))
			continue;
		if (entry & HPTE_EXCL) /* alone, and not to store: that is nothing */
			hpte_reclaim(r, page);
		hpte_set(r, page, hpte_read(r, page) & ~HPTE_WRITE);
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
		if (entry & HPTE_SOFT) {
			hpte_drop_soft(r, page);
			continue;
		}
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
	bool told = !mutant(23) ||
		    !hpte_sharers(r, page); /* 23: "no frame of a shared chunk goes" */

	if (told && !mutant(241))
		flush_hidden(r, hidden);
	for (uint64_t i = page; i < end; i++)
		if (hpte_has_frame(hpte_read(r, i)))
			hpte_take(r, i);
	if (mutant(24))
		put_taken(r, page, end);
	if (told)
		hpte_tell_tlbs(r, page, end);
	put_taken(r, page, end);
	if (mutant(241))
		flush_hidden(r, hidden);
}

fn_t hpte_take(struct region *r, uint64_t page)
{
	uint64_t entry = hpte_read(r, page);

	bug_on(!hpte_has_frame(entry) || (entry & HPTE_VIEW));
	hpte_set(r, page, (entry & HPTE_FN_MASK) | HPTE_BUSY);
	return hpte_fn(entry);
}

/* What a present entry looks like under the rights to its page. */
static uint64_t present(struct region *r, uint64_t page, fn_t fn, bool writable)
{
	unsigned prot = region_prot(r, page);

	if (!(prot & HOSTMM_PROT_READ))
		return fn << PAGE_SHIFT | HPTE_PRESENT | HPTE_NONE;
	writable = writable && (prot & HOSTMM_PROT_WRITE);
	return fn << PAGE_SHIFT | HPTE_PRESENT | (writable ? HPTE_WRITE : 0);
}

void hpte_give(struct region *r, uint64_t page, fn_t fn, bool writable)
{
	hpte_set(r, page, present(r, page, fn, writable));
}

void hpte_give_device(struct region *r, uint64_t page, fn_t fn, bool writable, unsigned owner)
{
	uint64_t entry = present(r, page, fn, writable);

	hpte_set(r, page,
		 (entry & ~HPTE_PRESENT) | HPTE_DEVICE | (uint64_t)owner << HPTE_OWNER_SHIFT);
}

void hpte_take_empty(struct region *r, uint64_t page)
{
	bug_on(hpte_read(r, page));
	hpte_set(r, page, HPTE_BUSY);
}

void hpte_drop_taken(struct region *r, uint64_t page)
{
	bug_on(!(hpte_read(r, page) & HPTE_BUSY));
	hpte_set(r, page, 0);
}

void hpte_make_writable(struct region *r, uint64_t page)
{
	bug_on(!(region_prot(r, page) & HOSTMM_PROT_WRITE));
	hpte_set(r, page, hpte_read(r, page) | HPTE_WRITE);
}

void hpte_lend(struct region *r, uint64_t page, unsigned owner)
{
	uint64_t entry = hpte_read(r, page);

	bug_on(!hpte_is_usable(entry) || !(entry & HPTE_WRITE));
	hpte_set(r, page,
		 (entry & (HPTE_FN_MASK | HPTE_WRITE)) | HPTE_EXCL |
			 (uint64_t)owner << HPTE_OWNER_SHIFT);
}

void hpte_reclaim(struct region *r, uint64_t page)
{
	uint64_t entry = hpte_read(r, page);

	bug_on(!(entry & HPTE_EXCL));
	hpte_set(r, page, (entry & (HPTE_FN_MASK | HPTE_WRITE)) | HPTE_PRESENT);
}

/* [page, end) have the rights @prot now. */
static void protect_run(struct region *r, uint64_t page, uint64_t end, unsigned prot)
{
	bool none = !(prot & HOSTMM_PROT_READ);

	if (!(prot & HOSTMM_PROT_WRITE))
		hpte_wrprotect(r, page, end);
	if (none)
		hpte_hide(r, page, end);
	for (uint64_t i = page; i < end; i++) {
		uint64_t entry = hpte_read(r, i);

		if (hpte_has_frame(entry))
			hpte_set(r, i, none ? entry | HPTE_NONE : entry & ~HPTE_NONE);
	}
	if (none)
		hpte_tell_tlbs(r, page, end);
}

void hpte_protect(struct region *r, uint64_t page, uint64_t end)
{
	for (uint64_t n; page < end; page += n) {
		unsigned prot = region_prot(r, page);

		for (n = 1; page + n < end && region_prot(r, page + n) == prot; n++)
			;
		protect_run(r, page, page + n, prot);
	}
}

void hpte_share(struct region *r, uint64_t page, fn_t fn)
{
	pool_get(r->pool, fn);
	hpte_set(r, page, HPTE_BUSY);
	hpte_set(r, page, present(r, page, fn, false));
}

bool hpte_is_stored_to(struct region *r, uint64_t page, uint64_t end)
{
	if (!hpte_chunk(r, page)->writable) /* nobody writes it: mmap_lock */
		return false;
	while (page < end && ~hpte_read(r, page) & (HPTE_WRITE | HPTE_VIEW))
		page++;
	return page < end;
}

void hpte_fork_protect(struct region *r, uint64_t page, uint64_t end)
{
	struct hpte_chunk *chunk = hpte_chunk(r, page);

	lock_assert_held(&region_chunk(r, page)->lock);
	chunk->writable = false;
	for (; page < end; page++) {
		uint64_t entry = hpte_read(r, page);

		bug_on(entry & (HPTE_BUSY | HPTE_AWAY)); /* page-ins hold mmap_lock */
		if (!(entry & HPTE_WRITE))
			continue;
		hpte_store(r, page, entry, entry & ~HPTE_WRITE);
	}
}
