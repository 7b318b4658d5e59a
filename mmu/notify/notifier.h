/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * List notifiers: who wants to hear that a host mm changes (struct mmu_notifier of the kernel).
 * Owns the list of subscriptions of one mm. The primary calls start and end; secondaries register.
 * Traversal runs inside an RCU section, so callbacks may sleep. Knows neither host/ nor shadow/.
 */
#ifndef UMBRA_MMU_NOTIFY_NOTIFIER_H
#define UMBRA_MMU_NOTIFY_NOTIFIER_H

#include "mmu/base/sync.h"
#include "mmu/notify/range.h"

struct mmu_notifier;

/*
 * Callbacks of one subscription. All run inside an RCU read section, with whatever the primary holds around its
 * bracket (its mmap_lock): they may sleep, must not wait for a grace period, must not call the primary.
 */
struct mmu_notifier_ops {
	/* optional. The subscription is being removed: drop everything. May run beside the others. */
	void (*release)(struct mmu_notifier *mn);
	/*
	 * optional. The pages of @range are still mapped and referenced. On return nothing of the secondary reaches
	 * them, and nothing new does until invalidate_range_end. 0; a range that is not blockable may be refused
	 * with -EAGAIN, and then no end follows. A notifier that refuses must not implement end.
	 */
	int (*invalidate_range_start)(struct mmu_notifier *mn,
				      const struct mmu_notifier_range *range);
	/* optional. The primary has changed; the pages may already be free. */
	void (*invalidate_range_end)(struct mmu_notifier *mn,
				     const struct mmu_notifier_range *range);
};

/*
 * Locks used to protect members:
 *	I	immutable after register
 *	l	written under mm->lock, read inside an RCU section (publish/acquire)
 */
struct mmu_notifier {
	const struct mmu_notifier_ops *ops;    /* [I] */
	struct mmu_notifier_subscriptions *mm; /* [I] */
	_Atomic(struct mmu_notifier *) next;   /* [l] */
};

struct mmu_notifier_subscriptions {
	struct lock lock;
	_Atomic(struct mmu_notifier *) first; /* [l] */
};

void mmu_notifier_subscriptions_init(struct mmu_notifier_subscriptions *mm);
/* Every subscription must be gone (bug). */
void mmu_notifier_subscriptions_fini(struct mmu_notifier_subscriptions *mm);

/*
 * mmu_notifier_register - subscribe @mn, whose ops the caller has set, to @mm.
 * On return every later start calls it. A bracket that is open meanwhile may call its end only: the caller's own
 * lock against the primary (hostmm: mmap_lock for writing) excludes that. Takes mm->lock. 0, or -EINVAL
 * without ops. Kernel: mmu_notifier_register().
 */
int mmu_notifier_register(struct mmu_notifier *mn, struct mmu_notifier_subscriptions *mm);

/*
 * mmu_notifier_unregister - run release inside an RCU section, take @mn off the list, wait until no callback
 * runs. Not from a callback. On return the caller may free @mn. Kernel: mmu_notifier_unregister().
 */
void mmu_notifier_unregister(struct mmu_notifier *mn);

/*
 * mmu_notifier_invalidate_range_start - tell all subscribers that @range is about to change.
 * Before any entry is cleared or demoted, with the pages still mapped. 0 always for a blockable range. For another,
 * -EAGAIN if one refused: then every start has been called, end has been called wherever it exists, and the
 * caller touches nothing and does not call end. Rows A17, A36; mutant M10. Kernel: same name.
 */
int mmu_notifier_invalidate_range_start(const struct mmu_notifier_range *range);

/* mmu_notifier_invalidate_range_end - the change is done, same range as start. Kernel: same name. */
void mmu_notifier_invalidate_range_end(const struct mmu_notifier_range *range);

#endif
