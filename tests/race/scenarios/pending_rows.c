// SPDX-License-Identifier: BSD-2-Clause
/* Rows that wait for parts of the primary or of the secondary. Whoever builds a part turns its line into a scenario. */
#include "tests/race/scenario.h"

const struct race_scenario pending_clean = {
	.name = "pending-clean",
	.rows = "A9 A10 A11 A12 A13 A14 A15 A16",
	.title = "Write-protecting and cleaning ranges of pages",
	.question = "A graphics driver wants to know which pages of a shared mapping were written, range by range. "
		    "Which stores can it miss, and what must it own?",
	.lesson = "",
	.variant = {
		{ "A9-span", RACE_PENDING, 0,
		  "Count and flush exactly what was touched: needs the wrprotect helper for ranges." },
		{ "A10-bitmap", RACE_PENDING, 0,
		  "Dirty bits into a bitmap at an offset, with first and last: needs the clean helper." },
		{ "A11-timings", RACE_PENDING, 0,
		  "A store before the scan, after the flush, after the scan of an unmodified entry, between clear and "
		  "flush: needs the helpers. For one page it is a21-mkclean." },
		{ "A12-cached", RACE_PENDING, 0,
		  "The writer has the entry cached, or must fault: needs the helpers." },
		{ "A13-consumer", RACE_PENDING, 0,
		  "Recorded pages are used before the flush: needs the helpers." },
		{ "A14-union", RACE_PENDING, 0,
		  "Each store is in the bitmap or in a dirty bit: needs D bits in entries." },
		{ "A15-modes", RACE_PENDING, 0, "Both with hardware's D bit and without: needs D bits." },
		{ "A16-owner", RACE_PENDING, 0,
		  "The call refuses memory that it does not own, and asserts its external lock: needs the helpers." },
	},
	.program = { .threads = 0 },
};
