/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The lines of a run's timeline. explore.h has what scenarios and the library say.
 * Owns the lines of the last run. sched.c calls. Knows no threads but by number.
 */
#ifndef UMBRA_TESTS_RACE_NOTES_H
#define UMBRA_TESTS_RACE_NOTES_H

#include "tests/race/sched.h"

/* notes_begin - a run begins: forget the lines of the one before. */
void notes_begin(void);
/* notes_stop - in small print: the running thread stops, or waits, before it does @op. */
void notes_stop(const struct sched_op *op, bool enabled);
/* notes_verdict - how the run ended; there is always room for it. */
void notes_verdict(const char *verdict, const char *why);

#endif
