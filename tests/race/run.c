// SPDX-License-Identifier: BSD-2-Clause
/* One variant of a scenario under the explorer. */
#include <stdio.h>
#include <string.h>

#include "tests/race/scenario.h"

#define DEFAULT_BOUND 3

static const struct race_scenario *current_scenario;
static unsigned current_variant;

unsigned race_variant(void)
{
	return current_variant;
}

bool race_variant_is(const char *name)
{
	return !strcmp(current_scenario->variant[current_variant].name, name);
}

/* A schedule that does not replay explains nothing: something besides the schedule decides what a run does. */
static void check_replay(const struct race_scenario *s, const struct explore_limits *limits,
			 struct explore_result *r)
{
	struct explore_limits again = *limits;
	static struct explore_result r2;
	char first[sizeof(r->why)];

	again.replay = r->schedule;
	explore(&s->program, &again, &r2);
	if (r2.verdict == r->verdict && !strcmp(r2.why, r->why))
		return;
	r->verdict = EXPLORE_VIOLATION;
	memcpy(first, r->why, sizeof(first));
	snprintf(r->why, sizeof(r->why),
		 "the failing schedule does not replay: %.100s; then: %.100s", first,
		 *r2.why ? r2.why : "it passed");
}

void race_explore(const struct race_scenario *s, unsigned n, unsigned mutant,
		  const struct explore_limits *limits, struct explore_result *r)
{
	struct explore_limits l = *limits;

	current_scenario = s;
	current_variant = n;
	if (l.bound < 0)
		l.bound = s->bound ? (int)s->bound : DEFAULT_BOUND;
	explore_set_mutant(mutant ? mutant : s->variant[n].mutant);
	explore(&s->program, &l, r);
	if (r->verdict != EXPLORE_PASS && !l.replay)
		check_replay(s, &l, r);
	explore_set_mutant(0);
}
