// SPDX-License-Identifier: BSD-2-Clause
/*
 * notify: what a bracket costs, start and end together, by who listens. Each bracket is one page and meets one
 * interval subscription, if there are any. The tree lies in memory in no order, as many allocations leave it.
 *
 * The pages are the same 256 again and again, at random: so the cases differ by the height of the tree, and each finds
 * its paths in the cache. The last two take any page of the million instead: they pay for memory, as docs/performance.md
 * reckons.
 */
#include <errno.h>
#include <pthread.h>

#include "mmu/notify/interval.h"
#include "tests/bench/bench.h"
#include "tests/bench/crowd.h"

enum listeners { NOBODY, INTERVALS, LIST };

struct notify_case {
	const char *name;
	enum listeners who;
	uint64_t n;
	/* The other side: as many subscriptions, or 0 for two uncontended locks. */
	uint64_t against;
	bool is_cold, is_against_cold; /* any page, not the same few */
};

static const struct notify_case cases[] = {
	{ "no subscriber, against two locks", NOBODY, 0, 0, false, false },
	{ "1 list notifier, against two locks", LIST, 1, 0, false, false },
	{ "1 interval, against two locks", INTERVALS, 1, 0, false, false },
	{ "10^3 intervals, against 1", INTERVALS, 1000, 1, false, false },
	{ "10^6 intervals, against 10^3", INTERVALS, 1000000, 1000, false, false },
	{ "10^6 and any page, against 10^3", INTERVALS, 1000000, 1000, true, false },
	{ "the same, both any page", INTERVALS, 1000000, 1000, true, true },
};

static int list_start(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	(void)mn;
	(void)range;
	return 0;
}

static void list_end(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	(void)mn;
	(void)range;
}

static const struct mmu_notifier_ops list_ops = { .invalidate_range_start = list_start,
						  .invalidate_range_end = list_end };

/* Nanoseconds for start and end. The best of a few short rounds: others use the machine, too. */
static double bracket_ns(const struct crowd *c, bool is_cold)
{
	enum { ROUNDS = 8, BRACKETS = 25000, PAGES = 256 };
	uint64_t seed = 7, best = UINT64_MAX, n = c->n ? c->n : 1;
	uint64_t hot[PAGES];

	for (unsigned i = 0; i < PAGES; i++)
		hot[i] = crowd_random(&seed) % n;
	for (unsigned round = 0; round < ROUNDS; round++) {
		uint64_t begin = bench_now_ns(), ns;

		for (unsigned i = 0; i < BRACKETS; i++) {
			uint64_t random = crowd_random(&seed);

			crowd_bracket(c, is_cold ? random % n : hot[random % PAGES]);
		}
		ns = bench_now_ns() - begin;
		best = ns < best ? ns : best;
	}
	return (double)best / BRACKETS;
}

/* What both sides of a case measure; built before its repetitions. */
struct sides {
	struct crowd crowd, against;
	bool is_cold, is_against_cold;
};

static int run_umbra(const void *arg, double *value)
{
	const struct sides *s = arg;

	*value = bracket_ns(&s->crowd, s->is_cold);
	return 0;
}

static int run_against(const void *arg, double *value)
{
	const struct sides *s = arg;

	*value = bracket_ns(&s->against, s->is_against_cold);
	return 0;
}

/* The least that any protocol with a lock at start and at end costs. */
static int run_two_locks(const void *arg, double *value)
{
	enum { ROUNDS = 8, PAIRS = 25000 };
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	uint64_t best = UINT64_MAX;

	(void)arg;
	for (unsigned round = 0; round < ROUNDS; round++) {
		uint64_t begin = bench_now_ns(), ns;

		for (unsigned i = 0; i < 2 * PAIRS; i++) {
			pthread_mutex_lock(&lock);
			pthread_mutex_unlock(&lock);
		}
		ns = bench_now_ns() - begin;
		best = ns < best ? ns : best;
	}
	*value = (double)best / PAIRS;
	return 0;
}

static int run_case(struct bench *b, const struct notify_case *c)
{
	struct sides s = { .is_cold = c->is_cold, .is_against_cold = c->is_against_cold };
	struct mmu_notifier mn = { .ops = &list_ops };
	struct bench_case bc = { .name = c->name,
				 .umbra = run_umbra,
				 .reference = c->against ? run_against : run_two_locks,
				 .arg = &s };
	int err;

	if (!bench_wants(b, c->name))
		return 0;
	err = crowd_create(&s.crowd, c->who == INTERVALS ? c->n : 0);
	if (err)
		return err;
	err = crowd_create(&s.against, c->against);
	if (err)
		goto err_undo_crowd;
	if (c->who == LIST)
		err = mmu_notifier_register(&mn, s.crowd.mm);
	if (err)
		goto err_undo_against;
	err = bench_run(b, &bc);
	if (c->who == LIST)
		mmu_notifier_unregister(&mn);
err_undo_against:
	crowd_destroy(&s.against);
err_undo_crowd:
	crowd_destroy(&s.crowd);
	return err;
}

static void *sleep_until_told(void *arg)
{
	pthread_mutex_t *told = arg;

	pthread_mutex_lock(told);
	pthread_mutex_unlock(told);
	return NULL;
}

static int run(struct bench *b)
{
	pthread_mutex_t told = PTHREAD_MUTEX_INITIALIZER;
	pthread_t other;
	int err;

	/* As long as there is one thread, glibc locks without atomics. */
	pthread_mutex_lock(&told);
	err = -pthread_create(&other, NULL, sleep_until_told, &told);
	if (err)
		return err;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]) && !err; i++)
		err = run_case(b, &cases[i]);
	pthread_mutex_unlock(&told);
	pthread_join(other, NULL);
	return err;
}

const struct bench_group bench_notify = {
	.name = "notify",
	.what = "start and end of a bracket, by who listens",
	.reference = "what the case names",
	.unit = "ns/bracket",
	.cases = sizeof(cases) / sizeof(cases[0]),
	.share = 2,
	.without_uffd = true,
	.run = run,
};
