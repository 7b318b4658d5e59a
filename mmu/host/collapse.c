/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Collapse of small pages into a large one.
 *
 *	mmap_lock for reading	absent pages come in
 *	mmap_lock for writing	no fault of the primary, no other change of the mm from here on
 *	home frames are taken and get memory: the last that can fail
 *	start			secondaries let go of all of it, also of what they have mapped small
 *	chunk lock		hide, flush; copy; clear, tell, set
 *	end
 *
 * A guest stores up to start, and after end; what it stored is copied. Before start nothing has moved, so a failure
 * leaves pages where they are.
 */
#include <errno.h>

#include "mmu/base/mutant.h"
#include "mmu/host/hostmm_priv.h"

struct region *hostmm_large_region(struct hostmm *mm, hva_t hva)
{
	struct region *r = hostmm_region(mm, hva);
	uint64_t page;

	if (!r || !is_page_aligned(hva))
		return NULL;
	page = region_page(r, hva);
	return page % HOSTMM_LARGE || page + HOSTMM_LARGE > r->limit ? NULL : r;
}

/* Chunk lock held. */
static bool is_home(struct region *r, uint64_t page)
{
	return hpte_fn(hpte_read(r, page)) == r->home + page;
}

static int bring_in(struct region *r, uint64_t page, uint64_t end)
{
	struct chunk_lock *chunk = region_chunk(r, page);
	uint64_t hpte;
	int rc = 0;

	lock_acquire(&chunk->lock);
	for (; !rc && page < end; page++)
		rc = cow_get(r, page, end, false, &hpte);
	lock_release(&chunk->lock);
	return rc;
}

/* All there still, with equal rights? */
static int check(struct region *r, uint64_t page, uint64_t end)
{
	for (uint64_t i = page; i < end; i++) {
		if (region_prot(r, i) != region_prot(r, page))
			return -EINVAL;
		if (!hpte_is_usable(hpte_read(r, i)))
			return -EAGAIN;
	}
	return 0;
}

static void put_homes(struct region *r, uint64_t page, uint64_t end)
{
	for (; page < end; page++)
		if (!is_home(r, page))
			pool_put(r->pool, r->home + page, 1);
}

/* Is one page writable, so that all will be? */
static bool has_writer(struct region *r, uint64_t page, uint64_t end)
{
	for (; page < end; page++)
		if (hpte_read(r, page) & HPTE_WRITE)
			return true;
	return false;
}

/* The home frames of pages that are elsewhere, with memory. Nobody can share a frame of @r anew: mmap_lock is held. */
static int take_homes(struct region *r, uint64_t page, uint64_t end, bool writable)
{
	uint64_t i;
	int rc = 0;

	for (i = page; !rc && i < end; i++) {
		if (is_home(r, i)) {
			rc = writable && hpte_is_shared(r, i) ? -EAGAIN : 0;
			continue;
		}
		if (!pool_get_unless_used(r->pool, r->home + i)) {
			rc = -EAGAIN;
			break;
		}
		rc = pool_populate(r->pool, r->home + i, 1);
	}
	if (rc)
		put_homes(r, page, i);
	return rc;
}

/*
 * Cannot fail. The copies come after the TLBs were flushed, lest a store be lost, and before the maps of the old frames
 * go, since afterwards another sharer may be alone with one, and store.
 */
static void gather(struct region *r, uint64_t page, uint64_t end, bool writable)
{
	fn_t old[HOSTMM_LARGE] = { 0 };

	hpte_hide(r, page, end);
	hpte_tell_tlbs(r, page, end);
	for (uint64_t i = page; i < end; i++)
		if (!is_home(r, i))
			pool_copy(r->pool, r->home + i, hpte_fn(hpte_read(r, i)));
	for (uint64_t i = page; i < end; i++) {
		bool stays = is_home(r, i) &&
			     (!writable || (hpte_read(r, i) & HPTE_WRITE)); /* it may be shared */

		old[i - page] = stays ? FN_NONE : hpte_take(r, i);
	}
	hpte_tell_tlbs(r, page, end);
	for (uint64_t i = page; i < end; i++) {
		fn_t was = old[i - page];

		if (was == FN_NONE)
			continue;
		hpte_give(r, i, r->home + i, writable);
		if (was != r->home + i)
			pool_put(r->pool, was, 1);
	}
	sync_store(&r->split[page / CHUNK_PAGES], 0);
}

static int collapse(struct region *r, uint64_t page)
{
	struct chunk_lock *chunk = region_chunk(r, page);
	uint64_t end = page + HOSTMM_LARGE;
	struct mmu_notifier_range range;
	bool writable;
	int rc;

	lock_acquire(&chunk->lock);
	writable = has_writer(r, page, end);
	rc = check(r, page, end);
	if (!rc)
		rc = take_homes(r, page, end, writable);
	lock_release(&chunk->lock);
	if (rc)
		return rc;
	/* 127: the page that was looked at stands for all of them */
	bracket_start(&range, r, page, mutant(127) ? page + 1 : end, MMU_NOTIFY_CLEAR);
	lock_acquire(&chunk->lock);
	gather(r, page, end, writable);
	lock_release(&chunk->lock);
	bracket_end(&range);
	return 0;
}

/* Page-ins sleep, and keep nobody out: they come first, under the lock that faults take. */
static int bring_in_block(struct hostmm *mm, hva_t hva)
{
	struct region *r;
	int rc = -EINVAL;

	rwlock_read_acquire(&mm->mmap_lock);
	r = hostmm_large_region(mm, hva);
	if (r)
		rc = bring_in(r, region_page(r, hva), region_page(r, hva) + HOSTMM_LARGE);
	rwlock_read_release(&mm->mmap_lock);
	return rc;
}

int hostmm_collapse(struct hostmm *mm, hva_t hva)
{
	struct region *r;
	int rc = bring_in_block(mm, hva);

	if (rc)
		return rc;
	rwlock_write_acquire(&mm->mmap_lock);
	r = hostmm_large_region(mm, hva);
	rc = r ? collapse(r, region_page(r, hva)) : -EINVAL;
	rwlock_write_release(&mm->mmap_lock);
	return rc;
}
