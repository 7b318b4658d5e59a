// SPDX-License-Identifier: BSD-2-Clause
/*
 * stress: each vCPU is a player of guest/play.h, among players=N, on the first keep=N pages of work and the others as
 * twins. What it finds wrong goes to the host, which also stops it for a while, or makes it load only.
 */
#include <string.h>

#include "guest/hcall.h"
#include "guest/play.h"
#include "guest/workload.h"

#define STEPS_A_WORD 256 /* between two words to the host */

/* A vCPU and what it plays. */
struct seat {
	const struct guest *g;
	struct play play;
};

static uint64_t seat_load(void *ctx, uint64_t page, unsigned word)
{
	const struct seat *s = ctx;

	return load(work_word(s->g, page, word));
}

static void seat_store(void *ctx, uint64_t page, unsigned word, uint64_t value)
{
	const struct seat *s = ctx;

	store(work_word(s->g, page, word), value);
}

static void seat_add(void *ctx, uint64_t page, unsigned word)
{
	const struct seat *s = ctx;

	__atomic_fetch_add(work_word(s->g, page, word), 1, __ATOMIC_SEQ_CST);
}

static void seat_wrong(void *ctx, enum play_oracle oracle, uint64_t page, uint64_t got,
		       uint64_t want)
{
	const struct seat *s = ctx;

	hc_phase(s->g->cpu, PHASE_STRESS_WRONG, (uint64_t)oracle << 32 | page, got, want);
}

static const struct play_ops seat_ops = {
	.load = seat_load,
	.store = seat_store,
	.add = seat_add,
	.wrong = seat_wrong,
};

/* A sum of what was counted goes along, so that whoever has stopped all can hold it against the pages. */
static bool is_told_to_be_quiet(struct seat *s, uint64_t request)
{
	return hc_phase(s->g->cpu, PHASE_STRESS_PAUSE, request, s->play.adds, s->play.operations);
}

static int run(const struct guest *g)
{
	struct region heap = workload_heap(g);
	struct seat s = { .g = g };
	uint64_t request = 0, next;
	bool bad = false;

	s.play = (struct play){
		.ops = &seat_ops,
		.ctx = &s,
		.id = g->cpu,
		.players = (unsigned)arg_number(g->bootargs, "players", g->cpus, &bad),
		.keep = arg_number(g->bootargs, "keep", work_pages(g) / 2, &bad),
		.random = arg_number(g->bootargs, "seed", 1, &bad) + g->cpu,
	};
	s.play.twins = work_pages(g) - s.play.keep;
	if (bad || !g->board || s.play.players < g->cpus || s.play.players > PLAY_MAX ||
	    s.play.keep < s.play.players || s.play.keep >= work_pages(g))
		return workload_refuse(g, "stress needs a board, players=N and keep=N below work");
	if (play_memory(s.play.keep, s.play.twins) > heap.size)
		return workload_refuse(g, "stress needs more RAM");
	s.play.floor = (uint32_t *)g->board->floor;
	memset((void *)heap.gpa, 0, play_memory(s.play.keep, s.play.twins));
	play_init(&s.play, (void *)heap.gpa);
	hc_phase(g->cpu, PHASE_BEGIN, 0, 0, 0);
	for (uint64_t n = 0; !is_stopping(g); n++) {
		next = load(&g->board->pause);
		if (next != request) {
			request = next;
			s.play.quiet = is_told_to_be_quiet(&s, request);
			continue;
		}
		play_step(&s.play);
		if (n % STEPS_A_WORD == 0)
			hc_phase(g->cpu, PHASE_STRESS_STEPS, 0, s.play.adds, s.play.operations);
	}
	return EXIT_GOOD;
}

const struct workload workload_stress = { .name = "stress", .run = run };
