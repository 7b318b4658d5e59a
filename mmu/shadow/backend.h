/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What carries a table's entries out: the window under a KVM memslot, or a software TLB.
 * Owns nothing. shadow/ calls through the ops table; a backend implements it. Knows only slots and frames.
 */
#ifndef UMBRA_MMU_SHADOW_BACKEND_H
#define UMBRA_MMU_SHADOW_BACKEND_H

#include "mmu/shadow/slot.h"

/* What the table allows of a page without being asked again. */
struct backend_page {
	fn_t fn;       /* FN_NONE: nothing */
	bool writable; /* it has W, and where there are D bits D: the store is known */
};

/* @page counts from the start of the slot; runs never leave it. */
struct backend_ops {
	/*
	 * required. Prepare for @slot, whose pages have consecutive home frames from @home on, and set slot->backend.
	 * slots_lock held. 0 or -errno.
	 */
	int (*slot_add)(void *ctx, struct memslot *slot, fn_t home);
	/* required. The slot is zapped and nobody uses it any more. slots_lock held. */
	void (*slot_remove)(void *ctx, struct memslot *slot);
	/*
	 * optional: for who knows gfns. @slot, zapped and invalid, is about to appear at slot->gfn. Who waits for it is woken
	 * once it has. slots_lock held. Cannot fail.
	 */
	void (*slot_move)(void *ctx, struct memslot *slot);
	/*
	 * required. Make pages reach frames [fn, fn + n). mmu_lock held. Pages may reach the same frames
	 * already, or be on the way in another thread. 0, -EAGAIN to try again, or -errno; after an error the caller
	 * zaps the pages.
	 */
	int (*map)(void *slot_backend, uint64_t page, uint64_t n, fn_t fn, bool writable);
	/* required. Mapped read-only so far: allow stores. mmu_lock held for reading. As map. */
	int (*make_writable)(void *slot_backend, uint64_t page, uint64_t n);
	/*
	 * optional: else zap. On return nobody stores to the pages without asking, and a walk for a store sets D anew; loads go
	 * on. mmu_lock held for writing (but see walks_table). Cannot fail.
	 */
	void (*wrprotect)(void *slot_backend, uint64_t page, uint64_t n);
	/* required. On return nothing reaches the pages. mmu_lock held for writing. Cannot fail. */
	void (*zap)(void *slot_backend, uint64_t page, uint64_t n);
	/*
	 * optional: else zap of each slot, whole. On return nothing reaches any page of any slot. @ctx is that of slot_add.
	 * mmu_lock held for writing. Cannot fail.
	 */
	void (*zap_all)(void *ctx);
	/*
	 * optional. The table has leaves for pages [page, page + n), frames [fn, fn + n), all of one right. Map again those
	 * that were lost, from @page up to the first that was not. mmu_lock held for writing. How many were mapped again,
	 * or as map; after an error the caller zaps @page. NULL: never loses any.
	 */
	int (*restore)(void *slot_backend, uint64_t page, uint64_t n, fn_t fn, bool writable);
	/*
	 * optional: NULL: caches nothing that would hide a use from the table. On return the next use of the pages asks the
	 * table, whatever it says now. RCU section, and no lock, or mmu_lock by who has just mapped the pages beside an
	 * ager: beside map, make_writable, restore, wrprotect and zap of the same pages, and of others. So it takes none of
	 * shadow's locks, may take more away than the table has, and what the others have just brought; it never lets
	 * anything reach anything. Cannot fail.
	 */
	void (*age)(void *slot_backend, uint64_t page, uint64_t n);
	/*
	 * optional. Compare what pages [page, page + n) reach with what the table allows, @allowed[0..n): less is right, more
	 * is wrong. Calls @wrong for each page that is, returns their number. Nothing under way. For the checker.
	 */
	uint64_t (*compare)(void *slot_backend, uint64_t page, uint64_t n,
			    const struct backend_page *allowed,
			    void (*wrong)(void *ctx, uint64_t page, const char *what), void *ctx);
	/*
	 * Hardware walks the table itself: what an entry says is all there is, map and make_writable have nothing to do. Then
	 * entries may lose W or D, and wrprotect be called, with mmu_lock held for reading; and faults give rights back without it.
	 */
	bool walks_table;
	/*
	 * optional, both or none. The backend knows which pages the guest stores to. log_dirty: begin or end; slots_lock held.
	 * 0 or -errno; ending cannot fail. collect_dirty: set the bits of the slot's pages stored to since the last call in
	 * @bitmap; on return each next store is known again. slots_lock held, not mmu_lock. 0, or -errno: the caller takes
	 * every page for stored to.
	 */
	int (*log_dirty)(void *slot_backend, bool on);
	int (*collect_dirty)(void *slot_backend, uint64_t *bitmap);
	/* required. Whoever waits for the pages may try again. No lock held but RCU. */
	void (*wake)(void *slot_backend, uint64_t page, uint64_t n);
};

#endif
