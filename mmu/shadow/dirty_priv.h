/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Dirty tracking as the rest of mmu/shadow sees it: the log of a slot, who marks it, who protects.
 * Owns nothing. The fault path marks, slots come and go, zaps of dirty leaves mark; dirty*.c do the rest.
 */
#ifndef UMBRA_MMU_SHADOW_DIRTY_PRIV_H
#define UMBRA_MMU_SHADOW_DIRTY_PRIV_H

#include "mmu/base/sync.h"
#include "mmu/shadow/dirty_ring.h"
#include "mmu/shadow/ept.h"

/* slot->dirty. Lives from before the slot is published with MEMSLOT_LOG_DIRTY to a grace period after it is without. */
struct dirty_log {
	bool by_backend;	 /* I: the backend knows the guest's stores */
	_Atomic uint64_t word[]; /* a: set by whoever lets a store pass, taken by get and clear */
};

/* All pages of word @n of a bitmap of @npages. */
static inline uint64_t dirty_word_all(uint64_t npages, uint64_t n)
{
	return npages - n * 64 < 64 ? (1UL << (npages - n * 64)) - 1 : ~0UL;
}

struct dirty_rings;
struct dirty_owner;

/*
 * Part of struct shadow.
 *	s	slots_lock; readers in an RCU section
 *	a	atomic
 */
struct dirty {
	unsigned how; /* [s] */
	_Atomic uint64_t
		flushes_pending; /* [a] entries lost a right or D, and TLBs may not know yet */
	struct dirty_rings *_Atomic rings;  /* [s] set once */
	struct dirty_owner *_Atomic owners; /* [s] */
	_Atomic uint32_t
		producer[SHADOW_DIRTY_RINGS_MAX]; /* [a] the thread of each ring; 0: none */
};

/* ---- For slots. slots_lock held. ---- */

/*
 * shadow_dirty_prepare_slot - before @new is published: give new->dirty. A fresh log where @new has MEMSLOT_LOG_DIRTY and
 * @old (NULL: none) has not; old->dirty where both have it; NULL without. 0, -ENOMEM, -EPERM (it is owned, and logs or is read-only now), the
 * backend's errno: nothing changed.
 */
int shadow_dirty_prepare_slot(struct shadow *sh, const struct memslot *old, struct memslot *new);
/*
 * shadow_dirty_slot_changed - @new (NULL: none) is published, and a grace period is over, so nobody uses @old (NULL:
 * none) any more. Protects what may be stored to if logging has gone on; frees the log if it has gone off. No mmu_lock.
 */
void shadow_dirty_slot_changed(struct shadow *sh, const struct memslot *old,
			       const struct memslot *new);

/* ---- For the fault path ---- */

#define SHADOW_DIRTY_NO_RING (~0u)

/*
 * shadow_mark_dirty - page @gfn of @slot may be stored to from now on, or was. After the cas that sets W, and before
 * the backend lets a store pass; all three in one section of mmu_lock, but where hardware walks the table. RCU section.
 * Does nothing for a slot that does not log. _ring: by entry in @ring, if there are rings; else, and when that is full to the last
 * entry, in the bitmap. Kernel: mark_page_dirty_in_slot().
 */
void shadow_mark_dirty(const struct memslot *slot, gfn_t gfn);
void shadow_mark_dirty_ring(struct shadow *sh, const struct memslot *slot, gfn_t gfn,
			    unsigned ring);

/*
 * dirty_is_followed - are stores to @slot followed page by page here? Then leaves are of 4K. RCU section.
 * dirty_withheld - the bits without which a leaf of @slot is born, but for a store to its page: W, or where there are D bits
 * D, so that the first store is seen, by a fault (for which it keeps MW, and the fast path is enough) or by its D. Both
 * where an owner's mkwrite() is to be asked, which hardware that sets D does not do (A12). RCU section.
 */
bool dirty_is_followed(struct shadow *sh, const struct memslot *slot);
uint64_t dirty_withheld(struct shadow *sh, const struct memslot *slot);

/* shadow_mark_dirty_range - the VMM has written bytes [gpa, gpa + len) of @slot. As shadow_mark_dirty(). */
void shadow_mark_dirty_range(const struct memslot *slot, gpa_t gpa, uint64_t len);

/*
 * shadow_dirty_wait_room - before a store's fault, with no lock held and no RCU section: sleep while @ring is soft-full.
 * 0; -EBUSY: it is, and the caller may not wait. Kernel: kvm_dirty_ring_check_request().
 */
int shadow_dirty_wait_room(struct shadow *sh, unsigned ring, bool may_wait);

/*
 * shadow_dirty_store_begin - a store's fault is about to make @gfn of @slot writable. For an owned slot (dirty_range.h):
 * take the external lock, which *@held gets, and ask the owner. RCU section, no lock held. 0, or his errno: *@held is NULL.
 * shadow_dirty_store_end - the page is writable, or will not be.
 */
int shadow_dirty_store_begin(struct shadow *sh, const struct memslot *slot, gfn_t gfn,
			     struct lock **held);
void shadow_dirty_store_end(struct lock *held);

/* shadow_dirty_leaf - ept_opts.dirtied, @ctx the shadow: a leaf is gone through which stores may have passed. */
void shadow_dirty_leaf(void *ctx, gfn_t gfn, uint64_t npages);

/* ---- For dirty*.c ---- */

/* mmu_lock is given up after so many pages: faults wait for one part of a get, not for all of it. */
#define DIRTY_BATCH (1UL << 14)

/*
 * dirty_lock, dirty_unlock - mmu_lock, for entries of [gfn, end) about to lose rights or D. For reading where hardware walks
 * the table itself: what the entry says is then all there is, and it changes by cas. For writing, which is what is returned,
 * where the backend keeps a copy, which map() and make_writable() of a fault would otherwise put back in order behind our
 * back; and while D bits may be in an invalid tree, from where they go into the log first.
 */
bool dirty_lock(struct shadow *sh, gfn_t gfn, gfn_t end);
void dirty_unlock(struct shadow *sh, bool exclusive);

/*
 * dirty_flush_begin - before the first entry changes. dirty_flush_end - flush: the pages in @span, which is what this
 * call has changed of [gfn, end); or all of [gfn, end) if another such call is under way, since this one takes as changed
 * what that one has yet to flush. Under dirty_lock(). Kernel: inc_tlb_flush_pending(), mm_tlb_flush_nested().
 */
void dirty_flush_begin(struct shadow *sh);
void dirty_flush_end(struct shadow *sh, const struct memslot *slot, struct ept_span span, gfn_t gfn,
		     gfn_t end);

/* dirty_protect - let the next store to each page of [gfn, end), all of @slot, be seen again. Under dirty_lock(). */
void dirty_protect(struct shadow *sh, const struct memslot *slot, gfn_t gfn, gfn_t end);

/* dirty_protect_mask - the same for pages @page + n of @slot, n the bits of @mask, and for no others. */
void dirty_protect_mask(struct shadow *sh, const struct memslot *slot, uint64_t page,
			uint64_t mask);
/* dirty_split - make leaves of [gfn, end) small. 0, -ENOMEM: some may be large still. Under dirty_lock(). */
int dirty_split(struct shadow *sh, gfn_t gfn, gfn_t end);

/* dirty_by_d_bit - stores set D in the table, and need not fault to be seen. */
bool dirty_by_d_bit(struct shadow *sh);
/* dirty_some_slot_logs - slots_lock held. */
bool dirty_some_slot_logs(struct shadow *sh);
/* dirty_is_owned - is slot @id owned? dirty_is_asked - by one with mkwrite()? RCU section or slots_lock. */
bool dirty_is_owned(struct shadow *sh, unsigned id);
bool dirty_is_asked(struct shadow *sh, unsigned id);

/* dirty_spill - the leaf of @gfn went with D: for the owner of @slot, if there is one. RCU section. */
void dirty_spill(struct shadow *sh, const struct memslot *slot, gfn_t gfn);

/* dirty_fini - with the shadow: free rings and owners. Nobody uses them, no slot is left. */
void dirty_fini(struct shadow *sh);
void dirty_rings_fini(struct shadow *sh);
void dirty_owners_fini(struct shadow *sh);

/* dirty_slot - slot @id, NULL without. slots_lock held. */
const struct memslot *dirty_slot(struct shadow *sh, unsigned id);

#endif
