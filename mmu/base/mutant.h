/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Switches that turn one rule of the library off, so that the race explorer and the stress can show that they notice.
 * Owns no state. A switch stands, in one line, at the place where its rule lives; in normal builds it is the constant 0
 * and leaves no code. Knows nothing above mmu/base.
 */
#ifndef UMBRA_MMU_BASE_MUTANT_H
#define UMBRA_MMU_BASE_MUTANT_H

/*
 * Numbers: 1..30 are M1..M30 of docs/requirements.md. 100 + n breaks what row An asks for. A mutant with several arms
 * has them at 10 * M + arm: 131 and 132 are M13. No row has a number that this takes (A31, A32 have no switch).
 * 400 + 10 * n + arm breaks what row Cn asks for.
 */
#if defined(UMBRA_EXPLORER) || defined(UMBRA_MUTANTS)
#include <stdbool.h>

bool mutant_on(unsigned n); /* the explorer has it, and umbra-stress-mutants */
#define mutant(n) mutant_on(n)
#else
#define mutant(n) 0
#endif

#endif
