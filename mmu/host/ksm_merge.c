/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pages get the frames that the service has found for them. What is alone with its frame is a frame to be freed, and frees
 * come in runs: a hole that is punched for 500 frames costs as much as for three.
 */
#include <string.h>

#include "mmu/base/mutant.h"
#include "mmu/host/ksm_priv.h"

/* Frames that pages have had: consecutive ones are given back at once. */
struct freed {
	struct pool *pool;
	fn_t first;
	uint64_t n;
};

static void flush_freed(struct freed *f)
{
	if (f->n)
		pool_put(f->pool, f->first, f->n);
	f->n = 0;
}

static void add_freed(struct freed *f, fn_t fn)
{
	if (!f->n || f->first + f->n != fn) {
		flush_freed(f);
		f->first = fn;
	}
	f->n++;
}

static bool is_equal(struct region *r, const struct ksm_item *item)
{
	uint64_t hpte = hpte_read(r, item->page);

	return hpte_is_usable(hpte) && !pool_is_bad(r->pool, item->to) &&
	       !memcmp(pool_direct(r->pool, hpte_fn(hpte)), pool_direct(r->pool, item->to),
		       PAGE_SIZE);
}

/*
 * Nobody may store to the page any more, and to the frame that it is to have nobody ever may. So equal now is equal for good.
 * Chunk lock held.
 */
static bool may_merge(struct region *r, const struct ksm_item *item)
{
	uint64_t hpte = hpte_read(r, item->page);

	return hpte_is_usable(hpte) && hpte_fn(hpte) != item->to &&
	       (mutant(1231) || is_equal(r, item));
}

/* A page at a time: subscribers are told where each has gone. Chunk lock held, as in the next. */
static uint64_t repoint_young(struct region *r, const struct ksm_item *item, uint64_t n,
			      struct mmu_notifier_range *range)
{
	uint64_t merged = 0;

	hpte_wrprotect(r, item->page, item->page + n);
	for (const struct ksm_item *end = item + n; item < end; item++) {
		if (!may_merge(r, item))
			continue;
		pool_get(r->pool, item->to);
		bracket_repoint(range, r, item->page, item->to);
		merged++;
	}
	return merged;
}

/* Clear, tell, set (A20), each for all: nobody has anything of these pages but the host view. */
static uint64_t repoint_old(struct region *r, const struct ksm_item *item, uint64_t n, fn_t *old)
{
	uint64_t page = item->page, merged = 0;

	hpte_hide(r, page, page + n);
	hpte_wrprotect(r, page, page + n);
	for (uint64_t i = 0; i < n; i++) {
		old[i] = FN_NONE;
		if (!may_merge(r, &item[i]))
			continue;
		old[i] = hpte_take(r, page + i);
		merged++;
	}
	if (merged)
		hpte_tell_tlbs(r, page, page + n);
	for (uint64_t i = 0; i < n; i++) {
		if (old[i] == FN_NONE)
			continue;
		pool_get(r->pool, item[i].to);
		hpte_give(r, page + i, item[i].to, false);
	}
	return merged;
}

/* Consecutive pages that are all young, or all old: one bracket, and one call of the system to each view. */
static uint64_t merge_run(struct region *r, const struct ksm_item *item, uint64_t n)
{
	struct chunk_lock *chunk = region_chunk(r, item->page);
	struct freed freed = { .pool = r->pool };
	uint64_t page = item->page, merged;
	struct mmu_notifier_range range;
	fn_t old[KSM_BATCH];

	if (mutant(1231) && !is_equal(r, item)) /* compare, then write-protect */
		return 0;
	bracket_start(&range, r, page, page + n,
		      item->young ? MMU_NOTIFY_CHANGE : MMU_NOTIFY_CLEAR);
	lock_acquire(&chunk->lock);
	hpte_wait_idle(r, page, page + n);
	merged = item->young ? repoint_young(r, item, n, &range) : repoint_old(r, item, n, old);
	lock_release(&chunk->lock);
	bracket_end(&range);
	for (uint64_t i = 0; !item->young && i < n; i++)
		if (old[i] != FN_NONE)
			add_freed(&freed, old[i]);
	flush_freed(&freed);
	return merged;
}

void ksm_merge(struct region *r, const struct ksm_item *item, uint64_t n, struct ksm_stats *stats)
{
	for (uint64_t run, merged; n; item += run, n -= run) {
		run = 1;
		if (item->to == FN_NONE)
			continue;
		while (run < n && item[run].to != FN_NONE && item[run].young == item->young &&
		       item[run].page == item->page + run)
			run++;
		merged = merge_run(r, item, run);
		stats->merged += merged;
		stats->merged_young += item->young ? merged : 0;
		stats->failed += run - merged;
		atomic_fetch_add_explicit(&r->mm->merges, merged, memory_order_relaxed);
	}
}
