// SPDX-License-Identifier: BSD-2-Clause
#include "tests/stress/mutant.h"

#include "mmu/base/mutant.h"

static unsigned chosen;

bool mutants_are_here(void)
{
#ifdef UMBRA_MUTANTS
	return true;
#else
	return false;
#endif
}

void mutant_choose(unsigned n)
{
	chosen = n;
}

#ifdef UMBRA_MUTANTS
bool mutant_on(unsigned n)
{
	return n == chosen;
}
#endif
