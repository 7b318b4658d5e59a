/* SPDX-License-Identifier: BSD-2-Clause */
/* Frames of zeros that everybody shares. */
#include <errno.h>

#include "mmu/host/pool_priv.h"

static void release(struct pool *pool, fn_t first)
{
	for (fn_t fn = first; fn < first + POOL_LARGE; fn++)
		pool_unmap(pool, fn);
	atomic_fetch_add_explicit(&pool->used, POOL_LARGE, memory_order_relaxed);
	pool_put(pool, first, POOL_LARGE);
	pool_unreserve(pool, first, POOL_LARGE);
}

static int make(struct pool *pool, fn_t *first)
{
	int rc = pool_reserve(pool, POOL_LARGE, first);

	if (rc)
		return rc;
	for (uint64_t i = 0; i < POOL_LARGE; i++) {
		/* Not at such a place, or somebody still reads what a region gave back. */
		if (!(*first % POOL_LARGE) && pool_get_unless_used(pool, *first + i))
			continue;
		if (i)
			pool_put(pool, *first, i);
		pool_unreserve(pool, *first, POOL_LARGE);
		return -ENOSPC;
	}
	rc = pool_zero(pool, *first, POOL_LARGE);
	if (rc) {
		pool_put(pool, *first, POOL_LARGE);
		pool_unreserve(pool, *first, POOL_LARGE);
		return rc;
	}
	for (fn_t fn = *first; fn < *first + POOL_LARGE; fn++)
		pool_map(pool, fn);
	atomic_fetch_sub_explicit(&pool->used, POOL_LARGE, memory_order_relaxed);
	return 0;
}

int pool_zero_run(struct pool *pool, fn_t *first)
{
	fn_t none = FN_NONE, made;
	int rc;

	*first = sync_load_acquire(&pool->zero);
	if (*first != FN_NONE)
		return 0;
	rc = make(pool, &made);
	if (rc)
		return rc;
	*first = made;
	if (!sync_cas(&pool->zero, &none, made)) {
		release(pool, made);
		*first = none;
	}
	return 0;
}

bool pool_is_zero(struct pool *pool, fn_t fn)
{
	fn_t first = sync_load_acquire(&pool->zero);

	return first != FN_NONE && first <= fn && fn - first < POOL_LARGE;
}

uint64_t pool_zero_maps(struct pool *pool)
{
	fn_t first = sync_load_acquire(&pool->zero);
	uint64_t maps = 0;

	for (uint64_t i = 0; first != FN_NONE && i < POOL_LARGE; i++)
		maps += pool_maps(pool, first + i) - 1;
	return maps;
}

void pool_drop_zero_run(struct pool *pool)
{
	fn_t first = sync_load(&pool->zero);

	if (first != FN_NONE)
		release(pool, first);
}
