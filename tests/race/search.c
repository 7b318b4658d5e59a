// SPDX-License-Identifier: BSD-2-Clause
/*
 * Which runs to make: depth first over all choices, with an iterative bound on preemptions.
 *
 * Two reductions, both sound under the bound:
 * - An object that only one thread touches, or that everybody only reads, needs no scheduling point: a preemption before such an
 *   operation can be moved to the thread's next one on a shared object. Which objects are shared is learnt: a run that
 *   finds a new one begins the search anew.
 * - Two runs that have done the same operations, with conflicting ones in the same order, are in the same state (Mazurkiewicz).
 *   Such a state is recognised by a hash of that partial order; what follows has been explored if it was reached before with
 *   the same thread running and as many preemptions left.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/race/heap.h"
#include "tests/race/sched.h"
#include "tests/race/state.h"

/* At most one choice a step, one for each start, and one to see that a run has no end. */
#define DECISIONS_MAX (SCHED_STEPS_MAX + 64u)
_Static_assert(DECISIONS_MAX > SCHED_STEPS_MAX + EXPLORE_THREADS + 1, "a livelock must fit");

struct decision {
	uint8_t count, chosen;
	uint8_t candidate[EXPLORE_THREADS];
	int8_t before;	      /* who ran until here, -1 none */
	bool free;	      /* he could not go on: a switch is no preemption */
	uint32_t preemptions; /* so far */
};

enum mode { MODE_SEARCH, MODE_REPLAY, MODE_RANDOM };

static enum mode mode;
static struct decision *stack;
static unsigned depth, planned; /* decisions of this run; those to repeat first */
static bool pruned, bound_hit, plain;
static unsigned bound, preemptions;

static int running; /* who ran last, -1 nobody */

static char schedule[EXPLORE_SCHEDULE];
static size_t schedule_len;
static uint32_t segment_start;

static const char *replay_at;
static uint32_t replay_until;
static int replay_thread;
static bool replay_misfit;

static uint64_t random_state;
static int32_t priority[EXPLORE_THREADS];
static uint32_t change_at[8];

static uint64_t next_random(void)
{
	return state_mix(random_state += 0x9e3779b97f4a7c15u, 1);
}

bool sched_must_switch(const struct sched_op *op)
{
	/* The text of a schedule counts steps: every one of them is a choice then. */
	return mode != MODE_SEARCH || plain || state_is_shared(op);
}

void sched_done(unsigned t, const struct sched_op *op)
{
	state_done(t, op);
}

/* The schedule of this run as text: who ran, for how many steps. */

static void schedule_note(int next)
{
	uint32_t steps = sched_step() - segment_start;

	if (next == running)
		return;
	if (running >= 0 && schedule_len < sizeof(schedule) - 16)
		schedule_len += (size_t)snprintf(schedule + schedule_len,
						 sizeof(schedule) - schedule_len, "%c%u",
						 'a' + running, steps);
	segment_start = sched_step();
	running = next;
}

static void schedule_reset(void)
{
	schedule_len = 0;
	schedule[0] = '\0';
	segment_start = 0;
	running = -1;
}

/* Ways to choose. */

static int choose_replay(const uint8_t *candidate, unsigned n)
{
	while (sched_step() >= replay_until && *replay_at) {
		char *end;

		replay_thread = *replay_at - 'a';
		replay_until += (uint32_t)strtoul(replay_at + 1, &end, 10);
		replay_at = end;
	}
	for (unsigned i = 0; i < n; i++)
		if (candidate[i] == replay_thread)
			return replay_thread;
	replay_misfit |= sched_step() < replay_until;
	return candidate[0];
}

/* Nobody can go on: nobody may be left to run. */
static void replay_end(void)
{
	char *end;

	for (; *replay_at; replay_at = end)
		replay_until += (uint32_t)strtoul(replay_at + 1, &end, 10);
	replay_misfit |= sched_step() < replay_until;
}

/* PCT: the highest priority runs; at a few random steps its owner falls to the bottom. */
static int choose_random(const uint8_t *candidate, unsigned n)
{
	int best = candidate[0];

	for (unsigned i = 0; i < sizeof(change_at) / sizeof(change_at[0]); i++)
		if (running >= 0 && change_at[i] && sched_step() >= change_at[i]) {
			priority[running] = -(int32_t)i - 1;
			change_at[i] = 0;
		}
	for (unsigned i = 1; i < n; i++)
		if (priority[candidate[i]] > priority[best])
			best = candidate[i];
	return best;
}

static int choose_search(const uint8_t *candidate, unsigned n, bool is_free)
{
	struct decision *d = &stack[depth];

	if (n == 1 || pruned)
		return candidate[0];
	if (depth >= planned) {
		uint64_t turn = (uint64_t)(running + 1) | (uint64_t)is_free << 8;

		if (!plain && state_seen(state_key(turn), preemptions)) {
			pruned = true;
			return candidate[0];
		}
		bug_on(depth == DECISIONS_MAX);
		*d = (struct decision){ .count = (uint8_t)n,
					.before = (int8_t)running,
					.free = is_free,
					.preemptions = preemptions };
		memcpy(d->candidate, candidate, n);
		if (!is_free && preemptions == bound) {
			d->count = 1;
			bound_hit = true;
		}
	}
	depth++;
	return d->candidate[d->chosen];
}

int sched_choose(void)
{
	uint8_t candidate[EXPLORE_THREADS];
	unsigned n = 0;
	bool is_free = running < 0 || !sched_is_enabled((unsigned)running);
	int next;

	if (!is_free)
		candidate[n++] = (uint8_t)running;
	for (unsigned t = 0; t < EXPLORE_THREADS; t++)
		if ((int)t != running && sched_is_enabled(t))
			candidate[n++] = (uint8_t)t;
	if (!n) {
		if (mode == MODE_REPLAY)
			replay_end();
		schedule_note(-1);
		return -1;
	}
	if (mode == MODE_REPLAY)
		next = choose_replay(candidate, n);
	else if (mode == MODE_RANDOM)
		next = choose_random(candidate, n);
	else
		next = choose_search(candidate, n, is_free);
	preemptions += !is_free && next != running;
	schedule_note(next);
	return next;
}

/* The search. */

static enum explore_verdict run_once(const struct explore_program *p,
				     const struct explore_limits *l, struct explore_result *r)
{
	enum explore_verdict v;

	depth = preemptions = 0;
	pruned = false;
	state_begin();
	schedule_reset();
	v = sched_run(p, r->why, sizeof(r->why));
	schedule_note(-1);
	r->schedules++;
	r->steps += sched_step();
	if (l->ended) {
		l->ended(l->ended_ctx, v, r->why);
		return EXPLORE_PASS;
	}
	if (v != EXPLORE_PASS) {
		r->verdict = v;
		r->preemptions = preemptions;
		memcpy(r->schedule, schedule, sizeof(schedule));
	}
	return v;
}

/* On to the next choice that has not been made. False: all have. */
static bool backtrack(void)
{
	while (depth) {
		struct decision *d = &stack[depth - 1];

		if (++d->chosen < d->count) {
			planned = depth;
			return true;
		}
		depth--;
	}
	return false;
}

/* All schedules with at most @bound preemptions. True: done or failed; false: out of budget. */
static bool search_bound(const struct explore_program *p, const struct explore_limits *l,
			 struct explore_result *r)
{
	do {
		bound_hit = false;
		planned = 0;
		state_forget_seen();
		do {
			if (r->schedules >= l->schedules)
				return false;
			if (run_once(p, l, r) != EXPLORE_PASS)
				return true;
			if (l->progress && r->schedules % 64 == 0)
				l->progress(l->progress_ctx, r->schedules, bound);
		} while (!state_has_learnt() && backtrack());
	} while (state_has_learnt());
	return true;
}

static void search(const struct explore_program *p, const struct explore_limits *l,
		   struct explore_result *r)
{
	for (bound = 0; (int)bound <= l->bound; bound++) {
		r->bound = bound;
		if (!search_bound(p, l, r) || r->verdict != EXPLORE_PASS)
			return;
		r->exhausted = (int)bound == l->bound;
		if (!bound_hit) {
			r->exhausted = r->complete = true;
			return;
		}
	}
}

static void search_random(const struct explore_program *p, const struct explore_limits *l,
			  struct explore_result *r)
{
	uint32_t length = 200;

	for (uint64_t i = 0; i < l->random; i++) {
		random_state = l->seed + i * 7919;
		for (unsigned t = 0; t < EXPLORE_THREADS; t++)
			priority[t] = (int32_t)(next_random() >> 33) + 1;
		for (unsigned k = 0; k < sizeof(change_at) / sizeof(change_at[0]); k++)
			change_at[k] = 1 + (uint32_t)(next_random() % length);
		if (run_once(p, l, r) != EXPLORE_PASS)
			return;
		length = sched_step() + 1;
		if (l->progress && r->schedules % 64 == 0)
			l->progress(l->progress_ctx, r->schedules, 0);
	}
}

void explore(const struct explore_program *p, const struct explore_limits *l,
	     struct explore_result *r)
{
	memset(r, 0, sizeof(*r));
	state_forget_objects();
	planned = 0;
	plain = l->plain;
	if (!stack)
		stack = heap_outside(DECISIONS_MAX, sizeof(*stack));
	bug_set_handler(sched_bug);
	if (l->replay) {
		mode = MODE_REPLAY;
		replay_at = l->replay;
		replay_until = 0;
		replay_thread = 0;
		replay_misfit = false;
		run_once(p, l, r);
		if (replay_misfit)
			snprintf(r->misfit, sizeof(r->misfit),
				 "a thread is to run that cannot go on there");
	} else if (l->random) {
		mode = MODE_RANDOM;
		search_random(p, l, r);
	} else {
		mode = MODE_SEARCH;
		search(p, l, r);
	}
	bug_set_handler(NULL);
}
