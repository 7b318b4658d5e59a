/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * List notifiers: who wants to hear of every change of a host mm (struct mmu_notifier of the kernel).
 * Owns the subscriptions of one mm, of both kinds (mmu/notify/interval.h has the other). The primary calls start, end and
 * the rest of the lower half; secondaries register. Traversal runs inside an RCU section, so callbacks may sleep.
 * Knows neither host/ nor shadow/. A1..A39 and M1..M30 name rows of docs/requirements.md.
 */
#ifndef UMBRA_MMU_NOTIFY_NOTIFIER_H
#define UMBRA_MMU_NOTIFY_NOTIFIER_H

#include "mmu/base/sync.h"
#include "mmu/notify/interval_tree.h"
#include "mmu/notify/range.h"

struct mmu_notifier;
struct notify_lint;

/*
 * Callbacks of one subscription; all are optional. Each runs inside an RCU read section, with whatever the primary
 * holds around its bracket (its mmap_lock): it may take its own locks and sleep, must not wait for a grace period, must
 * not call the primary, must not register or unregister. Those marked "entry locked" run with the lock of a host
 * entry held: they may take short locks, must not wait for a page or a callback. A device that is held in the middle of an
 * instruction (device_hold()) may be waited for there, too: who holds it calls nothing that waits. Addresses are half-open ranges.
 */
struct mmu_notifier_ops {
	/*
	 * The mm dies, or the subscription is being removed: drop everything, build nothing again. Called once at
	 * most (the kernel may call twice), beside other callbacks perhaps, before the pages are freed.
	 * Not called by mmu_notifier_put().
	 */
	void (*release)(struct mmu_notifier *mn);
	/*
	 * Was any page of the range used since the last call? Clears the marks; the first of the two also makes
	 * hardware forget what it has cached of them. Entry locked.
	 */
	bool (*clear_flush_young)(struct mmu_notifier *mn, hva_t start, hva_t end);
	bool (*clear_young)(struct mmu_notifier *mn, hva_t start, hva_t end);
	/* The same question; clears nothing. Entry locked. */
	bool (*test_young)(struct mmu_notifier *mn, hva_t addr);
	/*
	 * The page at @addr is about to be @fn, with @writable. On return the old frame is unreachable (A22): the entry
	 * has been repointed, or removed. Repoint only what is mapped, never with more rights than @writable and only
	 * after asking mmu_notifier_may_repoint() under the lock that invalidate_range_start() takes (M2);
	 * otherwise remove. Entry locked.
	 */
	void (*change_pte)(struct mmu_notifier *mn, hva_t addr, fn_t fn, bool writable);
	/*
	 * The pages of @range are still mapped and referenced. On return nothing of the secondary reaches them (CHANGE:
	 * writes them), and nothing new does until invalidate_range_end. 0; a range that is not blockable may be
	 * refused with -EAGAIN, and then no end follows. A notifier that refuses must not implement end (bug).
	 */
	int (*invalidate_range_start)(struct mmu_notifier *mn,
				      const struct mmu_notifier_range *range);
	/* The primary has changed; the pages may already be free. */
	void (*invalidate_range_end)(struct mmu_notifier *mn,
				     const struct mmu_notifier_range *range);
	/*
	 * For a secondary without tables of its own, which walks the host's and caches what it finds (ATS, GRU):
	 * drop every cached translation that meets the range, larger ones too. Called after an entry was cleared
	 * or demoted and before anything else stands there (A20). Excludes start and end. Entry locked.
	 */
	void (*arch_invalidate_secondary_tlbs)(struct mmu_notifier *mn, hva_t start, hva_t end);
	/* Both required for mmu_notifier_get(). NULL: no memory. No lock held; free runs after a grace period. */
	struct mmu_notifier *(*alloc_notifier)(struct mmu_notifier_subscriptions *mm);
	void (*free_notifier)(struct mmu_notifier *mn);
};

/* Who has called, or is calling, release. */
enum mmu_notifier_release_state {
	MMU_NOTIFIER_LIVE,
	MMU_NOTIFIER_RELEASED_BY_UNREGISTER,
	MMU_NOTIFIER_RELEASED_BY_MM,
};

/*
 * Locks used to protect members:
 *	I	immutable while registered
 *	l	mm->lock
 *	r	written under mm->lock, read inside an RCU section (publish/acquire)
 */
struct mmu_notifier {
	const struct mmu_notifier_ops *ops;    /* [I] set by the caller of register */
	struct mmu_notifier_subscriptions *mm; /* [I] */
	_Atomic(struct mmu_notifier *) next;   /* [r] stays when the notifier leaves the list */
	_Atomic(struct mmu_notifier *) *link;  /* [l] what points here; NULL: not listed */
	enum mmu_notifier_release_state release_state; /* [l] */
	unsigned users;				       /* [l] of mmu_notifier_get(); 0 without it */
	struct mmu_notifier *next_dying;	       /* [l] */
};

/*
 * All subscriptions of one mm. Members are private to notify/ (tests and checkers may look).
 *
 * The sequence. Why one half of it is odd, and why that saves a second wait: see mmu/notify/interval.h.
 *
 *	l	mm->lock: innermost, taken inside any lock of primary or secondary, held for no callback
 *	r	written under mm->lock, read inside an RCU section (publish/acquire)
 *	p	set once, under mmap_lock for writing; read with acquire by every bracket
 *	f	mm->lock; read without it by a bracket that has frozen the tree
 *	I	immutable after init
 */
struct mmu_notifier_subscriptions {
	struct rwlock *mmap_lock; /* [I] every bracket runs inside it; NULL: users see to that */

	_Atomic(struct mmu_notifier *) first; /* [r] newest first */
	_Atomic bool is_tracked;	      /* [p] brackets count themselves: somebody asks */

	struct lock lock;
	struct cond changed;	    /* invalidate_seq has become even, or a reaper is done */
	uint64_t invalidate_seq;    /* [l] full width (M6) */
	uint64_t active;	    /* [l] brackets open that are tracked */
	uint64_t waiters;	    /* [l] threads that wait for invalidate_seq */
	struct interval_tree itree; /* [f] */
	struct list_node deferred;  /* [l] to insert or to remove when the tree thaws */
	struct list_node open;	    /* [l] the tracked brackets */
	struct mmu_notifier *dying; /* [l] put, not yet freed */
	uint64_t puts, freed; /* [l] how many were ever put for good, and how many of them freed */
	bool is_reaping;      /* [l] somebody waits for a grace period to free some */
	bool is_dead;	      /* [l] mmu_notifier_release() has begun */
	uint64_t grabs;	      /* [l] subscriptions that still refer to the mm */
	_Atomic uint64_t misuses; /* refusals by those who may not refuse (A36) */
	struct notify_lint *lint; /* [I] debug */
};

/* ---- Life of an mm: the primary ---------------------------------------------------------------------------- */

/*
 * mmu_notifier_subscriptions_init - for the owner of an mm, before anybody can subscribe.
 * mmu_notifier_subscriptions_set_mmap_lock - name the lock inside which (either way) each bracket of the mm runs. The
 * functions that must see no bracket open then take it for writing themselves, the ones called _locked check it.
 * Before the first subscription. Row A37.
 * mmu_notifier_subscriptions_set_seq - begin at another sequence than 2, even (bug). Before the first subscription; for
 * tests of the wrap. Row A35.
 */
void mmu_notifier_subscriptions_init(struct mmu_notifier_subscriptions *mm);
void mmu_notifier_subscriptions_set_mmap_lock(struct mmu_notifier_subscriptions *mm,
					      struct rwlock *mmap_lock);
void mmu_notifier_subscriptions_set_seq(struct mmu_notifier_subscriptions *mm, uint64_t seq);

/*
 * mmu_notifier_subscriptions_fini - every subscription must be gone, every bracket closed (bug); frees what
 * mmu_notifier_put() has left. May wait for a grace period: no lock, no RCU section.
 */
void mmu_notifier_subscriptions_fini(struct mmu_notifier_subscriptions *mm);

/*
 * mmu_notifier_release - the mm dies: have every subscriber let go of everything, before the pages are freed.
 * Interval subscriptions get a blockable RELEASE range over all addresses, then list notifiers get release and leave the
 * list. Subscribers still call unregister, put or remove. May run beside brackets and beside those calls; waits until no
 * release callback runs. Later registrations get -EINVAL. No lock, no RCU section. Kernel: __mmu_notifier_release().
 */
void mmu_notifier_release(struct mmu_notifier_subscriptions *mm);

/* ---- Subscribing: the secondary ---------------------------------------------------------------------------- */

/*
 * mmu_notifier_register - subscribe @mn, whose ops the caller has set, to @mm.
 * Every later bracket calls it whole; what was open before calls neither start nor end. Takes mmap_lock for writing,
 * then mm->lock. 0; -EINVAL without ops, with the secondary-TLB op beside start or end, on a dead mm.
 * Rows A17, A37. Kernel: same name.
 *
 * mmu_notifier_register_locked - the same by a holder of mmap_lock for writing. Kernel: __mmu_notifier_register().
 */
int mmu_notifier_register(struct mmu_notifier *mn, struct mmu_notifier_subscriptions *mm);
int mmu_notifier_register_locked(struct mmu_notifier *mn, struct mmu_notifier_subscriptions *mm);

/*
 * mmu_notifier_unregister - run release inside an RCU section, unless the mm's death has; take @mn off the list; wait
 * until no callback of it runs. On return the caller may free @mn. No RCU section, no lock that a callback takes, not
 * from a callback. Kernel: same name; here release runs once only.
 */
void mmu_notifier_unregister(struct mmu_notifier *mn);

/*
 * mmu_notifier_get - the one notifier with these @ops on @mm, allocated and registered by the first caller; gives
 * a reference. Takes mmap_lock for writing, then mm->lock. 0 and *@out; -ENOMEM, -EOVERFLOW after UINT_MAX references,
 * -EINVAL as register does or without alloc and free. Kernel: same name.
 *
 * mmu_notifier_get_locked - the same by a holder of mmap_lock for writing.
 */
int mmu_notifier_get(struct mmu_notifier **out, const struct mmu_notifier_ops *ops,
		     struct mmu_notifier_subscriptions *mm);
int mmu_notifier_get_locked(struct mmu_notifier **out, const struct mmu_notifier_ops *ops,
			    struct mmu_notifier_subscriptions *mm);

/*
 * mmu_notifier_put - drop a reference of mmu_notifier_get(). The last one takes the notifier off the list without
 * calling release, and has it freed after a grace period, never before this returns. Does not wait: any context,
 * callbacks and RCU sections included. Kernel: same name.
 *
 * umbra keeps no thread for this. The next call that waits for a grace period anyway (synchronize, unregister,
 * release, fini) on the same mm frees what has been put.
 */
void mmu_notifier_put(struct mmu_notifier *mn);

/*
 * mmu_notifier_synchronize - wait until everything put on @mm before the call has been freed, not for what is put
 * meanwhile. Waits for two grace periods at most: no lock, no RCU section, not from free_notifier. Kernel: same name, for all mms.
 */
void mmu_notifier_synchronize(struct mmu_notifier_subscriptions *mm);

/*
 * mmu_notifier_may_repoint - from change_pte, for @addr of it: is its own bracket the only one open over @addr?
 * Where another is open, its start has zapped what meets it, and its end will not: an entry made now outlives the
 * bracket (M2). So a subscriber asks under the lock that its start takes, and removes the entry on false. The answer
 * counts a bracket from before its first start callback until its end begins. Takes mm->lock. Row A22.
 *
 * mmu_notifier_outstanding - how many brackets are open over @addr. Counted only on an mm with an interval subscription
 * or a notifier with change_pte; else 0. Takes mm->lock.
 */
bool mmu_notifier_may_repoint(struct mmu_notifier *mn, hva_t addr);
uint64_t mmu_notifier_outstanding(struct mmu_notifier_subscriptions *mm, hva_t addr);

/* ---- Telling: the primary ---------------------------------------------------------------------------------- */

/*
 * mmu_notifier_invalidate_range_start - tell all subscribers that @range is about to change.
 * Before any entry is cleared or demoted, with the pages still mapped and referenced. Interval subscriptions first,
 * then list notifiers. @range stays where it is, unchanged, until end.
 *
 * 0: call end when done. A blockable range always gets 0; a subscriber that refuses it is counted
 * (mmu_notifier_misuses()), and the rest go on (A36). -EAGAIN, if the range is not blockable and somebody refused: whoever
 * has been told start has been told end, no count is left behind (M10, M11), and the caller touches nothing and does
 * not call end.
 *
 * Holding mmap_lock, no lock that a callback takes. Without subscribers two loads. May sleep in callbacks.
 * Rows A17, A18, A26, A31, A36. Kernel: mmu_notifier_invalidate_range_start[_nonblock]().
 */
int mmu_notifier_invalidate_range_start(struct mmu_notifier_range *range);

/* mmu_notifier_invalidate_range_end - the change is done. By the thread and with the struct of start. Kernel: same. */
void mmu_notifier_invalidate_range_end(struct mmu_notifier_range *range);

/*
 * mmu_notifier_change_pte - the page at @addr is about to be @fn. On return no subscriber with the callback reaches
 * the old frame. Inside a CHANGE bracket over @addr, the entry locked, after the old entry was cleared or demoted and
 * before the new one is set (A20, M1). Rows A20, A22. Kernel: same name, until v6.9.
 */
void mmu_notifier_change_pte(struct mmu_notifier_subscriptions *mm, hva_t addr, fn_t fn,
			     bool writable);

/*
 * mmu_notifier_arch_invalidate_secondary_tlbs - drop what TLBs without tables of their own have cached of [start, end).
 * The entries locked, after clear or demote, before set; may be left to the end of the bracket where only rights were
 * taken away, or the frame's contents stay the same. Rows A2, A3, A20. Kernel: same name.
 */
void mmu_notifier_arch_invalidate_secondary_tlbs(struct mmu_notifier_subscriptions *mm, hva_t start,
						 hva_t end);

/*
 * mmu_notifier_clear_flush_young, _clear_young, _test_young - has any subscriber used the pages? Every one is asked,
 * the answers are ORed. The entries locked. Kernel: same names.
 */
bool mmu_notifier_clear_flush_young(struct mmu_notifier_subscriptions *mm, hva_t start, hva_t end);
bool mmu_notifier_clear_young(struct mmu_notifier_subscriptions *mm, hva_t start, hva_t end);
bool mmu_notifier_test_young(struct mmu_notifier_subscriptions *mm, hva_t addr);

/*
 * mmu_notifier_misuses - how often a subscriber has refused a range that it may not refuse, or has said anything but
 * -EAGAIN. Where the kernel warns. Not 0: that subscriber may hold stale entries. Any context. Row A36.
 */
uint64_t mmu_notifier_misuses(struct mmu_notifier_subscriptions *mm);

#endif
