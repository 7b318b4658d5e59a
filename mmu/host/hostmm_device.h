/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pages that a device has for itself: moved to private memory of its own, or in place for a time (exclusive access).
 * Owns nothing: the frames are the pool's, the entries the host mm's. A device calls for its pages, from any thread,
 * no lock held, never from a notifier callback. An owner is an address that stands for a device; a host mm knows 63.
 *
 * Whoever else touches such a page - a host thread, hostmm_read(), hostmm_gup() of anybody but the owner, a fork - has it
 * brought back first, in a bracket that the owner hears like everybody: MIGRATE or EXCLUSIVE without an owner. (The
 * kernel names the owner there too, and calls its migrate_to_ram() instead; here there is one way to be told.)
 */
#ifndef UMBRA_MMU_HOST_HOSTMM_DEVICE_H
#define UMBRA_MMU_HOST_HOSTMM_DEVICE_H

#include "mmu/host/hostmm.h"

/*
 * hostmm_migrate_to_device - move the contents of [start, end) (page aligned, in one region) to frames of @owner's. Absent
 * pages too: what the pager gives, or zeros. Pages that share their frame (but zeros) and those of other devices stay.
 * One MIGRATE bracket with @owner. The owner's subscription may pass over it (mmu_notifier_range_is_own()) only
 * if it reaches none of the pages, and looks none up until this returns: the frames change.
 * *@moved (not NULL): how many are the owner's now. 0; -ENOENT if none; -EINVAL for a range that is none, or has pages
 * without rights; -EUSERS: too many owners; -ENOSPC, -ENOMEM, the pager's errno: pages before that one have moved.
 * Kernel: migrate_vma_setup(), _pages(), _finalize() as lib/test_hmm.c uses them.
 */
int hostmm_migrate_to_device(struct hostmm *mm, hva_t start, hva_t end, void *owner,
			     uint64_t *moved);

/*
 * hostmm_migrate_from_device - have what devices have of [start, end) back. hostmm_release_device - have all back that
 * @owner has in @mm: a device that goes must. 0, -EINVAL, -ENOSPC, -ENOMEM: some are back.
 * Kernel: dmirror_migrate_to_system(), dmirror_device_evict_chunk() of lib/test_hmm.c.
 */
int hostmm_migrate_from_device(struct hostmm *mm, hva_t start, hva_t end);
int hostmm_release_device(struct hostmm *mm, void *owner);

/*
 * hostmm_make_exclusive - let @owner alone use the pages of [start, end), where they are, until somebody else touches one.
 * They are brought in, and copied if they share their frames. One EXCLUSIVE bracket with @owner a page, which its
 * subscription may pass over: what it reaches stays right. Pages that other devices have are brought back first.
 * *@made (not NULL): how many pages from @start on are. 0, -EINVAL, -EFAULT against the rights, -EUSERS, -ENOSPC, -ENOMEM,
 * the pager's errno. Kernel: make_device_exclusive_range().
 */
int hostmm_make_exclusive(struct hostmm *mm, hva_t start, hva_t end, void *owner, uint64_t *made);

/*
 * hostmm_gup_owner - hostmm_gup() by device @owner: finds the pages that it has, too.
 * hostmm_peek_owner - hostmm_peek() likewise. Kernel: hmm_range.dev_private_owner.
 */
int hostmm_gup_owner(struct hostmm *mm, const void *owner, hva_t hva, uint64_t n, uint64_t must,
		     uint64_t ahead, bool write, struct gup_page *out);
bool hostmm_peek_owner(struct hostmm *mm, const void *owner, hva_t hva, struct gup_page *page);

#endif
