/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where the pool's memory comes from: a sparse file of the system, huge pages of it where they are to be had.
 * Owns the file, the direct map and the mapping to populate through. pool.c calls, from any thread; it decides which
 * frames have memory. Knows no references.
 */
#ifndef UMBRA_MMU_HOST_POOL_PRIV_H
#define UMBRA_MMU_HOST_POOL_PRIV_H

#include <stddef.h>

#include "mmu/base/addr.h"

struct pool_file {
	int fd;
	uint64_t nframes;
	char *direct;
	char *bulk; /* only to populate; NULL: huge pages are not to be had */
};

/*
 * pool_file_open - a file of @nframes holes, mapped. 0 or the errno of memfd_create, ftruncate or mmap.
 * pool_file_close - unmap it and give all memory back.
 */
int pool_file_open(struct pool_file *f, uint64_t nframes);
void pool_file_close(struct pool_file *f);

/*
 * pool_file_fill - give memory, zeroed, to frames that are holes. 0 or the errno of fallocate (-ENOSPC, -ENOMEM).
 * pool_file_populate - give memory to those that are holes, and map all in the direct map where the system can do
 * that at once. 0 or the errno of madvise.
 * pool_file_punch - make them holes again. 0 or the errno of fallocate: they keep memory and contents.
 */
int pool_file_fill(struct pool_file *f, fn_t first, uint64_t n);
int pool_file_populate(struct pool_file *f, fn_t first, uint64_t n);
int pool_file_punch(struct pool_file *f, fn_t first, uint64_t n);

/* pool_map_sparse - map @bytes of @fd, or of zeros for -1, that cost memory only where they are touched. NULL: errno. */
void *pool_map_sparse(size_t bytes, int fd);

#endif
