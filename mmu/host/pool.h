/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The pool: one file in memory cut into 4 KiB frames, the machine's "physical memory", and the direct map of it.
 * Owns the file, the direct map and the state of every frame. hostmm reserves, shadow takes references.
 * Any thread may call. Knows neither who maps a frame nor where.
 */
#ifndef UMBRA_MMU_HOST_POOL_H
#define UMBRA_MMU_HOST_POOL_H

#include "mmu/base/addr.h"

struct pool;

/*
 * pool_create - make a pool of @frames frames; memory is taken from the system only as frames are filled.
 * @canary: freed frames keep their memory, filled with POOL_CANARY, so that a late reader is caught.
 * 0, -EINVAL (no frames, or 2^32 and more), -ENOMEM, -EFBIG (RLIMIT_FSIZE), or the errno of memfd_create, ftruncate or mmap.
 */
int pool_create(struct pool **out, uint64_t frames, bool canary);

/* pool_destroy - give all memory back. Every reservation must be gone (bug). */
void pool_destroy(struct pool *pool);

#define POOL_CANARY 0xdbdbdbdbdbdbdbdbUL

/* pool_late_stores - with @canary: how many frames somebody has stored to after they were free, as found when they were taken again. */
uint64_t pool_late_stores(const struct pool *pool);

int pool_fd(const struct pool *pool);
uint64_t pool_frames(const struct pool *pool);

/* pool_direct - where frame @fn lies in the direct map, the only place where library code touches contents. */
void *pool_direct(const struct pool *pool, fn_t fn);

/*
 * pool_reserve - take @n consecutive frames out of the pool, without memory and without a reference.
 * Runs that hold large pages begin where one may begin: 512 frames and more at a multiple of 512, 2^18 and more at a
 * multiple of 2^18, if the pool has such a place; else anywhere.
 * pool_unreserve - give them back. One that somebody still references is handed out again only as a reservation, or
 * after its last reference. Both take pool->lock.
 * 0, -EINVAL for none, -ENOSPC when no run of @n frames is left, -ENOMEM.
 *
 * pool_room - how many frames a pool needs for a run of @n that begins at a multiple of 512, wherever others end.
 */
int pool_reserve(struct pool *pool, uint64_t n, fn_t *first);
void pool_unreserve(struct pool *pool, fn_t first, uint64_t n);

#define POOL_LARGE   512UL
#define POOL_LARGEST (1UL << 18)

static inline uint64_t pool_room(uint64_t n)
{
	return n < POOL_LARGE ? n : n + POOL_LARGE - 1;
}

/*
 * pool_alloc_loose - take one frame of no region, with one reference, contents undefined. It is unreserved with
 * its last reference. 0 or -ENOSPC. pool_alloc_loose_run - the same with @n frames in a row, each with its own reference; also
 * -ENOSPC when those that are free do not lie so.
 */
int pool_alloc_loose(struct pool *pool, fn_t *fn);
int pool_alloc_loose_run(struct pool *pool, uint64_t n, fn_t *first);

/*
 * pool_zero - make frames [first, first + n) exist and read as zeros. The caller owns them, nobody maps them.
 * pool_populate - make them exist with contents undefined, mapped in the direct map: to be overwritten whole.
 * 0 or the errno of fallocate or madvise (-ENOMEM, -ENOSPC).
 */
int pool_zero(struct pool *pool, fn_t first, uint64_t n);
int pool_populate(struct pool *pool, fn_t first, uint64_t n);

/*
 * pool_refill - somebody has punched a hole where @fn lies, which is in use (MADV_REMOVE of a view): give it memory again, of zeros.
 * 0; -EEXIST: it has memory; -EFAULT: nobody has it; -ENOMEM, -ENOSPC.
 */
int pool_refill(struct pool *pool, fn_t fn);

/*
 * pool_prepare - pool_populate() of one frame that may have memory already. pool_copy - make frame @to, which has memory, hold
 * what @from holds. The caller owns @to; nobody writes @from meanwhile.
 */
int pool_prepare(struct pool *pool, fn_t fn);
void pool_copy(struct pool *pool, fn_t to, fn_t from);

/*
 * pool_get - take a reference on a frame. pool_get_unless_used - take the first one, false if it has any.
 * pool_put - drop one reference on each of [first, first + n); those that reach zero lose their contents (hole
 * punched, or canary). Whoever drops the last reference of a frame must have unmapped it everywhere before.
 * pool_refs - for the checker and tests.
 */
void pool_get(struct pool *pool, fn_t fn);
bool pool_get_unless_used(struct pool *pool, fn_t fn);
void pool_put(struct pool *pool, fn_t first, uint64_t n);
uint32_t pool_refs(const struct pool *pool, fn_t fn);

/*
 * pool_dirty - frame @fn may be stored to from now on: no backing file has its contents. By hpte_set().
 * pool_set_bad - never use @fn, of which the caller has a reference, again: its last reference stays for good. It does not
 * count as used from then on. pool_is_bad - is it so? Who maps a frame of which he has had no more than a reference and a map
 * asks afterwards (poison_recheck()).
 */
void pool_dirty(struct pool *pool, fn_t fn);
void pool_set_bad(struct pool *pool, fn_t fn);
bool pool_is_bad(struct pool *pool, fn_t fn);

/*
 * pool_map - count one more hpte that has frame @fn, which is referenced. By who holds a map of it already, or the only
 * reference. pool_share - take a reference and count a map of each of [first, first + n), by who holds maps of them.
 * pool_unmap - count one less, before its reference is dropped. pool_maps - how many there are; 1 is stable
 * for who holds that one (rules of sharing, hostmm_actors.h). Who reads 1 sees what former sharers did as done.
 */
void pool_map(struct pool *pool, fn_t fn);
void pool_share(struct pool *pool, fn_t first, uint64_t n);
void pool_unmap(struct pool *pool, fn_t fn);
uint32_t pool_maps(struct pool *pool, fn_t fn);

/*
 * pool_zero_run - POOL_LARGE frames of zeros, from a multiple of POOL_LARGE on, that many pages share read-only: the
 * pool has a reference and a map of each for good, so nobody is ever alone with one. Made at the first call; not counted
 * as used. 0, -ENOSPC without such a place, -ENOMEM. pool_is_zero - is @fn one of them? pool_zero_maps - how many pages have one.
 * Kernel: the huge zero folio.
 */
int pool_zero_run(struct pool *pool, fn_t *first);
bool pool_is_zero(struct pool *pool, fn_t fn);
uint64_t pool_zero_maps(struct pool *pool);

/*
 * pool_set_stable - note that who merges pages keeps frame @fn as it is: he has a map and a reference of it, until after he has
 * taken the note back. pool_is_stable - has he? Kernel: folio_set_stable_node().
 */
void pool_set_stable(struct pool *pool, fn_t fn, bool stable);
bool pool_is_stable(const struct pool *pool, fn_t fn);

/* pool_used - frames with a reference now; reserved ones without contents do not count. */
uint64_t pool_used(const struct pool *pool);

#endif
