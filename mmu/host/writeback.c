/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Dirty pages are handed to their region's store, and stay.
 *
 *	start (PROTECTION_PAGE)
 *	chunk lock: write-protect, flush, mark
 *	end
 *	write			a store faults, and takes the mark away: the next writeback has it
 *	chunk lock: still marked? clean
 *
 * Protect before write: what was stored after the copy would otherwise be taken for written. One writeback of a region at a
 * time, or older contents might be written after newer ones. A page that shares its frame is not writable, so it is
 * only marked. Kernel: clear_page_dirty_for_io(), PG_writeback.
 */
#include <errno.h>

#include "mmu/base/mutant.h"
#include "mmu/host/hostmm_priv.h"
#include "mmu/host/hostmm_reclaim.h"

struct dirty {
	fn_t fn; /* FN_NONE: clean, or not there */
};

/* Frames that several pages share are reclaimed to the backing file, and never to a store: what is there is dirty. */
static bool is_swapped(struct region *r, uint64_t page, uint64_t end)
{
	while (page < end && !(hpte_read(r, page) & HPTE_SWAP))
		page++;
	return page < end;
}

static int bring_in(struct region *r, uint64_t page, uint64_t end)
{
	struct chunk_lock *chunk = region_chunk(r, page);
	int rc = 0;

	lock_acquire(&chunk->lock);
	for (; !rc && page < end; page++) {
		hpte_wait_idle(r, page, page + 1);
		if (is_swapped(r, page, page + 1))
			rc = hpte_swap_in(r, page, end, false);
	}
	lock_release(&chunk->lock);
	return rc;
}

static void write_unprotected(struct region *r, uint64_t page, uint64_t end)
{
	for (; page < end; page++) {
		uint64_t hpte = hpte_read(r, page);

		if (hpte & HPTE_PRESENT)
			(void)r->pager->writeback(r->pager_ctx, page,
						  pool_direct(r->pool, hpte_fn(hpte)), 1);
	}
}

/*
 * Kernel: page_mkclean_one(). References keep the frames for the time of the write. False: pages have gone to the backing file
 * since they were brought in, and nothing is marked.
 */
static bool clean_chunk(struct region *r, uint64_t page, uint64_t end, struct dirty *dirty)
{
	struct chunk_lock *chunk = region_chunk(r, page);
	struct mmu_notifier_range range;
	bool done;

	if (mutant(1214)) /* write, then protect */
		write_unprotected(r, page, end);
	bracket_start(&range, r, page, end, MMU_NOTIFY_PROTECTION_PAGE);
	lock_acquire(&chunk->lock);
	hpte_wait_idle(r, page, end);
	done = !is_swapped(r, page, end);
	if (done)
		hpte_wrprotect(r, page, end);
	for (; done && page < end; page++, dirty++) {
		uint64_t hpte = hpte_read(r, page);

		dirty->fn = FN_NONE;
		if (!(hpte & HPTE_PRESENT) || (hpte & HPTE_CLEAN))
			continue;
		dirty->fn = hpte_fn(hpte);
		pool_get(r->pool, dirty->fn);
		hpte_begin_clean(r, page);
	}
	lock_release(&chunk->lock);
	bracket_end(&range);
	return done;
}

static void end_clean(struct region *r, uint64_t page, uint64_t n, bool written)
{
	struct chunk_lock *chunk = region_chunk(r, page);

	lock_acquire(&chunk->lock);
	for (; n; n--, page++)
		hpte_end_clean(r, page, written);
	lock_release(&chunk->lock);
}

static int write_run(struct region *r, uint64_t page, const struct dirty *dirty, uint64_t n)
{
	int rc = 0;

	if (!mutant(1214))
		rc = r->pager->writeback(r->pager_ctx, page, pool_direct(r->pool, dirty->fn), n);
	end_clean(r, page, n, !rc);
	pool_put(r->pool, dirty->fn, n);
	return rc;
}

static int write_chunk(struct region *r, uint64_t page, uint64_t end, const struct dirty *dirty,
		       uint64_t *written)
{
	int rc = 0;

	for (uint64_t n; page < end; page += n, dirty += n) {
		for (n = 1; page + n < end && dirty->fn != FN_NONE && dirty[n].fn == dirty->fn + n;
		     n++)
			;
		if (dirty->fn == FN_NONE)
			continue;
		if (rc) { /* what is left is as it was */
			end_clean(r, page, n, false);
			pool_put(r->pool, dirty->fn, n);
			continue;
		}
		rc = write_run(r, page, dirty, n);
		*written += rc ? 0 : n;
	}
	return rc;
}

static int writeback(struct region *r, uint64_t page, uint64_t last, uint64_t *written)
{
	struct dirty dirty[CHUNK_PAGES] = { { .fn = FN_NONE } }; /* clean_chunk() fills it */
	int rc = 0;

	while (!rc && page < last) {
		uint64_t end = chunk_end(page, last);

		rc = bring_in(r, page, end);
		if (rc)
			break;
		lock_acquire(&r->store);
		if (clean_chunk(r, page, end, dirty)) {
			rc = write_chunk(r, page, end, dirty, written);
			page = end;
		}
		lock_release(&r->store);
	}
	return rc;
}

int hostmm_writeback(struct hostmm *mm, hva_t start, hva_t end, uint64_t *written)
{
	struct region *r;
	uint64_t n = 0;
	int rc = -EINVAL;

	if (!is_page_aligned(start | end) || start >= end)
		return -EINVAL;
	rwlock_read_acquire(&mm->mmap_lock);
	r = hostmm_region(mm, start);
	if (r && end <= r->end && r->pager && r->pager->writeback)
		rc = r->is_private ? -EBUSY
				   : writeback(r, region_page(r, start), region_page(r, end), &n);
	rwlock_read_release(&mm->mmap_lock);
	if (written)
		*written = n;
	return rc;
}
