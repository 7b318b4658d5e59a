// SPDX-License-Identifier: BSD-2-Clause
/*
 * Does the search miss anything? Random small programs are explored twice at every bound: with all reductions and with
 * none. Both must reach the same final states.
 */
#include "tests/race/selftest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define THREADS	   3
#define OPS	   3
#define VARS	   2
#define STATES_MAX 4096

/* What a thread does, one after another; r is its register. */
enum toy_op { TOY_LOAD, TOY_STORE, TOY_ADD, TOY_LOCK_ADD, TOY_RCU_LOAD, TOY_OPS };

struct toy {
	unsigned threads;
	struct {
		enum toy_op op;
		unsigned var;
	} op[THREADS][OPS];

	_Atomic uint64_t var[VARS];
	struct lock lock;
	uint64_t r[THREADS];
};

static struct toy toy;
static uint64_t states[STATES_MAX];
static unsigned state_count;

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void make_toy(uint64_t *seed)
{
	toy.threads = 2 + (unsigned)(next_random(seed) % 2);
	for (unsigned t = 0; t < toy.threads; t++)
		for (unsigned i = 0; i < OPS; i++) {
			toy.op[t][i].op = (enum toy_op)(next_random(seed) % TOY_OPS);
			toy.op[t][i].var = (unsigned)(next_random(seed) % VARS);
		}
}

static void toy_setup(void *ctx)
{
	(void)ctx;
	for (unsigned v = 0; v < VARS; v++)
		atomic_init(&toy.var[v], 0);
	lock_init(&toy.lock);
	memset(toy.r, 0, sizeof(toy.r));
}

static void run_toy(unsigned t)
{
	for (unsigned i = 0; i < OPS; i++) {
		_Atomic uint64_t *var = &toy.var[toy.op[t][i].var];
		uint64_t r = toy.r[t];

		switch (toy.op[t][i].op) {
		case TOY_LOAD:
			r = r * 31 + sync_load(var);
			break;
		case TOY_STORE:
			sync_store_release(var, r + t + 1);
			break;
		case TOY_ADD:
			r = r * 31 + sync_fetch_add(var, t + 1);
			break;
		case TOY_LOCK_ADD:
			lock_acquire(&toy.lock);
			r += sync_load(var);
			sync_store_release(var, r + 1);
			lock_release(&toy.lock);
			break;
		case TOY_RCU_LOAD:
			sync_rcu_read_lock();
			r = r * 31 + sync_load(var);
			sync_rcu_read_unlock();
			break;
		case TOY_OPS:
			break;
		}
		toy.r[t] = r;
	}
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
	uint64_t state = 0;

	(void)ctx;
	lock_fini(&toy.lock);
	for (unsigned v = 0; v < VARS; v++)
		state = state * 1000003 + atomic_load(&toy.var[v]);
	for (unsigned t = 0; t < THREADS; t++)
		state = state * 1000003 + toy.r[t];
	for (unsigned i = 0; i < state_count; i++)
		if (states[i] == state)
			return;
	bug_on(state_count == STATES_MAX);
	states[state_count++] = state;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* The final states that schedules with at most @bound preemptions reach, sorted. */
static unsigned reach(unsigned bound, bool plain, uint64_t *out, uint64_t *schedules)
{
	struct explore_program program = {
		.setup = toy_setup,
		.finish = toy_finish,
		.threads = toy.threads,
		.thread = { { "0", thread0 }, { "1", thread1 }, { "2", thread2 } }
	};
	struct explore_limits limits = { .bound = bound, .schedules = UINT64_MAX, .plain = plain };
	static struct explore_result r;

	state_count = 0;
	explore(&program, &limits, &r);
	if (r.verdict != EXPLORE_PASS || !r.exhausted)
		return 0;
	qsort(states, state_count, sizeof(states[0]), compare);
	memcpy(out, states, state_count * sizeof(states[0]));
	*schedules += r.schedules;
	return state_count;
}

bool selftest(unsigned programs, uint64_t seed)
{
	static uint64_t reduced[STATES_MAX], plain[STATES_MAX];
	uint64_t few = 0, all = 0;

	for (unsigned i = 0; i < programs; i++) {
		uint64_t state = seed + i * 0x9e3779b97f4a7c15u + 1;

		make_toy(&state);
		for (unsigned bound = 0; bound <= 3; bound++) {
			unsigned n = reach(bound, false, reduced, &few),
				 m = reach(bound, true, plain, &all);

			if (n && n == m && !memcmp(reduced, plain, n * sizeof(plain[0])))
				continue;
			printf("selftest: program %u of seed %llu, bound %u: %u states with reductions, %u without\n",
			       i, (unsigned long long)seed, bound, n, m);
			return false;
		}
	}
	printf("selftest: %u programs, the same final states with reductions (%llu schedules) and without (%llu)\n",
	       programs, (unsigned long long)few, (unsigned long long)all);
	return true;
}
