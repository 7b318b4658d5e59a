// SPDX-License-Identifier: BSD-2-Clause
/* List notifiers that come and go: register, get and put, unregister and release, beside brackets that are open. */
#include "mmu/notify/notifier.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>

#include "tests/unit/notifier_sub.h"

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

static void *open_bracket(void *arg)
{
	struct mmu_notifier_range mine;

	(void)arg;
	mmu_notifier_range_init(&mine, MMU_NOTIFY_CLEAR, &mm, 0x1000, 0x3000);
	expect(mmu_notifier_invalidate_range_start(&mine) == 0);
	mmu_notifier_invalidate_range_end(&mine);
	return NULL;
}

/* M12: unregister returns only when no callback runs any more, and the rest of the list stays in reach of it. */
UTEST(notifier, unregister_waits_for_a_callback, .init = init, .fini = fini)
{
	static struct gate gate = GATE_INIT;
	struct sub last = { .mn.ops = &both_ops },
		   slow = { .mn.ops = &both_ops, .start_gate = &gate };
	struct leaver leaver = { .s = &slow };
	pthread_t bracket, remove;

	check_eq(mmu_notifier_register(&last.mn, &mm), 0);
	check_eq(mmu_notifier_register(&slow.mn, &mm), 0);
	gate_arm(&gate);
	bracket = rig_thread(open_bracket, NULL);
	gate_wait(&gate);
	remove = rig_thread(unregister, &leaver);
	while (!atomic_load(&slow.releases))
		sched_yield();
	/* Off the list, so later brackets do not stop at the gate. */
	while (atomic_load(&mm.first) != &last.mn)
		sched_yield();
	open_bracket(NULL);
	check(!atomic_load(&leaver.done));
	gate_open(&gate);
	rig_join(remove);
	rig_join(bracket);
	check(last.starts == 2 && last.ends == 2);
	mmu_notifier_unregister(&last.mn);
}

/* A subscriber of an mm sees brackets whole, also when it comes in the middle of one. */
struct comer {
	struct rig *r;
	struct sub *s;
	atomic_bool done;
};

static void *zap_all(void *arg)
{
	struct rig *r = arg;

	expect(hostmm_zap(r->mm, rig_hva(r, 0), rig_hva(r, r->pages)) == 0);
	return NULL;
}

static void *come(void *arg)
{
	struct comer *c = arg;

	expect(hostmm_subscribe(c->r->mm, &c->s->mn) == 0);
	atomic_store(&c->done, true);
	return NULL;
}

UTEST(notifier, subscribe_waits_for_open_brackets)
{
	static struct gate gate = GATE_INIT;
	struct sub slow = { .mn.ops = &both_ops, .start_gate = &gate },
		   late = { .mn.ops = &both_ops };
	struct comer comer = { .r = NULL };
	pthread_t a, b;
	struct rig r;

	rig_up(&r, &(struct rig_opts){ .pages = 4 });
	comer.r = &r;
	comer.s = &late;
	check_eq(hostmm_subscribe(r.mm, &slow.mn), 0);
	gate_arm(&gate);
	a = rig_thread(zap_all, &r);
	gate_wait(&gate);
	b = rig_thread(come, &comer);
	for (int i = 0; i < 1000; i++)
		sched_yield();
	check(!atomic_load(&comer.done));
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
	struct sub s = { .release_gate = &gate };
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
	sub_of(mn)->release_gate = &gate;
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
