// SPDX-License-Identifier: BSD-2-Clause
/* Rows that wait for parts of the primary or of the secondary. Whoever builds a part turns its line into a scenario. */
#include "tests/race/scenario.h"

const struct race_scenario pending_huge = {
	.name = "pending-huge",
	.rows = "A1 A2 A3 A4 A5 A6 A7 A8 A27",
	.title = "Races of huge pages",
	.question = "Which questions about huge pages cannot be run yet, and what do they wait for?",
	.lesson = "",
	.variant = {
		{ "A1-fallback", RACE_PENDING, 0,
		  "A store to a 2M page that must be copied falls back to 4K: needs 2M entries. With 4K pages it is "
		  "a1-store-order." },
		{ "A2-zero-split", RACE_PENDING, 0,
		  "May the split of a huge zero page tell at the end only? Needs a huge zero page." },
		{ "A3-zero-store", RACE_PENDING, 0,
		  "A store replaces one of the 512 zero pages: the larger TLB entry must go. Needs 2M entries." },
		{ "A4-buggy-tlb", RACE_PENDING, 0,
		  "A device that ignores what is smaller than its entry must be caught: needs 2M entries in device TLBs." },
		{ "A5-any-range", RACE_PENDING, 0,
		  "4K invalidations inside a 2M entry, at each offset: needs 2M entries." },
		{ "A6-both", RACE_PENDING, 0, "A2 to A4 beside each other, the question that nobody could test." },
		{ "A7-contiguous", RACE_PENDING, 0,
		  "A huge entry beside a change of the rights of one page under it: needs 2M entries." },
		{ "A8-switch", RACE_PENDING, 0,
		  "The optimisations for huge pages on and off: needs those of A2." },
		{ "A27-collapse", RACE_PENDING, 0,
		  "Collapse of 512 pages under a guest's stores: needs 2M entries and the collapsing actor." },
	},
	.program = { .threads = 0 },
};

const struct race_scenario pending_truncate = {
	.name = "pending-truncate",
	.rows = "A28",
	.title = "Shrink and extend too quickly",
	.question = "A file is truncated and extended again before a device has let go: may it see old contents?",
	.lesson = "",
	.variant = {
		{ "A28-truncate", RACE_PENDING, 0, "Needs an actor that truncates and extends a region." },
	},
	.program = { .threads = 0 },
};
