// SPDX-License-Identifier: BSD-2-Clause
/*
 * verify: every vCPU writes its words of every page of work, marks the phase, and reads them back:
 * values at the front and throughout the page, so that half a copy shows. rounds=N, default 1. The
 * host may move, protect and zap the pages meanwhile, but not discard them.
 */
#include "guest/hcall.h"
#include "guest/print.h"
#include "guest/workload.h"

#define REPORT_MAX 4

static uint64_t value_of(const struct guest *g, uint64_t page, unsigned word, uint32_t version)
{
	return stamp_make(page, version) ^ (uint64_t)(g->cpu * WORDS_PER_PAGE + word) << 16;
}

static void write_page(const struct guest *g, uint64_t page, uint32_t version)
{
	unsigned word = WORD_VERIFY + WORD_VERIFY_LEN * g->cpu, end = word + WORD_VERIFY_LEN;

	store(work_word(g, page, WORD_CPU + g->cpu), value_of(g, page, WORD_CPU, version));
	for (; word < end; word++)
		store(work_word(g, page, word), value_of(g, page, word, version));
}

static uint64_t check_word(const struct guest *g, uint64_t page, unsigned word, uint64_t want,
			   bool quiet)
{
	uint64_t value = load(work_word(g, page, word));

	if (value == want)
		return 0;
	if (!quiet)
		print(g->cpu, "verify: cpu %u: page %lu word %u is %016lx, want %016lx\n", g->cpu,
		      page, word, value, want);
	return 1;
}

static uint64_t check_page(const struct guest *g, uint64_t page, uint32_t version, bool quiet)
{
	unsigned word = WORD_VERIFY + WORD_VERIFY_LEN * g->cpu, end = word + WORD_VERIFY_LEN;
	uint64_t errors = check_word(g, page, WORD_CPU + g->cpu,
				     value_of(g, page, WORD_CPU, version), quiet);

	for (; word < end; word++)
		errors += check_word(g, page, word, value_of(g, page, word, version),
				     quiet || errors);
	return errors;
}

static int run(const struct guest *g)
{
	bool bad = false;
	uint64_t rounds = arg_number(g->bootargs, "rounds", 1, &bad);
	uint64_t page, round, total = 0;

	if (bad || !rounds || rounds > UINT16_MAX || !work_pages(g))
		return workload_refuse(g, "verify needs work, and rounds=1 to 65535");
	for (round = 1; round <= rounds; round++) {
		uint64_t errors = 0;

		hc_phase(g->cpu, PHASE_BEGIN, round, 0, 0);
		for (page = 0; page < work_pages(g); page++)
			write_page(g, page, (uint32_t)round);
		hc_phase(g->cpu, PHASE_STAMPED, round, 0, 0);
		for (page = 0; page < work_pages(g); page++)
			errors += check_page(g, page, (uint32_t)round,
					     total + errors >= REPORT_MAX);
		hc_phase(g->cpu, PHASE_END, round, work_pages(g), errors);
		total += errors;
	}
	print(g->cpu, "verify: cpu %u: %lu pages, %lu rounds, %lu wrong\n", g->cpu, work_pages(g),
	      rounds, total);
	return total ? EXIT_WRONG_VALUE : EXIT_GOOD;
}

const struct workload workload_verify = { .name = "verify", .run = run };
