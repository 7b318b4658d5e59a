/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The inside of struct hostmm, shared by the files of mmu/host only.
 * Owns nothing of its own. hostmm.c, gup.c and change.c include it. Knows no shadow.
 */
#ifndef UMBRA_MMU_HOST_HOSTMM_PRIV_H
#define UMBRA_MMU_HOST_HOSTMM_PRIV_H

#include "mmu/host/fault_threads.h"
#include "mmu/host/hpte.h"

/*
 * Locks used to protect members:
 *	I	immutable after create
 *	m	mmap_lock: read to look, write to change
 *	a	atomic
 */
struct hostmm {
	struct pool *pool;	       /* [I] */
	struct hostmm_opts opts;       /* [I] */
	struct uffd uffd;	       /* [I] watches every host view */
	struct fault_threads *threads; /* [I] */
	struct mmu_notifier_subscriptions subscriptions;
	struct rwlock mmap_lock;
	struct region *regions; /* [m] by address */
	atomic_bool dead;	/* [a] a fault thread has died */
	_Atomic uint64_t view_faults, discards, wrprotects, migrates, zaps; /* [a] */
	_Atomic uint64_t page_ins, pages_in; /* [a] of regions that are gone */
};

/* hostmm_region - the region with @hva inside, or NULL. mmap_lock held. */
struct region *hostmm_region(struct hostmm *mm, hva_t hva);

static inline uint64_t region_page(const struct region *r, hva_t hva)
{
	return (hva - r->start) >> PAGE_SHIFT;
}

#endif
