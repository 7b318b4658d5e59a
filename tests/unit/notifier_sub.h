/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Subscribers that count what they hear, and an mm without pages for them.
 * Owns the mm and one range of it, per program. Who may call: tests of the notifier list, tests/unit/notifier*.c alone.
 * May not know: the host mm.
 */
#ifndef UMBRA_TESTS_UNIT_NOTIFIER_SUB_H
#define UMBRA_TESTS_UNIT_NOTIFIER_SUB_H

#include "mmu/notify/notifier.h"
#include "tests/rig.h"
#include "tests/test.h"

struct sub {
	struct mmu_notifier mn;
	atomic_uint starts, ends, releases, repoints, zaps, tlbs;
	bool young;
	int refuse;
	struct gate *start_gate, *release_gate; /* passed in the callback, if there */
	fn_t fn;
};

static inline struct sub *sub_of(struct mmu_notifier *mn)
{
	return (struct sub *)mn;
}

static inline int sub_start(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	atomic_fetch_add(&sub_of(mn)->starts, 1);
	if (sub_of(mn)->start_gate)
		gate_pass(sub_of(mn)->start_gate);
	return mmu_notifier_range_is_own(range, mn) ? 0 : sub_of(mn)->refuse;
}

static inline void sub_end(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	(void)range;
	atomic_fetch_add(&sub_of(mn)->ends, 1);
}

static inline void sub_release(struct mmu_notifier *mn)
{
	if (sub_of(mn)->release_gate)
		gate_pass(sub_of(mn)->release_gate);
	atomic_fetch_add(&sub_of(mn)->releases, 1);
}

static inline bool sub_clear_young(struct mmu_notifier *mn, hva_t start, hva_t end)
{
	bool was = sub_of(mn)->young;

	(void)start;
	(void)end;
	sub_of(mn)->young = false;
	return was;
}

static inline bool sub_test_young(struct mmu_notifier *mn, hva_t addr)
{
	(void)addr;
	return sub_of(mn)->young;
}

static inline void sub_change_pte(struct mmu_notifier *mn, hva_t addr, fn_t fn, bool writable)
{
	(void)writable;
	if (mmu_notifier_may_repoint(mn, addr))
		atomic_fetch_add(&sub_of(mn)->repoints, 1);
	else
		atomic_fetch_add(&sub_of(mn)->zaps, 1);
	sub_of(mn)->fn = fn;
}

static inline void sub_tlbs(struct mmu_notifier *mn, hva_t start, hva_t end)
{
	(void)start;
	(void)end;
	atomic_fetch_add(&sub_of(mn)->tlbs, 1);
}

static const struct mmu_notifier_ops both_ops = { .invalidate_range_start = sub_start,
						  .invalidate_range_end = sub_end,
						  .release = sub_release };
static const struct mmu_notifier_ops start_ops = { .invalidate_range_start = sub_start };
static const struct mmu_notifier_ops full_ops = {
	.release = sub_release,
	.clear_flush_young = sub_clear_young,
	.clear_young = sub_clear_young,
	.test_young = sub_test_young,
	.change_pte = sub_change_pte,
	.invalidate_range_start = sub_start,
	.invalidate_range_end = sub_end,
};
static const struct mmu_notifier_ops tlb_ops = { .arch_invalidate_secondary_tlbs = sub_tlbs };

static struct mmu_notifier_subscriptions mm;
static struct mmu_notifier_range range;

static inline void init(void)
{
	mmu_notifier_subscriptions_init(&mm);
	mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, &mm, 0x1000, 0x3000);
}

static inline void fini(void)
{
	mmu_notifier_subscriptions_fini(&mm);
}

static inline void subscribe(struct sub *s, const struct mmu_notifier_ops *ops)
{
	s->mn.ops = ops;
	check_eq(mmu_notifier_register(&s->mn, &mm), 0);
}

#endif
