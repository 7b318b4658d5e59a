/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Scenarios: a question that somebody asked, the protocols that answer it, and the threads that run them.
 * Owns nothing. One file per group in tests/race/scenarios/, listed in registry.c; main.c runs them.
 * A scenario calls the library, explore_say() and explore_fail(), nothing else.
 */
#ifndef UMBRA_TESTS_RACE_SCENARIO_H
#define UMBRA_TESTS_RACE_SCENARIO_H

#include "tests/race/explore.h"

#define RACE_VARIANTS 12
#define RACE_BOUND    (-1)

enum race_expect {
	RACE_NONE, /* end of the variants */
	RACE_PASS, /* every schedule passes */
	RACE_VIOLATION,
	RACE_DEADLOCK,
	RACE_PENDING, /* needs a part that is not built yet */
};

/* One protocol. The same threads run each; they ask race_variant() where protocols differ. */
struct race_variant {
	const char *name;
	enum race_expect expect;
	unsigned mutant;  /* switch that is on meanwhile, 0 none */
	const char *says; /* the protocol, or why it is pending, in a sentence */
	unsigned immune;  /* a switch that makes no difference here, and is not to; 0 none */
};

struct race_scenario {
	const char *name;     /* a23-async-fork */
	const char *rows;     /* "A23 A24": what docs/requirements.md is checked against */
	const char *title;    /* for the picture */
	const char *question; /* what was argued about, for a reader who has not read the thread */
	const char *lesson;   /* what the failing picture shows, in a sentence */
	struct race_variant variant[RACE_VARIANTS];
	struct explore_program program;
	unsigned bound; /* preemptions; 0: the default, 3 */
};

/*
 * race_explore - explore variant @n of @s under @limits (bound RACE_BOUND: the scenario's own, or 3), with switch @mutant on
 * instead of the variant's if it is not 0. A failing schedule is replayed; if that does not fail alike, the
 * verdict is a violation that says so. The timeline is that of the failing run.
 */
void race_explore(const struct race_scenario *s, unsigned n, unsigned mutant,
		  const struct explore_limits *limits, struct explore_result *r);

/* race_document - write docs/races.md and its pictures below @dir. 0 or -errno, having said why. */
int race_document(const char *dir);

/* The variant that runs, by index and by name. */
unsigned race_variant(void);
bool race_variant_is(const char *name);

extern const struct race_scenario *const race_scenarios[]; /* ends with NULL */

/* draw.c: the timeline of the last run. @r says how it ended. */
struct race_picture {
	const struct race_scenario *scenario;
	const struct race_variant *variant;
	const struct explore_result *result;
	unsigned mutant; /* 0: the variant's own */
};
void draw_text(const struct race_picture *p);
/* 0 or -errno. */
int draw_svg(const struct race_picture *p, const char *path);

#endif
