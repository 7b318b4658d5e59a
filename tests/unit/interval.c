// SPDX-License-Identifier: BSD-2-Clause
/* Interval notifiers, one rule a test, all rules in one file. Rows A32..A38, mutants M11..M13. */
#include "mmu/notify/interval.h"

#include <errno.h>
#include <sched.h>

#include "tests/rig.h"
#include "tests/test.h"

struct sub {
	struct mmu_interval_notifier in;
	struct lock lock;
	unsigned hits;
	uint64_t seq; /* of the last hit */
	bool refuse;
	struct gate *gate;
};

static struct sub *sub_of(struct mmu_interval_notifier *in)
{
	return (struct sub *)in;
}

static bool invalidate(struct mmu_interval_notifier *in, const struct mmu_notifier_range *range,
		       uint64_t cur_seq)
{
	struct sub *s = sub_of(in);

	(void)range;
	s->hits++;
	s->seq = cur_seq;
	if (s->gate)
		gate_pass(s->gate);
	if (s->refuse)
		return false;
	lock_acquire(&s->lock);
	mmu_interval_set_seq(in, cur_seq);
	lock_release(&s->lock);
	return true;
}

static const struct mmu_interval_notifier_ops ops = { .invalidate = invalidate };

static struct mmu_notifier_subscriptions mm;

static void init(void)
{
	mmu_notifier_subscriptions_init(&mm);
}

static void fini(void)
{
	mmu_notifier_subscriptions_fini(&mm);
}

static void insert(struct sub *s, hva_t start, uint64_t length)
{
	lock_init(&s->lock);
	s->in.user_lock = &s->lock;
	check_eq(mmu_interval_notifier_insert(&s->in, &mm, start, length, &ops), 0);
}

static void remove_sub(struct sub *s)
{
	mmu_interval_notifier_remove(&s->in);
	lock_fini(&s->lock);
}

static void start(struct mmu_notifier_range *range, hva_t from, hva_t to)
{
	mmu_notifier_range_init(range, MMU_NOTIFY_CLEAR, &mm, from, to);
	check_eq(mmu_notifier_invalidate_range_start(range), 0);
}

static bool retry(struct sub *s, uint64_t seq)
{
	bool must;

	lock_acquire(&s->lock);
	must = mmu_interval_read_retry(&s->in, seq);
	lock_release(&s->lock);
	return must;
}

#define end mmu_notifier_invalidate_range_end

/* ---- Ranges ---- */

UTEST(interval, refuses_ranges_that_are_none, .init = init, .fini = fini)
{
	static const struct mmu_interval_notifier_ops no_ops;
	struct sub s = { 0 };

	check_eq(mmu_interval_notifier_insert(&s.in, &mm, 0x1000, 0, &ops), -EOVERFLOW);
	check_eq(mmu_interval_notifier_insert(&s.in, &mm, 0x1000, UINT64_MAX, &ops), -EOVERFLOW);
	/* The kernel takes this one: its last is inclusive. */
	check_eq(mmu_interval_notifier_insert(&s.in, &mm, UINT64_MAX, 1, &ops), -EOVERFLOW);
	check_eq(mmu_interval_notifier_insert(&s.in, &mm, 0x1000, 1, &no_ops), -EINVAL);
	insert(&s, UINT64_MAX - 1, 1);
	remove_sub(&s);
	check_eq(mm.grabs, 0);
}

UTEST(interval, hears_of_what_meets_it, .init = init, .fini = fini)
{
	struct sub s = { 0 };
	struct mmu_notifier_range range;

	insert(&s, 0x2000, 0x2000);
	start(&range, 0x1000, 0x2000);
	check_eq(mm.invalidate_seq, 2); /* active, even */
	end(&range);
	start(&range, 0x4000, 0x5000);
	end(&range);
	check_eq(s.hits, 0);
	start(&range, 0x3000, 0x9000);
	check_eq(s.hits, 1);
	check_eq(s.seq, 3);
	end(&range);
	check_eq(mm.invalidate_seq, 4);
	start(&range, 0x1000, 0x2001);
	check_eq(s.hits, 2);
	end(&range);
	remove_sub(&s);
}

/* ---- Sequences (A35) ---- */

UTEST(interval, first_sequence_is_odd_and_not_current, .init = init, .fini = fini)
{
	struct sub s = { 0 };
	uint64_t seq;

	insert(&s, 0x1000, 0x1000);
	seq = mmu_interval_read_begin(&s.in);
	check_eq(seq, 1);
	check(!mmu_interval_check_retry(&s.in, seq));
	check(!retry(&s, seq));
	remove_sub(&s);
}

/* Every step over the end of the numbers works as any other. M6, M13. */
static void walk_over(uint64_t first)
{
	struct mmu_notifier_range range;
	struct sub s = { 0 }, late = { 0 };
	uint64_t seq;

	mmu_notifier_subscriptions_set_seq(&mm, first);
	insert(&s, 0x1000, 0x1000);
	for (uint64_t i = 0; i < 8; i++) {
		seq = mmu_interval_read_begin(&s.in);
		check(!retry(&s, seq));
		seq = mmu_interval_read_begin(&s.in);
		start(&range, 0x1000, 0x2000);
		check_eq(mm.invalidate_seq, first + 2 * i + 1);
		check(mmu_interval_check_retry(&s.in, seq));
		check(retry(&s, seq));
		end(&range);
		check_eq(mm.invalidate_seq, first + 2 * i + 2);
		/* Inserted at each number, also at 0. */
		insert(&late, 0x1000, 0x1000);
		check_eq(late.in.invalidate_seq, first + 2 * i + 1);
		seq = mmu_interval_read_begin(&late.in);
		check(!retry(&late, seq));
		remove_sub(&late);
	}
	remove_sub(&s);
}

UTEST(interval, sequence_wraps, .init = init, .fini = fini)
{
	walk_over(UINT64_MAX - 7);
	walk_over((1UL << 31) - 8);
	walk_over((1UL << 32) - 8);
	walk_over(0);
}

/* Two brackets in one odd window write one number; a later window another. */
UTEST(interval, one_window_one_number, .init = init, .fini = fini)
{
	struct mmu_notifier_range a, b;
	struct sub s = { 0 };

	insert(&s, 0x1000, 0x4000);
	start(&a, 0x1000, 0x2000);
	start(&b, 0x2000, 0x3000);
	check(s.hits == 2 && s.seq == 3);
	end(&a);
	check_eq(mm.invalidate_seq, 3); /* the last one ends it */
	start(&a, 0x1000, 0x2000);
	check_eq(s.seq, 3);
	end(&b);
	end(&a);
	check_eq(mm.invalidate_seq, 4);
	start(&a, 0x1000, 0x2000);
	check_eq(s.seq, 5);
	end(&a);
	remove_sub(&s);
}

/* ---- Threads that wait ---- */

struct waiter {
	struct sub *s;
	uint64_t seq;
	atomic_bool done;
};

static void *begin_in_thread(void *arg)
{
	struct waiter *w = arg;

	w->seq = mmu_interval_read_begin(&w->s->in);
	atomic_store(&w->done, true);
	retry(w->s, w->seq);
	return NULL;
}

static void *remove_in_thread(void *arg)
{
	struct waiter *w = arg;

	mmu_interval_notifier_remove(&w->s->in);
	atomic_store(&w->done, true);
	return NULL;
}

static void wait_for_waiters(uint64_t n)
{
	for (;;) {
		uint64_t now;

		lock_acquire(&mm.lock);
		now = mm.waiters;
		lock_release(&mm.lock);
		if (now == n)
			return;
		sched_yield();
	}
}

UTEST(interval, reader_waits_for_the_window, .init = init, .fini = fini)
{
	struct mmu_notifier_range a, b;
	struct sub s = { 0 }, other = { 0 };
	struct waiter w = { .s = &s };
	pthread_t t;

	insert(&s, 0x1000, 0x1000);
	insert(&other, 0x8000, 0x1000);
	start(&a, 0x1000, 0x2000);
	start(&b, 0x8000, 0x9000);
	t = rig_thread(begin_in_thread, &w);
	wait_for_waiters(1);
	/* The price: the bracket over the other one holds it, too. */
	end(&a);
	check(!atomic_load(&w.done));
	end(&b);
	rig_join(t);
	check_eq(w.seq, 3);
	remove_sub(&s);
	remove_sub(&other);
}

/* A node that no bracket has met does not wait for those that others wait for. */
UTEST(interval, reader_of_another_range_goes_on, .init = init, .fini = fini)
{
	struct mmu_notifier_range range;
	struct sub s = { 0 }, other = { 0 };

	insert(&s, 0x1000, 0x1000);
	insert(&other, 0x8000, 0x1000);
	start(&range, 0x1000, 0x2000);
	struct waiter w = { .s = &other };

	rig_join(rig_thread(begin_in_thread, &w));
	check_eq(w.seq, 1);
	end(&range);
	remove_sub(&s);
	remove_sub(&other);
}

/* ---- Deferred insert and remove (A34, A38) ---- */

UTEST(interval, insert_into_a_frozen_tree_is_deferred, .init = init, .fini = fini)
{
	struct mmu_notifier_range range, second;
	struct sub s = { 0 }, late = { 0 };
	struct waiter w = { .s = &late };
	pthread_t t;

	insert(&s, 0x1000, 0x1000);
	start(&range, 0x1000, 0x2000);
	insert(&late, 0x1000, 0x1000);
	check(!late.in.is_in_tree);
	t = rig_thread(begin_in_thread, &w); /* only a reader may build entries, and it waits */
	wait_for_waiters(1);
	start(&second, 0x1000, 0x2000);
	check_eq(late.hits, 0); /* frozen: not in sight */
	end(&second);
	check(!late.in.is_in_tree && !atomic_load(&w.done));
	end(&range);
	rig_join(t);
	check(late.in.is_in_tree);
	start(&range, 0x1000, 0x2000);
	check_eq(late.hits, 1);
	end(&range);
	remove_sub(&s);
	remove_sub(&late);
}

/* The bracket that met nobody is not remembered, so the newcomer counts as met. */
UTEST(interval, insert_beside_a_bracket_without_hits, .init = init, .fini = fini)
{
	struct mmu_notifier_range range;
	struct sub s = { 0 }, first = { 0 };
	struct waiter w = { .s = &s };
	pthread_t t;

	insert(&first, 0x100000, 0x1000);
	start(&range, 0x1000, 0x2000);
	check_eq(mm.invalidate_seq, 2);
	insert(&s, 0x1000, 0x1000);
	check_eq(mm.invalidate_seq, 3);
	check(s.in.is_in_tree);
	t = rig_thread(begin_in_thread, &w);
	wait_for_waiters(1);
	check(!atomic_load(&w.done));
	end(&range);
	rig_join(t);
	remove_sub(&s);
	remove_sub(&first);
}

UTEST(interval, remove_takes_back_a_deferred_insert, .init = init, .fini = fini)
{
	struct mmu_notifier_range range;
	struct sub s = { 0 }, late[3] = { 0 };
	struct waiter w = { 0 };

	insert(&s, 0x1000, 0x1000);
	start(&range, 0x1000, 0x2000);
	for (int i = 0; i < 3; i++)
		insert(&late[i], 0x1000, 0x1000);
	w.s = &late[1];
	rig_join(rig_thread(remove_in_thread, &w)); /* does not wait */
	end(&range);
	check(late[0].in.is_in_tree && !late[1].in.is_in_tree && late[2].in.is_in_tree);
	remove_sub(&late[0]);
	remove_sub(&late[2]);
	remove_sub(&s);
}

/* M12: remove returns when no bracket can call the subscription any more. */
UTEST(interval, remove_from_a_frozen_tree_waits, .init = init, .fini = fini)
{
	struct mmu_notifier_range range, second;
	struct sub s = { 0 }, other = { 0 };
	struct waiter w = { .s = &s };
	pthread_t t;

	insert(&s, 0x1000, 0x1000);
	insert(&other, 0x8000, 0x1000);
	start(&range, 0x8000, 0x9000);
	t = rig_thread(remove_in_thread, &w);
	wait_for_waiters(1);
	check(s.in.is_in_tree && s.in.is_deferred && !atomic_load(&w.done));
	start(&second, 0x1000, 0x2000);
	check_eq(s.hits, 1); /* still there, still told */
	end(&range);
	check(!atomic_load(&w.done));
	end(&second);
	rig_join(t);
	check(!s.in.is_in_tree);
	start(&range, 0x1000, 0x2000);
	check_eq(s.hits, 1);
	end(&range);
	remove_sub(&other);
}

static void *bracket_in_thread(void *arg)
{
	struct mmu_notifier_range range;

	(void)arg;
	start(&range, 0x1000, 0x2000);
	end(&range);
	return NULL;
}

/* The tree is walked without a lock while others insert and remove beside it. */
UTEST(interval, tree_stays_put_under_a_callback, .init = init, .fini = fini)
{
	static struct gate gate = GATE_INIT;
	struct sub subs[16] = { 0 }, late[16] = { 0 };
	struct waiter w[16] = { 0 };
	pthread_t t, removers[16];

	for (int i = 0; i < 16; i++)
		insert(&subs[i], 0x1000, 0x1000);
	subs[0].gate = &gate;
	gate_arm(&gate);
	t = rig_thread(bracket_in_thread, NULL);
	gate_wait(&gate);
	for (int i = 0; i < 16; i++) {
		insert(&late[i], 0x1000, 0x1000);
		w[i].s = &subs[i];
		removers[i] = rig_thread(remove_in_thread, &w[i]);
	}
	wait_for_waiters(16);
	gate_open(&gate);
	rig_join(t);
	for (int i = 0; i < 16; i++) {
		rig_join(removers[i]);
		check(subs[i].hits == 1 && late[i].hits == 0);
		remove_sub(&late[i]);
	}
}

/* ---- Refusals (A36) ---- */

UTEST(interval, refusal_backs_out, .init = init, .fini = fini)
{
	struct mmu_notifier_range range;
	struct sub subs[3] = { 0 };

	for (int i = 0; i < 3; i++)
		insert(&subs[i], 0x1000, 0x1000);
	subs[1].refuse = true;
	mmu_notifier_range_init(&range, MMU_NOTIFY_UNMAP, &mm, 0x1000, 0x2000);
	range.flags = 0;
	check_eq(mmu_notifier_invalidate_range_start(&range), -EAGAIN);
	check(subs[0].hits == 1 && subs[1].hits == 1 && subs[2].hits == 0);
	check(mm.active == 0 && mm.invalidate_seq == 4);
	check_eq(mmu_notifier_misuses(&mm), 0);
	/* Nobody waits for what did not begin. */
	check_eq(mmu_interval_read_begin(&subs[0].in), 3);
	subs[1].refuse = false;
	check_eq(mmu_notifier_invalidate_range_start(&range), 0);
	end(&range);
	for (int i = 0; i < 3; i++)
		remove_sub(&subs[i]);
}

UTEST(interval, refusal_of_a_blockable_range_is_counted, .init = init, .fini = fini)
{
	struct mmu_notifier_range range;
	struct sub subs[3] = { 0 };

	for (int i = 0; i < 3; i++)
		insert(&subs[i], 0x1000, 0x1000);
	subs[1].refuse = true;
	start(&range, 0x1000, 0x2000);
	check(subs[0].hits == 1 && subs[1].hits == 1 && subs[2].hits == 1);
	check_eq(mm.active, 1);
	end(&range);
	check_eq(mmu_notifier_misuses(&mm), 1);
	for (int i = 0; i < 3; i++)
		remove_sub(&subs[i]);
}

/* ---- Death, and the lock against brackets (A37) ---- */

UTEST(interval, release_reaches_everybody, .init = init, .fini = fini)
{
	struct sub low = { 0 }, high = { 0 }, late = { 0 };

	insert(&low, 0, 1);
	insert(&high, UINT64_MAX - 1, 1);
	mmu_notifier_release(&mm);
	check(low.hits == 1 && high.hits == 1);
	check_eq(mmu_interval_notifier_insert(&late.in, &mm, 0, 1, &ops), -EINVAL);
	remove_sub(&low);
	remove_sub(&high);
}

UTEST(interval, first_insert_shuts_brackets_out, .init = init, .fini = fini)
{
	struct rwlock mmap_lock;
	struct sub s = { 0 }, t = { 0 };

	rwlock_init(&mmap_lock);
	mmu_notifier_subscriptions_set_mmap_lock(&mm, &mmap_lock);
	rwlock_write_acquire(&mmap_lock);
	check_eq(mmu_interval_notifier_insert_locked(&s.in, &mm, 0, 1, &ops), 0);
	rwlock_write_release(&mmap_lock);
	/* From now on brackets count themselves, and nobody is shut out. */
	rwlock_read_acquire(&mmap_lock);
	check_eq(mmu_interval_notifier_insert(&t.in, &mm, 0, 1, &ops), 0);
	rwlock_read_release(&mmap_lock);
	mmu_interval_notifier_remove(&s.in);
	mmu_interval_notifier_remove(&t.in);
	rwlock_fini(&mmap_lock);
}
