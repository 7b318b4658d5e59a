// SPDX-License-Identifier: BSD-2-Clause
/* What debug builds check of those who use notifiers: begin and retry, start and end, locks. Rows A32, A37. */
#include <signal.h>

#include "mmu/notify/interval.h"
#include "tests/rig.h"
#include "tests/test.h"

static struct mmu_notifier_subscriptions mm;
static struct mmu_notifier_range range;
static struct mmu_interval_notifier in;
static struct lock user_lock;
static struct rwlock user_rwlock;

static bool invalidate(struct mmu_interval_notifier *sub, const struct mmu_notifier_range *r,
		       uint64_t cur_seq)
{
	(void)r;
	lock_acquire(&user_lock);
	mmu_interval_set_seq(sub, cur_seq);
	lock_release(&user_lock);
	return true;
}

static const struct mmu_interval_notifier_ops in_ops = { .invalidate = invalidate };

static void init(void)
{
	mmu_notifier_subscriptions_init(&mm);
	lock_init(&user_lock);
	rwlock_init(&user_rwlock);
	in = (struct mmu_interval_notifier){ .user_lock = &user_lock };
	check(!mmu_interval_notifier_insert(&in, &mm, 0x1000, 0x1000, &in_ops));
	mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, &mm, 0x1000, 0x3000);
}

static void fini(void)
{
	mmu_interval_notifier_remove(&in);
	mmu_notifier_subscriptions_fini(&mm);
	rwlock_fini(&user_rwlock);
	lock_fini(&user_lock);
}

#define CHECKED .init = init, .fini = fini

/* @fn breaks a rule: nobody looks in release builds, where that may end in any way. */
static void breaks(void (*fn)(void *))
{
#ifdef UMBRA_DEBUG
	check_eq(test_signal_of(fn, NULL), SIGABRT);
#else
	(void)fn;
#endif
}

static void passes(void (*fn)(void *))
{
	check_eq(test_signal_of(fn, NULL), 0);
}

static bool retry_locked(uint64_t seq)
{
	bool retry;

	lock_acquire(&user_lock);
	retry = mmu_interval_read_retry(&in, seq);
	lock_release(&user_lock);
	return retry;
}

static void start(void)
{
	check(!mmu_notifier_invalidate_range_start(&range));
}

static void end(void)
{
	mmu_notifier_invalidate_range_end(&range);
}

/* ---- Begin and retry ---- */

static void read_as_told(void *arg)
{
	(void)arg;
	(void)mmu_interval_read_begin(&in); /* abandoned */
	retry_locked(mmu_interval_read_begin(&in));
}

static void retry_without_lock(void *arg)
{
	(void)arg;
	mmu_interval_read_retry(&in, mmu_interval_read_begin(&in));
}

static void retry_without_begin(void *arg)
{
	(void)arg;
	retry_locked(1);
}

static void retry_twice(void *arg)
{
	uint64_t seq = mmu_interval_read_begin(&in);

	(void)arg;
	retry_locked(seq);
	retry_locked(seq);
}

static void retry_with_another_number(void *arg)
{
	(void)arg;
	retry_locked(mmu_interval_read_begin(&in) + 2);
}

static void set_without_lock(void *arg)
{
	(void)arg;
	mmu_interval_set_seq(&in, 3);
}

static void begin_inside_a_bracket(void *arg)
{
	(void)arg;
	start();
	(void)mmu_interval_read_begin(&in); /* would wait for itself */
}

static void remove_inside_a_bracket(void *arg)
{
	(void)arg;
	start();
	mmu_interval_notifier_remove(&in);
}

static void retry_without_rwlock(void *arg)
{
	(void)arg;
	in.user_lock = NULL;
	in.user_rwlock = &user_rwlock;
	mmu_interval_read_retry(&in, mmu_interval_read_begin(&in));
}

static void retry_with_rwlock(void *arg)
{
	uint64_t seq = mmu_interval_read_begin(&in);

	(void)arg;
	in.user_lock = NULL;
	in.user_rwlock = &user_rwlock;
	rwlock_read_acquire(&user_rwlock);
	mmu_interval_read_retry(&in, seq);
	rwlock_read_release(&user_rwlock);
}

UTEST(notify_pairs, begin_and_retry, CHECKED)
{
	passes(read_as_told);
	passes(retry_with_rwlock);
	breaks(retry_without_lock);
	breaks(retry_without_rwlock);
	breaks(retry_without_begin);
	breaks(retry_twice);
	breaks(retry_with_another_number);
	breaks(set_without_lock);
	breaks(begin_inside_a_bracket);
	breaks(remove_inside_a_bracket);
}

/* ---- Start and end ---- */

static void end_twice(void *arg)
{
	(void)arg;
	start();
	end();
	end();
}

static void start_twice(void *arg)
{
	(void)arg;
	start();
	start();
}

static void *end_in_thread(void *arg)
{
	(void)arg;
	end();
	return NULL;
}

static void end_elsewhere(void *arg)
{
	(void)arg;
	start();
	rig_join(rig_thread(end_in_thread, NULL));
}

static void never_end(void *arg)
{
	(void)arg;
	start();
	mmu_interval_notifier_remove(&in);
	mmu_notifier_subscriptions_fini(&mm);
}

static void empty_range(void *arg)
{
	(void)arg;
	range.end = range.start;
	start();
}

static void nest(void *arg)
{
	struct mmu_notifier_range inner;

	(void)arg;
	mmu_notifier_range_init(&inner, MMU_NOTIFY_CLEAR, &mm, 0x2000, 0x9000);
	start();
	check(!mmu_notifier_invalidate_range_start(&inner));
	end();
	mmu_notifier_invalidate_range_end(&inner);
}

UTEST(notify_pairs, start_and_end, CHECKED)
{
	passes(nest);
	breaks(end_twice);
	breaks(start_twice);
	breaks(end_elsewhere);
	breaks(never_end);
	breaks(empty_range);
}
