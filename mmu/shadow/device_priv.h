/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The inside of struct device, shared by the files of mmu/shadow/device*.c only.
 * device_profile.c has the profiles, device_tlb.c the TLB, device.c accesses, device_shadow.c the walk of a shadow,
 * device_host.c that of the host and its subscriptions, device_mirror.c the mirror, device_check.c the checker.
 */
#ifndef UMBRA_MMU_SHADOW_DEVICE_PRIV_H
#define UMBRA_MMU_SHADOW_DEVICE_PRIV_H

#include "mmu/base/mutant.h"
#include "mmu/host/hostmm_device.h"
#include "mmu/notify/interval.h"
#include "mmu/shadow/device.h"

#define DEVICE_TLB_ENTRIES 64u
#define DEVICE_TLB_LARGE   8u
#define DEVICE_LARGE_PAGES 512u

/* A translation: what the TLB holds, and a mirror. fn is FN_NONE in an empty one. */
struct device_entry {
	uint64_t page; /* address >> PAGE_SHIFT */
	fn_t fn;
	bool writable; /* a store may go by it without a walk: the right is there, and the mark that it was used */
	bool young; /* of a mirror: A. A walk has found it since somebody asked */
};

/* 2M: page and fn are the first, multiples of 512. Pages that are set in hole are not translated any more. */
struct device_large {
	struct device_entry e;
	uint64_t hole[DEVICE_LARGE_PAGES / 64];
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
	struct device_large large[DEVICE_TLB_LARGE]; /* [l] by block; DEVICE_TLB_MIXED */
	struct device_entry *mirror;		     /* [l] DEVICE_WALK_MIRROR: npages of them */

	uint64_t seq;		       /* [l] invalidations over; full width */
	uint64_t in_progress;	       /* [l] DEVICE_START_END: brackets open that met the device */
	uint64_t busy_start, busy_end; /* [l] union of the open ones, in pages */
	uint64_t deferred_start,
		deferred_end;	   /* [l] union of what was put off, in pages; empty if equal */
	struct device_stats stats; /* [l] */
};

/*
 * The TLB. Lock held for all but _init.
 * device_tlb_find - the frame of @page if an entry has it, for a store if @write; else FN_NONE. *@large: which kind.
 * device_fill, device_fill_large - put a translation in: of a page, of an aligned block of DEVICE_LARGE_PAGES.
 * device_tlb_drop - nothing translates pages [start, end) any more, as far as the profile does what it must.
 * device_large_has - does the entry translate @page?
 */
void device_tlb_init(struct device *dev);
fn_t device_tlb_find(struct device *dev, uint64_t page, bool write, bool *large);
void device_fill(struct device *dev, uint64_t page, fn_t fn, bool writable);
void device_fill_large(struct device *dev, uint64_t page, fn_t fn, bool writable);
void device_tlb_drop(struct device *dev, uint64_t start, uint64_t end);
bool device_large_has(const struct device_large *l, uint64_t page);

/* The block with @page, if the profile may have an entry of 2M there and all of it is the device's. */
static inline bool device_block(const struct device *dev, uint64_t page, uint64_t *block)
{
	*block = page - page % DEVICE_LARGE_PAGES;
	return dev->profile->tlb == DEVICE_TLB_MIXED && *block >= dev->first &&
	       *block + DEVICE_LARGE_PAGES <= dev->first + dev->npages;
}

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

/*
 * The mirror. Lock held for all but _init and _fini.
 * _walk - fill the TLB from it, as above. _install - let it have @page; the reference on @found goes into the mirror if
 * that pins, else back. _install_large - the @DEVICE_LARGE_PAGES from @block on, of which @first is the first; only if
 * the mirror does not pin. _repoint - let @page, which has just been dropped, reach @fn for loads.
 * _drop - let go of pages [start, end), and of the references. _is_young - has a walk met any of them? _make_old - the
 * same, and forget it; what is in the TLB is not walked to.
 */
int device_mirror_init(struct device *dev);
void device_mirror_fini(struct device *dev);
bool device_mirror_walk(struct device *dev, uint64_t page, bool write);
void device_mirror_install(struct device *dev, uint64_t page, const struct gup_page *found);
void device_mirror_install_large(struct device *dev, uint64_t block, const struct gup_page *first);
void device_mirror_repoint(struct device *dev, uint64_t page, fn_t fn);
void device_mirror_drop(struct device *dev, uint64_t start, uint64_t end);
bool device_mirror_is_young(struct device *dev, uint64_t start, uint64_t end);
bool device_mirror_make_old(struct device *dev, uint64_t start, uint64_t end);

#endif
