/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Write-protecting and cleaning ranges of pages, for an owner that keeps his own book of what was stored to, as a graphics
 * driver does of its buffers. Kernel: mm/mapping_dirty_helpers.c.
 * Owns who owns which slot. The owner calls, beside running faults and stores. Knows no bitmap of its own.
 *
 * Who owns a slot completely: it is writable, the primary lets every page of it be written that is there, no frame of it is
 * shared by copy-on-write, and it does not log by MEMSLOT_LOG_DIRTY. Then nothing but these calls takes W or D from its
 * leaves without taking the leaf.
 *
 * The external lock is the owner's: it orders his calls and his book against mkwrite(). He holds it in each call, which debug
 * builds assert. It is outside of every lock of umbra, and held around no call that changes slots: these wait for faults.
 */
#ifndef UMBRA_MMU_SHADOW_DIRTY_RANGE_H
#define UMBRA_MMU_SHADOW_DIRTY_RANGE_H

#include "mmu/shadow/shadow.h"

struct shadow_owner {
	struct lock *
		lock; /* the external lock; NULL: calls may run side by side, and there is no mkwrite */
	/*
	 * optional. A store meets a page that is write-protected, or shadow_write() any page: put it into the book. The fault has taken the external lock,
	 * and keeps it until the page is writable, so a call on the range comes before both or after both. No lock of
	 * umbra is held. The store passes after this has returned 0; else its fault fails with that errno (-EAGAIN and -ENXIO: -EIO). Kernel:
	 * vm_operations_struct.page_mkwrite(), VM_FAULT_LOCKED.
	 */
	int (*mkwrite)(void *ctx, gfn_t gfn);
	void *ctx;
};

/*
 * shadow_own_slot - declare slot @id owned. 0; -EINVAL: mkwrite without lock; -ENOENT; -EEXIST: it is; -EPERM: read-only,
 * or it logs; -ENOMEM. On return every fault and every shadow_write() of a store asks him; what was writable before is so
 * until his first shadow_wrprotect_range(). Until disowned the slot cannot be removed or moved (-EBUSY), nor made
 * read-only or logged (-EPERM). It may go with the whole shadow.
 * shadow_disown_slot - the end of that. No call and no mkwrite() is under way when it returns. 0, -ENOENT.
 * Both take slots_lock, and wait for a grace period: not with the external lock held, nor in an RCU section.
 */
int shadow_own_slot(struct shadow *shadow, unsigned id, const struct shadow_owner *owner);
int shadow_disown_slot(struct shadow *shadow, unsigned id);

/*
 * shadow_wrprotect_range - gfns [first, first + npages), all of one slot (none: 0, if @first has one): on return nobody stores to one without mkwrite(). What
 * was read-only already is not counted. Flushes from the first to the last page that was writable, no more; the
 * whole range if another call has a flush pending, since it may have left pages read-only that TLBs take for writable.
 * Returns how many were writable, or: -ENOENT: no slot; -EINVAL: beyond the slot; -EPERM: not owned, or a page of the range
 * has a frame that is shared or that the primary lets nobody write; -ENOMEM: a large leaf could not be split. Then
 * nothing has changed, but for splits. A9, A12, A16. Kernel: wp_shared_mapping_range().
 */
int64_t shadow_wrprotect_range(struct shadow *shadow, gfn_t first, uint64_t npages);

/*
 * shadow_clean_record_range - take D from gfns [first, first + npages), and set bit (gfn - @bitmap_gfn) of @bitmap, which has
 * shadow_dirty_words(@first + @npages - @bitmap_gfn) words and is not cleared first, for each that had it. *@start and *@end (*@start >= *@end: no bit is set yet) are widened to hold the first, and one after the
 * last, bit set here. Flush as above, over before this returns: use the bitmap only then (A13).
 *
 *	(a) every store that is over when this begins is in the bitmap, if it was not in an earlier one;
 *	(b) every later one is in the bitmap, or its page is dirty still, or both (A14).
 *
 * That a page was dirty when the primary took it away, or that shadow_write() wrote to it, is remembered, and in the next
 * bitmap.
 *
 * To have all and no more: shadow_wrprotect_range(), holding off mkwrite(), then this. Returns how many were cleaned, or
 * as above, and -EINVAL also for @bitmap_gfn > @first, -EOPNOTSUPP for a table without D bits. A10, A11, A13..A15.
 * Kernel: clean_record_shared_mapping_range().
 */
int64_t shadow_clean_record_range(struct shadow *shadow, gfn_t first, uint64_t npages,
				  gfn_t bitmap_gfn, uint64_t *bitmap, uint64_t *start,
				  uint64_t *end);

#endif
