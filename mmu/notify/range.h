/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A range of host virtual addresses that is about to change, and why: what primary and secondary tell each other.
 * Owns no state. The primary fills one in on its stack, and it stays there from start to end; subscribers read it.
 * Knows neither host/ nor shadow/.
 */
#ifndef UMBRA_MMU_NOTIFY_RANGE_H
#define UMBRA_MMU_NOTIFY_RANGE_H

#include "mmu/base/addr.h"
#include "mmu/base/list.h"

struct mmu_notifier_subscriptions;

/*
 * enum mmu_notifier_event of the kernel, same meaning, and CHANGE, which the kernel lost in v6.10.
 * A subscriber may always treat an event as CLEAR.
 */
enum mmu_notifier_event {
	MMU_NOTIFY_UNMAP, /* munmap, mremap: the addresses go away */
	MMU_NOTIFY_CLEAR, /* entries cleared or repointed: discard, migration, CoW, merge */
	MMU_NOTIFY_PROTECTION_VMA, /* rights of a range change */
	/* Pages lose the right to be stored to and nothing else: their frames stay. A subscriber may go on with loads. */
	MMU_NOTIFY_PROTECTION_PAGE,
	MMU_NOTIFY_SOFT_DIRTY,
	MMU_NOTIFY_RELEASE,   /* the mm dies */
	MMU_NOTIFY_MIGRATE,   /* owner may be skipped */
	MMU_NOTIFY_EXCLUSIVE, /* owner may be skipped */
	/*
	 * Each page of the range that gets another frame is announced by mmu_notifier_change_pte() between start and
	 * end. A subscriber with that callback need not let go in start: it takes the write access away and counts
	 * the bracket. The others treat it as CLEAR.
	 */
	MMU_NOTIFY_CHANGE,
};

/* Callbacks may sleep and must succeed. Without it they may refuse (-EAGAIN, false) rather than sleep. */
#define MMU_NOTIFIER_RANGE_BLOCKABLE (1u << 0)

struct mmu_notifier_range {
	struct mmu_notifier_subscriptions *mm;
	hva_t start; /* bytes, page aligned; below end */
	hva_t end;   /* first byte after */
	unsigned flags;
	enum mmu_notifier_event event;
	void *owner; /* who changes it, for MIGRATE and EXCLUSIVE; else NULL */

	/* The rest belongs to notify/, zero before start. */
	bool is_tracked;	 /* start has counted the bracket in its mm */
	struct list_node open;	 /* in mm->open while is_tracked */
	const void *thread;	 /* debug: the thread that has it open */
	struct list_node linted; /* debug: in the linter's list of open brackets */
};

static inline bool mmu_notifier_range_blockable(const struct mmu_notifier_range *range)
{
	return range->flags & MMU_NOTIFIER_RANGE_BLOCKABLE;
}

/*
 * mmu_notifier_range_is_own - is @range a change that @owner makes itself, and has prepared for? Then its own
 * subscription does nothing. Only for MIGRATE and EXCLUSIVE; NULL owns nothing. Any context.
 * Kernel: range->owner == owner, open-coded by each driver.
 */
static inline bool mmu_notifier_range_is_own(const struct mmu_notifier_range *range,
					     const void *owner)
{
	return owner && range->owner == owner &&
	       (range->event == MMU_NOTIFY_MIGRATE || range->event == MMU_NOTIFY_EXCLUSIVE);
}

/* A blockable range without owner. Clear MMU_NOTIFIER_RANGE_BLOCKABLE in flags for the other kind. */
static inline void mmu_notifier_range_init(struct mmu_notifier_range *range,
					   enum mmu_notifier_event event,
					   struct mmu_notifier_subscriptions *mm, hva_t start,
					   hva_t end)
{
	*range = (struct mmu_notifier_range){
		.mm = mm,
		.start = start,
		.end = end,
		.flags = MMU_NOTIFIER_RANGE_BLOCKABLE,
		.event = event,
	};
}

static inline void mmu_notifier_range_init_owner(struct mmu_notifier_range *range,
						 enum mmu_notifier_event event,
						 struct mmu_notifier_subscriptions *mm, hva_t start,
						 hva_t end, void *owner)
{
	mmu_notifier_range_init(range, event, mm, start, end);
	range->owner = owner;
}

#endif
