/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Frames are taken from pages, and what is dirty is written first.
 *
 *	a page that has its frame alone			a frame that is shared
 *	start						a map of ours: nobody is alone with it, nobody may store
 *	chunk lock: hide, flush; take (busy)		write, unless the file has it
 *	end						each page, by the reverse map: start; hide, flush; swap entry; end
 *	write: who faults meanwhile waits		our map and reference go, and the frame
 *	chunk lock: swap entry, or back as it was
 *	the frame goes
 *
 * Unmap before write, or a store in between is lost; write before the frame goes, or the next owner's contents are written.
 */
#include <errno.h>
#include <stdlib.h>

#include "mmu/base/mutant.h"
#include "mmu/host/hostmm_priv.h"
#include "mmu/host/hostmm_reclaim.h"
#include "mmu/host/pool_priv.h"
#include "mmu/host/swap.h"

/* What becomes of a page. */
enum fate {
	STAYS,
	DROPPED, /* its store has it */
	SWAPPED, /* the file has it, or is about to */
	STORED,	 /* its store is about to have it */
	FAILED,	 /* could not be written */
};

struct victim {
	enum fate fate;
	fn_t fn;
	uint64_t slot;
	bool writable;
};

/* Pages of one chunk on their way. */
struct batch {
	struct region *r;
	uint64_t page, n;
	struct victim victim[CHUNK_PAGES];
	fn_t shared[CHUNK_PAGES]; /* with a map and a reference each */
	uint64_t nshared;
	uint64_t reclaimed;
	int rc; /* the first error */
};

static void fail(struct batch *b, int rc)
{
	b->rc = b->rc ?: rc;
}

/* ---- Frames that one page has ---- */

static bool has_store(const struct region *r)
{
	return r->pager && r->pager->writeback && !r->is_private;
}

static enum fate fate_of(struct region *r, uint64_t hpte, uint64_t *slot)
{
	struct swap *swap = r->pool->swap;

	if (hpte & HPTE_CLEAN)
		return DROPPED;
	if (swap && swap_find(swap, hpte_fn(hpte), slot))
		return SWAPPED;
	if (has_store(r))
		return STORED;
	return swap ? SWAPPED : FAILED;
}

/* Chunk lock held, nothing is shown. */
static void take(struct batch *b, uint64_t i)
{
	struct region *r = b->r;
	uint64_t hpte = hpte_read(r, b->page + i);
	struct victim *v = &b->victim[i];

	*v = (struct victim){ .fate = STAYS, .slot = UINT64_MAX };
	if (!(hpte & HPTE_PRESENT) || pool_is_zero(r->pool, hpte_fn(hpte)))
		return;
	v->fn = hpte_fn(hpte);
	v->writable = hpte & HPTE_WRITE;
	if (hpte_is_shared(r, b->page + i)) {
		pool_get(r->pool, v->fn);
		pool_map(r->pool, v->fn);
		b->shared[b->nshared++] = v->fn;
		return;
	}
	v->fate = fate_of(r, hpte, &v->slot);
	if (v->fate == FAILED) { /* nowhere to write it */
		v->fate = STAYS;
		fail(b, -ENXIO);
		return;
	}
	hpte_take(r, b->page + i);
}

/* A page is written while it is mapped: what is stored until it is unmapped is lost. */
static void write_first(struct batch *b)
{
	for (uint64_t i = 0; i < b->n; i++) {
		uint64_t hpte = hpte_read(b->r, b->page + i), slot;

		if (!(hpte & HPTE_PRESENT) || !b->r->pool->swap)
			continue;
		if (swap_alloc(b->r->pool->swap, 1, &slot) < 0)
			continue;
		swap_write(b->r->pool->swap, slot, pool_direct(b->r->pool, hpte_fn(hpte)), 1);
		swap_attach(b->r->pool->swap, hpte_fn(hpte), slot);
	}
}

static void take_all(struct batch *b)
{
	struct chunk_lock *chunk = region_chunk(b->r, b->page);
	struct mmu_notifier_range range;
	uint64_t end = b->page + b->n;

	if (mutant(1211))
		write_first(b);
	bracket_start(&range, b->r, b->page, end, MMU_NOTIFY_CLEAR);
	lock_acquire(&chunk->lock);
	hpte_wait_idle(b->r, b->page, end);
	hpte_hide(b->r, b->page, end);
	hpte_tell_tlbs(b->r, b->page, end);
	for (uint64_t i = 0; i < b->n; i++)
		take(b, i);
	hpte_tell_tlbs(b->r, b->page, end);
	lock_release(&chunk->lock);
	bracket_end(&range);
}

/* Victims from @i on that are written in one call: consecutive frames, the same fate. */
static uint64_t run_length(const struct batch *b, uint64_t i)
{
	const struct victim *v = &b->victim[i];
	uint64_t n = 1;

	while (i + n < b->n && v[n].fate == v->fate && v[n].fn == v->fn + n && v[n].slot == v->slot)
		n++;
	return n;
}

/* Pages [@i, @i + *n) to slots; *n may become less. */
static int write_slots(struct batch *b, uint64_t i, uint64_t *n)
{
	struct pool *pool = b->r->pool;
	uint64_t slot;
	int64_t got = swap_alloc(pool->swap, *n, &slot);
	int rc;

	if (got < 0)
		return (int)got;
	*n = (uint64_t)got;
	rc = swap_write(pool->swap, slot, pool_direct(pool, b->victim[i].fn), *n);
	if (rc) {
		swap_put(pool->swap, slot, *n);
		return rc;
	}
	for (uint64_t k = 0; k < *n; k++)
		b->victim[i + k].slot = slot + k;
	return 0;
}

static int store_pages(struct region *r, uint64_t page, fn_t fn, uint64_t n)
{
	int rc;

	if (mutant(1215)) /* the store is locked when pages are taken already */
		lock_acquire(&r->store);
	rc = r->pager->writeback(r->pager_ctx, page, pool_direct(r->pool, fn), n);
	if (mutant(1215))
		lock_release(&r->store);
	return rc;
}

static void write_dirty(struct batch *b)
{
	for (uint64_t i = 0, n; i < b->n; i += n) {
		struct victim *v = &b->victim[i];
		int rc = 0;

		n = run_length(b, i);
		if (v->fate == STORED)
			rc = store_pages(b->r, b->page + i, v->fn, n);
		else if (v->fate == SWAPPED && v->slot == UINT64_MAX)
			rc = write_slots(b, i, &n);
		for (uint64_t k = 0; rc && k < n; k++)
			v[k].fate = FAILED;
		if (rc)
			fail(b, rc);
	}
}

/* The frames go in runs, so that holes are punched in runs. */
static void put_frames(struct batch *b)
{
	uint64_t run = 0;
	fn_t first = 0;

	for (uint64_t i = 0; i <= b->n; i++) {
		const struct victim *v = &b->victim[i];
		bool goes = i < b->n && v->fate != STAYS && v->fate != FAILED;

		if (goes && run && v->fn == first + run) {
			run++;
			continue;
		}
		if (run)
			pool_put(b->r->pool, first, run);
		run = goes;
		if (goes)
			first = v->fn;
	}
}

static void settle(struct batch *b)
{
	struct chunk_lock *chunk = region_chunk(b->r, b->page);

	lock_acquire(&chunk->lock);
	for (uint64_t i = 0; i < b->n; i++) {
		const struct victim *v = &b->victim[i];

		if (v->fate == STAYS)
			continue;
		if (v->fate == FAILED)
			hpte_give(b->r, b->page + i, v->fn, v->writable);
		else if (v->fate == SWAPPED)
			hpte_give_soft(b->r, b->page + i, HPTE_SWAP | v->slot << PAGE_SHIFT);
		else
			hpte_drop_taken(b->r, b->page + i);
		b->reclaimed += v->fate != FAILED;
	}
	cond_broadcast(&chunk->page_in_done);
	lock_release(&chunk->lock);
}

/*
 * One after the other with writebacks of the region: older contents must not come later. They wait for pages that are taken, so
 * the store's lock comes first.
 */
static void reclaim_chunk(struct batch *b)
{
	bool locks = has_store(b->r) && !mutant(1215);

	if (locks && !mutant(1216))
		lock_acquire(&b->r->store);
	take_all(b);
	if (mutant(1212)) /* the frame goes, then what it had is written */
		put_frames(b);
	write_dirty(b);
	settle(b);
	if (locks && !mutant(1216))
		lock_release(&b->r->store);
	if (!mutant(1212))
		put_frames(b);
}

/* ---- Frames that are shared ---- */

struct shared {
	fn_t fn;
	uint64_t slot; /* the frame has a count of it */
	uint64_t unmapped;
};

/* Kernel: try_to_unmap_one(). */
static int unmap_one(struct region *r, uint64_t page, void *ctx)
{
	struct shared *s = ctx;
	struct chunk_lock *chunk = region_chunk(r, page);
	struct mmu_notifier_range range;
	uint64_t hpte;

	bracket_start(&range, r, page, page + 1, MMU_NOTIFY_CLEAR);
	lock_acquire(&chunk->lock);
	hpte_wait_idle(r, page, page + 1);
	hpte = hpte_read(r, page);
	if ((hpte & HPTE_PRESENT) && hpte_fn(hpte) == s->fn) {
		hpte_hide(r, page, page + 1);
		hpte_take(r, page);
		hpte_tell_tlbs(r, page, page + 1);
		/* Since it was written: whoever does not see it here is not met by the walk of hostmm_poison(). */
		if (pool_is_bad(r->pool, s->fn) && !mutant(1217)) {
			hpte_give_soft(r, page, HPTE_POISON);
		} else if (hpte & HPTE_CLEAN) {
			hpte_drop_taken(r, page);
		} else {
			swap_get(r->pool->swap, s->slot);
			hpte_give_soft(r, page, HPTE_SWAP | s->slot << PAGE_SHIFT);
		}
		pool_put(r->pool, s->fn, 1);
		s->unmapped++;
	}
	lock_release(&chunk->lock);
	bracket_end(&range);
	return 0;
}

/* Let the file have what @fn, which stands still, contains; *@slot with a count for the caller. */
static int write_shared(struct pool *pool, fn_t fn, uint64_t *slot)
{
	int64_t got;
	int rc;

	if (swap_find(pool->swap, fn, slot))
		return 0;
	got = swap_alloc(pool->swap, 1, slot);
	if (got < 0)
		return (int)got;
	rc = swap_write(pool->swap, *slot, pool_direct(pool, fn), 1);
	if (rc) {
		swap_put(pool->swap, *slot, 1);
		return rc;
	}
	swap_get(pool->swap, *slot);
	swap_attach(pool->swap, fn, *slot);
	return 0;
}

/* Pages that came to share it while it was walked are met by the next walk; a page that does so for ever keeps it. */
#define WALKS 8

static int reclaim_shared(struct pool *pool, fn_t fn, uint64_t *reclaimed)
{
	struct shared s = { .fn = fn };
	uint64_t before;
	int rc = pool->swap ? write_shared(pool, fn, &s.slot) : -ENXIO;

	if (rc)
		return rc;
	for (unsigned i = 0; !rc && i < WALKS; i++) {
		before = s.unmapped;
		rc = rmap_walk(pool, fn, unmap_one, &s);
		if (s.unmapped == before)
			break;
	}
	swap_put(pool->swap, s.slot, 1);
	*reclaimed += s.unmapped;
	return rc;
}

/* No lock of the host mm held. */
static void reclaim_all_shared(struct batch *b, struct pool *pool)
{
	for (uint64_t i = 0; i < b->nshared; i++) {
		int rc = reclaim_shared(pool, b->shared[i], &b->reclaimed);

		if (rc)
			fail(b, rc);
		pool_unmap(pool, b->shared[i]);
		pool_put(pool, b->shared[i], 1);
	}
	b->nshared = 0;
}

/* ---- The call ---- */

/* The pages from @start on in one chunk, of a region that was there when the call began; *@next comes after them. */
static int reclaim_some(struct hostmm *mm, hva_t start, hva_t end, struct batch *b, hva_t *next)
{
	struct region *r;
	int rc = -EINVAL;

	rwlock_read_acquire(&mm->mmap_lock);
	r = hostmm_region(mm, start);
	if (r && end <= r->end) {
		b->r = r;
		b->page = region_page(r, start);
		b->n = chunk_end(b->page, region_page(r, end)) - b->page;
		*next = start + (b->n << PAGE_SHIFT);
		reclaim_chunk(b);
		rc = 0;
	}
	rwlock_read_release(&mm->mmap_lock);
	reclaim_all_shared(b, mm->pool);
	return rc;
}

int hostmm_reclaim(struct hostmm *mm, hva_t start, hva_t end, uint64_t *reclaimed)
{
	struct batch *b;
	int rc = 0;

	if (!is_page_aligned(start | end) || start >= end)
		return -EINVAL;
	b = calloc(1, sizeof(*b));
	if (!b)
		return -ENOMEM;
	while (!rc && start < end)
		rc = reclaim_some(mm, start, end, b, &start);
	if (reclaimed)
		*reclaimed = b->reclaimed;
	rc = rc ?: b->rc;
	free(b);
	return rc;
}
