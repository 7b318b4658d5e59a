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

static int copy_if_shared(struct mmu_notifier_range *range, struct region *r, uint64_t page)
{
	struct chunk_lock *chunk = region_chunk(r, page);
	fn_t fn;
	int rc = 0;

	lock_acquire(&chunk->lock);
	hpte_wait_idle(r, page, page + 1);
	/* Much may have happened before the bracket was open. */
	if ((sync_load(&r->hpte[page]) & HPTE_PRESENT) && hpte_is_shared(r, page)) {
		rc = frame_for_copy(r, page, &fn);
		if (!rc) {
			bracket_move(range, r, page, fn);
			atomic_fetch_add_explicit(&r->mm->cow_copies, 1, memory_order_relaxed);
		}
	}
	lock_release(&chunk->lock);
	return rc;
}

/*
 * Kernel: wp_page_copy(). CLEAR and not CHANGE: who stores needs a writable entry next, and change_pte would only make a
 * read-only one on the way, through the gap if the copy is not at home.
 */
int cow_break(struct region *r, uint64_t page)
{
	struct mmu_notifier_range range;
	int rc = 0;

	rwlock_assert_held(&r->mm->mmap_lock);
	if (mutant(124)) /* "others keep the old frame, so who still reaches it does no harm" */
		return copy_if_shared(NULL, r, page);
	if (mutant(120)) /* set, then notify */
		rc = copy_if_shared(NULL, r, page);
	bracket_start(&range, r, page, page + 1, MMU_NOTIFY_CLEAR);
	if (!mutant(120))
		rc = copy_if_shared(&range, r, page);
	bracket_end(&range);
	return rc;
}

int cow_get(struct region *r, uint64_t page, uint64_t ahead_end, bool write, uint64_t *hpte)
{
	struct chunk_lock *chunk = region_chunk(r, page);
	int rc;

	while ((rc = hpte_get(r, page, ahead_end, write, hpte)) > 0) {
		lock_release(&chunk->lock);
		rc = rc == HPTE_TAKEN ? device_pull(r, page, page + 1) : cow_break(r, page);
		lock_acquire(&chunk->lock);
		if (rc)
			break;
	}
	return rc;
}

static int show(struct region *r, uint64_t page, bool write)
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

int cow_show(struct region *r, uint64_t page, bool write)
{
	struct chunk_lock *chunk = region_chunk(r, page);
	int rc = show(r, page, write);

	if (rc != -ENOMEM)
		return rc;
	/* Out of VMAs, perhaps: at home it costs none. What it has shared is unshared. */
	lock_release(&chunk->lock);
	rc = bring_home(r, page);
	lock_acquire(&chunk->lock);
	return rc ? rc : show(r, page, write);
}

void hostmm_get_actor_stats(struct hostmm *mm, struct hostmm_actor_stats *stats)
{
	*stats = (struct hostmm_actor_stats){
		.cow_copies = mm->cow_copies,
		.forks = mm->forks,
		.merges = mm->merges,
	};
}
