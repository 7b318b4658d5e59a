/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A range of host virtual addresses that is about to change, and why: what primary and secondary tell each other.
 * Owns no state. The primary fills one in on its stack; subscribers read it. Knows neither host/ nor shadow/.
 */
#ifndef UMBRA_MMU_NOTIFY_RANGE_H
#define UMBRA_MMU_NOTIFY_RANGE_H

#include "mmu/base/addr.h"

struct mmu_notifier_subscriptions;

/* enum mmu_notifier_event of the kernel (semantics B), same meaning. */
enum mmu_notifier_event {
	MMU_NOTIFY_UNMAP, /* munmap, mremap: the addresses go away */
	MMU_NOTIFY_CLEAR, /* entries cleared or repointed: discard, migration, CoW, merge */
	MMU_NOTIFY_PROTECTION_VMA,  /* rights of a range change */
	MMU_NOTIFY_PROTECTION_PAGE, /* rights of single pages change: consult the entries at end */
	MMU_NOTIFY_SOFT_DIRTY,
	MMU_NOTIFY_RELEASE,
	MMU_NOTIFY_MIGRATE,   /* owner may be skipped */
	MMU_NOTIFY_EXCLUSIVE, /* owner may be skipped */
};

#define MMU_NOTIFIER_RANGE_BLOCKABLE (1u << 0)

struct mmu_notifier_range {
	struct mmu_notifier_subscriptions *mm;
	hva_t start; /* bytes, page aligned */
	hva_t end;   /* first byte after */
	unsigned flags;
	enum mmu_notifier_event event;
	void *owner;
};

static inline bool mmu_notifier_range_blockable(const struct mmu_notifier_range *range)
{
	return range->flags & MMU_NOTIFIER_RANGE_BLOCKABLE;
}

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

#endif
