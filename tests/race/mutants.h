/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The table of mutants: which switches of mmu/base/mutant.h are the arms of which M, and which variant kills each.
 * Owns nothing. main.c calls. What a variant says of itself stays with the variant.
 */
#ifndef UMBRA_TESTS_RACE_MUTANTS_H
#define UMBRA_TESTS_RACE_MUTANTS_H

#include "tests/race/scenario.h"

#define MUTANT_ARMS 8

/*
 * mutants_find - the switches that @text means: M13 each arm of M13; 131 that arm; A17 switch 117. Returns how many, 0
 * if there are none: the reason is on stderr. -1: no such mutant.
 */
int mutants_find(const char *text, unsigned arm[MUTANT_ARMS]);
/* mutants_killer - SCENARIO/VARIANT that kills switch @arm, or NULL. */
const char *mutants_killer(unsigned arm);
/* mutants_says - what switch @arm breaks, or NULL. */
const char *mutants_says(unsigned arm);
void mutants_list(void);
/* mutants_check - does the table agree with the scenarios? Says where not. */
bool mutants_check(void);

#endif
