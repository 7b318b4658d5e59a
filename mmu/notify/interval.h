/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Interval notifiers: who wants to hear of changes of one range of an mm, and reads the host's entries with a sequence
 * count (struct mmu_interval_notifier of the kernel). Owns nothing; a subscription lives in the user's memory.
 * Secondaries call; the primary speaks through mmu/notify/notifier.h. Knows neither host/ nor shadow/.
 *
 * How a user builds an entry (A32, A38: this is the only way, also right after insert):
 *
 *	again:
 *		seq = mmu_interval_read_begin(&sub);	  no lock held
 *		look up the host's entries		  may sleep
 *		lock_acquire(&user->lock);
 *		if (mmu_interval_read_retry(&sub, seq)) { lock_release(&user->lock); goto again; }
 *		build the entry
 *		lock_release(&user->lock);
 *
 * and how it lets go (.invalidate, on the thread of the primary's start):
 *
 *		lock_acquire(&user->lock);		  the same lock, always; or return false if the range is
 *		mmu_interval_set_seq(&sub, cur_seq);	  not blockable and the lock is taken
 *		drop every entry that meets the range
 *		lock_release(&user->lock);
 *		return true;
 *
 * One sequence per mm serves all. A bracket is open from start to end; the states of an mm are
 *
 *	no bracket open			sequence even: the tree may change, readers go on
 *	open, and none met a node	sequence even: the tree may change. An insert makes it odd, since the new node
 *					may lie in an open range that nobody remembers
 *	open, and one has met a node	sequence odd: the tree is frozen. Brackets walk it without a lock; inserts and
 *					removes are deferred; readers of a node with this very sequence wait
 *
 * Only when the last bracket ends does an odd sequence step to the next even number, with the deferred work done in the
 * same critical section. A node remembers the odd sequence in which it was last hit. So
 *
 *	- a node whose sequence equals the mm's is being invalidated, and since both are odd, that state must end: the wait
 *	  of read_begin always clears (A35). An even number could stay for ever;
 *	- a node starts at the odd number before the current even one: not being invalidated, and no number that the
 *	  mm takes soon. The mm starts at 2, so the first node gets 1. Nothing happens at the wrap: after 2^64 - 1
 *	  comes 0, and a node inserted there starts at 2^64 - 1;
 *	- one wait is enough. A second hit in the same odd window writes the same number, but a reader that began in
 *	  the window has waited it out. A hit in a later window writes another number, which retry sees. Waiting
 *	  in a loop would only let brackets that follow each other starve the reader (M13).
 *
 * The price, as in the kernel: one long bracket holds the sequence odd for every node that was hit meanwhile.
 *
 * Ranges are half-open here too, [start, start + length): the last byte of the address space is in no range. The
 * kernel's are inclusive.
 */
#ifndef UMBRA_MMU_NOTIFY_INTERVAL_H
#define UMBRA_MMU_NOTIFY_INTERVAL_H

#include "mmu/notify/notifier.h"

struct mmu_interval_notifier;

struct mmu_interval_notifier_ops {
	/*
	 * required. @range, which meets the subscription, is about to change: let go as above. True; false to refuse a
	 * range that is not blockable. Inside no RCU section; holding what the primary holds around its bracket.
	 * May sleep for its own lock if the range is blockable. Must not call insert of a first subscription, remove,
	 * read_begin, nor the primary.
	 */
	bool (*invalidate)(struct mmu_interval_notifier *sub,
			   const struct mmu_notifier_range *range, uint64_t cur_seq);
};

/*
 *	I	immutable from insert to remove
 *	l	mm->lock
 *	u	written under the user's lock, by invalidate; read under it by retry, as a hint by others
 */
struct mmu_interval_notifier {
	struct interval_node node;		     /* [I] start and end; the rest is the tree's */
	const struct mmu_interval_notifier_ops *ops; /* [I] */
	struct mmu_notifier_subscriptions *mm;	     /* [I] */
	_Atomic uint64_t invalidate_seq;	     /* [u] odd */
	struct list_node deferred;		     /* [l] in mm->deferred, if is_deferred */
	bool is_in_tree;			     /* [l] */
	bool is_deferred; /* [l] to insert if not in the tree, else to remove */
	/*
	 * [I] The user's lock, if the user has set one of these before insert (it leaves them alone): debug builds
	 * then check that retry and set_seq hold it. Both NULL: not checked.
	 */
	struct lock *user_lock;
	struct rwlock *user_rwlock;
};

/*
 * mmu_interval_notifier_insert - subscribe @sub to [@start, @start + @length) of @mm.
 * May return before @sub is in the tree; read_begin then waits until it is (A38). The first subscription of an mm
 * takes mmap_lock for writing, all take mm->lock. Not from a callback. 0; -EOVERFLOW for a length of 0 or a range that
 * wraps (with half-open ranges one that ends at 2^64 does, too), -EINVAL on a dead mm or without the callback.
 * Rows A34, A35, A37, A38. Kernel: same name.
 *
 * mmu_interval_notifier_insert_locked - the same by a holder of mmap_lock for writing. Kernel: same name.
 */
int mmu_interval_notifier_insert(struct mmu_interval_notifier *sub,
				 struct mmu_notifier_subscriptions *mm, hva_t start,
				 uint64_t length, const struct mmu_interval_notifier_ops *ops);
int mmu_interval_notifier_insert_locked(struct mmu_interval_notifier *sub,
					struct mmu_notifier_subscriptions *mm, hva_t start,
					uint64_t length,
					const struct mmu_interval_notifier_ops *ops);

/*
 * mmu_interval_notifier_remove - end the subscription. On return no callback of it runs or will, and the caller may
 * free @sub. While the tree is frozen this waits for every bracket of the mm: not from a callback, not inside a
 * bracket, no lock that a callback takes. Rows A34, A38; M12. Kernel: same name.
 */
void mmu_interval_notifier_remove(struct mmu_interval_notifier *sub);

/*
 * mmu_interval_read_begin - the sequence to hand to retry; look at host entries only after it (M4). If the range
 * is being invalidated, waits for that, once. May already be stale on return. No lock that a callback takes,
 * not inside a bracket. Rows A32, A35; M4, M13. Kernel: same name.
 */
uint64_t mmu_interval_read_begin(struct mmu_interval_notifier *sub);

/*
 * mmu_interval_read_retry - must the reader begin again? Under the user's lock, which is all the ordering there is.
 * Once for each begin, by the same thread; a begin may be abandoned. On false entries may be built until the lock
 * is dropped. Rows A32, A33. Kernel: same name.
 */
bool mmu_interval_read_retry(struct mmu_interval_notifier *sub, uint64_t seq);

/*
 * mmu_interval_check_retry - true: retry would say true, so do no more work. False means nothing.
 * Any context, no lock. Row A32. Kernel: same name.
 */
bool mmu_interval_check_retry(struct mmu_interval_notifier *sub, uint64_t seq);

/* mmu_interval_set_seq - from invalidate, under the user's lock, with its cur_seq. Rows A32, A35. Kernel: same name. */
void mmu_interval_set_seq(struct mmu_interval_notifier *sub, uint64_t cur_seq);

#endif
