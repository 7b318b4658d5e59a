// SPDX-License-Identifier: BSD-2-Clause
/* One run: threads as coroutines, the operations they are about to do, and what these need to go on. */
#include "tests/race/sched.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/race/coro.h"
#include "tests/race/heap.h"
#include "tests/race/notes.h"

struct thread {
	struct coro coro;
	bool finished;
	struct sched_op op; /* about to be done */
	bool asleep;	    /* op is EXPLORE_SLEEP and nobody has woken it */
	unsigned rcu_depth;
	uint64_t rcu_sections; /* finished */
	bool rcu_waiting;
	uint64_t rcu_wait_for
		[EXPLORE_THREADS]; /* sections of the others that must be over; 0: none */
};

static const struct explore_program *program;
static struct thread threads[EXPLORE_THREADS];
static struct coro scheduler;
static int current = -1; /* thread that runs, -1: setup, finish or scheduler */
static uint32_t step;
static int rcu_object;

static enum explore_verdict verdict;
static char why[256];
static jmp_buf *outside; /* set while setup or finish run: where a violation there goes */

/* Leave the run for good: the coroutine is abandoned where it stands. */
static void leave(void)
{
	if (current >= 0)
		coro_switch(&threads[current].coro, &scheduler); /* never comes back */
	if (outside)
		longjmp(*outside, 1);
	/* In the scheduler itself: the explorer is wrong, not what it explores. */
	fprintf(stderr, "umbra-race: a bug of the explorer: %s\n", why);
	abort();
}

void explore_fail(const char *fmt, ...)
{
	va_list ap;

	if (verdict == EXPLORE_PASS) {
		verdict = EXPLORE_VIOLATION;
		va_start(ap, fmt);
		vsnprintf(why, sizeof(why), fmt, ap);
		va_end(ap);
		notes_verdict("VIOLATION", why);
	}
	leave();
}

void sched_bug(const char *file, int line, const char *what)
{
	const char *base = strrchr(file, '/');

	explore_fail("bug_on(%s), %s:%d", what, base ? base + 1 : file, line);
}

/* Freed memory is filled with what is no address: whoever follows a pointer there ends here. */
static void crashed(int sig)
{
	const struct sched_op *op = current >= 0 ? &threads[current].op : NULL;

	(void)sig;
	if (current < 0 && !outside)
		abort();
	explore_fail(
		"follows a pointer that leads nowhere, in freed memory perhaps; after %s() at %s",
		op ? op->where : "setup", op ? op->what : "the beginning");
}

static void catch_crashes(void)
{
	static char stack[64 << 10];
	const stack_t alternative = { .ss_sp = stack, .ss_size = sizeof(stack) };
	/* The handler does not return, so the signal must not stay blocked. */
	struct sigaction action = { .sa_handler = crashed, .sa_flags = SA_ONSTACK | SA_NODEFER };

	bug_on(sigaltstack(&alternative, NULL));
	bug_on(sigaction(SIGSEGV, &action, NULL));
	bug_on(sigaction(SIGBUS, &action, NULL));
}

void *explore_self(void)
{
	return current >= 0 ? (void *)&threads[current] : (void *)&scheduler;
}

uint64_t explore_self_bit(void)
{
	return (uint64_t)1 << (current + 1);
}

bool explore_is_freed(const void *p)
{
	return heap_is_freed(p);
}

/* Nobody waits for a lock that has been freed: he goes on, to find that out. */
static bool lock_is_free(const struct sched_op *op)
{
	const struct lock *l = op->object;
	const struct rwlock *rw = op->object;
	bool is_free = true;

	if (op->op == EXPLORE_LOCK)
		is_free = !l->holder;
	else if (op->op == EXPLORE_READ_LOCK)
		is_free = !rw->writer && !rw->waiting;
	else if (op->op == EXPLORE_WRITE_LOCK)
		is_free = !rw->writer && !rw->readers;
	return is_free || heap_is_freed(op->object);
}

bool sched_is_enabled(unsigned t)
{
	const struct thread *th = &threads[t];

	if (t >= program->threads || th->finished)
		return false;
	if (th->op.op == EXPLORE_SLEEP)
		return !th->asleep && !((struct lock *)th->op.other)->holder;
	if (th->op.op == EXPLORE_RCU_WAIT) {
		for (unsigned i = 0; i < program->threads; i++)
			if (th->rcu_wait_for[i] && threads[i].rcu_depth &&
			    threads[i].rcu_sections < th->rcu_wait_for[i])
				return false;
		return true;
	}
	return lock_is_free(&th->op);
}

const struct sched_op *sched_next_op(unsigned t)
{
	return &threads[t].op;
}

void explore_alive(void *object, const char *what, const char *where)
{
	if (heap_is_freed(object))
		explore_fail("%s() uses %s after it was freed", where, what);
}

/* The first half of an operation that waits is one of its own, which conflicts like a store; WAKE stands for none. */
static enum explore_op first_half(enum explore_op op)
{
	return op == EXPLORE_WRITE_LOCK			       ? EXPLORE_WRITE_ASK
	       : op == EXPLORE_SLEEP || op == EXPLORE_RCU_WAIT ? EXPLORE_WAKE
							       : op;
}

/* The first half happens at once; the rest when the scheduler lets it. False: there is no rest. */
static bool begin_wait(struct thread *th, enum explore_op op, void *other)
{
	struct rwlock *rw = th->op.object;

	if (op == EXPLORE_WRITE_LOCK) {
		if (lock_is_free(&th->op))
			return false;
		rw->waiting |= explore_self_bit();
	}
	if (op == EXPLORE_SLEEP && other) { /* with a lock, always */
		((struct lock *)other)->holder = NULL;
		th->asleep = true;
	}
	if (op == EXPLORE_RCU_WAIT)
		for (unsigned i = 0; i < program->threads; i++)
			th->rcu_wait_for[i] = threads[i].rcu_depth ? threads[i].rcu_sections + 1
								   : 0;
	return true;
}

/* What is over once the second half is possible. */
static void end_wait(struct thread *th, enum explore_op op)
{
	if (op == EXPLORE_WRITE_LOCK)
		((struct rwlock *)th->op.object)->waiting &= ~explore_self_bit();
}

/*
 * Let others go first, then do the operation. Where it concerns nobody else there is no choice: what search.c has seen
 * it knows by the operations on shared objects, and would take a second choice after the same ones for the first.
 */
static void stop(struct thread *th)
{
	/* A thread that spins on what nobody else touches must come to its end, too. */
	if (sched_must_switch(&th->op) || !sched_is_enabled((unsigned)current) ||
	    step > SCHED_STEPS_MAX)
		coro_switch(&th->coro, &scheduler);
	explore_alive(th->op.object, th->op.what, th->op.where);
	if (th->op.other)
		explore_alive(th->op.other, th->op.what, th->op.where);
	step++;
	sched_done((unsigned)current, &th->op);
}

void explore_point(enum explore_op op, void *object, void *other, const char *what,
		   const char *where)
{
	struct thread *th;

	if (current < 0) {
		struct sched_op alone = { op, object, other, what, where };

		explore_alive(object, what, where);
		if (op == EXPLORE_SLEEP || !lock_is_free(&alone))
			explore_fail("%s() waits for %s, and nobody is left", where, what);
		return;
	}
	th = &threads[current];
	th->op = (struct sched_op){ first_half(op), object, other, what, where };
	stop(th);
	/* An operation that waits consists of two: the first is done, now wait for the second. */
	if (th->op.op != op) {
		th->op.op = op;
		if (!begin_wait(th, op, other))
			return;
		stop(th);
	}
	end_wait(th, op);
	if (op == EXPLORE_WAKE)
		for (unsigned i = 0; i < program->threads; i++)
			if (threads[i].asleep && threads[i].op.object == object)
				threads[i].asleep = false;
}

void explore_mark(void *object, const char *what)
{
	explore_point(EXPLORE_STORE, object, NULL, what, "scenario");
}

void explore_callback(const char *what)
{
	const char *arrow = strrchr(what, '>');

	if (current >= 0)
		explore_trace("calls %s()", arrow ? arrow + 1 : what);
}

void explore_rcu(enum explore_op op, const char *where)
{
	struct thread *th;

	if (current < 0)
		return;
	th = &threads[current];
	if (op == EXPLORE_RCU_UNLOCK) {
		bug_on(!th->rcu_depth);
		if (th->rcu_depth > 1) {
			th->rcu_depth--;
			return;
		}
	}
	if (op == EXPLORE_RCU_LOCK && th->rcu_depth) {
		th->rcu_depth++;
		return;
	}
	bug_on(op == EXPLORE_RCU_WAIT && th->rcu_depth);
	explore_point(op, &rcu_object, NULL, "RCU", where);
	if (op == EXPLORE_RCU_LOCK)
		th->rcu_depth = 1;
	if (op == EXPLORE_RCU_UNLOCK) {
		th->rcu_depth = 0;
		th->rcu_sections++;
	}
}

/* setup and finish run alone: nothing goes under them. */
bool explore_rcu_is_held(void)
{
	return current < 0 || threads[current].rcu_depth;
}

static void thread_main(void)
{
	struct thread *th = &threads[current];

	program->thread[current].run(program->ctx);
	th->finished = true;
	coro_switch(&th->coro, &scheduler);
	__builtin_unreachable();
}

static void resume(unsigned t)
{
	current = (int)t;
	heap_use(t + 1);
	coro_switch(&scheduler, &threads[t].coro);
	current = -1;
	heap_use(0);
}

/* setup or finish, which may fail like a thread. */
static bool run_alone(void (*part)(void *))
{
	jmp_buf here;

	if (!part)
		return true;
	outside = &here;
	if (setjmp(here) == 0)
		part(program->ctx);
	outside = NULL;
	return verdict == EXPLORE_PASS;
}

/* Where thread @t stands when another goes on. */
static void note_thread(unsigned t)
{
	current = (int)t;
	notes_stop(&threads[t].op, sched_is_enabled(t));
	current = -1;
}

static void describe_stuck(void)
{
	int n = snprintf(why, sizeof(why), "nobody can go on:");
	bool first = true;

	for (unsigned t = 0; t < program->threads && n < (int)sizeof(why); t++)
		if (!threads[t].finished) {
			note_thread(t);
			n += snprintf(why + n, sizeof(why) - (size_t)n, "%s %s in %s() at %s",
				      first ? "" : ";", program->thread[t].name,
				      threads[t].op.where, threads[t].op.what);
			first = false;
		}
	notes_verdict("DEADLOCK", why);
}

static bool is_idle_daemon(unsigned t)
{
	return t >= program->threads - program->daemons && threads[t].asleep;
}

static void run_threads(void)
{
	int last = -1;

	for (;;) {
		int next;

		if (verdict != EXPLORE_PASS)
			return;
		if (step > SCHED_STEPS_MAX) {
			verdict = EXPLORE_DEADLOCK;
			snprintf(why, sizeof(why), "no end after %u steps: a livelock",
				 SCHED_STEPS_MAX);
			notes_verdict("LIVELOCK", why);
			return;
		}
		next = sched_choose();
		if (next >= 0) {
			if (last >= 0 && last != next && !threads[last].finished)
				note_thread((unsigned)last);
			last = next;
			resume((unsigned)next);
			continue;
		}
		for (unsigned t = 0; t < program->threads; t++)
			if (!threads[t].finished && !is_idle_daemon(t)) {
				verdict = EXPLORE_DEADLOCK;
				describe_stuck();
				return;
			}
		return;
	}
}

enum explore_verdict sched_run(const struct explore_program *p, char *reason, size_t size)
{
	if (!program)
		catch_crashes();
	program = p;
	verdict = EXPLORE_PASS;
	notes_begin();
	step = 0;
	if (run_alone(p->setup)) {
		for (unsigned t = 0; t < p->threads; t++) {
			struct coro coro = threads[t].coro;

			memset(&threads[t], 0, sizeof(threads[t]));
			threads[t].coro = coro;
			coro_init(&threads[t].coro, thread_main);
			threads[t].op = (struct sched_op){ EXPLORE_NOTE, &threads[t], NULL, "start",
							   p->thread[t].name };
		}
		run_threads();
		if (verdict == EXPLORE_PASS)
			run_alone(p->finish);
	}
	if (verdict == EXPLORE_PASS && heap_live()) {
		verdict = EXPLORE_VIOLATION;
		snprintf(why, sizeof(why), "%zu allocations leaked", heap_live());
		notes_verdict("VIOLATION", why);
	}
	heap_reset(true);
	snprintf(reason, size, "%s", verdict == EXPLORE_PASS ? "" : why);
	return verdict;
}

int sched_current(void)
{
	return current;
}

uint32_t sched_step(void)
{
	return step;
}
