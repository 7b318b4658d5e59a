/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A frame is taken away for good. Pages that have it are found by the reverse map, with a map and a reference of our own held.
 * Who comes to share it meanwhile got it from one of them, and is met by the next walk; or had a map of his own, and asks
 * afterwards whether it has become bad:
 *
 *	poison			merge, move
 *	bad			the page has the frame		rmap->lock
 *	walk	rmap->lock	bad? walk
 */
#include <errno.h>

#include "mmu/base/mutant.h"
#include "mmu/host/hostmm_priv.h"
#include "mmu/host/hostmm_reclaim.h"

struct bad {
	fn_t fn;
	uint64_t unmapped;
};

/* Kernel: unmap_poisoned_folio(). */
static int unmap_one(struct region *r, uint64_t page, void *ctx)
{
	struct bad *bad = ctx;
	struct chunk_lock *chunk = region_chunk(r, page);
	struct mmu_notifier_range range;
	uint64_t hpte;

	bracket_start(&range, r, page, page + 1, MMU_NOTIFY_CLEAR);
	lock_acquire(&chunk->lock);
	hpte_wait_idle(r, page, page + 1);
	hpte = hpte_read(r, page);
	if (hpte_has_frame(hpte) && hpte_fn(hpte) == bad->fn) {
		hpte_hide(r, page, page + 1);
		hpte_take(r, page);
		hpte_tell_tlbs(r, page, page + 1);
		hpte_give_soft(r, page, HPTE_POISON);
		pool_put(r->pool, bad->fn, 1);
		bad->unmapped++;
	}
	lock_release(&chunk->lock);
	bracket_end(&range);
	return 0;
}

static int sweep(struct pool *pool, fn_t fn)
{
	struct bad bad = { .fn = fn };
	uint64_t before;
	int rc;

	do {
		before = bad.unmapped;
		rc = rmap_walk(pool, fn, unmap_one, &bad);
	} while (!rc && bad.unmapped != before && !mutant(1213));
	return rc;
}

/* Stores to it stop, and nobody gets to be alone with it. */
static int hold(struct region *r, uint64_t page, fn_t *fn)
{
	struct chunk_lock *chunk = region_chunk(r, page);
	struct mmu_notifier_range range;
	uint64_t hpte;
	int rc = -ENOENT;

	bracket_start(&range, r, page, page + 1, MMU_NOTIFY_CLEAR);
	lock_acquire(&chunk->lock);
	hpte_wait_idle(r, page, page + 1);
	hpte = hpte_read(r, page);
	if (hpte & HPTE_PRESENT) {
		*fn = hpte_fn(hpte);
		rc = pool_is_zero(r->pool, *fn) ? -EBUSY : 0;
	}
	if (!rc) {
		hpte_wrprotect(r, page, page + 1);
		pool_get(r->pool, *fn);
		pool_map(r->pool, *fn);
	}
	lock_release(&chunk->lock);
	bracket_end(&range);
	return rc;
}

/* The frame was reclaimed before it was bad: what the page contains is in the file. */
static bool was_reclaimed(struct hostmm *mm, hva_t hva)
{
	bool is = false;
	struct region *r;

	rwlock_read_acquire(&mm->mmap_lock);
	r = hostmm_region(mm, hva);
	if (r)
		is = hpte_read(r, region_page(r, hva)) & HPTE_SWAP;
	rwlock_read_release(&mm->mmap_lock);
	return is;
}

int hostmm_poison(struct hostmm *mm, hva_t hva)
{
	struct pool *pool = mm->pool;
	struct region *r;
	int rc = -EFAULT;
	fn_t fn;

	if (!is_page_aligned(hva))
		return -EINVAL;
	rwlock_read_acquire(&mm->mmap_lock);
	r = hostmm_region(mm, hva);
	if (r)
		rc = hold(r, region_page(r, hva), &fn);
	rwlock_read_release(&mm->mmap_lock);
	if (rc)
		return rc;
	pool_set_bad(pool, fn); /* before the walk: pairs with poison_recheck() */
	rc = sweep(pool, fn);
	pool_unmap(pool, fn);
	pool_put(pool, fn, 1);
	return rc || mutant(1217) || !was_reclaimed(mm, hva) ? rc : -ENOENT;
}

void poison_recheck(struct hostmm *mm, hva_t start, hva_t end)
{
	struct gup_page page;

	for (; pool_poisoned(mm->pool) && start < end; start += PAGE_SIZE)
		if (hostmm_peek(mm, start, &page) && pool_is_bad(mm->pool, page.fn))
			(void)sweep(mm->pool, page.fn);
}
