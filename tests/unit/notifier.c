// SPDX-License-Identifier: BSD-2-Clause
/* List notifiers: who is called, in which order, and how a refusal is unwound. */
#include "mmu/notify/notifier.h"

#include <errno.h>
#include <signal.h>

#include "tests/rig.h"
#include "tests/test.h"

struct sub {
	struct mmu_notifier mn;
	atomic_uint starts, ends, releases;
	int refuse;
	struct gate *gate;
};

static struct sub *sub_of(struct mmu_notifier *mn)
{
	return (struct sub *)mn;
}

static int sub_start(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	(void)range;
	atomic_fetch_add(&sub_of(mn)->starts, 1);
	if (sub_of(mn)->gate)
		gate_pass(sub_of(mn)->gate);
	return sub_of(mn)->refuse;
}

static void sub_end(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	(void)range;
	atomic_fetch_add(&sub_of(mn)->ends, 1);
}

static void sub_release(struct mmu_notifier *mn)
{
	atomic_fetch_add(&sub_of(mn)->releases, 1);
}

static const struct mmu_notifier_ops both_ops = { .invalidate_range_start = sub_start,
						  .invalidate_range_end = sub_end,
						  .release = sub_release };
static const struct mmu_notifier_ops start_ops = { .invalidate_range_start = sub_start };
static const struct mmu_notifier_ops end_ops = { .invalidate_range_end = sub_end };

static struct mmu_notifier_subscriptions mm;
static struct mmu_notifier_range range;

static void init(void)
{
	mmu_notifier_subscriptions_init(&mm);
	mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, &mm, 0x1000, 0x3000);
}

static void fini(void)
{
	mmu_notifier_subscriptions_fini(&mm);
}

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

static void *open_bracket(void *arg)
{
	struct mmu_notifier_range mine;

	(void)arg;
	mmu_notifier_range_init(&mine, MMU_NOTIFY_CLEAR, &mm, 0x1000, 0x3000);
	expect(mmu_notifier_invalidate_range_start(&mine) == 0);
	mmu_notifier_invalidate_range_end(&mine);
	return NULL;
}

static atomic_bool unregistered;

static void *unregister(void *arg)
{
	mmu_notifier_unregister(arg);
	atomic_store(&unregistered, true);
	return NULL;
}

/* M12: unregister returns only when no callback runs any more, and the rest of the list stays in reach of it. */
UTEST(notifier, unregister_waits_for_a_callback, .init = init, .fini = fini)
{
	static struct gate gate = GATE_INIT;
	struct sub last = { .mn.ops = &both_ops }, slow = { .mn.ops = &both_ops, .gate = &gate };
	pthread_t bracket, remove;

	check_eq(mmu_notifier_register(&last.mn, &mm), 0);
	check_eq(mmu_notifier_register(&slow.mn, &mm), 0);
	gate_arm(&gate);
	bracket = rig_thread(open_bracket, NULL);
	gate_wait(&gate);
	atomic_store(&unregistered, false);
	remove = rig_thread(unregister, &slow.mn);
	while (!atomic_load(&slow.releases))
		sched_yield();
	/* Off the list, so later brackets do not stop at the gate. */
	while (atomic_load(&mm.first) != &last.mn)
		sched_yield();
	open_bracket(NULL);
	check(!atomic_load(&unregistered));
	gate_open(&gate);
	rig_join(remove);
	rig_join(bracket);
	check(last.starts == 2 && last.ends == 2);
	mmu_notifier_unregister(&last.mn);
}

/* A subscriber of an mm sees brackets whole, also when it comes in the middle of one. */
struct zapper {
	struct rig *r;
	struct sub *sub;
};

static void *zap_all(void *arg)
{
	struct rig *r = arg;

	expect(hostmm_zap(r->mm, rig_hva(r, 0), rig_hva(r, r->pages)) == 0);
	return NULL;
}

static void *subscribe(void *arg)
{
	struct zapper *z = arg;

	expect(hostmm_subscribe(z->r->mm, &z->sub->mn) == 0);
	atomic_store(&unregistered, true);
	return NULL;
}

UTEST(notifier, subscribe_waits_for_open_brackets)
{
	static struct gate gate = GATE_INIT;
	struct sub slow = { .mn.ops = &both_ops, .gate = &gate }, late = { .mn.ops = &both_ops };
	struct zapper z;
	pthread_t a, b;
	struct rig r;

	rig_up(&r, &(struct rig_opts){ .pages = 4 });
	z = (struct zapper){ .r = &r, .sub = &late };
	check_eq(hostmm_subscribe(r.mm, &slow.mn), 0);
	gate_arm(&gate);
	a = rig_thread(zap_all, &r);
	gate_wait(&gate);
	atomic_store(&unregistered, false);
	b = rig_thread(subscribe, &z);
	for (int i = 0; i < 1000; i++)
		sched_yield();
	check(!atomic_load(&unregistered));
	gate_open(&gate);
	rig_join(a);
	rig_join(b);
	check(late.starts == 0 && late.ends == 0);
	zap_all(&r);
	check(late.starts == 1 && late.ends == 1);
	mmu_notifier_unregister(&late.mn);
	mmu_notifier_unregister(&slow.mn);
	rig_down(&r);
}
