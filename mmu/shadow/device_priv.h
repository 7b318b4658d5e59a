/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The inside of struct device, shared by the files of mmu/shadow/device*.c only.
 * device.c has profiles, TLB and accesses, device_shadow.c the walk of a shadow, device_host.c that of the host,
 * device_check.c the checker.
 */
#ifndef UMBRA_MMU_SHADOW_DEVICE_PRIV_H
#define UMBRA_MMU_SHADOW_DEVICE_PRIV_H

#include "mmu/notify/interval.h"
#include "mmu/shadow/device.h"

#define DEVICE_TLB_ENTRIES 64u

/* A translation: what the TLB holds, and a mirror. fn is FN_NONE in an empty one. */
struct device_entry {
	uint64_t page; /* address >> PAGE_SHIFT */
	fn_t fn;
	bool writable;
};

/*
 * Locks used to protect members:
 *	I	immutable after create
 *	l	lock: the TLB's. Inside a bracket, after mmap_lock and a shadow's mmu_lock; before pool->lock
 */
struct device {
	const struct device_profile *profile; /* [I] */
	struct hostmm *mm;		      /* [I] */
	uint64_t first, npages;		      /* [I] the pages it reaches, as page numbers */
	struct shadow *shadow;		      /* [I] DEVICE_WALK_SHADOW, else NULL */
	struct mmu_notifier mn;		      /* DEVICE_START_END, DEVICE_SECONDARY_TLB */
	struct mmu_interval_notifier sub;     /* DEVICE_INTERVAL */

	struct lock lock;
	struct cond changed; /* nobody holds the device any more, or a bracket ended */
	unsigned waiters;    /* [l] for changed */
	unsigned holders;    /* [l] device_hold() */

	struct device_entry tlb[DEVICE_TLB_ENTRIES]; /* [l] by page, direct mapped */
	struct device_entry *mirror;		     /* [l] DEVICE_WALK_MIRROR: npages of them */

	uint64_t seq;		       /* [l] invalidations over; full width */
	uint64_t in_progress;	       /* [l] DEVICE_START_END: brackets open that met the device */
	uint64_t busy_start, busy_end; /* [l] union of the open ones, in pages */
	uint64_t deferred_start,
		deferred_end;	   /* [l] union of what was put off, in pages; empty if equal */
	struct device_stats stats; /* [l] */
};

/* Put a translation into the TLB. Lock held. */
void device_fill(struct device *dev, uint64_t page, fn_t fn, bool writable);

/* Sleep on dev->changed. Lock held; given up meanwhile. */
void device_wait(struct device *dev);

/* Let nothing reach pages [start, end): wait for holders, then drop from TLB and mirror. Lock held, except for waits. */
void device_flush(struct device *dev, uint64_t start, uint64_t end);

/*
 * The walks. _walk fills @page into the TLB from the device's table. False: not there, or not for a store. Lock held.
 * _fault makes the table (or where there is none, the TLB) have the page, or finds that this must be tried
 * again. Lock held, given up meanwhile, held again if it returns 0; not if it returns -errno.
 * _attach: subscribe; @prot are the rights of the region. _detach: unsubscribe, drop everything.
 */
bool device_shadow_walk(struct device *dev, uint64_t page, bool write);
int device_shadow_fault(struct device *dev, uint64_t page, bool write);
int device_shadow_attach(struct device *dev, unsigned prot);
void device_shadow_detach(struct device *dev);

bool device_host_walk(struct device *dev, uint64_t page, bool write);
int device_host_fault(struct device *dev, uint64_t page, bool write);
int device_host_attach(struct device *dev);
void device_host_detach(struct device *dev);

/* Drop pages [start, end) from the mirror, and the references. Lock held. */
void device_mirror_drop(struct device *dev, uint64_t start, uint64_t end);

#endif
