/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The command line of umbra-race.
 * Owns nothing. main.c calls. Knows of mutants, not of scenarios.
 */
#ifndef UMBRA_TESTS_RACE_OPTIONS_H
#define UMBRA_TESTS_RACE_OPTIONS_H

#include "tests/race/mutants.h"

enum { EXIT_AS_EXPECTED, EXIT_UNEXPECTED, EXIT_USAGE };

struct args {
	const char *variant, *svg;
	bool explain, json, has_seed, no_switch;
	unsigned arm[MUTANT_ARMS], arms; /* switches of --mutant */
	unsigned drawn, jobs;
	struct explore_limits limits;
};

/* options_parse - take the options, up to optind, into @a. -1, or with what to exit at once. */
int options_parse(struct args *a, int argc, char **argv);
/* usage - say on stderr what is wrong. Returns EXIT_USAGE. */
int usage(const char *what, const char *arg);

#endif
