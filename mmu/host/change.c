/* SPDX-License-Identifier: BSD-2-Clause */
/* Changes of a range, each inside its bracket: discard, zap, write-protect, migrate. */
#include <errno.h>

#include "mmu/host/hostmm_priv.h"

/* What a change does with the pages of one chunk, none of them busy. Chunk lock held. 0 or -errno to stop. */
typedef int (*change_fn)(struct region *r, uint64_t page, uint64_t end);

/*
 * One bracket around all chunks (row A26: one flush a range). The order is the kernel's: subscribers let go first,
 * then the entries and the host view change, then subscribers may look again.
 */
static int change_range(struct hostmm *mm, hva_t start, hva_t end, enum mmu_notifier_event event,
			change_fn change)
{
	struct mmu_notifier_range range;
	struct region *r;
	int rc = -EINVAL;

	if (!is_page_aligned(start | end) || start >= end)
		return -EINVAL;
	rwlock_read_acquire(&mm->mmap_lock);
	r = hostmm_region(mm, start);
	if (r && end <= r->end) {
		uint64_t last = region_page(r, end);

		mmu_notifier_range_init(&range, event, &mm->subscriptions, start, end);
		rc = mmu_notifier_invalidate_range_start(&range);
		bug_on(rc); /* the range may block */
		for (uint64_t page = region_page(r, start), stop; !rc && page < last; page = stop) {
			struct chunk_lock *chunk = region_chunk(r, page);

			stop = chunk_end(page, last);
			lock_acquire(&chunk->lock);
			hpte_wait_idle(r, page, stop);
			rc = change(r, page, stop);
			lock_release(&chunk->lock);
		}
		mmu_notifier_invalidate_range_end(&range);
	}
	rwlock_read_release(&mm->mmap_lock);
	return rc;
}

static int discard_chunk(struct region *r, uint64_t page, uint64_t end)
{
	hpte_clear(r, page, end);
	return 0;
}

static int zap_chunk(struct region *r, uint64_t page, uint64_t end)
{
	hpte_hide(r, page, end);
	return 0;
}

static int wrprotect_chunk(struct region *r, uint64_t page, uint64_t end)
{
	hpte_wrprotect(r, page, end);
	return 0;
}

static int migrate_away_chunk(struct region *r, uint64_t page, uint64_t end)
{
	for (; page < end; page++) {
		uint64_t hpte = sync_load(&r->hpte[page]);
		fn_t fn;
		int rc;

		if (!(hpte & HPTE_PRESENT))
			continue;
		rc = pool_alloc_loose(r->pool, &fn);
		if (rc)
			return rc;
		hpte_move(r, page, fn);
	}
	return 0;
}

static int migrate_home_chunk(struct region *r, uint64_t page, uint64_t end)
{
	for (; page < end; page++) {
		uint64_t hpte = sync_load(&r->hpte[page]);

		if ((hpte & HPTE_PRESENT) && hpte_fn(hpte) != r->home + page &&
		    pool_get_unless_used(r->pool, r->home + page))
			hpte_move(r, page, r->home + page);
	}
	return 0;
}

int hostmm_discard(struct hostmm *mm, hva_t start, hva_t end)
{
	atomic_fetch_add_explicit(&mm->discards, 1, memory_order_relaxed);
	return change_range(mm, start, end, MMU_NOTIFY_CLEAR, discard_chunk);
}

int hostmm_zap(struct hostmm *mm, hva_t start, hva_t end)
{
	atomic_fetch_add_explicit(&mm->zaps, 1, memory_order_relaxed);
	return change_range(mm, start, end, MMU_NOTIFY_CLEAR, zap_chunk);
}

int hostmm_wrprotect(struct hostmm *mm, hva_t start, hva_t end)
{
	atomic_fetch_add_explicit(&mm->wrprotects, 1, memory_order_relaxed);
	return change_range(mm, start, end, MMU_NOTIFY_PROTECTION_PAGE, wrprotect_chunk);
}

int hostmm_migrate(struct hostmm *mm, hva_t start, hva_t end, enum hostmm_migrate_to to)
{
	atomic_fetch_add_explicit(&mm->migrates, 1, memory_order_relaxed);
	return change_range(mm, start, end, MMU_NOTIFY_CLEAR,
			    to == HOSTMM_MIGRATE_HOME ? migrate_home_chunk : migrate_away_chunk);
}
