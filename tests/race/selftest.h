/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The explorer's test of itself.
 * Owns nothing. main.c calls. Knows no scenario.
 */
#ifndef UMBRA_TESTS_RACE_SELFTEST_H
#define UMBRA_TESTS_RACE_SELFTEST_H

#include "tests/race/explore.h"

/* selftest - compare searches with and without reductions on @programs random programs. True: the same states. */
bool selftest(unsigned programs, uint64_t seed);

#endif
