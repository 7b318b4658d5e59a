// SPDX-License-Identifier: BSD-2-Clause
/* Mutants and rows whose parts are not built yet: nothing is dropped silently. Whoever builds a part moves its line. */
#include "tests/race/scenario.h"

const struct race_scenario pending_mutants = {
	.name = "pending-mutants",
	.rows = "M23",
	.title = "Broken rules of parts that are not built yet",
	.question = "Which known bugs cannot be reproduced yet, and what do they wait for?",
	.lesson = "",
	.variant = {
		{ "M23", RACE_PENDING, 0,
		  "Shared page tables (hugetlb) taken apart without a flush: needs 2M entries and shared tables." },
	},
	.program = { .threads = 0 },
};
