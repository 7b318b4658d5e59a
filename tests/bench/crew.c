/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/bench/crew.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "mmu/base/addr.h"
#include "tests/bench/bench.h"

#define SPINS \
	10000u /* then others may have the processor: there may be fewer of them than threads */

/* In lines of their own: what a thread writes here must not cost the others. */
struct member {
	_Alignas(128) const struct crew_work *work;
	unsigned number, threads, rounds;
	atomic_uint *arrived; /* in all rounds */
	atomic_bool *failed;
	uint64_t begin[CREW_ROUNDS_MAX], end[CREW_ROUNDS_MAX]; /* ns */
	int rc;
	pthread_t thread;
};

static void meet(const struct member *m, unsigned round)
{
	unsigned all = (round + 1) * m->threads;

	atomic_fetch_add(m->arrived, 1);
	for (unsigned spin = 0; atomic_load(m->arrived) < all && !atomic_load(m->failed); spin++)
		if (spin > SPINS)
			sched_yield();
}

static void *work(void *arg)
{
	struct member *m = arg;
	const struct crew_work *w = m->work;

	for (unsigned i = 0; i < m->rounds && !atomic_load(m->failed); i++) {
		meet(m, i);
		m->begin[i] = bench_now_ns();
		m->rc = w->work(w->ctx, m->number);
		m->end[i] = bench_now_ns();
		if (!m->rc && w->after)
			m->rc = w->after(w->ctx, m->number);
		if (m->rc)
			atomic_store(m->failed, true);
	}
	return NULL;
}

static uint64_t shortest(const struct member *m, unsigned threads, unsigned rounds)
{
	uint64_t best = UINT64_MAX;

	for (unsigned i = rounds > 1; i < rounds; i++) {
		uint64_t begin = UINT64_MAX, end = 0;

		for (unsigned k = 0; k < threads; k++) {
			begin = min_u64(begin, m[k].begin[i]);
			end = max_u64(end, m[k].end[i]);
		}
		best = min_u64(best, end - begin);
	}
	return best;
}

int crew_time(const struct crew_work *w, unsigned threads, unsigned rounds, uint64_t *ns)
{
	struct member m[CREW_MAX];
	atomic_uint arrived = 0;
	atomic_bool failed = false;
	unsigned n = 0;
	int rc = !threads || threads > CREW_MAX || !rounds || rounds > CREW_ROUNDS_MAX ? -EINVAL
										       : 0;

	for (; n < threads && !rc; n += !rc) {
		m[n] = (struct member){ .work = w,
					.number = n,
					.threads = threads,
					.rounds = rounds };
		m[n].arrived = &arrived;
		m[n].failed = &failed;
		rc = -pthread_create(&m[n].thread, NULL, work, &m[n]);
	}
	if (rc)
		atomic_store(&failed, true);
	for (unsigned i = 0; i < n; i++) {
		pthread_join(m[i].thread, NULL);
		rc = m[i].rc ? m[i].rc : rc;
	}
	*ns = rc ? 0 : shortest(m, threads, rounds);
	return rc;
}
