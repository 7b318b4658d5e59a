/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A KSM-like service: pages with equal contents, of one mm or of several on one pool, come to share one read-only frame.
 * Owns the stable frames (a reference and a map of each, so that nobody is ever alone with one) and a checksum a page.
 * The embedder registers ranges and scans, or lets a thread do it. From any thread, never from a notifier callback, and with
 * no lock of the library held. Knows no shadow. Row A23. Kernel: mm/ksm.c.
 *
 * A page is left alone at the first look, and whenever its checksum has changed since the last one (volatile). One that stands
 * still is looked up among the stable frames, then among the unstable pages: those of this pass, of which nothing is known but
 * that they had this checksum. A match makes a stable frame of the other page, and then, as for all pages of a batch:
 *
 *	young	used since the service first saw it: CHANGE, so that secondaries keep their readers (change_pte)
 *	old	the others: CLEAR over the whole run; views show them again when they are touched
 *
 *	bracket; under the chunk lock: write-protect, compare, replace; end; old frames are freed in runs
 *
 * Host views are not repointed, they show a merged page on demand; see hostmm_merge() for what a load through a gap does.
 */
#ifndef UMBRA_MMU_HOST_KSM_H
#define UMBRA_MMU_HOST_KSM_H

#include "mmu/host/hostmm.h"

struct ksm;

/* The thread's figures and the defaults are those of /sys/kernel/mm/ksm. */
struct ksm_opts {
	uint64_t pages_to_scan;	   /* at once, by the thread; 0: 100; ksm_set_rate() */
	unsigned sleep_millisecs;  /* the thread, between two times; 0: never */
	unsigned max_page_sharing; /* pages that share one frame, 2 and more; 0: 256 */
	bool use_zero_pages;	   /* pages of zeros share the pool's frames of zeros */
	bool no_age; /* take every page that a secondary maps for young: at the first look nothing is aged */
};

/*
 * ksm_create - a service for mms on @pool, which outlives it. 0, -EINVAL (max_page_sharing 1), -ENOMEM.
 * ksm_destroy - stop; pages that share a frame go on sharing it. No call is under way.
 */
int ksm_create(struct ksm **out, struct pool *pool, const struct ksm_opts *opts);
void ksm_destroy(struct ksm *ksm);

/*
 * ksm_register - let the pages of [start, end), page aligned and in one region, be merged; again is nothing. A region that is
 *	unmapped, or whose mm is destroyed, is forgotten; a forked child's is registered as the parent's is, as far as memory
 *	allows. 8 bytes a page, where the service has looked. 0; -EINVAL, also for an mm of another pool or another
 *	service's; -EFAULT no region; -ENOMEM. Kernel: MADV_MERGEABLE.
 * ksm_unregister - and no longer: on return no page of them shares a stable frame or a zero frame. 0; -EINVAL; -ENOSPC:
 *	none is registered any more, but some still share. Kernel: MADV_UNMERGEABLE.
 * Both wait for a batch that is being scanned.
 */
int ksm_register(struct ksm *ksm, struct hostmm *mm, hva_t start, hva_t end);
int ksm_unregister(struct ksm *ksm, struct hostmm *mm, hva_t start, hva_t end);

/*
 * ksm_scan - look at the next @npages registered pages, in batches of up to 512; goes on where the last call ended, and ends
 * early when nothing is registered. ksm_pass - to the end of this pass. How many were looked at. Kernel: ksm_do_scan().
 */
uint64_t ksm_scan(struct ksm *ksm, uint64_t npages);
uint64_t ksm_pass(struct ksm *ksm);

/*
 * ksm_start - scan in a thread from now on. 0, -EALREADY, the errno of pthread_create(). ksm_stop - and no longer; nothing if
 * it does not. One caller at a time. Kernel: ksmd.
 */
int ksm_start(struct ksm *ksm);
void ksm_stop(struct ksm *ksm);

/*
 * ksm_set_rate - from now on the thread scans @pages_to_scan at once (0: as now) and sleeps for @sleep_millisecs in between; it
 * is woken if it sleeps. Kernel: /sys/kernel/mm/ksm/pages_to_scan, sleep_millisecs.
 */
void ksm_set_rate(struct ksm *ksm, uint64_t pages_to_scan, unsigned sleep_millisecs);

/* As the files of /sys/kernel/mm/ksm. */
struct ksm_stats {
	uint64_t pages_shared;	 /* stable frames in use */
	uint64_t pages_sharing;	 /* pages that have one, beyond the first: frames saved */
	uint64_t pages_unshared; /* seen once in the last pass, and standing still */
	uint64_t pages_volatile; /* changed too fast in the last pass */
	uint64_t full_scans;
	uint64_t
		ksm_zero_pages; /* pages that have a frame of zeros that is shared, of whatever origin */
	uint64_t pages_scanned;
	uint64_t merged, merged_young; /* since the start; of these, told by change_pte */
	uint64_t failed;	       /* differed when they were write-protected */
};

/* ksm_get_stats - takes as long as a batch at most. */
void ksm_get_stats(struct ksm *ksm, struct ksm_stats *stats);

#endif
