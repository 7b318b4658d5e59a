/* SPDX-License-Identifier: BSD-2-Clause */
#include "mmu/host/hostmm_walk.h"

#include <errno.h>
#include <string.h>

#include "mmu/host/hostmm_priv.h"

#define PMD_PAGES 512UL
#define PUD_PAGES (PMD_PAGES * 512)

/* Of a page that a device has: its own, @owner asks. */
static uint8_t away_state(uint64_t hpte, unsigned owner)
{
	uint8_t rights = SNAPSHOT_READ | (hpte & HPTE_WRITE ? SNAPSHOT_WRITE : 0);
	bool own = owner && hpte_owner(hpte) == owner;

	if (hpte & HPTE_EXCL)
		return own ? rights : SNAPSHOT_NONE;
	return own ? SNAPSHOT_LOCAL | rights : SNAPSHOT_REMOTE;
}

static uint8_t page_state(struct region *r, uint64_t page, unsigned owner)
{
	uint64_t hpte = hpte_peek(r, page);

	if (!(region_prot(r, page) & HOSTMM_PROT_READ))
		return SNAPSHOT_HOLE;
	if (hpte & HPTE_AWAY)
		return away_state(hpte, owner);
	if (hpte & HPTE_PRESENT)
		return SNAPSHOT_READ | (hpte & HPTE_WRITE		       ? SNAPSHOT_WRITE
					: pool_is_zero(r->pool, hpte_fn(hpte)) ? SNAPSHOT_ZERO
									       : 0);
	if (hpte & HPTE_SOFT)
		return hpte & HPTE_POISON ? SNAPSHOT_HOLE : SNAPSHOT_NONE;
	/* Busy or not: what page-in brings is zeros, unless the entry has been taken, and then a bracket is open. */
	return r->pager ? SNAPSHOT_NONE : SNAPSHOT_ZERO | SNAPSHOT_READ;
}

/* May the aligned block of @n pages around @hva be one large entry? mmap_lock held. */
static bool is_huge(struct region *r, hva_t hva, uint64_t n)
{
	hva_t start = hva & ~((n << PAGE_SHIFT) - 1);
	uint64_t page;

	if (start < r->start || (n << PAGE_SHIFT) > r->end - start)
		return false;
	page = region_page(r, start);
	return hpte_fn(hpte_peek(r, page)) % n == 0 && region_is_run(r, page, n);
}

static void walk_region(struct region *r, hva_t start, hva_t end, unsigned owner, uint8_t *state)
{
	uint8_t level = 0;

	for (hva_t hva = start; hva < end; hva += PAGE_SIZE) {
		if (hva == start || !(hva % (PMD_PAGES << PAGE_SHIFT)))
			level = !is_huge(r, hva, PMD_PAGES)  ? 0
				: is_huge(r, hva, PUD_PAGES) ? SNAPSHOT_PUD
							     : SNAPSHOT_PMD;
		if (region_holds(r, hva))
			*state = page_state(r, region_page(r, hva), owner) | level;
		state++;
	}
}

int hostmm_walk(struct hostmm *mm, hva_t start, uint64_t npages, const void *owner, uint8_t *state)
{
	hva_t end = start + (npages << PAGE_SHIFT);

	if (!is_page_aligned(start) || !npages || npages > (UINT64_MAX - start) >> PAGE_SHIFT)
		return -EINVAL;
	memset(state, SNAPSHOT_HOLE, npages);
	rwlock_read_acquire(&mm->mmap_lock);
	for (struct region *r = mm->regions; r; r = r->next) {
		hva_t from = max_u64(start, r->start);

		if (from < min_u64(end, r->end))
			walk_region(r, from, min_u64(end, r->end), hostmm_owner(mm, owner),
				    state + ((from - start) >> PAGE_SHIFT));
	}
	rwlock_read_release(&mm->mmap_lock);
	return 0;
}

static bool is_young(struct hostmm *mm, hva_t hva, enum hostmm_age how)
{
	switch (how) {
	case HOSTMM_AGE_CLEAR:
		return mmu_notifier_clear_young(&mm->subscriptions, hva, hva + PAGE_SIZE);
	case HOSTMM_AGE_CLEAR_FLUSH:
		return mmu_notifier_clear_flush_young(&mm->subscriptions, hva, hva + PAGE_SIZE);
	default:
		return mmu_notifier_test_young(&mm->subscriptions, hva);
	}
}

/* Pages of one chunk. The lock keeps each entry, and so what subscribers have of it from being given to another page. */
static int64_t age_chunk(struct region *r, uint64_t page, uint64_t end, enum hostmm_age how)
{
	struct chunk_lock *chunk = region_chunk(r, page);
	int64_t young = 0;

	lock_acquire(&chunk->lock);
	for (; page < end; page++)
		if (hpte_read(r, page) & HPTE_PRESENT)
			young += is_young(r->mm, region_hva(r, page), how);
	lock_release(&chunk->lock);
	return young;
}

int64_t hostmm_age(struct hostmm *mm, hva_t start, hva_t end, enum hostmm_age how)
{
	struct region *r;
	int64_t young = -EINVAL;

	if (!is_page_aligned(start | end) || start >= end)
		return -EINVAL;
	rwlock_read_acquire(&mm->mmap_lock);
	r = hostmm_region(mm, start);
	if (r && end <= r->end) {
		uint64_t page = region_page(r, start), last = region_page(r, end);

		young = 0;
		for (uint64_t next; page < last; page = next) {
			next = chunk_end(page, last);
			young += age_chunk(r, page, next, how);
		}
	}
	rwlock_read_release(&mm->mmap_lock);
	return young;
}
