/* SPDX-License-Identifier: BSD-2-Clause */
/* Brackets over pages, the change of a page's frame inside one, and the break of sharing by a store. */
#include <errno.h>

#include "mmu/base/mutant.h"
#include "mmu/host/hostmm_actors.h"
#include "mmu/host/hostmm_priv.h"

void bracket_start(struct mmu_notifier_range *range, struct region *r, uint64_t page, uint64_t end,
		   enum mmu_notifier_event event)
{
	bracket_start_owner(range, r, page, end, event, NULL);
}

void bracket_start_owner(struct mmu_notifier_range *range, struct region *r, uint64_t page,
			 uint64_t end, enum mmu_notifier_event event, void *owner)
{
	hva_t start = region_hva(r, page), stop = region_hva(r, end);

	if (mutant(31)) /* a length in pages */
		stop = start + (end - page);
	if (mutant(118)) /* the first page stands for all */
		stop = start + PAGE_SIZE;
	mmu_notifier_range_init_owner(range, event, &r->mm->subscriptions, start, stop, owner);
	if (mutant(32)) /* the other callback, which those with start and end do not have */
		hpte_tell_tlbs(r, page, end);
	else
		bug_on(mmu_notifier_invalidate_range_start(range)); /* it may block */
}

void bracket_end(struct mmu_notifier_range *range)
{
	if (!mutant(32))
		mmu_notifier_invalidate_range_end(range);
}

static void tell_new_frame(struct mmu_notifier_range *range, struct region *r, uint64_t page,
			   fn_t fn, bool writable)
{
	if (range && range->event == MMU_NOTIFY_CHANGE)
		mmu_notifier_change_pte(range->mm, region_hva(r, page), fn, writable);
	else
		hpte_tell_tlbs(r, page, page + 1);
}

void bracket_repoint(struct mmu_notifier_range *range, struct region *r, uint64_t page, fn_t fn)
{
	bool writable = sync_load(&r->hpte[page]) & HPTE_WRITE;
	fn_t old;

	hpte_hide(r, page, page + 1);
	old = hpte_take(r, page);
	if (mutant(24))
		pool_put(r->pool, old, 1);
	if (mutant(1))
		hpte_give(r, page, fn, writable);
	tell_new_frame(range, r, page, fn, writable);
	if (!mutant(1))
		hpte_give(r, page, fn, writable);
	if (!mutant(24))
		pool_put(r->pool, old, 1);
}

/* The copy comes before the map of the old frame goes: afterwards somebody may be alone with it, and store. */
void bracket_move(struct mmu_notifier_range *range, struct region *r, uint64_t page, fn_t fn)
{
	hpte_hide(r, page, page + 1);
	/* Before the copy: what a TLB-only device stores after it would be lost. */
	hpte_tell_tlbs(r, page, page + 1);
	pool_copy(r->pool, fn, hpte_fn(sync_load(&r->hpte[page])));
	bracket_repoint(range, r, page, fn);
}

int frame_prepare(struct pool *pool, fn_t fn)
{
	int rc = pool_prepare(pool, fn);

	if (rc)
		pool_put(pool, fn, 1);
	return rc;
}

/* At home the page costs no VMA. */
int frame_for_copy(struct region *r, uint64_t page, fn_t *fn)
{
	int rc = 0;

	*fn = r->home + page;
	if (!pool_get_unless_used(r->pool, *fn))
		rc = pool_alloc_loose(r->pool, fn);
	return rc ? rc : frame_prepare(r->pool, *fn);
}

/*
 * Who stores to pages in order is given copies of more at once: one fault and one bracket for all, and frames in a row, so
 * that their VMAs are one. The page before, writable, is the sign of it.
 */
#define COW_AHEAD 16UL

/* What is shared to save memory stays so until it is stored to. */
static bool is_to_copy(struct region *r, uint64_t page)
{
	uint64_t hpte = hpte_read(r, page);

	return hpte_is_usable(hpte) && !(hpte & HPTE_WRITE) && hpte_is_shared(r, page) &&
	       (region_prot(r, page) & HOSTMM_PROT_WRITE) &&
	       !pool_is_stable(r->pool, hpte_fn(hpte)) && !pool_is_zero(r->pool, hpte_fn(hpte));
}

/* Where the pages that are copied with @page end. In one chunk, whose lock is held. */
static uint64_t copy_end(struct region *r, uint64_t page)
{
	uint64_t end = min_u64((page / COW_AHEAD + 1) * COW_AHEAD, region_pages(r));
	uint64_t next = page + 1;

	if (page % CHUNK_PAGES && (hpte_read(r, page - 1) & HPTE_WRITE))
		while (next < end && is_to_copy(r, next))
			next++;
	return next;
}

static void copy_page(struct mmu_notifier_range *range, struct region *r, uint64_t page, fn_t fn)
{
	bracket_move(range, r, page, fn);
	atomic_fetch_add_explicit(&r->mm->cow_copies, 1, memory_order_relaxed);
}

/* Copies of those from @page on, to @fn or as far as their home frames are free; taken for stored to at once. */
static void copy_ahead(struct mmu_notifier_range *range, struct region *r, uint64_t page,
		       uint64_t end, fn_t fn)
{
	bool home = fn == r->home + page;

	for (; page < end; page++, fn++) {
		if (!is_to_copy(r, page))
			break;
		if (home && (!pool_get_unless_used(r->pool, fn) || frame_prepare(r->pool, fn)))
			break;
		copy_page(range, r, page, fn);
		hpte_make_writable(r, page);
	}
	if (!home && page < end)
		pool_put(r->pool, fn, end - page);
}

static int alloc_run(struct pool *pool, uint64_t n, fn_t *fn)
{
	int rc = pool_alloc_loose_run(pool, n, fn);

	if (rc)
		return rc;
	rc = pool_populate(pool, *fn, n);
	if (rc)
		pool_put(pool, *fn, n);
	return rc;
}

/* Much may have happened before the bracket was open. Chunk lock held. */
static int copy_if_shared(struct mmu_notifier_range *range, struct region *r, uint64_t page,
			  uint64_t end)
{
	fn_t fn;
	int rc = 0;

	hpte_wait_idle(r, page, page + 1);
	if (!(hpte_read(r, page) & HPTE_PRESENT) || !hpte_is_shared(r, page))
		return 0;
	hpte_hide(r, page, end); /* in one call */
	fn = r->home + page;
	if (end > page + 1 && pool_refs(r->pool, fn) && !alloc_run(r->pool, end - page, &fn)) {
		copy_page(range, r, page, fn);
		copy_ahead(range, r, page + 1, end, fn + 1);
		return 0;
	}
	rc = frame_for_copy(r, page, &fn); /* one is enough */
	if (rc)
		return rc;
	copy_page(range, r, page, fn);
	if (fn == r->home + page)
		copy_ahead(range, r, page + 1, end, fn + 1);
	return 0;
}

static int copy_locked(struct mmu_notifier_range *range, struct region *r, uint64_t page,
		       uint64_t end)
{
	struct chunk_lock *chunk = region_chunk(r, page);
	int rc;

	lock_acquire(&chunk->lock);
	rc = copy_if_shared(range, r, page, end);
	lock_release(&chunk->lock);
	return rc;
}

/*
 * Kernel: wp_page_copy(). CLEAR and not CHANGE: who stores needs a writable entry next, and change_pte would only make a
 * read-only one on the way, through the gap if the copy is not at home.
 */
static int break_run(struct region *r, uint64_t page, uint64_t end)
{
	struct mmu_notifier_range range;
	int rc = 0;

	rwlock_assert_held(&r->mm->mmap_lock);
	if (mutant(124)) /* "others keep the old frame, so who still reaches it does no harm" */
		return copy_locked(NULL, r, page, end);
	if (mutant(120)) /* set, then notify */
		rc = copy_locked(NULL, r, page, end);
	bracket_start(&range, r, page, end, MMU_NOTIFY_CLEAR);
	if (!mutant(120))
		rc = copy_locked(&range, r, page, end);
	bracket_end(&range);
	return rc;
}

int cow_break(struct region *r, uint64_t page)
{
	return break_run(r, page, page + 1);
}

int cow_get(struct region *r, uint64_t page, uint64_t ahead_end, bool write, uint64_t *hpte)
{
	struct chunk_lock *chunk = region_chunk(r, page);
	int rc;

	while ((rc = hpte_get(r, page, ahead_end, write, hpte)) > 0) {
		uint64_t end = rc == HPTE_SHARED ? copy_end(r, page) : page + 1;

		lock_release(&chunk->lock);
		rc = rc == HPTE_TAKEN ? device_pull(r, page, page + 1) : break_run(r, page, end);
		lock_acquire(&chunk->lock);
		if (rc)
			break;
	}
	return rc;
}

int cow_show(struct region *r, uint64_t page, bool write)
{
	uint64_t hpte;
	int rc = cow_get(r, page, page + 1, write, &hpte);

	if (!rc)
		rc = hpte_show(r, page);
	if (rc != HPTE_SHARED)
		return rc;
	/* It would take a gap to show it read-only: a load of a host thread counts as a store. */
	rc = cow_get(r, page, page + 1, true, &hpte);
	return rc ? rc : hpte_show(r, page);
}

void hostmm_get_actor_stats(struct hostmm *mm, struct hostmm_actor_stats *stats)
{
	*stats = (struct hostmm_actor_stats){
		.cow_copies = mm->cow_copies,
		.forks = mm->forks,
		.merges = mm->merges,
	};
}
