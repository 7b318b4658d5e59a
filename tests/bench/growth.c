// SPDX-License-Identifier: BSD-2-Clause
/*
 * growth: what a step costs when there are many of the things that it has to find: interval subscriptions, memslots, pages;
 * on one thread, and on two at once. Below the shadow is nothing. Each case stands beside the same with a hundred.
 *
 *	subscriptions	a bracket of one page, of the same 256 at random
 *	slots		a fault of a slot's one page, and the zap of it; the same 256 slots
 *	pages		a fault and a zap of all of them, per page; they share frames of zeros, so that a million cost no memory
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tests/bench/bench.h"
#include "tests/bench/crew.h"
#include "tests/bench/crowd.h"
#include "tests/bench/shadow_rig.h"

#define FEW    100u
#define HOT    256u
#define TIMES  8192u /* steps of a thread a round */
#define ROUNDS 6u

struct world {
	uint64_t n;
	struct crowd crowd;
	struct shadow_rig rig;
};

struct subject {
	const char *name;
	uint64_t most; /* without --long */
	int (*up)(struct world *w);
	void (*down)(struct world *w);
	int (*work)(void *world, unsigned thread);
	uint64_t (*steps)(const struct world *w, unsigned threads); /* of all in a round */
};

/* ---- Subscriptions ---- */

static int crowd_up(struct world *w)
{
	return crowd_create(&w->crowd, w->n);
}

static void crowd_down(struct world *w)
{
	if (w->crowd.mm)
		crowd_destroy(&w->crowd);
}

static int brackets(void *world, unsigned thread)
{
	const struct world *w = world;
	uint64_t seed = 7 + thread, hot[HOT];

	for (unsigned i = 0; i < HOT; i++)
		hot[i] = crowd_random(&seed) % w->n;
	for (unsigned i = 0; i < TIMES; i++)
		crowd_bracket(&w->crowd, hot[crowd_random(&seed) % HOT]);
	return 0;
}

static uint64_t times(const struct world *w, unsigned threads)
{
	(void)w;
	return (uint64_t)TIMES * threads;
}

/* ---- Slots ---- */

/* A page each, two gfns apart, so that none is another's neighbour. */
static int slots_up(struct world *w)
{
	int rc = shadow_rig_up_around(&w->rig, w->n, SHADOW_RIG_BARE, 1, 1);

	for (uint64_t i = 0; i < w->n && !rc; i++)
		rc = shadow_add_slot(w->rig.shadow, (unsigned)i, 2 * i, 1,
				     w->rig.hva + (i << PAGE_SHIFT), 0);
	return rc;
}

static void rig_down(struct world *w)
{
	shadow_rig_down(&w->rig);
}

static int faults_and_zaps(void *world, unsigned thread)
{
	const struct world *w = world;
	uint64_t seed = 7 + thread, hot[HOT];
	int rc = 0;

	for (unsigned i = 0; i < HOT; i++)
		hot[i] = crowd_random(&seed) % w->n;
	for (unsigned i = 0; i < TIMES && rc >= 0; i++) {
		uint64_t slot = hot[crowd_random(&seed) % HOT];
		hva_t hva = w->rig.hva + (slot << PAGE_SHIFT);

		rc = shadow_fault(w->rig.shadow, 2 * slot, false);
		if (rc >= 0)
			rc = hostmm_zap(w->rig.mm, hva, hva + PAGE_SIZE);
	}
	return rc < 0 ? rc : 0;
}

/* ---- Pages ---- */

static int pages_up(struct world *w)
{
	int rc = shadow_rig_up(&w->rig, w->n, 0);

	return rc ? rc : hostmm_map_zero(w->rig.mm, w->rig.hva, shadow_rig_end(&w->rig));
}

/* Each thread its half. */
static int map_and_zap(void *world, unsigned thread)
{
	const struct world *w = world;
	uint64_t part = w->n / 2, first = thread * part;
	hva_t hva = w->rig.hva + (first << PAGE_SHIFT);
	int rc = 0;

	for (uint64_t again = 0; again < 1 + TIMES / part && rc >= 0; again++) {
		for (gfn_t gfn = first; gfn < first + part && rc >= 0; gfn += SHADOW_AROUND_MAX)
			rc = shadow_fault(w->rig.shadow, gfn, false);
		/* The last block's end is in it, or in the other's half: both are mapped. */
		if (rc >= 0)
			rc = hostmm_zap(w->rig.mm, hva, hva + (part << PAGE_SHIFT));
	}
	return rc < 0 ? rc : 0;
}

static uint64_t half_pages(const struct world *w, unsigned threads)
{
	uint64_t part = w->n / 2;

	return part * (1 + TIMES / part) * threads;
}

static const struct subject subjects[] = {
	{ "subscriptions", 1000000, crowd_up, crowd_down, brackets, times },
	{ "slots", 100000, slots_up, rig_down, faults_and_zaps, times },
	{ "pages", 1000000, pages_up, rig_down, map_and_zap, half_pages },
};

/* ---- Cases ---- */

struct side {
	const struct subject *subject;
	struct world *world;
	unsigned threads;
};

struct sides {
	struct side umbra, reference;
};

static int time_of(const struct side *s, double *value)
{
	const struct crew_work w = { .work = s->subject->work, .ctx = s->world };
	uint64_t ns = 0;
	int rc = crew_time(&w, s->threads, ROUNDS, &ns);

	*value = (double)ns / (double)s->subject->steps(s->world, s->threads);
	return rc;
}

static int run_many(const void *arg, double *value)
{
	return time_of(&((const struct sides *)arg)->umbra, value);
}

static int run_reference(const void *arg, double *value)
{
	return time_of(&((const struct sides *)arg)->reference, value);
}

static int run_case(struct bench *b, const struct sides *s, const char *name)
{
	const struct bench_case c = { .name = name,
				      .umbra = run_many,
				      .reference = run_reference,
				      .arg = s };

	return bench_run(b, &c);
}

/* One size: one thread, two, and two beside one. */
static int run_size(struct bench *b, const struct subject *subject, struct world *few,
		    struct world *many)
{
	char name[96];
	int rc = 0;

	for (unsigned threads = 1; threads <= 2 && !rc; threads++) {
		const struct sides s = { { subject, many, threads }, { subject, few, threads } };

		snprintf(name, sizeof(name), "%lu %s, %u thread%s, against %u", many->n,
			 subject->name, threads, threads > 1 ? "s" : "", FEW);
		rc = run_case(b, &s, name);
	}
	if (!rc && many->n == 10000) {
		const struct sides s = { { subject, many, 2 }, { subject, many, 1 } };

		snprintf(name, sizeof(name), "%lu %s, 2 threads, against 1", many->n,
			 subject->name);
		rc = run_case(b, &s, name);
	}
	return rc;
}

static int run_subject(struct bench *b, const struct subject *subject)
{
	uint64_t most = bench_is_quick(b) ? 10000 : bench_is_long(b) ? 1000000 : subject->most;
	struct world few = { .n = FEW };
	int rc = subject->up(&few);

	for (uint64_t n = 1000; n <= most && !rc; n *= 10) {
		struct world many = { .n = n };

		rc = subject->up(&many);
		if (!rc)
			rc = run_size(b, subject, &few, &many);
		subject->down(&many);
	}
	subject->down(&few);
	return rc;
}

static int run(struct bench *b)
{
	int rc = 0;

	for (size_t i = 0; i < sizeof(subjects) / sizeof(subjects[0]) && !rc; i++)
		rc = run_subject(b, &subjects[i]);
	return rc;
}

const struct bench_group bench_growth = {
	.name = "growth",
	.what = "a step among many subscriptions, slots, pages, on one thread and on two",
	.reference = "the same among 100; or one thread",
	.unit = "ns/step",
	.cases = 25,
	.share = 2,
	.run = run,
};
