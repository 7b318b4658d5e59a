// SPDX-License-Identifier: BSD-2-Clause
#include "tests/stress/mutant.h"

#include <stddef.h>
#include <stdlib.h>
#include <time.h>

#include "mmu/base/mutant.h"

static unsigned chosen;
static bool with_arms;

bool mutants_are_here(void)
{
#ifdef UMBRA_MUTANTS
	return true;
#else
	return false;
#endif
}

void mutant_choose(unsigned n, bool arms)
{
	chosen = n;
	with_arms = arms;
}

#ifdef UMBRA_MUTANTS
/* Unit tests have no option for it. */
__attribute__((constructor)) static void choose_by_environment(void)
{
	const char *n = getenv("UMBRA_MUTANT");

	if (n)
		chosen = (unsigned)strtoul(n, NULL, 10);
}

/* Numbers of arms: mmu/base/mutant.h. Rows take 101..139 but for M13's. */
static bool is_arm(unsigned n)
{
	bool is_row = n > 100 && n < 140 && n != 131 && n != 132;

	return n > 30 && n / 10 == chosen && !is_row;
}

/* A switch stands where its rule is broken: who comes there now and then stays a moment, so that somebody meets him. */
static void linger(void)
{
	static _Thread_local unsigned times;
	struct timespec moment = { .tv_nsec = 50000 };

	if (++times % 8 == 0)
		nanosleep(&moment, NULL);
}

bool mutant_on(unsigned n)
{
	if (!chosen || (n != chosen && !(with_arms && is_arm(n))))
		return false;
	linger();
	return true;
}
#endif
