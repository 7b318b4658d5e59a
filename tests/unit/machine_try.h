/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What tests of hv/machine share: a description that is loaded, and the reason why it was refused.
 * Owns the last reason. Included by tests/unit/machine*.c.
 */
#ifndef UMBRA_TESTS_UNIT_MACHINE_TRY_H
#define UMBRA_TESTS_UNIT_MACHINE_TRY_H

#include "hv/machine.h"
#include "tests/test.h"
#include "tests/umbra.h"

static char why[MACHINE_WHY_SIZE];

/* @set: one assignment, or NULL. */
static inline int load(struct machine *m, const char *path, const char *set)
{
	why[0] = '\0';
	return machine_load(m, path, &set, set ? 1 : 0, why, sizeof(why));
}

static inline void check_says(const char *word)
{
	check(strstr(why, word), "\"%s\" does not say \"%s\"", why, word);
}

#endif
