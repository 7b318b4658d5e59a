/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The inside of struct pool, shared by pool*.c only; memory and VMAs for others in mmu/host; and where the pool's own memory
 * comes from (pool_file_*): a sparse file of the system, huge pages of it where they are to be had. pool_file.c owns the file,
 * the direct map and the mapping to populate through, and knows no references; pool.c decides which frames have memory.
 */
#ifndef UMBRA_MMU_HOST_POOL_PRIV_H
#define UMBRA_MMU_HOST_POOL_PRIV_H

#include <stddef.h>

#include "mmu/base/sync.h"
#include "mmu/host/pool.h"

struct rmap;
struct swap;

struct pool_file {
	int fd;
	uint64_t nframes;
	char *direct;
	char *bulk; /* only to populate; NULL: huge pages are not to be had */
	char *spare; /* [l] of the pool: costs VMAs, and is for nothing else; NULL: lent, or there are none */
	atomic_bool spare_whole; /* [a] it costs all those that it should */
};

/*
 * pool_file_open - a file of @nframes holes, mapped. 0, -EFBIG (RLIMIT_FSIZE) or the errno of memfd_create, ftruncate or mmap.
 * pool_file_close - unmap it and give all memory back.
 */
int pool_file_open(struct pool_file *f, uint64_t nframes);
void pool_file_close(struct pool *pool);

/*
 * pool_file_fill - give memory, zeroed, to frames that are holes. 0 or the errno of fallocate (-ENOSPC, -ENOMEM).
 * pool_file_populate - give memory to those that are holes, and map all in the direct map where the system can do
 * that at once. 0 or the errno of madvise.
 * pool_file_has - has the frame memory? Another thread may be about to change that.
 * pool_file_punch - make them holes again. 0 or the errno of fallocate: they keep memory and contents.
 */
int pool_file_fill(struct pool_file *f, fn_t first, uint64_t n);
int pool_file_populate(struct pool_file *f, fn_t first, uint64_t n);
bool pool_file_has(struct pool_file *f, fn_t fn);
int pool_file_punch(struct pool_file *f, fn_t first, uint64_t n);

/* pool_check_size - may this process write a file up to @bytes (RLIMIT_FSIZE)? Else the system ends it by a signal. 0, -EFBIG. */
int pool_check_size(uint64_t bytes);

/*
 * pool_lend_vmas - the process is out of VMAs, and what comes next must not fail (a page that goes home, a view that is closed): use
 * those that are held for that. pool_keep_vmas - hold as many again as there are; false: the process is at its limit, and what may fail
 * must not take more. Take pool->lock, but not while all are held.
 */
void pool_lend_vmas(struct pool *pool);
bool pool_keep_vmas(struct pool *pool);

/* Frame flags. Zero is the state of a frame never used: the array is sparse. */
#define FRAME_FILLED (1u << 0) /* has memory with old contents: not known to be zero */
#define FRAME_LOOSE  (1u << 1) /* of no region: unreserve with the last reference */
#define FRAME_STABLE (1u << 2) /* who merges pages keeps it */
#define FRAME_BAD    (1u << 4) /* never to be used again */
#define FRAME_CANARY (1u << 3) /* free, and filled with the pattern */

struct frame {
	_Atomic uint32_t refs;
	_Atomic uint32_t maps; /* hptes that have it; at most refs */
	_Atomic uint32_t
		flags; /* written by the owner of the frame: its filler, or who drops the last reference */
};

/* A run of frames that nobody has reserved. */
struct extent {
	struct extent *next; /* by address */
	fn_t start, end;
};

/*
 * Locks used to protect members:
 *	I	immutable after create
 *	l	lock
 *	a	atomic
 */
struct pool {
	struct pool_file file; /* [I] */
	bool canary;	       /* [I] */
	struct frame *frames;  /* [I] members [a] */
	struct rmap *rmap;     /* [I] */
	struct swap *swap;     /* [I] after pool_swapon(), which nobody runs beside; NULL: none */
	_Atomic uint64_t
		late_stores; /* [a] frames whose pattern was broken when they were taken again */
	_Atomic uint64_t poisoned, retired_loose; /* [a] frames; of these, of no region */
	_Atomic uint64_t used;			  /* [a] */
	_Atomic fn_t zero;			  /* [a] of the zero run, FN_NONE before */
	struct lock lock;
	struct extent *free; /* [l] */
};

/*
 * pool_reserve_top - take @n frames in a row from the top. Takes pool->lock. 0; -ENOSPC if there are not so many in a row.
 * pool_drop_zero_run - let go of what pool_zero_run() has made.
 */
int pool_reserve_top(struct pool *pool, uint64_t n, fn_t *first);
void pool_drop_zero_run(struct pool *pool);

/* pool_touch - what the pool knows of @fn gets its memory now, and not in the first fault on it. */
void pool_touch(struct pool *pool, fn_t fn);

/*
 * pool_forget - take frames [fn, end) for holes. For who has punched them; or knows that nobody reads them any more, so that
 * they need no pattern when they are freed.
 */
void pool_forget(struct pool *pool, fn_t fn, fn_t end);

/*
 * pool_map_sparse - map @bytes of @fd, or of zeros for -1, that cost memory only where they are touched. NULL: errno.
 * pool_munmap - munmap(). The system may have made one VMA of what is mapped there and what lies beside it, and a hole in that costs
 * one: where there are none it is of those that are held (pool_lend_vmas()). 0 or -errno: all is there still.
 * pool_unmap_sparse - the same of zeros, which nobody needs any more: where even that is refused, they cost addresses and no memory.
 */
void *pool_map_sparse(size_t bytes, int fd);
int pool_munmap(struct pool *pool, void *addr, size_t len);
void pool_unmap_sparse(struct pool *pool, void *zeros, size_t bytes);

/*
 * page_array - @n elements of @size, zeroed: sparse, but a small array costs the process no VMA. calloc() of a large one is not:
 * what it has from memory that was freed before it clears, and so touches. NULL: no memory. Free it with page_array_free().
 * page_array_clear - forget what it says: 0.
 */
void *page_array(uint64_t n, size_t size);
void page_array_free(struct pool *pool, void *array, uint64_t n, size_t size);
void page_array_clear(void *array, uint64_t n, size_t size);

#endif
