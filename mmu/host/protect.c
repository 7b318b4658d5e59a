/* SPDX-License-Identifier: BSD-2-Clause */
/* Who has a right to pages: mprotect, and the end of what backs a region. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "mmu/base/mutant.h"
#include "mmu/host/hostmm_priv.h"
#include "mmu/host/pool_priv.h"

static unsigned view_access(unsigned prot)
{
	return (prot & HOSTMM_PROT_READ ? PROT_READ : 0) |
	       (prot & HOSTMM_PROT_WRITE ? PROT_WRITE : 0);
}

unsigned region_access(const struct region *r, uint64_t page)
{
	return view_access(region_prot(r, page));
}

int region_need_prots(struct region *r)
{
	if (!r->prots)
		r->prots = pool_map_sparse(region_pages(r), -1);
	return r->prots ? 0 : -errno;
}

/* hostmm_map() leaves the view of a read-only region open: a store asks, and is refused. */
static unsigned access_of(const struct region *r, uint64_t page)
{
	bool met = page >= r->limit || (r->prots && r->prots[page]);

	return met ? view_access(region_prot(r, page)) : PROT_READ | PROT_WRITE;
}

int region_open(struct region *r, uint64_t page, uint64_t end)
{
	int rc = 0;

	for (uint64_t n; !rc && page < end; page += n) {
		unsigned access = access_of(r, page);

		for (n = 1; page + n < end && access_of(r, page + n) == access; n++)
			;
		rc = view_protect(r->view, page, n, access);
	}
	return rc;
}

static bool is_losing(struct region *r, uint64_t page, uint64_t end, unsigned prot)
{
	for (; page < end; page++)
		if (region_prot(r, page) & ~prot)
			return true;
	return false;
}

/* Entries follow, chunk by chunk. Nobody faults meanwhile: mmap_lock is held for writing. */
static void follow(struct region *r, uint64_t page, uint64_t last)
{
	for (uint64_t end; page < last; page = end) {
		struct chunk_lock *chunk = region_chunk(r, page);

		end = chunk_end(page, last);
		lock_acquire(&chunk->lock);
		hpte_protect(r, page, end);
		lock_release(&chunk->lock);
	}
}

/*
 * The view first, which alone can fail: it then shows less than the entries allow, or asks for what they do not yet. The
 * truncated end stays shut whatever its rights: they are for when it comes back.
 */
static int protect_region(struct region *r, uint64_t page, uint64_t last, unsigned prot)
{
	uint64_t shown = min_u64(last, max_u64(page, r->limit));
	bool told = is_losing(r, page, last, prot);
	struct mmu_notifier_range range;
	int rc = region_need_prots(r);

	if (rc)
		return rc;
	if (told)
		bracket_start(&range, r, page, last, MMU_NOTIFY_PROTECTION_VMA);
	if (shown > page)
		rc = view_protect(r->view, page, shown - page, view_access(prot));
	if (!rc) {
		memset(r->prots + page, (int)prot + 1, last - page);
		r->may |= prot;
		follow(r, page, last);
	}
	if (told)
		bracket_end(&range);
	return rc;
}

int hostmm_protect(struct hostmm *mm, hva_t start, hva_t end, unsigned prot)
{
	struct region *r;
	int rc = -EINVAL;

	if (!is_page_aligned(start | end) || start >= end ||
	    (prot & ~(HOSTMM_PROT_READ | HOSTMM_PROT_WRITE)) || prot == HOSTMM_PROT_WRITE)
		return -EINVAL;
	rwlock_write_acquire(&mm->mmap_lock);
	r = hostmm_region(mm, start);
	if (r && end <= r->end)
		rc = region_has_lost(r, region_page(r, start), region_page(r, end))
			     ? -ENOMEM
			     : protect_region(r, region_page(r, start), region_page(r, end), prot);
	rwlock_write_release(&mm->mmap_lock);
	return rc;
}

/* ---- Truncate ---- */

static void clear(struct region *r, uint64_t page, uint64_t last)
{
	for (uint64_t end; page < last; page = end) {
		struct chunk_lock *chunk = region_chunk(r, page);

		end = chunk_end(page, last);
		lock_acquire(&chunk->lock);
		hpte_clear(r, page, end);
		lock_release(&chunk->lock);
	}
}

static int shrink(struct region *r, uint64_t npages, uint64_t old)
{
	struct mmu_notifier_range range;
	int rc = 0;

	if (mutant(128)) { /* "nobody can fault beyond the end any more" */
		r->limit = npages;
		clear(r, npages, old);
		return 0;
	}
	bracket_start(&range, r, npages, old, MMU_NOTIFY_CLEAR);
	rc = view_protect(r->view, npages, old - npages, PROT_NONE);
	if (!rc) {
		r->limit = npages;
		clear(r, npages, old);
	}
	bracket_end(&range);
	return rc;
}

/* Pages are empty, so nobody has anything to forget. */
static int extend(struct region *r, uint64_t npages)
{
	uint64_t old = r->limit;
	int rc;

	r->limit = npages;
	rc = region_open(r, old, npages);
	if (rc) {
		r->limit = old;
		(void)region_open(r, old, npages);
	}
	return rc;
}

int hostmm_truncate(struct hostmm *mm, hva_t hva, uint64_t npages)
{
	struct region *r;
	int rc = -EINVAL;

	rwlock_write_acquire(&mm->mmap_lock);
	r = hostmm_region(mm, hva);
	if (r && r->start == hva && npages <= region_pages(r)) {
		rc = 0;
		if (npages < r->limit)
			rc = shrink(r, npages, r->limit);
		else if (npages > r->limit)
			rc = extend(r, npages);
	}
	rwlock_write_release(&mm->mmap_lock);
	return rc;
}
