/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which calls fail: for tests that put functions of their own in the place of the C library's.
 * Owns: the rule, one at a time, which any thread's calls may meet. Who may call: tests, and those functions. Knows no function.
 */
#ifndef UMBRA_TESTS_RULE_H
#define UMBRA_TESTS_RULE_H

#include <stdbool.h>

/*
 * rule_set - calls number @from to @to of the kind @call, counted from 1 from now on, fail with @error. rule_clear - none does.
 * @call is a number of the test's own, and @code one more that must agree (the request of an ioctl), or 0.
 */
void rule_set(int call, unsigned long code, int error, unsigned from, unsigned to);
void rule_clear(void);

/* rule_fails - is this call to fail? Counts it, and sets errno. rule_error - what was set. rule_seen - how many have been met. */
bool rule_fails(int call, unsigned long code);
int rule_error(void);
unsigned rule_seen(void);

#endif
