/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pages that leave memory: to a backing file and back, to a region's store, or for good because their frame is bad.
 * Owns nothing: the backing file is the pool's, entries are the host mm's. The embedder calls, from any thread unless said,
 * never from a notifier callback. Knows no shadow.
 *
 * A page is dirty from the moment that its entry allows stores; what secondaries may store to is never more. It is clean when
 * it has been read from its store, or written to it, and no entry of its frame has allowed stores since. Only regions with a
 * pager, of a pool with a backing file or a pager that takes pages back, tell loads from stores when a page comes in.
 */
#ifndef UMBRA_MMU_HOST_HOSTMM_RECLAIM_H
#define UMBRA_MMU_HOST_HOSTMM_RECLAIM_H

#include "mmu/host/hostmm.h"

/*
 * pool_swapon - let pages be reclaimed to a file, of @slots pages. @fd: a file to be used from its beginning on (kept by a
 * descriptor of the pool's own), or -1: one without a name in $TMPDIR or /var/tmp. Space is taken as pages are written. Once a
 * pool, before other threads use it; undone by pool_destroy(). 0, -EINVAL, -EBUSY (has one), -ENOMEM, the errno of open().
 * pool_get_swap_stats - false without such a file. Pages each.
 */
struct pool_swap_stats {
	uint64_t slots, used;
	uint64_t written, read; /* since pool_swapon() */
};
int pool_swapon(struct pool *pool, int fd, uint64_t slots);
bool pool_get_swap_stats(struct pool *pool, struct pool_swap_stats *stats);

/*
 * hostmm_reclaim - take the frames of the present pages of [start, end), page aligned and in one region. Each is unmapped
 * everywhere (CLEAR), then written if it is dirty (to its region's store if that takes pages and the region was never forked, else to the
 * backing file), then its frame is free. The next access reads it back. What stays: pages of devices, frames of zeros.
 * A frame that several pages share, of this mm or others, is written once, and all of them let go of it; each reads a copy
 * of its own back. Takes mmap_lock for reading, of all mms that share one after another.
 * 0 and in *@reclaimed (may be NULL) how many entries lost their frame. Else the first error, after the others were tried,
 * and pages that could not be written are as they were: -ENOSPC (the file, or its slots), -EIO, or another errno of pwrite or
 * of the store; -ENXIO without a place to write a dirty page to; -ENOMEM; or -EINVAL: nothing has changed.
 * A page that cannot be read back gives its access -EIO, or the errno of pread, and stays in its slot: in the host view that is
 * fatal, as a pager's error. Kernel: reclaim_pages(), try_to_unmap(), MADV_PAGEOUT.
 */
int hostmm_reclaim(struct hostmm *mm, hva_t start, hva_t end, uint64_t *reclaimed);

/*
 * hostmm_writeback - let the store of a region have what its pages in [start, end), page aligned, contain: those that are
 * dirty are write-protected everywhere (PROTECTION_PAGE), then written. A store that comes later makes a page dirty again, also while it is being
 * written. What is in the backing file comes back first. Takes mmap_lock for reading. 0 and in *@written (may be NULL) the number of pages. -EINVAL, also for a region whose
 * pager takes no pages; -EBUSY: it has been forked, so what its pages contain is private; what bringing a page back says; or the first errno of the pager, after
 * which the pages of that call are dirty as before. Kernel: page_mkclean(), writeback.
 */
int hostmm_writeback(struct hostmm *mm, hva_t start, hva_t end, uint64_t *written);

/*
 * hostmm_poison - the frame of the page at @hva is bad: all pages that have it, of whatever mm, lose it (CLEAR) and get
 * -EHWPOISON from now on: hostmm_gup(), _read(), _write() return that, a host thread gets SIGBUS (UFFD: with UFFDIO_POISON of Linux
 * 6.6; before it the region is shut, as for a pager's error). The frame is never used again; pool_poisoned() counts. hostmm_discard()
 * of a page, or anything else that drops it, gives it a new frame. A clean copy in the backing file is not used. 0;
 * -EINVAL unaligned; -EFAULT no region; -ENOENT not present, also if it was reclaimed meanwhile, or a device's; -EBUSY a frame of zeros; -ENOMEM: some pages may
 * have lost it.
 * Kernel: memory_failure().
 */
int hostmm_poison(struct hostmm *mm, hva_t hva);
uint64_t pool_poisoned(const struct pool *pool);

#endif
