/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The rule that the library breaks in this run. Owns the number. Called by main.c; in umbra-stress-mutants by the library.
 * Knows nothing.
 */
#ifndef UMBRA_TESTS_STRESS_MUTANT_H
#define UMBRA_TESTS_STRESS_MUTANT_H

#include <stdbool.h>

bool mutants_are_here(void);
/* Before any other thread. @arms: M@n with all its arms, else switch @n alone. */
void mutant_choose(unsigned n, bool arms);

#endif
