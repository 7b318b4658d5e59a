/* SPDX-License-Identifier: BSD-2-Clause */
/* mremap: pages move to other addresses, with their frames. */
#include <errno.h>

#include "mmu/base/mutant.h"
#include "mmu/host/hostmm_priv.h"

/* A page between two addresses. fn is FN_NONE for one that was absent. */
struct moving {
	fn_t fn;
	bool writable;
	uint64_t soft; /* an entry that has no frame */
};

/*
 * Take pages [page, end) of one chunk out of the source. A frame that others share keeps a map of ours on its way: or the
 * last of them would find itself alone, and store.
 */
static void take_chunk(struct region *r, uint64_t page, uint64_t end, struct moving *moving)
{
	struct chunk_lock *chunk = region_chunk(r, page);

	lock_acquire(&chunk->lock);
	hpte_hide(r, page, end);
	for (uint64_t i = page; i < end; i++, moving++) {
		uint64_t hpte = hpte_read(r, i);

		*moving = (struct moving){ .fn = FN_NONE };
		if (hpte & HPTE_SOFT)
			moving->soft = hpte_take_soft(r, i);
		if (!(hpte & HPTE_PRESENT))
			continue;
		*moving = (struct moving){ .fn = hpte_fn(hpte), .writable = hpte & HPTE_WRITE };
		if (!moving->writable)
			pool_map(r->pool, moving->fn);
		hpte_take(r, i);
		hpte_drop_taken(r, i);
	}
	if (!mutant(22))
		hpte_tell_tlbs(r, page, end);
	lock_release(&chunk->lock);
}

/* A write-protect mark does not move along (M26): the entry says what a store needs, and the view is filled from it. */
static void give_page(struct region *r, uint64_t page, const struct moving *moving)
{
	struct chunk_lock *chunk = region_chunk(r, page);

	if (moving->fn == FN_NONE && !moving->soft)
		return;
	lock_acquire(&chunk->lock);
	if (moving->soft) {
		hpte_give_soft(r, page, moving->soft);
		lock_release(&chunk->lock);
		return;
	}
	hpte_take_empty(r, page);
	hpte_give(r, page, moving->fn, moving->writable);
	if (!moving->writable)
		pool_unmap(r->pool, moving->fn);
	lock_release(&chunk->lock);
}

void move_pages(struct region *from, uint64_t page, uint64_t last, struct region *to, uint64_t at)
{
	struct moving moving[CHUNK_PAGES] = { 0 };
	struct mmu_notifier_range range;

	bracket_start(&range, from, page, last, MMU_NOTIFY_UNMAP);
	for (uint64_t end; page < last; page = end) {
		end = chunk_end(page, last);
		take_chunk(from, page, end, moving);
		for (uint64_t i = 0; i < end - page; i++)
			give_page(to, at + i, &moving[i]);
		at += end - page;
	}
	bracket_end(&range);
}

void clear_pages(struct region *r, uint64_t page, uint64_t last)
{
	struct mmu_notifier_range range;

	bracket_start(&range, r, page, last, MMU_NOTIFY_UNMAP);
	for (uint64_t end; page < last; page = end) {
		struct chunk_lock *chunk = region_chunk(r, page);

		end = chunk_end(page, last);
		lock_acquire(&chunk->lock);
		hpte_clear(r, page, end);
		lock_release(&chunk->lock);
	}
	bracket_end(&range);
}

static int move_range(struct hostmm *mm, hva_t start, hva_t end, hva_t to)
{
	struct region *from = hostmm_region(mm, start), *into = hostmm_region(mm, to);
	uint64_t page, last, at, n = (end - start) >> PAGE_SHIFT;
	int rc;

	if (!from || end > from->end || !into)
		return -EINVAL;
	page = region_page(from, start);
	last = region_page(from, end);
	at = region_page(into, to);
	if (at >= into->limit || n > into->limit - at || region_has_lost(into, at, at + n))
		return -EINVAL;
	rc = device_pull(from, page, last);
	if (rc)
		return rc;
	clear_pages(into, at, at + n);
	move_pages(from, page, last, into, at);
	return 0;
}

int hostmm_move(struct hostmm *mm, hva_t start, hva_t end, hva_t to)
{
	int rc;

	if (!is_page_aligned(start | end | to) || start >= end ||
	    (to < end && start < to + (end - start)))
		return -EINVAL;
	rwlock_write_acquire(&mm->mmap_lock);
	rc = move_range(mm, start, end, to);
	rwlock_write_release(&mm->mmap_lock);
	poison_recheck(mm, to, to + (end - start));
	if (mutant(22))
		mmu_notifier_arch_invalidate_secondary_tlbs(&mm->subscriptions, start, end);
	return rc;
}
