/* SPDX-License-Identifier: BSD-2-Clause */
#include "mmu/host/pool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mmu/host/pool_priv.h"
#include "mmu/host/rmap.h"
#include "mmu/host/swap.h"

int pool_create(struct pool **out, uint64_t frames, bool canary)
{
	struct pool *pool;
	int rc;

	if (!frames || frames >= (uint64_t)1 << 32)
		return -EINVAL;
	pool = calloc(1, sizeof(*pool));
	if (!pool)
		return -ENOMEM;
	pool->canary = canary;
	sync_store(&pool->zero, FN_NONE);
	lock_init(&pool->lock);

	rc = pool_file_open(&pool->file, frames);
	if (rc)
		goto err_undo_alloc;
	pool->frames = pool_map_sparse(frames * sizeof(struct frame), -1);
	if (!pool->frames) {
		rc = -errno;
		goto err_undo_file;
	}
	pool->free = malloc(sizeof(*pool->free));
	if (!pool->free) {
		rc = -ENOMEM;
		goto err_undo_frames;
	}
	*pool->free = (struct extent){ .start = 0, .end = frames };
	rc = rmap_create(&pool->rmap, frames);
	if (rc)
		goto err_undo_free;
	*out = pool;
	return 0;

err_undo_free:
	free(pool->free);
err_undo_frames:
	pool_unmap_sparse(pool, pool->frames, frames * sizeof(struct frame));
err_undo_file:
	pool_file_close(pool);
err_undo_alloc:
	lock_fini(&pool->lock);
	free(pool);
	return rc;
}

void pool_destroy(struct pool *pool)
{
	uint64_t unreserved = 0;

	pool_drop_zero_run(pool);
	for (struct extent *e = pool->free, *next; e; e = next) {
		next = e->next;
		unreserved += e->end - e->start;
		free(e);
	}
	bug_on(unreserved + pool->retired_loose != pool->file.nframes);
	rmap_destroy(pool);
	if (pool->swap)
		swap_close(pool);
	pool_unmap_sparse(pool, pool->frames, pool->file.nframes * sizeof(struct frame));
	pool_file_close(pool);
	lock_fini(&pool->lock);
	free(pool);
}

int pool_fd(const struct pool *pool)
{
	return pool->file.fd;
}

uint64_t pool_frames(const struct pool *pool)
{
	return pool->file.nframes;
}

void *pool_direct(const struct pool *pool, fn_t fn)
{
	bug_on(fn >= pool->file.nframes);
	sync_touch(&pool->frames[fn]);
	return pool->file.direct + (fn << PAGE_SHIFT);
}

void pool_touch(struct pool *pool, fn_t fn)
{
	atomic_fetch_or_explicit(&pool->frames[fn].flags, 0, memory_order_relaxed);
}

static void set_loose(struct pool *pool, fn_t fn)
{
	atomic_fetch_or_explicit(&pool->frames[fn].flags, FRAME_LOOSE, memory_order_relaxed);
}

/* A frame that its region gave back may still have a slow reader: keep it aside while looking for another. */
int pool_alloc_loose(struct pool *pool, fn_t *fn)
{
	fn_t used;
	int rc = pool_reserve_top(pool, 1, fn);

	if (rc)
		return rc;
	if (!pool_get_unless_used(pool, *fn)) {
		used = *fn;
		rc = pool_alloc_loose(pool, fn);
		pool_unreserve(pool, used, 1);
		return rc;
	}
	set_loose(pool, *fn);
	return 0;
}

int pool_alloc_loose_run(struct pool *pool, uint64_t n, fn_t *first)
{
	fn_t fn, end;
	int rc = pool_reserve_top(pool, n, first);

	if (rc)
		return rc;
	end = *first + n;
	for (fn = *first; fn < end && pool_get_unless_used(pool, fn); fn++)
		set_loose(pool, fn);
	if (fn == end)
		return 0;
	/* Somebody still has this one. Those before go with their references, the rest has none. */
	if (fn > *first)
		pool_put(pool, *first, fn - *first);
	pool_unreserve(pool, fn, end - fn);
	return -ENOSPC;
}

void pool_forget(struct pool *pool, fn_t fn, fn_t end)
{
	for (; fn < end; fn++)
		atomic_fetch_and_explicit(&pool->frames[fn].flags, ~FRAME_FILLED,
					  memory_order_relaxed);
}

int pool_zero(struct pool *pool, fn_t first, uint64_t n)
{
	fn_t fn, hole = first;
	int rc;

	/* Fresh frames come zeroed from the system, in bulk; used ones are cleared by hand. */
	for (fn = first; fn <= first + n; fn++) {
		bool filled = fn == first + n ||
			      (atomic_fetch_or_explicit(&pool->frames[fn].flags, FRAME_FILLED,
							memory_order_relaxed) &
			       FRAME_FILLED);

		if (!filled)
			continue;
		rc = fn > hole ? pool_file_fill(&pool->file, hole, fn - hole) : 0;
		if (rc) {
			/* They still have no memory: clearing them by hand next time would be SIGBUS. */
			pool_forget(pool, hole, fn);
			return rc;
		}
		if (fn < first + n)
			memset(pool_direct(pool, fn), 0, PAGE_SIZE);
		hole = fn + 1;
	}
	return 0;
}

int pool_populate(struct pool *pool, fn_t first, uint64_t n)
{
	int rc = pool_file_populate(&pool->file, first, n);

	if (rc)
		return rc;
	for (fn_t fn = first; fn < first + n; fn++)
		atomic_fetch_or_explicit(&pool->frames[fn].flags, FRAME_FILLED,
					 memory_order_relaxed);
	return 0;
}

int pool_refill(struct pool *pool, fn_t fn)
{
	if (!pool_refs(pool, fn))
		return -EFAULT;
	return pool_file_has(&pool->file, fn) ? -EEXIST : pool_file_fill(&pool->file, fn, 1);
}

int pool_prepare(struct pool *pool, fn_t fn)
{
	if (atomic_load_explicit(&pool->frames[fn].flags, memory_order_relaxed) & FRAME_FILLED)
		return 0;
	return pool_populate(pool, fn, 1);
}

void pool_copy(struct pool *pool, fn_t to, fn_t from)
{
	atomic_fetch_or_explicit(&pool->frames[to].flags, FRAME_FILLED, memory_order_relaxed);
	memcpy(pool_direct(pool, to), pool_direct(pool, from), PAGE_SIZE);
}

void pool_get(struct pool *pool, fn_t fn)
{
	sync_touch(&pool->frames[fn]);
	bug_on(atomic_fetch_add_explicit(&pool->frames[fn].refs, 1, memory_order_relaxed) == 0);
}

/* A free frame still has the pattern, or somebody has stored to it since. */
static void check_canary(struct pool *pool, fn_t fn)
{
	const uint64_t *word = pool_direct(pool, fn);

	if (!(atomic_fetch_and_explicit(&pool->frames[fn].flags, ~FRAME_CANARY,
					memory_order_relaxed) &
	      FRAME_CANARY))
		return;
	for (unsigned i = 0; i < PAGE_SIZE / sizeof(*word); i++)
		if (word[i] != POOL_CANARY) {
			atomic_fetch_add_explicit(&pool->late_stores, 1, memory_order_relaxed);
			return;
		}
}

uint64_t pool_late_stores(const struct pool *pool)
{
	return atomic_load_explicit(&pool->late_stores, memory_order_relaxed);
}

bool pool_get_unless_used(struct pool *pool, fn_t fn)
{
	uint32_t none = 0;

	bug_on(fn >= pool->file.nframes);
	sync_touch(&pool->frames[fn]);
	/* Acquire: pairs with the release of the last pool_put(), so that its canary is seen to be complete. */
	if (!atomic_compare_exchange_strong_explicit(&pool->frames[fn].refs, &none, 1,
						     memory_order_acquire, memory_order_relaxed))
		return false;
	bug_on(pool_maps(pool, fn)); /* freed while mapped */
	check_canary(pool, fn);
	atomic_fetch_add_explicit(&pool->used, 1, memory_order_relaxed);
	return true;
}

static void fill_canary(struct pool *pool, fn_t fn)
{
	uint64_t *word = pool_direct(pool, fn);

	for (unsigned i = 0; i < PAGE_SIZE / sizeof(*word); i++)
		word[i] = POOL_CANARY;
	atomic_fetch_or_explicit(&pool->frames[fn].flags, FRAME_CANARY, memory_order_relaxed);
}

static void drop_contents(struct pool *pool, fn_t first, uint64_t n)
{
	if (pool->canary) {
		/* A frame that never got memory has no contents to hide, and must stay a hole. */
		for (fn_t fn = first; fn < first + n; fn++)
			if (atomic_load_explicit(&pool->frames[fn].flags, memory_order_relaxed) &
			    FRAME_FILLED)
				fill_canary(pool, fn);
		return;
	}
	/* A hole that cannot be punched costs memory, not correctness: FRAME_FILLED stays. */
	if (pool_file_punch(&pool->file, first, n))
		return;
	pool_forget(pool, first, first + n);
}

static bool is_bad(struct pool *pool, fn_t fn)
{
	return atomic_load_explicit(&pool->frames[fn].flags, memory_order_relaxed) & FRAME_BAD;
}

/* A bad frame at its last reference keeps it: a loose one stays reserved, one of a region is refused to everybody by that. */
static void retire(struct pool *pool, fn_t fn)
{
	bug_on(pool_maps(pool, fn));
	pool_dirty(pool, fn);
	drop_contents(pool, fn, 1);
	if (atomic_fetch_and_explicit(&pool->frames[fn].flags, ~FRAME_LOOSE, memory_order_relaxed) &
	    FRAME_LOOSE)
		atomic_fetch_add_explicit(&pool->retired_loose, 1, memory_order_relaxed);
	atomic_fetch_sub_explicit(&pool->used, 1, memory_order_relaxed);
}

/* The frames of [first, first + n) are at their last reference: free them in one go, then let it be seen. */
static void free_run(struct pool *pool, fn_t first, uint64_t n)
{
	for (fn_t fn = first; fn < first + n; fn++)
		pool_dirty(pool, fn);
	drop_contents(pool, first, n);
	atomic_fetch_sub_explicit(&pool->used, n, memory_order_relaxed);
	for (fn_t fn = first; fn < first + n; fn++) {
		bool loose = atomic_fetch_and_explicit(&pool->frames[fn].flags, ~FRAME_LOOSE,
						       memory_order_relaxed) &
			     FRAME_LOOSE;

		atomic_store_explicit(&pool->frames[fn].refs, 0, memory_order_release);
		if (loose)
			pool_unreserve(pool, fn, 1);
	}
}

/*
 * The dying frame keeps its reference until its contents are gone, or a page-in could take the frame and lose what it
 * put there:
 *
 *	pool_put()			page-in
 *	refs 1 -> 0
 *					pool_get_unless_used()
 *					fill
 *	punch hole			<- would be lost
 *
 * So the last reference is recognised by value 1: nobody else can raise it, since raising needs a reference.
 */
void pool_put(struct pool *pool, fn_t first, uint64_t n)
{
	fn_t fn, run = first;

	for (fn = first; fn < first + n; fn++) {
		sync_touch(&pool->frames[fn]);
		uint32_t refs = atomic_load_explicit(&pool->frames[fn].refs, memory_order_acquire);

		bug_on(!refs);
		while (refs > 1 && !atomic_compare_exchange_weak_explicit(
					   &pool->frames[fn].refs, &refs, refs - 1,
					   memory_order_acq_rel, memory_order_acquire))
			;
		if (refs == 1 && !is_bad(pool, fn))
			continue;
		if (refs == 1)
			retire(pool, fn);
		if (fn > run)
			free_run(pool, run, fn - run);
		run = fn + 1;
	}
	if (fn > run)
		free_run(pool, run, fn - run);
}

void pool_dirty(struct pool *pool, fn_t fn)
{
	if (pool->swap)
		swap_detach(pool->swap, fn);
}

void pool_set_bad(struct pool *pool, fn_t fn)
{
	if (!(sync_fetch_or(&pool->frames[fn].flags, FRAME_BAD) & FRAME_BAD))
		sync_fetch_add(&pool->poisoned, 1);
}

bool pool_is_bad(struct pool *pool, fn_t fn)
{
	return sync_load_acquire(&pool->frames[fn].flags) & FRAME_BAD;
}

uint64_t pool_poisoned(const struct pool *pool)
{
	return atomic_load_explicit(&pool->poisoned, memory_order_relaxed);
}

int pool_swapon(struct pool *pool, int fd, uint64_t slots)
{
	return pool->swap ? -EBUSY : swap_open(pool, fd, slots);
}

bool pool_get_swap_stats(struct pool *pool, struct pool_swap_stats *stats)
{
	if (pool->swap)
		swap_get_stats(pool->swap, stats);
	return pool->swap;
}

void pool_map(struct pool *pool, fn_t fn)
{
	bug_on(!pool_refs(pool, fn));
	sync_fetch_add(&pool->frames[fn].maps, 1);
}

void pool_share(struct pool *pool, fn_t first, uint64_t n)
{
	for (fn_t fn = first; fn < first + n; fn++) {
		pool_get(pool, fn);
		sync_fetch_add(&pool->frames[fn].maps, 1);
	}
}

void pool_unmap(struct pool *pool, fn_t fn)
{
	/* Release: pairs with pool_maps() of who is then alone, and may write. */
	bug_on(!sync_fetch_sub(&pool->frames[fn].maps, 1));
}

uint32_t pool_maps(struct pool *pool, fn_t fn)
{
	return sync_load_acquire(&pool->frames[fn].maps);
}

void pool_set_stable(struct pool *pool, fn_t fn, bool stable)
{
	bug_on(!pool_maps(pool, fn));
	if (stable)
		atomic_fetch_or_explicit(&pool->frames[fn].flags, FRAME_STABLE,
					 memory_order_relaxed);
	else
		atomic_fetch_and_explicit(&pool->frames[fn].flags, ~FRAME_STABLE,
					  memory_order_relaxed);
}

bool pool_is_stable(const struct pool *pool, fn_t fn)
{
	return atomic_load_explicit(&pool->frames[fn].flags, memory_order_relaxed) & FRAME_STABLE;
}

uint32_t pool_refs(const struct pool *pool, fn_t fn)
{
	return atomic_load_explicit(&pool->frames[fn].refs, memory_order_relaxed);
}

uint64_t pool_used(const struct pool *pool)
{
	return atomic_load_explicit(&pool->used, memory_order_relaxed);
}
