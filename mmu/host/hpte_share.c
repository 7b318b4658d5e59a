/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Chunks of entries that forks share.
 *
 *	fork			P: entries		C: -> P			D: -> P
 *	C is touched		P: entries		C: copy			D: -> P
 *	P is to change		P: entries		C: copy <-		D: -> C
 *
 * Whoever changes or looks first pays for one copy of one chunk, however many share it. What a copy says is what was
 * said before, so nobody is told. The copy comes before the change, under rmap->lock: no walk of the reverse map misses
 * a page that has passed from one to the other, and no two of the three run for one chunk at a time.
 * Kernel: huge_pmd_share(), huge_pmd_unshare().
 */
#include "mmu/base/mutant.h"
#include "mmu/host/hostmm_priv.h"
#include "mmu/host/pool_priv.h"
#include "mmu/host/swap.h"

/* Pages of a copy in a row, and so their frames. */
struct run {
	uint64_t page, n;
	fn_t fn;
};

static void end_run(struct region *r, const struct run *run)
{
	if (!run->n)
		return;
	pool_share(r->pool, run->fn, run->n);
	rmap_add_locked(r, run->page, run->n, run->fn);
}

/* What a child has of its parent's entry. */
static uint64_t inherited(uint64_t entry)
{
	return entry & (HPTE_FN_MASK | HPTE_PRESENT | HPTE_NONE | HPTE_SOFT);
}

/* The lender's entries have their frames and slots as long as the chunk is lent. */
static void copy_chunk(struct region *to, struct region *from, uint64_t page)
{
	uint64_t end = chunk_end(page, region_pages(to));
	struct run run = { .n = 0 };

	for (; page < end; page++) {
		uint64_t entry = hpte_read(from, page);

		if (!entry)
			continue;
		bug_on(entry & (HPTE_WRITE | HPTE_BUSY | HPTE_AWAY));
		entry = inherited(entry);
		if (entry & HPTE_SWAP)
			swap_get(to->pool->swap, hpte_fn(entry));
		hpte_store(to, page, 0, entry);
		if (!hpte_has_frame(entry))
			continue;
		if (page != run.page + run.n || hpte_fn(entry) != run.fn + run.n) {
			end_run(to, &run);
			run = (struct run){ .page = page, .fn = hpte_fn(entry) };
		}
		run.n++;
	}
	end_run(to, &run);
	hpte_chunk(to, end - 1)->used = true;
}

static void add_sharer(struct region *lender, struct region *r, uint64_t page)
{
	struct hpte_chunk *lent = hpte_chunk(lender, page), *chunk = hpte_chunk(r, page);
	struct region *next = sync_load(&lent->sharers);

	chunk->next = next;
	if (next)
		hpte_chunk(next, page)->prev = r;
	sync_store(&chunk->lender, lender);
	sync_store(&lent->sharers, r);
}

/* Release: who finds no sharer, or no lender, finds the copy. */
static void remove_sharer(struct region *r, uint64_t page)
{
	struct hpte_chunk *chunk = hpte_chunk(r, page);
	struct hpte_chunk *lent = hpte_chunk(sync_load(&chunk->lender), page);

	if (chunk->next)
		hpte_chunk(chunk->next, page)->prev = chunk->prev;
	if (chunk->prev)
		hpte_chunk(chunk->prev, page)->next = chunk->next;
	else
		sync_store_release(&lent->sharers, chunk->next);
	chunk->next = chunk->prev = NULL;
	sync_store_release(&chunk->lender, NULL);
}

void hpte_own(struct region *r, uint64_t page)
{
	struct region *lender;

	rmap_lock(r->pool->rmap);
	lender = sync_load(&hpte_chunk(r, page)->lender);
	if (lender) {
		copy_chunk(r, lender, page & ~(CHUNK_PAGES - 1));
		remove_sharer(r, page);
	}
	rmap_unlock(r->pool->rmap);
}

void hpte_unshare(struct region *r, uint64_t page)
{
	struct hpte_chunk *chunk = hpte_chunk(r, page);
	struct region *heir;

	rmap_lock(r->pool->rmap);
	heir = sync_load(&chunk->sharers);
	if (heir) {
		struct hpte_chunk *heirs = hpte_chunk(heir, page);

		if (!mutant(231)) /* 231: it will fault on what is missing */
			copy_chunk(heir, r, page & ~(CHUNK_PAGES - 1));
		for (struct region *s = heirs->next; s; s = hpte_chunk(s, page)->next)
			sync_store(&hpte_chunk(s, page)->lender, heir);
		sync_store(&heirs->sharers, heirs->next);
		if (heirs->next)
			hpte_chunk(heirs->next, page)->prev = NULL;
		heirs->next = NULL;
		sync_store_release(&chunk->sharers, NULL);
		sync_store_release(&heirs->lender, NULL);
	}
	rmap_unlock(r->pool->rmap);
}

bool hpte_forget(struct region *r, uint64_t page)
{
	bool has_lender;

	if (!r->forked_from)
		return false;
	rmap_lock(r->pool->rmap);
	has_lender = sync_load(&hpte_chunk(r, page)->lender);
	if (has_lender)
		remove_sharer(r, page);
	rmap_unlock(r->pool->rmap);
	return has_lender;
}

void hpte_fork(struct region *to, struct region *from)
{
	rwlock_assert_held_write(&from->mm->mmap_lock);
	rmap_lock(from->pool->rmap);
	for (uint64_t page = 0; page < region_pages(from); page += CHUNK_PAGES) {
		struct hpte_chunk *chunk = hpte_chunk(from, page);
		struct region *lender = sync_load(&chunk->lender);

		if (lender || chunk->used)
			add_sharer(lender ? lender : from, to, page);
	}
	rmap_unlock(from->pool->rmap);
}
