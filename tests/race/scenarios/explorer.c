// SPDX-License-Identifier: BSD-2-Clause
/* The explorer on itself: races that everybody knows, to see that it finds them and names them right. */
#include <stdlib.h>

#include "tests/race/scenario.h"

static struct lock lock_a, lock_b;
static struct cond changed;
static _Atomic uint64_t word;
static _Atomic(uint64_t *) shared;

static void setup(void *ctx)
{
	(void)ctx;
	lock_init(&lock_a);
	lock_init(&lock_b);
	cond_init(&changed);
	atomic_init(&word, 0);
	atomic_init(&shared, malloc(sizeof(uint64_t)));
	*atomic_load(&shared) = 1;
}

static void finish(void *ctx)
{
	(void)ctx;
	free(atomic_load(&shared));
	lock_fini(&lock_a);
	lock_fini(&lock_b);
}

/* Two locks. */

static void take_both(struct lock *first, struct lock *second)
{
	lock_acquire(first);
	lock_acquire(second);
	explore_say("has both");
	lock_release(second);
	lock_release(first);
}

static void forwards(void *ctx)
{
	(void)ctx;
	take_both(&lock_a, &lock_b);
}

static void backwards(void *ctx)
{
	(void)ctx;
	if (race_variant_is("ordered"))
		take_both(&lock_a, &lock_b);
	else
		take_both(&lock_b, &lock_a);
}

const struct race_scenario explorer_two_locks = {
	.name = "explorer-two-locks",
	.rows = "explorer",
	.title = "Two locks in two orders",
	.question = "Does the explorer find the deadlock that every textbook has?",
	.lesson = "Each holds what the other waits for.",
	.variant = { { "ordered", RACE_PASS, 0, "both take A, then B" },
		     { "abba", RACE_DEADLOCK, 0, "one takes A, then B; the other B, then A" } },
	.program = { setup,
		     finish,
		     2,
		     { { "forwards", forwards }, { "backwards", backwards } },
		     NULL },
};

/* A sleeper and who wakes him. */

static void sleeper(void *ctx)
{
	(void)ctx;
	if (race_variant_is("checks-outside") && sync_load(&word))
		return;
	lock_acquire(&lock_a);
	if (race_variant_is("checks-outside"))
		cond_wait(&changed, &lock_a);
	else
		while (!sync_load(&word))
			cond_wait(&changed, &lock_a);
	lock_release(&lock_a);
	explore_say("is awake");
}

static void waker(void *ctx)
{
	(void)ctx;
	lock_acquire(&lock_a);
	sync_store_release(&word, 1);
	explore_say("wakes whoever sleeps");
	cond_broadcast(&changed);
	lock_release(&lock_a);
}

const struct race_scenario explorer_lost_wake = {
	.name = "explorer-lost-wake",
	.rows = "explorer",
	.title = "A wake-up that nobody hears",
	.question = "Does the explorer find a lost wake-up?",
	.lesson = "The wake came between the look and the sleep.",
	.variant = { { "checks-inside", RACE_PASS, 0,
		       "the sleeper looks at the condition under the lock" },
		     { "checks-outside", RACE_DEADLOCK, 0,
		       "the sleeper looks, then takes the lock, then sleeps" } },
	.program = { setup, finish, 2, { { "sleeper", sleeper }, { "waker", waker } }, NULL },
};

/* A grace period. */

static void reader(void *ctx)
{
	(void)ctx;
	sync_rcu_read_lock();
	uint64_t *p = sync_load_acquire(&shared);

	explore_mark(p, "the object");
	if (explore_is_freed(p))
		explore_fail("the reader holds freed memory");
	sync_rcu_read_unlock();
}

static void replacer(void *ctx)
{
	uint64_t *fresh = malloc(sizeof(*fresh));
	uint64_t *old = sync_exchange(&shared, fresh);

	(void)ctx;
	if (race_variant_is("waits"))
		sync_rcu_wait();
	explore_say("frees the old object");
	free(old);
}

const struct race_scenario explorer_grace = {
	.name = "explorer-grace",
	.rows = "explorer",
	.title = "Freed too early",
	.question = "Does the explorer find a use after free, and know a grace period?",
	.lesson =
		"The reader had found the object before it was replaced, and used it after it was freed.",
	.variant = { { "waits", RACE_PASS, 0, "replace, wait for a grace period, free" },
		     { "frees-at-once", RACE_VIOLATION, 0, "replace, free" } },
	.program = { setup, finish, 2, { { "reader", reader }, { "replacer", replacer } }, NULL },
};

/* A spinner. */

static void spinner(void *ctx)
{
	(void)ctx;
	if (race_variant_is("sleeps")) {
		sleeper(ctx);
		return;
	}
	while (!sync_load(&word))
		;
}

const struct race_scenario explorer_spin = {
	.name = "explorer-spin",
	.rows = "explorer",
	.title = "A loop that only others can end",
	.question = "Does the explorer tell a thread that spins without end from one that sleeps?",
	.lesson =
		"The spinner runs on and on while the other could end its wait, and is never made to yield.",
	.variant = { { "sleeps", RACE_PASS, 0, "the thread sleeps until the word changes" },
		     { "spins", RACE_DEADLOCK, 0, "the thread looks again and again" } },
	.program = { setup, finish, 2, { { "spinner", spinner }, { "waker", waker } }, NULL },
};

/* A spinner beside one who could run. */

static void adder(void *ctx)
{
	(void)ctx;
	sync_fetch_add(&word, 1);
}

static void spinner_for_two(void *ctx)
{
	(void)ctx;
	if (race_variant_is("looks-once"))
		sync_load(&word);
	else
		while (sync_load(&word) != 2)
			;
}

const struct race_scenario explorer_spin_beside = {
	.name = "explorer-spin-beside",
	.rows = "explorer",
	.title = "A loop beside a thread that could run",
	.question =
		"Does the explorer come to an end when each turn of an endless loop is a choice?",
	.lesson = "The second adder could end the loop at each turn, and is never made to run.",
	.variant = { { "looks-once", RACE_PASS, 0, "the thread looks, and goes on" },
		     { "spins", RACE_DEADLOCK, 0, "the thread looks until both have added" } },
	.program = { setup,
		     finish,
		     3,
		     { { "adder", adder }, { "spinner", spinner_for_two }, { "adder 2", adder } },
		     NULL },
};

/* A writer who waits. */

static struct rwlock readers_and_writers;

static void setup_waiting_writer(void *ctx)
{
	(void)ctx;
	rwlock_init(&readers_and_writers);
	lock_init(&lock_a);
}

static void reads_outside(void *ctx)
{
	(void)ctx;
	rwlock_read_acquire(&readers_and_writers);
	lock_acquire(&lock_a);
	lock_release(&lock_a);
	rwlock_read_release(&readers_and_writers);
}

static void reads_inside(void *ctx)
{
	if (race_variant_is("ordered")) {
		reads_outside(ctx);
		return;
	}
	lock_acquire(&lock_a);
	rwlock_read_acquire(&readers_and_writers);
	rwlock_read_release(&readers_and_writers);
	lock_release(&lock_a);
}

static void writes(void *ctx)
{
	(void)ctx;
	if (race_variant_is("readers-only"))
		return;
	rwlock_write_acquire(&readers_and_writers);
	explore_say("writes");
	rwlock_write_release(&readers_and_writers);
}

const struct race_scenario explorer_waiting_writer = {
	.name = "explorer-waiting-writer",
	.rows = "explorer",
	.title = "A reader behind a waiting writer",
	.question =
		"Does the explorer know that two readers can exclude each other, when a writer waits between them?",
	.lesson =
		"The writer waits for the first reader, the second reader for the writer, and the first for the second's lock.",
	.variant = { { "ordered", RACE_PASS, 0, "both readers take the rwlock, then the lock" },
		     { "readers-only", RACE_PASS, 0, "the two orders, and nobody writes" },
		     { "two-orders", RACE_DEADLOCK, 0, "the two orders, and a writer" } },
	.program = { setup_waiting_writer,
		     NULL,
		     3,
		     { { "rwlock, lock", reads_outside },
		       { "lock, rwlock", reads_inside },
		       { "writer", writes } },
		     NULL },
};
