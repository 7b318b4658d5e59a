/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Coroutines: a stack each, and a switch that saves the registers which calls preserve.
 * Owns the stacks. sched.c alone calls. Knows nothing of schedules. x86-64, like the rest of umbra.
 */
#ifndef UMBRA_TESTS_RACE_CORO_H
#define UMBRA_TESTS_RACE_CORO_H

struct coro {
	void *sp;
	char *stack;
};

/* coro_init - on the first switch, @co calls @entry, which never returns. The stack is kept for the next init. */
void coro_init(struct coro *co, void (*entry)(void));

/* coro_switch - save the running context in @from, go on where @to was left. */
void coro_switch(struct coro *from, struct coro *to);

#endif
