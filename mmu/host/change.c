/* SPDX-License-Identifier: BSD-2-Clause */
/* Changes of a range, each inside its bracket: discard, zap, write-protect, migrate. */
#include <errno.h>

#include "mmu/base/mutant.h"
#include "mmu/host/hostmm_priv.h"

/* What a change does with the pages of one chunk, none of them busy. Chunk lock held. 0 or -errno to stop. */
typedef int (*change_fn)(struct region *r, uint64_t page, uint64_t end,
			 struct mmu_notifier_range *range);

static int change_pages(struct region *r, uint64_t page, uint64_t last,
			struct mmu_notifier_range *range, change_fn change)
{
	int rc = 0;

	for (uint64_t end; !rc && page < last; page = end) {
		struct chunk_lock *chunk = region_chunk(r, page);

		end = chunk_end(page, last);
		lock_acquire(&chunk->lock);
		hpte_wait_idle(r, page, end);
		rc = change(r, page, end, range);
		lock_release(&chunk->lock);
	}
	return rc;
}

/* A look without locks: true only means that it was so. */
static bool has_any(struct region *r, uint64_t page, uint64_t end, uint64_t bit)
{
	for (; page < end; page++)
		if (hpte_peek(r, page) & bit)
			return true;
	return false;
}

/* Which changes are not told at all, though they must be: those of a row's unsafe protocol. */
static bool is_untold(struct region *r, uint64_t page, uint64_t end, enum mmu_notifier_event event)
{
	return (mutant(117) && !has_any(r, page, end, HPTE_PRESENT)) ||
	       (mutant(121) && event == MMU_NOTIFY_PROTECTION_PAGE);
}

/*
 * One bracket around all chunks (row A26: one flush a range). The order is the kernel's: subscribers let go first,
 * then the entries and the host view change, then subscribers may look again.
 */
static int change_region(struct region *r, uint64_t page, uint64_t last,
			 enum mmu_notifier_event event, change_fn change)
{
	struct mmu_notifier_range range;
	int rc = 0;

	if (mutant(126) && last > page + 1) /* a bracket, and a flush, for each page */
		return change_region(r, page, page + 1, event, change)
			       ?: change_region(r, page + 1, last, event, change);
	if (is_untold(r, page, last, event))
		return change_pages(r, page, last, NULL, change);
	if (mutant(119)) /* what start promises to be mapped and referenced is gone */
		rc = change_pages(r, page, last, NULL, change);
	bracket_start(&range, r, page, last, event);
	if (!mutant(119))
		rc = change_pages(r, page, last, &range, change);
	bracket_end(&range);
	return rc;
}

static int change_range(struct hostmm *mm, hva_t start, hva_t end, enum mmu_notifier_event event,
			change_fn change)
{
	struct region *r;
	int rc = -EINVAL;

	if (!is_page_aligned(start | end) || start >= end)
		return -EINVAL;
	rwlock_read_acquire(&mm->mmap_lock);
	r = hostmm_region(mm, start);
	if (r && end <= r->end) {
		uint64_t page = region_page(r, start), last = region_page(r, end);

		/* Only pages that nobody may write keep their readers while they move. */
		if (event == MMU_NOTIFY_CHANGE && has_any(r, page, last, HPTE_WRITE))
			event = MMU_NOTIFY_CLEAR;
		rc = change_region(r, page, last, event, change);
	}
	rwlock_read_release(&mm->mmap_lock);
	return rc;
}

static int discard_chunk(struct region *r, uint64_t page, uint64_t end,
			 struct mmu_notifier_range *range)
{
	(void)range;
	hpte_clear(r, page, end);
	return 0;
}

static int zap_chunk(struct region *r, uint64_t page, uint64_t end,
		     struct mmu_notifier_range *range)
{
	(void)range;
	hpte_hide(r, page, end);
	hpte_tell_tlbs(r, page, end);
	return 0;
}

static int wrprotect_chunk(struct region *r, uint64_t page, uint64_t end,
			   struct mmu_notifier_range *range)
{
	(void)range;
	hpte_wrprotect(r, page, end);
	return 0;
}

static int migrate_away_chunk(struct region *r, uint64_t page, uint64_t end,
			      struct mmu_notifier_range *range)
{
	for (; page < end; page++) {
		uint64_t hpte = sync_load(&r->hpte[page]);
		fn_t fn;
		int rc;

		if (!(hpte & HPTE_PRESENT))
			continue;
		rc = pool_alloc_loose(r->pool, &fn) ?: frame_prepare(r->pool, fn);
		if (rc)
			return rc;
		bracket_move(range, r, page, fn);
	}
	return 0;
}

static int migrate_home_chunk(struct region *r, uint64_t page, uint64_t end,
			      struct mmu_notifier_range *range)
{
	for (; page < end; page++) {
		uint64_t hpte = sync_load(&r->hpte[page]);
		int rc;

		if (!(hpte & HPTE_PRESENT) || hpte_fn(hpte) == r->home + page ||
		    !pool_get_unless_used(r->pool, r->home + page))
			continue;
		rc = frame_prepare(r->pool, r->home + page);
		if (rc)
			return rc;
		bracket_move(range, r, page, r->home + page);
	}
	return 0;
}

int migrate_home(struct region *r, uint64_t page)
{
	return change_region(r, page, page + 1, MMU_NOTIFY_CLEAR, migrate_home_chunk);
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
	return change_range(mm, start, end, MMU_NOTIFY_CHANGE,
			    to == HOSTMM_MIGRATE_HOME ? migrate_home_chunk : migrate_away_chunk);
}
