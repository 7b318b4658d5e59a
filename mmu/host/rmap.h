/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The reverse map of a pool: from a frame to the pages, of any region and mm, that have it. Private to mmu/host.
 * Owns links of pages that are not at home, and pins of mms. hpte_set() adds and removes, and fork adds; whoever changes all maps of a
 * frame walks. Knows entries only by their owners.
 *
 * A page in its home frame costs nothing: the region is found by its range of home frames, and the entry is looked at. Any
 * other page that has a frame is linked, in a sparse array beside the entries of its region, to a list that begins in a
 * sparse array of the pool: 24 and 8 bytes, of memory that exists anyway once touched, so adding cannot fail. Frames of zeros
 * (pool_zero_run()) are not followed.
 */
#ifndef UMBRA_MMU_HOST_RMAP_H
#define UMBRA_MMU_HOST_RMAP_H

#include "mmu/base/sync.h"
#include "mmu/host/pool.h"
#include "mmu/notify/interval_tree.h"

struct hostmm;
struct region;
struct rmap;

/* A page that is not at home. Members [r]: rmap->lock. */
struct rmap_link {
	struct rmap_link *next, **prev; /* of the same frame; prev is NULL while not listed */
	struct region *region;
};

/* Of each region: its homes in the pool's tree, and a link a page; sparse. */
struct rmap_region {
	struct interval_node homes; /* [r] */
	struct rmap_link *links;    /* [I] the array; members [r] */
};

/* rmap_create - for a pool of @frames. 0, -ENOMEM. */
int rmap_create(struct rmap **out, uint64_t frames);
void rmap_destroy(struct pool *pool);

/*
 * rmap_add_region - @r may have pages from now on. 0, -ENOMEM. rmap_remove_region - it has none any more.
 * No lock that is taken under a chunk lock held.
 */
int rmap_add_region(struct region *r);
void rmap_remove_region(struct region *r);

/*
 * rmap_add - @page has @fn now. rmap_remove - it has it no longer. Chunk lock held.
 * rmap_lock, rmap_unlock - for who changes what chunks are shared, by which a walk finds pages, too.
 * rmap_add_locked - pages [page, page + n), whose chunk is being copied, have frames [fn, fn + n). rmap->lock held.
 * Kernel: folio_add_anon_rmap_ptes().
 */
void rmap_add(struct region *r, uint64_t page, fn_t fn);
void rmap_remove(struct region *r, uint64_t page, fn_t fn);
void rmap_lock(struct rmap *rmap);
void rmap_unlock(struct rmap *rmap);
void rmap_add_locked(struct region *r, uint64_t page, uint64_t n, fn_t fn);

/*
 * rmap_pin - @mm stays until rmap_unpin(): it has a region, or is not being destroyed. rmap_wait_unpinned - until nobody has it
 * in hand any more; it has no regions. No lock held. Kernel: mmget_not_zero(), mmput().
 */
void rmap_pin(struct hostmm *mm);
void rmap_unpin(struct hostmm *mm);
void rmap_wait_unpinned(struct hostmm *mm);

/*
 * rmap_walk - call @one for each page that has @fn, with the mmap_lock of its mm held for reading and no chunk lock: @one looks
 * again under that. Pages that get the frame meanwhile may be missed; a caller who must have all of them holds a map and a
 * reference of the frame, and walks until a walk meets none. Stops when @one returns not 0, and returns that.
 * No lock of the host mm held. 0, -ENOMEM. Kernel: rmap_walk().
 */
typedef int (*rmap_one)(struct region *r, uint64_t page, void *ctx);
int rmap_walk(struct pool *pool, fn_t fn, rmap_one one, void *ctx);

#endif
