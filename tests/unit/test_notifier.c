// SPDX-License-Identifier: BSD-2-Clause
/* List notifiers, what notifier.c has not: exclusion, get and put, release, young, change_pte, both kinds together. */
#include "mmu/notify/interval.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>

#include "tests/rig.h"
#include "tests/test.h"

struct sub {
	struct mmu_notifier mn;
	atomic_uint starts, ends, releases, repoints, zaps, tlbs;
	bool young;
	int refuse;
	struct gate *gate; /* passed in release */
	fn_t fn;
};

static struct sub *sub_of(struct mmu_notifier *mn)
{
	return (struct sub *)mn;
}

static int sub_start(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	atomic_fetch_add(&sub_of(mn)->starts, 1);
	return mmu_notifier_range_is_own(range, mn) ? 0 : sub_of(mn)->refuse;
}

static void sub_end(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	(void)range;
	atomic_fetch_add(&sub_of(mn)->ends, 1);
}

static void sub_release(struct mmu_notifier *mn)
{
	if (sub_of(mn)->gate)
		gate_pass(sub_of(mn)->gate);
	atomic_fetch_add(&sub_of(mn)->releases, 1);
}

static bool sub_clear_young(struct mmu_notifier *mn, hva_t start, hva_t end)
{
	bool was = sub_of(mn)->young;

	(void)start;
	(void)end;
	sub_of(mn)->young = false;
	return was;
}

static bool sub_test_young(struct mmu_notifier *mn, hva_t addr)
{
	(void)addr;
	return sub_of(mn)->young;
}

static void sub_change_pte(struct mmu_notifier *mn, hva_t addr, fn_t fn, bool writable)
{
	(void)writable;
	if (mmu_notifier_may_repoint(mn, addr))
		atomic_fetch_add(&sub_of(mn)->repoints, 1);
	else
		atomic_fetch_add(&sub_of(mn)->zaps, 1);
	sub_of(mn)->fn = fn;
}

static void sub_tlbs(struct mmu_notifier *mn, hva_t start, hva_t end)
{
	(void)start;
	(void)end;
	atomic_fetch_add(&sub_of(mn)->tlbs, 1);
}

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

static void init(void)
{
	mmu_notifier_subscriptions_init(&mm);
	mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, &mm, 0x1000, 0x3000);
}

static void fini(void)
{
	mmu_notifier_subscriptions_fini(&mm);
}

static void subscribe(struct sub *s, const struct mmu_notifier_ops *ops)
{
	s->mn.ops = ops;
	check_eq(mmu_notifier_register(&s->mn, &mm), 0);
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

/* ---- get and put ---- */

static unsigned allocated, freed;

static struct mmu_notifier *sub_alloc(struct mmu_notifier_subscriptions *of)
{
	struct sub *s = calloc(1, sizeof(*s));

	(void)of;
	check(s);
	allocated++;
	return &s->mn;
}

static struct mmu_notifier *no_alloc(struct mmu_notifier_subscriptions *of)
{
	(void)of;
	return NULL;
}

static void sub_free(struct mmu_notifier *mn)
{
	freed++;
	expect(sub_of(mn)->releases == 0);
	free(sub_of(mn));
}

/* Inside a callback, which is where a put is needed that does not wait. */
static int put_start(struct mmu_notifier *mn, const struct mmu_notifier_range *r)
{
	(void)r;
	mmu_notifier_put(mn);
	expect(freed == 0);
	return 0;
}

static const struct mmu_notifier_ops get_ops = { .release = sub_release,
						 .alloc_notifier = sub_alloc,
						 .free_notifier = sub_free };
static const struct mmu_notifier_ops put_ops = { .invalidate_range_start = put_start,
						 .alloc_notifier = sub_alloc,
						 .free_notifier = sub_free };

UTEST(notifier_get, one_per_ops_and_mm, .init = init, .fini = fini)
{
	static const struct mmu_notifier_ops no_memory = { .alloc_notifier = no_alloc,
							   .free_notifier = sub_free };
	struct mmu_notifier *a, *b, *c;

	allocated = freed = 0;
	check_eq(mmu_notifier_get(&a, &get_ops, &mm), 0);
	check_eq(mmu_notifier_get(&b, &get_ops, &mm), 0);
	check(a == b && allocated == 1);
	check_eq(mmu_notifier_get(&c, &put_ops, &mm), 0);
	check(c != a);
	check_eq(mmu_notifier_get(&b, &start_ops, &mm), -EINVAL);
	check_eq(mmu_notifier_get(&b, &no_memory, &mm), -ENOMEM);
	a->users = UINT_MAX;
	check_eq(mmu_notifier_get(&b, &get_ops, &mm), -EOVERFLOW);
	a->users = 2;
	mmu_notifier_put(a);
	mmu_notifier_synchronize(&mm);
	check_eq(freed, 0);
	mmu_notifier_put(a);
	check_eq(mmu_notifier_get(&b, &get_ops, &mm), 0); /* the old one is as good as gone */
	check(b != a && allocated == 3);
	mmu_notifier_synchronize(&mm);
	check_eq(freed, 1);
	mmu_notifier_put(b);
	mmu_notifier_put(c);
	mmu_notifier_subscriptions_fini(&mm); /* frees what was put */
	check_eq(freed, 3);
	init();
}

UTEST(notifier_get, put_inside_a_callback, .init = init, .fini = fini)
{
	struct mmu_notifier *mn;

	allocated = freed = 0;
	check_eq(mmu_notifier_get(&mn, &put_ops, &mm), 0);
	check_eq(mmu_notifier_invalidate_range_start(&range), 0);
	mmu_notifier_invalidate_range_end(&range);
	check(!atomic_load(&mm.first));
	mmu_notifier_synchronize(&mm);
	check_eq(freed, 1);
}

/* Each that is freed puts the next one: there is always something to free. */
static void free_and_put(struct mmu_notifier *mn);

static const struct mmu_notifier_ops chain_ops = { .alloc_notifier = sub_alloc,
						   .free_notifier = free_and_put };

static void free_and_put(struct mmu_notifier *mn)
{
	struct mmu_notifier *next;

	if (++freed < 100) {
		expect(mmu_notifier_get(&next, &chain_ops, &mm) == 0 && next != mn);
		mmu_notifier_put(next);
	}
	free(sub_of(mn));
}

UTEST(notifier_get, synchronize_ends_under_continuous_puts, .init = init, .fini = fini)
{
	struct mmu_notifier *mn;

	allocated = freed = 0;
	check_eq(mmu_notifier_get(&mn, &chain_ops, &mm), 0);
	mmu_notifier_put(mn);
	for (unsigned n = 1; n <= 100; n++) {
		mmu_notifier_synchronize(&mm);
		check_eq(freed, n);
	}
	check(!mm.dying && mm.grabs == 0);
}

/* ---- release ---- */

UTEST(notifier_release, death_then_unregister, .init = init, .fini = fini)
{
	struct sub a = { 0 }, b = { 0 }, late = { .mn.ops = &full_ops };
	struct mmu_notifier *mn;

	subscribe(&a, &full_ops);
	subscribe(&b, &full_ops);
	mmu_notifier_release(&mm);
	check(a.releases == 1 && b.releases == 1);
	check(!atomic_load(&mm.first));
	check_eq(mmu_notifier_register(&late.mn, &mm), -EINVAL);
	check_eq(mmu_notifier_get(&mn, &put_ops, &mm), -EINVAL);
	check_eq(mmu_notifier_invalidate_range_start(&range), 0);
	mmu_notifier_invalidate_range_end(&range);
	check_eq(a.starts, 0);
	mmu_notifier_unregister(&a.mn);
	mmu_notifier_unregister(&b.mn);
	check(a.releases == 1 && b.releases == 1);
}

struct leaver {
	struct sub *s;
	atomic_bool done;
};

static void *unregister(void *arg)
{
	struct leaver *l = arg;

	mmu_notifier_unregister(&l->s->mn);
	atomic_store(&l->done, true);
	return NULL;
}

static void *die(void *arg)
{
	struct leaver *l = arg;

	mmu_notifier_release(&mm);
	atomic_store(&l->done, true);
	return NULL;
}

/*
 * unregister and death at the same time: one calls release, the other waits for it. And as long as release has not
 * let go of everything, the subscriber still hears of changes.
 */
static void race(void *(*first)(void *), void *(*second)(void *))
{
	static struct gate gate = GATE_INIT;
	struct sub s = { .gate = &gate };
	struct leaver a = { .s = &s }, b = { .s = &s };
	pthread_t ta, tb;

	subscribe(&s, &full_ops);
	gate_arm(&gate);
	ta = rig_thread(first, &a);
	gate_wait(&gate);
	tb = rig_thread(second, &b);
	for (int i = 0; i < 100; i++) {
		check_eq(mmu_notifier_invalidate_range_start(&range), 0);
		mmu_notifier_invalidate_range_end(&range);
		sched_yield();
	}
	check(s.starts == 100 && s.ends == 100);
	check(!atomic_load(&a.done) && !atomic_load(&b.done));
	gate_open(&gate);
	rig_join(ta);
	rig_join(tb);
	check_eq(s.releases, 1);
	check_eq(mm.grabs, 0);
}

UTEST(notifier_release, death_during_unregister, .init = init, .fini = fini)
{
	race(unregister, die);
}

UTEST(notifier_release, unregister_during_death, .init = init, .fini = fini)
{
	race(die, unregister);
}

static void free_released(struct mmu_notifier *mn)
{
	expect(sub_of(mn)->releases == 1);
	freed++;
	free(sub_of(mn));
}

static const struct mmu_notifier_ops released_ops = { .release = sub_release,
						      .alloc_notifier = sub_alloc,
						      .free_notifier = free_released };

/* The mm is dead and the notifier released, or nearly, but still on the list: nobody gets it. */
UTEST(notifier_release, get_during_death, .init = init, .fini = fini)
{
	static struct gate gate = GATE_INIT;
	struct leaver dead = { 0 };
	struct mmu_notifier *mn, *late = NULL;
	pthread_t t;

	allocated = freed = 0;
	check_eq(mmu_notifier_get(&mn, &released_ops, &mm), 0);
	sub_of(mn)->gate = &gate;
	gate_arm(&gate);
	t = rig_thread(die, &dead);
	gate_wait(&gate);
	check_eq(mmu_notifier_get(&late, &released_ops, &mm), -EINVAL);
	check(!late && mn->users == 1 && allocated == 1);
	check_eq(mmu_notifier_get(&late, &put_ops, &mm), -EINVAL); /* nothing is allocated for it */
	check_eq(allocated, 1);
	gate_open(&gate);
	rig_join(t);
	mmu_notifier_put(mn);
	mmu_notifier_synchronize(&mm);
	check_eq(freed, 1);
}
