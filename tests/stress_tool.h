/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * build/umbra-stress and build/umbra-bench as a user starts them.
 * Owns: what the last run said; the next run overwrites it. Who may call: tests. May not know: umbra.
 */
#ifndef UMBRA_TESTS_STRESS_TOOL_H
#define UMBRA_TESTS_STRESS_TOOL_H

#include "tests/test.h"

struct tool_said {
	int status;	  /* exit status, or 128 + signal */
	char text[65536]; /* all that it said */
	const char *json; /* in there, from the first '{' on */
};

/* Run it with the words of a line; spaces separate. */
const struct tool_said *stress_tool(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

const struct tool_said *bench_tool(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
