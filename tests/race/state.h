/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What distinguishes the states of a run: which objects several threads share, a hash of the operations done on them in
 * their partial order, and the states that a search has been in.
 * Owns the table of objects and that of states. search.c alone calls. Knows no threads but by number.
 */
#ifndef UMBRA_TESTS_RACE_STATE_H
#define UMBRA_TESTS_RACE_STATE_H

#include "tests/race/sched.h"

uint64_t state_mix(uint64_t a, uint64_t b);

/* state_forget_objects - another program: no object is known to be shared. */
void state_forget_objects(void);
/* state_forget_seen - the search begins: no state has been seen, nothing learnt. */
void state_forget_seen(void);
/* state_begin - a run begins. */
void state_begin(void);
/* state_done - thread @t does @op now. */
void state_done(unsigned t, const struct sched_op *op);

/* Does @op concern an object that several threads touch, one of them writing? */
bool state_is_shared(const struct sched_op *op);
/* A run has found a new shared object: choices are missing in what was seen. */
bool state_has_learnt(void);

/* state_key - the state of this run, and @more that distinguishes it. */
uint64_t state_key(uint64_t more);
/* state_seen - true: it was reached with @used preemptions or fewer. Else notes it. */
bool state_seen(uint64_t key, uint32_t used);

#endif
