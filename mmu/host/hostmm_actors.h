/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The actors of the primary that share frames between pages: fork, merge, and the break of sharing by a store.
 * Owns nothing: the frames' map counts are the pool's, the entries are the host mm's. The embedder calls, from any thread
 * unless said, never from a notifier callback. Knows no shadow.
 *
 * Rules of sharing:
 *	1. A frame counts its maps: the hptes that have it. References of hostmm_gup() are counted apart (pool_refs()).
 *	   Pages of a chunk that a fork shares are one hpte, with one map and one reference (hpte_share.c).
 *	2. An hpte whose frame has more maps than its own, or whose chunk is shared, is never writable.
 *	3. A map is added only by who has one: with the lock of an hpte that maps the frame held, or holding a map of
 *	   his own, or copying a shared chunk. So whoever holds his hpte's lock, finds its chunk not shared, and then counts
 *	   one map, is alone, and stays alone.
 *	4. A store to a page that shares its frame breaks the sharing (CLEAR): the page gets a copy in its home frame if
 *	   that is free, else in a frame of no region. Kernel: wp_page_copy(). Behind a page that is writable, up to fifteen
 *	   more that share are copied in the same bracket, and taken for stored to.
 *	5. A store to a page that is alone reuses the frame, without a notice: nobody holds an entry that says too
 *	   much. Kernel: wp_page_reuse().
 *	   So pages may come to sit in each other's homes; hostmm_migrate() away, then home, sorts them out.
 *
 * When is a page alone? The kernel has had three answers. By map count (until v5.8): a store of the parent was seen by a
 * child that had read the page with GUP and unmapped it since (CVE-2020-29374). By reference count == 1 (v5.9): any GUP
 * reference forced a copy, and a device that had pinned the page went on with the old one. Since v5.19 by a mark:
 * a page that has never been shared is reused whatever its references, one that has been only at reference count 1.
 * Here it is the map count. The reason for the mark is a reader that keeps what it looked up; a reference of
 * hostmm_gup() is for the time of a fault and its holder looks at the contents only after the sequence check, which the
 * bracket that took its map away makes fail. Counting references would only copy pages because a neighbouring vCPU
 * happens to fault on them. A pin that outlives the check must be counted apart, and force the copy at fork.
 */
#ifndef UMBRA_MMU_HOST_HOSTMM_ACTORS_H
#define UMBRA_MMU_HOST_HOSTMM_ACTORS_H

#include "mmu/host/hostmm.h"

/*
 * hostmm_fork - a child of @mm: the same regions at other addresses (hostmm_fork_hva()), with rights, pager and
 * contents as they are now, and home frames of its own. Present frames are shared; whoever stores first gets a copy.
 * Per region that may be written, the parent's entries and its host view lose W inside one PROTECTION_PAGE bracket. Entries are
 * shared by chunks of 512, and copied by chunks when one side looks or changes (hpte_share.c). Pages that are absent
 * come from the pager in each mm by itself. Pages that devices have come back first (hostmm_device.h).
 * Takes @mm's mmap_lock for writing. 0; -ENOSPC without room for home frames; what hostmm_create() and hostmm_map()
 * return. After an error nothing has changed but that some stores fault. Children may be forked and outlive @mm.
 * Kernel: dup_mmap().
 */
int hostmm_fork(struct hostmm *mm, const struct hostmm_opts *opts, struct hostmm **child);

/* hostmm_fork_hva - where the byte at @parent_hva of the mm that @child was forked from lies in @child. 0, -EFAULT. */
int hostmm_fork_hva(struct hostmm *child, hva_t parent_hva, hva_t *hva);

/*
 * hostmm_merge - let the page at @hva_b have the frame of the one at @hva_a, if their contents are equal. Page aligned;
 * of one mm or of two on one pool. Takes both mmap_locks for reading. Write-protects a, then b, then repoints b, each in
 * a CHANGE bracket, and drops b's frame.
 * 0, also when they share already; -EAGAIN: contents differ, or somebody was faster; -ENOENT: one is not present;
 * -EFAULT: no region; -EINVAL: unaligned, the same page, or other pools. Kernel: try_to_merge_two_pages().
 *
 * A host thread that reads a merged page breaks the sharing where its view would have to pass through the gap
 * (docs/design.md): host threads cannot repeat a store. Guests and hostmm_read() do not.
 */
int hostmm_merge(struct hostmm *mm_a, hva_t hva_a, struct hostmm *mm_b, hva_t hva_b);

/*
 * hostmm_unmerge - give the page at @hva a frame of its own, as a store would. 0, also when it has one; -ENOENT
 * not present; -EFAULT no region; -EINVAL unaligned; -ENOSPC. Kernel: break_ksm().
 */
int hostmm_unmerge(struct hostmm *mm, hva_t hva);

struct hostmm_actor_stats {
	uint64_t cow_copies; /* sharing broken with a copy */
	uint64_t forks, merges;
};

void hostmm_get_actor_stats(struct hostmm *mm, struct hostmm_actor_stats *stats);

#endif
