// SPDX-License-Identifier: BSD-2-Clause
/*
 * Does the search miss anything? Random small programs are explored twice at every bound: with all reductions and with
 * none. Both must reach the same ends: final states, deadlocks with all that had been done, and violations.
 */
#include "tests/race/selftest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define THREADS	 3
#define OPS	 3
#define VARS	 2
#define ENDS_MAX 16384

/* What a thread does, one after another; r is its register. Those from TOY_FIRST_LONG on have many steps. */
enum toy_op {
	TOY_LOAD,
	TOY_STORE,
	TOY_ADD,
	TOY_READ_LOCKED,
	TOY_WRITE_LOCKED,
	TOY_RCU_LOAD,
	TOY_RCU_WAIT,
	TOY_WAKE,
	TOY_FIRST_LONG,
	TOY_LOCK_ADD = TOY_FIRST_LONG,
	TOY_SLEEP, /* for a wake-up, which may have been: a deadlock */
	TOY_SLEEP_WHILE_0,
	TOY_LOCK_READ, /* the two orders of lock and rwlock: a deadlock beside a writer */
	TOY_READ_LOCK,
	TOY_USE,     /* the object, in an RCU section */
	TOY_REPLACE, /* the object: with a grace period, or freed too early */
	TOY_OPS
};

struct toy {
	unsigned threads, ops;
	struct {
		enum toy_op op;
		unsigned var;
	} op[THREADS][OPS];

	_Atomic uint64_t var[VARS];
	_Atomic(uint64_t *) object;
	struct lock lock;
	struct cond cond;
	struct rwlock rwlock;
	uint64_t r[THREADS];
};

static struct toy toy;
static uint64_t ends[ENDS_MAX];
static unsigned end_count, bad_ends;

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* Three threads of three operations each, or of two if there is a long one: else the search without reductions takes hours. */
static void make_toy(uint64_t *seed)
{
	bool is_long = next_random(seed) % 2;

	toy.threads = 2 + (unsigned)(next_random(seed) % 2);
	toy.ops = is_long && toy.threads == THREADS ? OPS - 1 : OPS;
	for (unsigned t = 0; t < toy.threads; t++)
		for (unsigned i = 0; i < toy.ops; i++) {
			toy.op[t][i].op = (enum toy_op)(next_random(seed) %
							(is_long ? TOY_OPS : TOY_FIRST_LONG));
			toy.op[t][i].var = (unsigned)(next_random(seed) % VARS);
		}
}

static void toy_setup(void *ctx)
{
	(void)ctx;
	for (unsigned v = 0; v < VARS; v++)
		atomic_init(&toy.var[v], 0);
	atomic_init(&toy.object, malloc(sizeof(uint64_t)));
	*atomic_load(&toy.object) = 7;
	lock_init(&toy.lock);
	cond_init(&toy.cond);
	rwlock_init(&toy.rwlock);
	memset(toy.r, 0, sizeof(toy.r));
}

static uint64_t use_object(uint64_t r)
{
	uint64_t *p;

	sync_rcu_read_lock();
	p = sync_load_acquire(&toy.object);
	sync_touch(p);
	r = r * 31 + *p;
	sync_rcu_read_unlock();
	return r;
}

static void replace_object(uint64_t value, bool wait)
{
	uint64_t *fresh = malloc(sizeof(*fresh)), *old;

	*fresh = value;
	old = sync_exchange(&toy.object, fresh);
	if (wait)
		sync_rcu_wait();
	free(old);
}

static uint64_t run_locked(enum toy_op op, _Atomic uint64_t *var, uint64_t r)
{
	lock_acquire(&toy.lock);
	if (op == TOY_SLEEP)
		cond_wait(&toy.cond, &toy.lock);
	while (op == TOY_SLEEP_WHILE_0 && !sync_load(var))
		cond_wait(&toy.cond, &toy.lock);
	if (op == TOY_LOCK_READ)
		rwlock_read_acquire(&toy.rwlock);
	r += sync_load(var);
	if (op == TOY_LOCK_READ)
		rwlock_read_release(&toy.rwlock);
	else
		sync_store_release(var, r + 1);
	lock_release(&toy.lock);
	return r;
}

static uint64_t run_rwlocked(enum toy_op op, _Atomic uint64_t *var, uint64_t r)
{
	if (op == TOY_WRITE_LOCKED) {
		rwlock_write_acquire(&toy.rwlock);
		sync_store_release(var, r + 1);
		rwlock_write_release(&toy.rwlock);
		return r;
	}
	rwlock_read_acquire(&toy.rwlock);
	if (op == TOY_READ_LOCK)
		lock_acquire(&toy.lock);
	r = r * 31 + sync_load(var);
	if (op == TOY_READ_LOCK)
		lock_release(&toy.lock);
	rwlock_read_release(&toy.rwlock);
	return r;
}

static uint64_t run_op(enum toy_op op, _Atomic uint64_t *var, uint64_t r, unsigned t)
{
	switch (op) {
	case TOY_LOAD:
		return r * 31 + sync_load(var);
	case TOY_STORE:
		sync_store_release(var, r + t + 1);
		return r;
	case TOY_ADD:
		return r * 31 + sync_fetch_add(var, t + 1);
	case TOY_READ_LOCKED:
	case TOY_WRITE_LOCKED:
	case TOY_READ_LOCK:
		return run_rwlocked(op, var, r);
	case TOY_RCU_LOAD:
		sync_rcu_read_lock();
		r = r * 31 + sync_load(var);
		sync_rcu_read_unlock();
		return r;
	case TOY_RCU_WAIT:
		sync_rcu_wait();
		return r;
	case TOY_WAKE:
		cond_broadcast(&toy.cond);
		return r;
	case TOY_LOCK_ADD:
	case TOY_SLEEP:
	case TOY_SLEEP_WHILE_0:
	case TOY_LOCK_READ:
		return run_locked(op, var, r);
	case TOY_USE:
		return use_object(r);
	case TOY_REPLACE:
		replace_object(r + t, var == &toy.var[0]);
		return r;
	case TOY_OPS:
		break;
	}
	return r;
}

static void run_toy(unsigned t)
{
	for (unsigned i = 0; i < toy.ops; i++)
		toy.r[t] = run_op(toy.op[t][i].op, &toy.var[toy.op[t][i].var], toy.r[t], t);
}

static void thread0(void *ctx)
{
	(void)ctx;
	run_toy(0);
}

static void thread1(void *ctx)
{
	(void)ctx;
	run_toy(1);
}

static void thread2(void *ctx)
{
	(void)ctx;
	run_toy(2);
}

static void toy_finish(void *ctx)
{
	(void)ctx;
	lock_fini(&toy.lock);
	rwlock_fini(&toy.rwlock);
	toy.r[0] = toy.r[0] * 31 + *atomic_load(&toy.object);
	free(atomic_load(&toy.object));
}

/* A violation ends a run wherever the others are: only what it says is the same in runs that are equivalent. */
static void toy_ended(void *ctx, enum explore_verdict v, const char *why)
{
	uint64_t end = v;

	(void)ctx;
	for (const char *c = why; *c; c++)
		end = end * 1000003 + (unsigned char)*c;
	for (unsigned i = 0; v != EXPLORE_VIOLATION && i < VARS; i++)
		end = end * 1000003 + atomic_load(&toy.var[i]);
	for (unsigned t = 0; v != EXPLORE_VIOLATION && t < THREADS; t++)
		end = end * 1000003 + toy.r[t];
	for (unsigned i = 0; i < end_count; i++)
		if (ends[i] == end)
			return;
	bug_on(end_count == ENDS_MAX);
	ends[end_count++] = end;
	bad_ends += v != EXPLORE_PASS;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* The ends that schedules with at most @bound preemptions reach, sorted. */
static unsigned reach(unsigned bound, bool plain, uint64_t *out, uint64_t *schedules)
{
	struct explore_program program = {
		.setup = toy_setup,
		.finish = toy_finish,
		.threads = toy.threads,
		.thread = { { "0", thread0 }, { "1", thread1 }, { "2", thread2 } }
	};
	struct explore_limits limits = { .bound = (int)bound,
					 .schedules = UINT64_MAX,
					 .plain = plain,
					 .ended = toy_ended };
	static struct explore_result r;

	end_count = bad_ends = 0;
	explore(&program, &limits, &r);
	if (!r.exhausted)
		return 0;
	qsort(ends, end_count, sizeof(ends[0]), compare);
	memcpy(out, ends, end_count * sizeof(ends[0]));
	*schedules += r.schedules;
	return end_count;
}

bool selftest(unsigned programs, uint64_t seed)
{
	static uint64_t reduced[ENDS_MAX], plain[ENDS_MAX];
	uint64_t few = 0, all = 0;
	unsigned bad = 0;

	for (unsigned i = 0; i < programs; i++) {
		uint64_t state = seed + i * 0x9e3779b97f4a7c15u + 1;

		make_toy(&state);
		for (unsigned bound = 0; bound <= 3; bound++) {
			unsigned n = reach(bound, false, reduced, &few),
				 m = reach(bound, true, plain, &all);

			if (!n || n != m || memcmp(reduced, plain, n * sizeof(plain[0]))) {
				printf("selftest: program %u of seed %llu, bound %u: %u ends with reductions, %u without\n",
				       i, (unsigned long long)seed, bound, n, m);
				return false;
			}
		}
		bad += bad_ends != 0;
	}
	printf("selftest: %u programs, %u of which can fail: the same ends with reductions (%llu schedules) and without (%llu)\n",
	       programs, bad, (unsigned long long)few, (unsigned long long)all);
	return true;
}
