/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where the pages of a region come from when nothing holds them: a file, or stamps by version.
 * Owns the versions; the file is the caller's. Called by page-ins on any thread, and by churn.
 * Does not know regions or frames.
 */
#ifndef UMBRA_HV_STORE_H
#define UMBRA_HV_STORE_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* The bytes of a file that must not shrink under the guest. */
struct file_store {
	int fd;
	uint64_t bytes; /* length when it was opened; zeros follow to the end of the page */
};

/* Fill from struct file_store. -EIO: the file is shorter than it was, or cannot be read. */
int file_store_fill(void *ctx, uint64_t page, void *dst, uint64_t npages);

/* Stamped pages (guest/abi.h): the version of each is what a page-in gives it. */
struct stamp_store {
	uint64_t npages;
	_Atomic uint32_t *version;
};

/* 0 or -ENOMEM. */
int stamp_store_init(struct stamp_store *store, uint64_t npages);
void stamp_store_fini(struct stamp_store *store);
/* Fill from struct stamp_store: word 0 the stamp, zeros else. */
int stamp_store_fill(void *ctx, uint64_t page, void *dst, uint64_t npages);
/* Raise the version of @page; returns the new one. One writer per page. */
uint32_t stamp_store_next(struct stamp_store *store, uint64_t page);

#endif /* UMBRA_HV_STORE_H */
