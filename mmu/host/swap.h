/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The backing file of a pool, cut into slots of a page each. Private to mmu/host.
 * Owns the file, counts of slots, and which frame still has the contents of which slot. hpte_swap.c, reclaim.c and pool.c
 * call, under any lock but its own. Knows neither regions nor entries.
 */
#ifndef UMBRA_MMU_HOST_SWAP_H
#define UMBRA_MMU_HOST_SWAP_H

#include <stdbool.h>
#include <stddef.h>

#include "mmu/base/addr.h"
#include "mmu/host/hostmm_reclaim.h"

struct swap;

/* swap_open - as pool_swapon(): pool->swap. swap_close - every slot has been given back (bug). */
int swap_open(struct pool *pool, int fd, uint64_t slots);
void swap_close(struct pool *pool);

/*
 * swap_alloc - slots [*slot, *slot + n), one count each, as many as @want in a row. n, or -ENOSPC.
 * swap_get - one count more, by who has one. swap_put - one less of each; those without are free.
 */
int64_t swap_alloc(struct swap *swap, uint64_t want, uint64_t *slot);
void swap_get(struct swap *swap, uint64_t slot);
void swap_put(struct swap *swap, uint64_t slot, uint64_t n);

/*
 * swap_write - from @src to slots. swap_read - back. Nothing is locked. 0 or -errno: of pwrite (-ENOSPC, -EIO, ..), of pread;
 * -EIO where the file ends.
 */
int swap_write(struct swap *swap, uint64_t slot, const void *src, uint64_t n);
int swap_read(struct swap *swap, uint64_t slot, void *dst, uint64_t n);

/*
 * A frame that nobody has been able to store to since it was read or written keeps its slot: it is clean. Kernel: the swap
 * cache.
 * swap_attach - @fn has what @slot has; takes the caller's count. If it has one already, that stays and the caller's goes.
 * swap_detach - it may change from here on, or is free. swap_find - a count of its slot for the caller, false for none.
 */
void swap_attach(struct swap *swap, fn_t fn, uint64_t slot);
void swap_detach(struct swap *swap, fn_t fn);
bool swap_find(struct swap *swap, fn_t fn, uint64_t *slot);

void swap_get_stats(struct swap *swap, struct pool_swap_stats *stats);

#endif
