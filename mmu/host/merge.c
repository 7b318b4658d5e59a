/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * KSM-like merging of two pages with equal contents, and its undoing.
 *
 *	protect a	bracket, a loses W; one map of its frame is taken for the time of the merge: now a store to a, or
 *			to any other page with that frame, goes to a copy, and the frame's contents stand still
 *	protect b	bracket, b loses W
 *	replace b	bracket; under b's lock: still the same frame, still read-only, equal contents: repoint
 *
 * So no two chunk locks are ever held together. What changed in between is noticed, and costs only time.
 */
#include <errno.h>
#include <string.h>

#include "mmu/base/mutant.h"
#include "mmu/host/hostmm_actors.h"
#include "mmu/host/hostmm_priv.h"

/* Kernel: write_protect_page(). */
int merge_protect(struct region *r, uint64_t page, fn_t *fn)
{
	struct chunk_lock *chunk = region_chunk(r, page);
	struct mmu_notifier_range range;
	uint64_t hpte;
	int rc = -ENOENT;

	bracket_start(&range, r, page, page + 1, MMU_NOTIFY_CHANGE);
	lock_acquire(&chunk->lock);
	hpte_wait_idle(r, page, page + 1);
	hpte = hpte_read(r, page);
	if (hpte & HPTE_PRESENT) {
		hpte_wrprotect(r, page, page + 1);
		*fn = hpte_fn(hpte);
		pool_get(r->pool, *fn);
		pool_map(r->pool, *fn);
		rc = 0;
	}
	lock_release(&chunk->lock);
	bracket_end(&range);
	return rc;
}

void merge_unprotect(struct pool *pool, fn_t fn)
{
	pool_unmap(pool, fn);
	pool_put(pool, fn, 1);
}

static bool is_equal(struct pool *pool, fn_t a, fn_t b)
{
	return a == b || !memcmp(pool_direct(pool, a), pool_direct(pool, b), PAGE_SIZE);
}

/*
 * Let @page, which had @old, have @new: both stand still, since the caller has a map of each. mmap_lock held.
 * Kernel: replace_page().
 */
static int replace(struct region *r, uint64_t page, fn_t old, fn_t new)
{
	struct chunk_lock *chunk = region_chunk(r, page);
	struct mmu_notifier_range range;
	uint64_t hpte;
	int rc = -EAGAIN;

	bracket_start(&range, r, page, page + 1, MMU_NOTIFY_CHANGE);
	lock_acquire(&chunk->lock);
	hpte_wait_idle(r, page, page + 1);
	hpte = hpte_read(r, page);
	if ((hpte & HPTE_PRESENT) && hpte_fn(hpte) == old) {
		pool_get(r->pool, new);
		bracket_repoint(&range, r, page, new);
		rc = 0;
	}
	lock_release(&chunk->lock);
	bracket_end(&range);
	return rc;
}

static int merge_pages(struct region *ra, uint64_t a, struct region *rb, uint64_t b)
{
	struct pool *pool = ra->pool;
	fn_t fa, fb;
	int rc;

	rc = merge_protect(ra, a, &fa);
	if (rc)
		return rc;
	rc = merge_protect(rb, b, &fb);
	if (!rc) {
		if (!is_equal(pool, fa, fb))
			rc = -EAGAIN;
		else if (fa != fb)
			rc = replace(rb, b, fb, fa);
		merge_unprotect(pool, fb);
	}
	merge_unprotect(pool, fa);
	return rc;
}

/* By address: two merges of the same mms the other way round, and writers waiting for both, must not close a circle. */
static void lock_both(struct hostmm *a, struct hostmm *b)
{
	if ((uintptr_t)a > (uintptr_t)b) {
		lock_both(b, a);
		return;
	}
	rwlock_read_acquire(&a->mmap_lock);
	if (a != b)
		rwlock_read_acquire(&b->mmap_lock);
}

static void unlock_both(struct hostmm *a, struct hostmm *b)
{
	rwlock_read_release(&a->mmap_lock);
	if (a != b)
		rwlock_read_release(&b->mmap_lock);
}

int hostmm_merge(struct hostmm *mm_a, hva_t hva_a, struct hostmm *mm_b, hva_t hva_b)
{
	struct region *a, *b;
	int rc = -EFAULT;

	if (!is_page_aligned(hva_a | hva_b) || mm_a->pool != mm_b->pool ||
	    (mm_a == mm_b && hva_a == hva_b))
		return -EINVAL;
	lock_both(mm_a, mm_b);
	a = hostmm_region(mm_a, hva_a);
	b = hostmm_region(mm_b, hva_b);
	if (a && b)
		rc = merge_pages(a, region_page(a, hva_a), b, region_page(b, hva_b));
	unlock_both(mm_a, mm_b);
	poison_recheck(mm_b, hva_b, hva_b + PAGE_SIZE);
	if (!rc)
		atomic_fetch_add_explicit(&mm_b->merges, 1, memory_order_relaxed);
	return rc;
}

/* Under the lock: an entry that somebody repoints is empty for a moment. */
static bool is_present(struct region *r, uint64_t page)
{
	struct chunk_lock *chunk = region_chunk(r, page);
	bool present;

	lock_acquire(&chunk->lock);
	present = hpte_read(r, page) & HPTE_PRESENT;
	lock_release(&chunk->lock);
	return present;
}

int hostmm_unmerge(struct hostmm *mm, hva_t hva)
{
	struct region *r;
	int rc = -EFAULT;

	if (!is_page_aligned(hva))
		return -EINVAL;
	rwlock_read_acquire(&mm->mmap_lock);
	r = hostmm_region(mm, hva);
	if (r)
		rc = is_present(r, region_page(r, hva)) ? cow_break(r, region_page(r, hva))
							: -ENOENT;
	rwlock_read_release(&mm->mmap_lock);
	return rc;
}
