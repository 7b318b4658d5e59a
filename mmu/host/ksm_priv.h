/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The inside of struct ksm, shared by ksm*.c only.
 * Owns nothing of its own. Who may call: those files, hostmm.c and fork.c for the three calls at the end of hostmm_priv.h.
 * Knows no more than ksm.h.
 */
#ifndef UMBRA_MMU_HOST_KSM_PRIV_H
#define UMBRA_MMU_HOST_KSM_PRIV_H

#include <pthread.h>

#include "mmu/base/sync.h"
#include "mmu/host/hostmm_priv.h"
#include "mmu/host/ksm.h"

#define KSM_BATCH CHUNK_PAGES

/* Of a page: not registered; registered and not looked at yet. Else its checksum, which is neither. */
#define KSM_NONE  0u
#define KSM_FRESH 1u

/* A region of which pages are registered. Valid as long as region->ksm names it. */
struct ksm_area {
	struct ksm_area *next;
	struct hostmm *mm;
	hva_t start;
	uint64_t npages;
	uint64_t *sum; /* per page; sparse */
};

/*
 * A table by checksum, open addressing. Stable: @fn, with a map and a reference. Unstable: @area and @page, no promise.
 */
struct ksm_node {
	uint64_t sum; /* KSM_NONE: the place is free */
	struct ksm_area *area;
	union {
		fn_t fn;
		uint64_t page;
	};
	uint64_t batch;	  /* stable: the batch that @planned is of */
	uint64_t planned; /* pages of it that are to have the frame */
};

struct ksm_table {
	struct ksm_node *node;
	uint64_t size, count; /* size is a power of two, or 0 */
};

/* A page of a batch that stands still. */
struct ksm_item {
	uint64_t page, sum;
	fn_t to; /* FN_NONE: stays as it is */
	bool young;
};

/*
 * Locks used to protect members:
 *	I	immutable after create
 *	l	lock, a leaf
 *	c	who has claimed the service (ksm_claim()): the outermost lock of the library, and one that sleeps
 *	t	ksm_start() and ksm_stop(), whose callers take turns
 *	a	atomic
 */
struct ksm {
	struct pool *pool;    /* [I] */
	struct ksm_opts opts; /* [I] but the rate: [l] */
	uint64_t zero_sum;    /* [I] of a page of zeros */
	struct lock lock;
	struct cond changed;
	bool claimed;	  /* [l] */
	atomic_bool stop; /* [a] written under l */
	unsigned waiting; /* [l] who are not the scanner, and go first */
	uint64_t claims;  /* [l] by others than the scanner */
	uint64_t rates;	  /* [l] changes of the rate */
	pthread_t thread; /* [t] */
	bool running;	  /* [t] */

	struct ksm_area *areas;		   /* [c] */
	bool in_pass;			   /* [c] a pass is under way */
	struct ksm_area *at;		   /* [c] where the pass is; NULL: at its end */
	uint64_t page;			   /* [c] of @at */
	struct ksm_table stable, unstable; /* [c] */
	struct ksm_item item[KSM_BATCH];   /* [c] of the batch */
	uint64_t unshared, volatiles;	   /* [c] of this pass */
	uint64_t batches;		   /* [c] begun */
	struct ksm_stats stats;		   /* [c] what is not counted elsewhere */
};

/* ksm_claim - be alone with the service; before every other lock. ksm_claim_scan - the same, after all others who wait. */
void ksm_claim(struct ksm *ksm);
void ksm_claim_scan(struct ksm *ksm);
void ksm_release(struct ksm *ksm);

/* All of the following: claimed. */

/* ksm_forget - the area's pages are no longer registered. Their frames stay as they are. */
void ksm_forget(struct ksm *ksm, struct ksm_area *area);
/* ksm_region - the region of @area, or NULL if it is gone. mmap_lock held. */
struct region *ksm_region(struct ksm_area *area);
/* ksm_batch - look at up to @npages pages of one chunk. How many were looked at; 0 at the end of the pass. */
uint64_t ksm_batch(struct ksm *ksm, uint64_t npages);
/* ksm_prune - let go of stable frames that at most one page has. */
void ksm_prune(struct ksm *ksm);

/*
 * ksm_hash - the checksum of a page that others may be storing to; never KSM_NONE or KSM_FRESH.
 *
 * ksm_table_next - a node with @sum, after @prev (NULL: the first), or NULL. ksm_table_add - one more. NULL: no memory.
 * ksm_table_clear - remove all. ksm_table_keep - remove those that @keep says false of. ksm_table_fini - free it.
 */
uint64_t ksm_hash(const void *page);
struct ksm_node *ksm_table_next(const struct ksm_table *t, uint64_t sum, struct ksm_node *prev);
struct ksm_node *ksm_table_add(struct ksm_table *t, uint64_t sum);
void ksm_table_clear(struct ksm_table *t);
void ksm_table_keep(struct ksm_table *t, bool (*keep)(struct ksm *ksm, struct ksm_node *n),
		    struct ksm *ksm);
void ksm_table_fini(struct ksm_table *t);

/*
 * ksm_merge - let the pages of @item, which lie in one chunk of @r in order, have the frames they name, of each of which the
 * caller has a map: those whose contents are equal. mmap_lock held. Counts in @stats. Kernel: try_to_merge_one_page().
 */
void ksm_merge(struct region *r, const struct ksm_item *item, uint64_t n, struct ksm_stats *stats);

#endif
