// SPDX-License-Identifier: BSD-2-Clause
/* List notifiers: who is called, in which order, how a refusal is unwound, and what each callback may do. */
#include "mmu/notify/interval.h"

#include <errno.h>
#include <signal.h>

#include "tests/unit/notifier_sub.h"

static const struct mmu_notifier_ops end_ops = { .invalidate_range_end = sub_end };

UTEST(notifier, calls_everybody_who_has_the_callback, .init = init, .fini = fini)
{
	struct sub both = { .mn.ops = &both_ops }, start = { .mn.ops = &start_ops },
		   end = { .mn.ops = &end_ops }, none = { .mn.ops = NULL };

	check_eq(mmu_notifier_register(&none.mn, &mm), -EINVAL);
	check_eq(mmu_notifier_invalidate_range_start(&range), 0);
	mmu_notifier_invalidate_range_end(&range);
	check_eq(mmu_notifier_register(&both.mn, &mm), 0);
	check_eq(mmu_notifier_register(&start.mn, &mm), 0);
	check_eq(mmu_notifier_register(&end.mn, &mm), 0);
	check(mmu_notifier_range_blockable(&range));
	check_eq(mmu_notifier_invalidate_range_start(&range), 0);
	check(both.starts == 1 && start.starts == 1 && both.ends == 0 && end.ends == 0);
	mmu_notifier_invalidate_range_end(&range);
	check(both.ends == 1 && end.ends == 1);
	mmu_notifier_unregister(&both.mn);
	check_eq(both.releases, 1);
	check_eq(mmu_notifier_invalidate_range_start(&range), 0);
	check(both.starts == 1 && start.starts == 2);
	mmu_notifier_invalidate_range_end(&range);
	mmu_notifier_unregister(&start.mn);
	mmu_notifier_unregister(&end.mn);
}

/* M10: after a partial -EAGAIN every start has its end, and the caller gives none. Row A36. */
UTEST(notifier, a_refusal_ends_all_that_began, .init = init, .fini = fini)
{
	struct sub first = { .mn.ops = &both_ops }, last = { .mn.ops = &both_ops },
		   no = { .mn.ops = &start_ops, .refuse = -EAGAIN };

	check_eq(mmu_notifier_register(&last.mn, &mm), 0);
	check_eq(mmu_notifier_register(&no.mn, &mm), 0);
	check_eq(mmu_notifier_register(&first.mn, &mm), 0);
	range.flags &= ~MMU_NOTIFIER_RANGE_BLOCKABLE;
	check_eq(mmu_notifier_invalidate_range_start(&range), -EAGAIN);
	check(first.starts == 1 && no.starts == 1 && last.starts == 1);
	check(first.ends == 1 && last.ends == 1);
	no.refuse = 0;
	check_eq(mmu_notifier_invalidate_range_start(&range), 0);
	check(first.ends == 1 && last.ends == 1);
	mmu_notifier_invalidate_range_end(&range);
	check(first.ends == 2 && last.ends == 2);
	mmu_notifier_unregister(&first.mn);
	mmu_notifier_unregister(&no.mn);
	mmu_notifier_unregister(&last.mn);
}

static void start_range(void *arg)
{
	(void)arg;
	(void)mmu_notifier_invalidate_range_start(&range);
}

/* A36: counted, and the rest goes on. */
UTEST(notifier, who_may_block_may_not_refuse, .init = init, .fini = fini)
{
	struct sub no = { .mn.ops = &start_ops, .refuse = -EAGAIN }, last = { .mn.ops = &both_ops };
	struct sub bad = { .mn.ops = &both_ops, .refuse = -EAGAIN };

	check_eq(mmu_notifier_register(&last.mn, &mm), 0);
	check_eq(mmu_notifier_register(&no.mn, &mm), 0);
	check_eq(mmu_notifier_invalidate_range_start(&range), 0);
	mmu_notifier_invalidate_range_end(&range);
	check(last.starts == 1 && last.ends == 1);
	check_eq(mmu_notifier_misuses(&mm), 1);
	range.flags = 0;
	check_eq(mmu_notifier_invalidate_range_start(&range), -EAGAIN);
	check_eq(mmu_notifier_misuses(&mm), 1);
	no.refuse = -ENOMEM; /* not an answer */
	check_eq(mmu_notifier_invalidate_range_start(&range), -EAGAIN);
	check_eq(mmu_notifier_misuses(&mm), 2);
	mmu_notifier_unregister(&no.mn);
	mmu_notifier_unregister(&last.mn);
	/* Who has an end would get it for a start that it did not carry out. */
	check_eq(mmu_notifier_register(&bad.mn, &mm), 0);
	check_eq(test_signal_of(start_range, NULL), SIGABRT);
	mmu_notifier_unregister(&bad.mn);
}

UTEST(notifier_ops, tlbs_exclude_brackets, .init = init, .fini = fini)
{
	static const struct mmu_notifier_ops both[] = {
		{ .arch_invalidate_secondary_tlbs = sub_tlbs, .invalidate_range_start = sub_start },
		{ .arch_invalidate_secondary_tlbs = sub_tlbs, .invalidate_range_end = sub_end },
	};
	struct sub bad = { 0 }, tlb = { 0 };

	for (int i = 0; i < 2; i++) {
		bad.mn.ops = &both[i];
		check_eq(mmu_notifier_register(&bad.mn, &mm), -EINVAL);
	}
	subscribe(&tlb, &tlb_ops);
	mmu_notifier_arch_invalidate_secondary_tlbs(&mm, 0x1000, 0x2000);
	check_eq(tlb.tlbs, 1);
	mmu_notifier_unregister(&tlb.mn);
}

UTEST(notifier_ops, young_is_asked_of_all, .init = init, .fini = fini)
{
	struct sub a = { 0 }, b = { 0 }, none = { 0 };

	check(!mmu_notifier_test_young(&mm, 0x1000));
	subscribe(&a, &full_ops);
	subscribe(&none, &start_ops);
	subscribe(&b, &full_ops);
	a.young = b.young = true;
	check(mmu_notifier_test_young(&mm, 0x1000));
	check(a.young && b.young);
	check(mmu_notifier_clear_young(&mm, 0x1000, 0x2000));
	check(!a.young && !b.young); /* both, not up to the first */
	check(!mmu_notifier_test_young(&mm, 0x1000));
	b.young = true;
	check(mmu_notifier_clear_flush_young(&mm, 0x1000, 0x2000));
	check(!mmu_notifier_clear_flush_young(&mm, 0x1000, 0x2000));
	mmu_notifier_unregister(&a.mn);
	mmu_notifier_unregister(&b.mn);
	mmu_notifier_unregister(&none.mn);
}

UTEST(notifier_ops, owner_is_skipped, .init = init, .fini = fini)
{
	struct sub s = { .refuse = -EAGAIN };

	subscribe(&s, &start_ops);
	mmu_notifier_range_init_owner(&range, MMU_NOTIFY_MIGRATE, &mm, 0x1000, 0x2000, &s);
	range.flags = 0;
	check_eq(mmu_notifier_invalidate_range_start(&range), 0);
	mmu_notifier_invalidate_range_end(&range);
	range.event = MMU_NOTIFY_CLEAR; /* not an event that has an owner */
	check_eq(mmu_notifier_invalidate_range_start(&range), -EAGAIN);
	range.event = MMU_NOTIFY_EXCLUSIVE;
	range.owner = &range;
	check_eq(mmu_notifier_invalidate_range_start(&range), -EAGAIN);
	check(!mmu_notifier_range_is_own(&range, NULL));
	mmu_notifier_unregister(&s.mn);
}

/* ---- Both kinds together ---- */

static unsigned order, interval_at, list_at;

static bool invalidate(struct mmu_interval_notifier *in, const struct mmu_notifier_range *r,
		       uint64_t cur_seq)
{
	(void)r;
	interval_at = ++order;
	mmu_interval_set_seq(in, cur_seq);
	return true;
}

static int ordered_start(struct mmu_notifier *mn, const struct mmu_notifier_range *r)
{
	list_at = ++order;
	return sub_start(mn, r);
}

/* M11, and what the kernel leaks: the tree has accepted, then the list refuses. */
UTEST(notifier_ops, refusal_of_the_list_leaves_no_count, .init = init, .fini = fini)
{
	static const struct mmu_interval_notifier_ops in_ops = { .invalidate = invalidate };
	static const struct mmu_notifier_ops ordered_ops = { .invalidate_range_start =
								     ordered_start };
	struct mmu_interval_notifier in = { 0 };
	struct sub no = { .refuse = -EAGAIN }, yes = { 0 };

	subscribe(&yes, &full_ops);
	subscribe(&no, &ordered_ops);
	check_eq(mmu_interval_notifier_insert(&in, &mm, 0x1000, 0x1000, &in_ops), 0);
	range.flags = 0;
	check_eq(mmu_notifier_invalidate_range_start(&range), -EAGAIN);
	check(interval_at == 1 && list_at == 2);
	check(yes.starts == 1 && yes.ends == 1);
	check(mm.active == 0 && mm.invalidate_seq == 4 && !range.is_tracked);
	check_eq(mmu_interval_read_begin(&in), 3); /* does not hang */
	mmu_interval_notifier_remove(&in);
	mmu_notifier_unregister(&no.mn);
	mmu_notifier_unregister(&yes.mn);
}

/* ---- change_pte (A22) ---- */

UTEST(notifier_ops, change_pte_acts_alone_only, .init = init, .fini = fini)
{
	struct mmu_notifier_range change, apart, unmap;
	struct sub s = { 0 }, tlb = { 0 };

	subscribe(&s, &full_ops);
	subscribe(&tlb, &tlb_ops);
	mmu_notifier_range_init(&change, MMU_NOTIFY_CHANGE, &mm, 0x1000, 0x2000);
	mmu_notifier_range_init(&apart, MMU_NOTIFY_CLEAR, &mm, 0x2000, 0x3000);
	mmu_notifier_range_init(&unmap, MMU_NOTIFY_UNMAP, &mm, 0, 0x9000);
	check_eq(mmu_notifier_outstanding(&mm, 0x1000), 0);
	check_eq(mmu_notifier_invalidate_range_start(&change), 0);
	check_eq(mmu_notifier_invalidate_range_start(&apart), 0);
	mmu_notifier_change_pte(&mm, 0x1000, 77, false);
	check(s.repoints == 1 && s.zaps == 0 && s.fn == 77);
	check_eq(tlb.tlbs, 1); /* the other way to be immediate */
	/* M2: one more bracket over the address. */
	check_eq(mmu_notifier_invalidate_range_start(&unmap), 0);
	check_eq(mmu_notifier_outstanding(&mm, 0x1000), 2);
	mmu_notifier_change_pte(&mm, 0x1000, 78, false);
	check(s.repoints == 1 && s.zaps == 1);
	mmu_notifier_invalidate_range_end(&unmap);
	mmu_notifier_invalidate_range_end(&apart);
	mmu_notifier_change_pte(&mm, 0x1000, 79, false);
	check_eq(s.repoints, 2);
	mmu_notifier_invalidate_range_end(&change);
	check_eq(mmu_notifier_outstanding(&mm, 0x1000), 0);
	mmu_notifier_unregister(&s.mn);
	mmu_notifier_unregister(&tlb.mn);
}
