/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a range of the host mm looks like now, and which of its pages the secondaries use. Nothing is faulted in.
 * Owns nothing. Who mirrors an mm asks for states, between begin and retry of an interval notifier
 * (mmu/shadow/snapshot.h does); who wants to know what may be reclaimed asks for use. Knows no shadow.
 */
#ifndef UMBRA_MMU_HOST_HOSTMM_WALK_H
#define UMBRA_MMU_HOST_HOSTMM_WALK_H

#include "mmu/host/hostmm.h"

/*
 * The state of a page, one byte: rights, kind and level. Kernel: HMM_DMIRROR_PROT_* of lib/test_hmm_uapi.h, bit for bit.
 * hmm-tests has seven: none, hole, zero, read-only, read-write, local and remote.
 */
#define SNAPSHOT_NONE  0x00u /* nothing there now; an access would fault */
#define SNAPSHOT_READ  0x01u /* may be loaded from */
#define SNAPSHOT_WRITE 0x02u /* and stored to */
#define SNAPSHOT_PMD   0x04u /* part of a 2M entry; of neither this nor the next: 4K */
#define SNAPSHOT_PUD   0x08u /* part of a 1G entry */
#define SNAPSHOT_ZERO  0x10u /* no frame yet, and a load would find zeros */
#define SNAPSHOT_LOCAL 0x20u /* in private memory of the device that asks */
#define SNAPSHOT_REMOTE \
	0x30u /* in private memory of another device: nothing that the asker may use */
#define SNAPSHOT_KIND 0x30u /* mask of the last three; 0: ordinary memory */
#define SNAPSHOT_HOLE \
	0xffu /* no region, no slot: an access would fail. Kernel: HMM_DMIRROR_PROT_ERROR */

/*
 * hostmm_walk - the states of @npages pages from @start on, at some instant each. Of a page that is absent: ZERO and
 * READ if its region has no pager, so that nothing but zeros can come, else NONE. Of one without rights: HOLE. Of one in
 * a device's memory: LOCAL and its rights for @owner, REMOTE for others; that @owner has exclusively: its rights, NONE for
 * others. Of one that is present: ZERO with READ for a frame of zeros that is shared, READ, and
 * WRITE if a store needs no fault of the primary; PMD (PUD) if its aligned 2M (1G) may be one large entry, as
 * hostmm_huge() has it, with frames aligned alike.
 * Takes mmap_lock for reading; brings nothing in. What a bracket changes meanwhile may be seen half: the caller
 * retries by sequence. 0, -EINVAL (unaligned, no page, or beyond the address space; @state is untouched).
 * Kernel: hmm_range_fault() without HMM_PFN_REQ_FAULT.
 */
int hostmm_walk(struct hostmm *mm, hva_t start, uint64_t npages, const void *owner, uint8_t *state);

/*
 * hostmm_age - how many of the present pages in [start, end), page aligned and inside one region, have subscribers used
 * since they were last asked with CLEAR? Each page is asked for by itself, with its entry locked; no bracket, since
 * nothing is taken away for good. Uses by host threads are not seen: the host view has no marks.
 *	HOSTMM_AGE_TEST		clears nothing
 *	HOSTMM_AGE_CLEAR	what hardware has cached of a page may hide uses until it is dropped for another reason
 *	HOSTMM_AGE_CLEAR_FLUSH	it is dropped: later uses count
 * Takes mmap_lock for reading. The number, or -EINVAL. Kernel: folio_referenced(), page_idle_clear_pte_refs().
 */
enum hostmm_age { HOSTMM_AGE_TEST, HOSTMM_AGE_CLEAR, HOSTMM_AGE_CLEAR_FLUSH };
int64_t hostmm_age(struct hostmm *mm, hva_t start, hva_t end, enum hostmm_age how);

#endif
