/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The secondary MMU of one guest or device: memslots, a table, the fault path, and the subscription to a host mm.
 * Owns slots and table. The embedder adds slots; fault threads call shadow_fault(); the primary invalidates through
 * the notifier. Knows the primary only as notifier and get_user_pages.
 */
#ifndef UMBRA_MMU_SHADOW_SHADOW_H
#define UMBRA_MMU_SHADOW_SHADOW_H

#include "mmu/host/hostmm.h"
#include "mmu/shadow/backend.h"

struct shadow;

#define SHADOW_AROUND_MAX 512u

struct shadow_opts {
	/*
	 * How many pages one fault may install: 0 adapts to the faults seen (1 when they jump, up to
	 * SHADOW_AROUND_MAX when they run on); else a power of two, the aligned block around the fault.
	 */
	unsigned fault_around;
	/* The table has no A and D bits, also where the backend's hardware would set them. */
	bool no_ad;
	/* The largest leaf: 1 is 4 KiB, 2 is 2 MiB, 3 is 1 GiB. 0: SHADOW_MAX_LEVEL. */
	unsigned max_level;
	/* Zap for MMU_NOTIFY_CHANGE as for CLEAR: to see what change_pte spares. */
	bool no_change_pte;
};

#define SHADOW_MAX_LEVEL 2

/* Monotonic, relaxed. */
struct shadow_stats {
	uint64_t faults, fixed, spurious,
		retries; /* calls of shadow_fault(); their results; tries repeated */
	uint64_t
		fast; /* of the fixed ones: rights given back to a leaf, without asking the primary */
	uint64_t pages, batches; /* installed, in 4K; runs in which the backend mapped them */
	uint64_t upgrades;	 /* leaves made writable in place */
	uint64_t repointed;	 /* leaves that change_pte gave their new frame: refaults spared */
	uint64_t invalidations, zapped,
		flushes; /* brackets that met a slot; leaves zapped; calls that zap, protect or age in the backend */
	uint64_t yields;   /* times that a long zap let others have the lock */
	uint64_t zap_alls; /* roots swapped */
	uint64_t splits,
		collapses; /* large leaves that became 512, by whatever; that came of 512 */
	uint64_t pruned;   /* empty tables that faults took out of the way of large leaves */
	uint64_t aged;	   /* pages found used, that have to be used anew to be found again */
	uint64_t leaves, table_pages;		  /* now; leaves of all sizes */
	uint64_t leaves_4k, leaves_2m, leaves_1g; /* now */
};

/*
 * shadow_create - a secondary on @mm, which outlives it, carried out by @ops. Subscribes to @mm.
 * 0, -EINVAL (fault_around, max_level), -ENOMEM.
 */
int shadow_create(struct shadow **out, struct hostmm *mm, const struct backend_ops *ops,
		  void *backend_ctx, const struct shadow_opts *opts);
/* shadow_destroy - unsubscribe, remove all slots, free the table. No fault may be under way. */
void shadow_destroy(struct shadow *shadow);

/*
 * shadow_add_slot - let gfns [gfn, gfn + npages) mean host VA @hva and on, inside one region of the host mm.
 * Takes slots_lock, waits for open invalidations and a grace period (M9). Any number beside running faults.
 * 0, -EINVAL (nothing, or beyond 2^36 gfns), -EFAULT (not one region, or writable slot of a read-only region),
 * -EEXIST (id or gfns taken), -ENOMEM, the backend's errno. After an error nothing has changed. O(log n) beside the waits.
 * Kernel: kvm_set_memory_region(), KVM_MR_CREATE.
 */
int shadow_add_slot(struct shadow *shadow, unsigned id, gfn_t gfn, uint64_t npages, hva_t hva,
		    unsigned flags);
/*
 * shadow_remove_slot - on return nothing reaches the slot's pages, and the backend has let go. 0; -ENOENT; -EBUSY: it is
 * owned (dirty_range.h); -ENOMEM.
 */
int shadow_remove_slot(struct shadow *shadow, unsigned id);
/*
 * shadow_move_slot - let the slot's pages appear from @gfn on instead. They are at one place at most, and on return not at the
 * old one. Faults meanwhile wait; the backend's side (a window's addresses) stays where it is. Locks as shadow_add_slot().
 * 0, also where it is there already; -ENOENT; -EINVAL beyond 2^36 gfns; -EEXIST another slot is there; -EBUSY it
 * is owned; -ENOMEM. After an error the slot is where it was. Kernel: KVM_MR_MOVE.
 */
int shadow_move_slot(struct shadow *shadow, unsigned id, gfn_t gfn);
/*
 * shadow_set_slot_flags - give the slot MEMSLOT_READONLY, MEMSLOT_LOG_DIRTY, both or none. With READONLY, on return no
 * page of it can be stored to; loads go on. Locks as shadow_add_slot().
 * 0, also without a change; -ENOENT; -EINVAL other flags; -EFAULT writable slot of a read-only region; -EPERM it is owned, and
 * is to have either; -ENOMEM; the backend's errno. After an error the flags are what they were. Kernel: KVM_MR_FLAGS_ONLY, which leaves READONLY alone.
 */
int shadow_set_slot_flags(struct shadow *shadow, unsigned id, unsigned flags);
/* shadow_slot - a copy of the slot with @gfn. False: none. */
bool shadow_slot(struct shadow *shadow, gfn_t gfn, struct memslot *slot);

enum shadow_result {
	SHADOW_FIXED,	 /* installed */
	SHADOW_SPURIOUS, /* was there already, or another fault was faster */
};

/*
 * shadow_fault - make @gfn reachable, for a store if @write, with pages around it; wake who waits for them.
 * Waits while @gfn is being invalidated, and for page-in. Any thread, no lock held.
 * enum shadow_result, or: -ENXIO no slot; -EACCES a store to a read-only slot; -EFAULT the primary forbids it;
 * -ENOMEM, -ENOSPC, the pager's errno (-EIO), the backend's. After an error nobody is woken, and what could not be mapped
 * is not in the table; -EAGAIN of the backend is tried again.
 * A leaf that is there, and that the secondary itself has taken rights from (aging, dirty logging), gets them back
 * without the primary: in one step, without a lock, where hardware walks the table.
 * Rows A19, A32..A38 in the form of semantics B "KVM retry". Kernel: direct_page_fault(), kvm_tdp_page_fault().
 */
int shadow_fault(struct shadow *shadow, gfn_t gfn, bool write);
/*
 * shadow_fault_ring - the same for producer @ring of dirty rings (dirty_ring.h); shadow_fault() is the calling thread's. A store waits while the
 * ring is soft-full; if it may not, -EBUSY: nobody is woken, try again after a reset.
 */
int shadow_fault_ring(struct shadow *shadow, gfn_t gfn, bool write, unsigned ring, bool may_wait);

/*
 * shadow_prefault - map pages [gfn, gfn + npages) for loads as far as they are not, as if each had faulted; *@done gets how
 * many are, from @gfn on. Waits as shadow_fault() does, and never answers -EAGAIN.
 * 0: some progress, or nothing to do; go on at @gfn + *@done. Without any (*@done is 0): -EINVAL (beyond 2^36 gfns),
 * -ENOENT no slot, else the errno of shadow_fault(). Any thread, no lock held. Kernel: KVM_PRE_FAULT_MEMORY.
 */
int shadow_prefault(struct shadow *shadow, gfn_t gfn, uint64_t npages, uint64_t *done);

/*
 * shadow_zap_all - on return nothing is mapped but what faults have mapped since the call. Constant time under mmu_lock
 * (but for the backend's own flush): the table gets an empty root, and the old tree is taken apart beside running faults.
 * 0; -ENOMEM: nothing has changed. No lock held, no RCU section, not from a callback. Kernel: kvm_mmu_zap_all_fast().
 */
int shadow_zap_all(struct shadow *shadow);

/*
 * shadow_split - put 4K leaves in the place of the large ones that meet [gfn, end): for whoever is about to take rights away
 * page by page. Faults go on beside it. 0; -EINVAL; -ENOMEM: what is split stays so. Any thread, no lock, no RCU section.
 * Kernel: kvm_mmu_try_split_huge_pages().
 * shadow_recover - the other way, and room for large leaves: where the primary has a whole aligned run of frames, all
 * mapped with equal rights, one leaf takes their place, up to max_level; tables without a leaf go. Not under slots that log
 * dirty pages or are owned. Returns how many large leaves it has made. No lock held, no RCU section. Kernel:
 * kvm_mmu_recover_huge_pages().
 */
int shadow_split(struct shadow *shadow, gfn_t gfn, gfn_t end);
uint64_t shadow_recover(struct shadow *shadow, gfn_t gfn, gfn_t end);

/*
 * shadow_read, shadow_write - copy from or to guest memory, through the primary. 0, -EFAULT when a byte has no slot
 * (nothing is copied then) or may not be accessed, the pager's errno. A write is in the dirty log as a store is. To an owned slot
 * it goes page by page, each under the owner's external lock after his mkwrite(), whose errno ends it: not with that lock
 * held. Kernel: kvm_read_guest(), kvm_write_guest().
 */
int shadow_read(struct shadow *shadow, gpa_t gpa, void *buf, size_t len);
int shadow_write(struct shadow *shadow, gpa_t gpa, const void *buf, size_t len);

void shadow_get_stats(struct shadow *shadow, struct shadow_stats *stats);

/*
 * shadow_age - which of the guest frames [gfn, gfn + npages) were used since the last call, or since they were mapped? Sets
 * their bits in @used (bit 0 of word 0 is @gfn; (npages + 63) / 64 words, cleared first; NULL: none) and their number in
 * *@used_count; all pages of a large leaf count together, and pages mapped around a fault count once. Forgets it, also in TLBs;
 * a backend whose hardware sets no A bits pays with a fault for the next use of each page.
 * Lockless: beside faults, invalidations, and other calls, one of which gets a page. Use through another mapping of the
 * same memory is hostmm_age()'s to ask for. 0, -EINVAL (no page, or beyond 2^36 gfns; nothing has changed).
 * Any thread, also in an RCU section. Kernel: /sys/kernel/mm/page_idle/bitmap, kvm_age_gfn().
 */
int shadow_age(struct shadow *shadow, gfn_t gfn, uint64_t npages, uint64_t *used,
	       uint64_t *used_count);

/*
 * shadow_age_sample - the same for the frames whose number is a multiple of @stride, and only these: *@used_count of them were
 * used. What is forgotten, and costs a fault, are their leaves. An estimate of the whole is @stride times that; a prime
 * stride, or a power of one, falls in step with no table and no array. -EINVAL also if @stride is 0 or more than 2^36.
 */
int shadow_age_sample(struct shadow *shadow, gfn_t gfn, uint64_t npages, uint64_t stride,
		      uint64_t *used_count);

/*
 * shadow_check - is everything that an access may reach what the primary has? Each leaf of each root has a slot, the
 * frames of its hptes, and no right that one of these lacks; no entry is malformed or left frozen; leaves and
 * tables are as many as are counted; and the backend reaches no more than the leaves allow, and stores nowhere where W or D is
 * missing (a window is looked at in /proc/self/pagemap as far as window_can_check() says). Calls @report for each thing that is wrong, returns their number. It reads
 * the whole table: for tests, and on demand. No change, no fault and no access under way.
 */
uint64_t shadow_check(struct shadow *shadow,
		      void (*report)(void *ctx, gfn_t gfn, uint64_t spte, const char *what),
		      void *ctx);

#endif
