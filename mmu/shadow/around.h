/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Fault-around: how many pages to bring in with the one that faulted.
 * Owns the recent streams of faults. fault.c asks. Knows gfns only.
 */
#ifndef UMBRA_MMU_SHADOW_AROUND_H
#define UMBRA_MMU_SHADOW_AROUND_H

#include "mmu/base/addr.h"
#include "mmu/base/sync.h"

#define AROUND_STREAMS 8

/* Faults that go on where the last batch ended: sequential readers, one a vCPU or two. */
struct around_stream {
	gfn_t next;	/* first gfn after the last batch */
	unsigned pages; /* of the last batch */
	uint64_t used;	/* when, in faults */
};

struct around {
	unsigned fixed; /* immutable: block size, or 0 to adapt */
	struct lock lock;
	uint64_t clock;				     /* [lock] */
	struct around_stream stream[AROUND_STREAMS]; /* [lock] */
};

/* What to ask of the primary for a fault at gfn. start <= gfn < end. */
struct around_block {
	gfn_t start, end; /* install what is present here */
	uint64_t ahead;	  /* and bring in so many absent pages after gfn */
};

void around_init(struct around *around, unsigned fixed);
void around_fini(struct around *around);

/* around_block - the block for a fault at @gfn in a slot of [first, last). Takes around->lock. */
struct around_block around_block(struct around *around, gfn_t gfn, gfn_t first, gfn_t last);

#endif
