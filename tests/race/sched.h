/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Between one run (sched.c) and the choice of runs (search.c).
 * Owns nothing. sched.c calls sched_choose() and its kin, which search.c implements, and search.c calls sched_run().
 * Knows no scenario.
 */
#ifndef UMBRA_TESTS_RACE_SCHED_H
#define UMBRA_TESTS_RACE_SCHED_H

#include "tests/race/explore.h"

/* A run with more steps goes in circles. */
#define SCHED_STEPS_MAX 20000u

struct sched_op {
	enum explore_op op;
	void *object, *other;
	const char *what, *where;
};

/* sched.c */

/* sched_run - one run of @p under the choices of sched_choose(). The reason of a failure goes to @reason. */
enum explore_verdict sched_run(const struct explore_program *p, char *reason, size_t size);
bool sched_is_enabled(unsigned t);
const struct sched_op *sched_next_op(unsigned t);
uint32_t sched_step(void);
int sched_current(void); /* the thread that runs, or -1 */
void sched_bug(const char *file, int line, const char *what);

/* search.c */

/* sched_choose - which thread goes on, or -1 if none can. */
int sched_choose(void);
/* sched_must_switch - must the running thread ask before it does @op? No for objects that only it touches. */
bool sched_must_switch(const struct sched_op *op);
/* sched_done - thread @t does @op now. */
void sched_done(unsigned t, const struct sched_op *op);

#endif
