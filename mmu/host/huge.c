/* SPDX-License-Identifier: BSD-2-Clause */
/* Large pages of the primary: when a run of pages is one, how it is split, and zeros that all share. */
#include <errno.h>

#include "mmu/base/mutant.h"
#include "mmu/host/hostmm_priv.h"

static bool is_next(uint64_t hpte, uint64_t first, uint64_t i)
{
	uint64_t bits = HPTE_PRESENT | HPTE_NONE | (mutant(107) ? 0 : HPTE_WRITE);

	return (hpte & bits) == (first & bits) && hpte_fn(hpte) == hpte_fn(first) + i;
}

/* Blocks that were split stay small until collapsed. Less than a block is never one large entry of the primary. */
static bool is_split(struct region *r, uint64_t page, uint64_t n)
{
	for (uint64_t chunk = page / CHUNK_PAGES;
	     n >= CHUNK_PAGES && chunk * CHUNK_PAGES < page + n; chunk++)
		if (sync_load(&r->split[chunk]))
			return true;
	return false;
}

/* The last page, then the middle: a run that is none mostly breaks there, or is not there at all. */
static bool is_run(struct region *r, uint64_t page, uint64_t n, uint64_t first)
{
	if (is_split(r, page, n) || !is_next(hpte_peek(r, page + n - 1), first, n - 1) ||
	    !is_next(hpte_peek(r, page + n / 2), first, n / 2))
		return false;
	for (uint64_t i = 1; i < n; i++)
		if (!is_next(hpte_peek(r, page + i), first, i))
			return false;
	return true;
}

bool region_is_run(struct region *r, uint64_t page, uint64_t n)
{
	uint64_t first = hpte_peek(r, page);

	return hpte_is_usable(first) && is_run(r, page, n, first);
}

/*
 * The entries are read one after another, each at a moment of its own. Yet the answer is exact for who finds his
 * sequence unchanged afterwards: an entry loses its frame or a right only inside a bracket over it. One that was open or
 * began since the sequence was read makes the check fail; the changes of one that had ended before are seen here,
 * since reading the sequence (acquire) came after its end (release). What happens without a bracket is that an empty entry
 * becomes present, or one gets more rights. So at the check each page still has at least what was read here.
 */
bool hostmm_huge(struct hostmm *mm, hva_t hva, uint64_t n, struct gup_page *first)
{
	bool huge = false;
	struct region *r;

	*first = (struct gup_page){ .fn = FN_NONE };
	rwlock_read_acquire(&mm->mmap_lock);
	r = hostmm_region(mm, hva);
	if (r && n && n <= (r->end - hva) >> PAGE_SHIFT) {
		uint64_t page = region_page(r, hva), hpte = hpte_peek(r, page);

		huge = hpte_is_usable(hpte) && is_run(r, page, n, hpte); /* one look at the first */
		if (huge)
			*first = (struct gup_page){ .fn = hpte_fn(hpte),
						    .writable = hpte & HPTE_WRITE };
	}
	rwlock_read_release(&mm->mmap_lock);
	return huge;
}

int hostmm_split_huge(struct hostmm *mm, hva_t hva, enum hostmm_split when)
{
	struct mmu_notifier_range range;
	struct region *r;
	int rc = -EINVAL;

	rwlock_read_acquire(&mm->mmap_lock);
	r = hostmm_large_region(mm, hva);
	if (r) {
		uint64_t page = region_page(r, hva), end = page + HOSTMM_LARGE;
		struct chunk_lock *chunk = region_chunk(r, page);

		bracket_start(&range, r, page, end, MMU_NOTIFY_CLEAR);
		lock_acquire(&chunk->lock);
		if (when == HOSTMM_SPLIT_LOCKED && !mutant(102))
			hpte_tell_tlbs(r, page, end);
		sync_store(&r->split[page / CHUNK_PAGES], 1);
		lock_release(&chunk->lock);
		if (when == HOSTMM_SPLIT_LATE && !mutant(102))
			hpte_tell_tlbs(r, page, end);
		bracket_end(&range);
		rc = 0;
	}
	rwlock_read_release(&mm->mmap_lock);
	return rc;
}

static int map_zero_chunk(struct region *r, uint64_t page, uint64_t end, fn_t zero)
{
	struct chunk_lock *chunk = region_chunk(r, page);
	int rc = 0;

	lock_acquire(&chunk->lock);
	hpte_wait_idle(r, page, end);
	for (; !rc && page < end; page++) {
		if (!(region_prot(r, page) & HOSTMM_PROT_READ))
			rc = -EFAULT;
		else if (!hpte_read(r, page))
			hpte_share(r, page, zero + page % HOSTMM_LARGE);
	}
	lock_release(&chunk->lock);
	return rc;
}

int hostmm_map_zero(struct hostmm *mm, hva_t start, hva_t end)
{
	struct region *r;
	int rc = -EINVAL;
	fn_t zero;

	if (!is_page_aligned(start | end) || start >= end)
		return -EINVAL;
	rwlock_read_acquire(&mm->mmap_lock);
	r = hostmm_region(mm, start);
	if (r && end <= r->end && !r->pager) {
		uint64_t page = region_page(r, start), last = region_page(r, end), stop;

		rc = pool_zero_run(r->pool, &zero);
		for (; !rc && page < last; page = stop) {
			stop = chunk_end(page, last);
			rc = map_zero_chunk(r, page, stop, zero);
		}
	}
	rwlock_read_release(&mm->mmap_lock);
	return rc;
}
