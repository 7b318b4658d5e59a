/* SPDX-License-Identifier: BSD-2-Clause */
/* Who scans, how much at once, and what has come of it. */
#include <errno.h>

#include "mmu/base/thread.h"
#include "mmu/host/ksm_priv.h"

/* Between two batches others may have the service. */
static uint64_t one_batch(struct ksm *ksm, uint64_t npages)
{
	uint64_t n;

	ksm_claim_scan(ksm);
	n = ksm_batch(ksm, min_u64(npages, KSM_BATCH));
	ksm_release(ksm);
	return n;
}

uint64_t ksm_scan(struct ksm *ksm, uint64_t npages)
{
	uint64_t done = 0;
	int ends = 0;

	/* One end is that of the pass that the last call has left; two are a pass without a page. */
	while (done < npages && ends < 2 && !sync_load(&ksm->stop)) {
		uint64_t n = one_batch(ksm, npages - done);

		ends = n ? 0 : ends + 1;
		done += n;
	}
	return done;
}

uint64_t ksm_pass(struct ksm *ksm)
{
	uint64_t n, done = 0;

	while ((n = one_batch(ksm, KSM_BATCH)))
		done += n;
	return done;
}

/* What the thread has found when it began to scan. */
struct turn {
	uint64_t pages, claims, rates;
};

static void begin_turn(struct ksm *ksm, struct turn *t)
{
	lock_acquire(&ksm->lock);
	*t = (struct turn){ ksm->opts.pages_to_scan, ksm->claims, ksm->rates };
	lock_release(&ksm->lock);
}

/* @ms from now on. */
static struct timespec in_millisecs(unsigned ms)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += ms / 1000;
	until.tv_nsec += (long)(ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	return until;
}

/*
 * Until it is time for more, or another rate, or for the end; with nothing to scan, until somebody has been here since the turn
 * began. True: go on.
 */
static bool rest(struct ksm *ksm, bool idle, const struct turn *t)
{
	struct timespec until;
	bool in_time = true;
	unsigned ms;

	lock_acquire(&ksm->lock);
	ms = ksm->opts.sleep_millisecs;
	until = in_millisecs(ms);
	while (idle && !ms && ksm->claims == t->claims && ksm->rates == t->rates &&
	       !sync_load(&ksm->stop))
		cond_wait(&ksm->changed, &ksm->lock);
	while (ms && in_time && ksm->rates == t->rates && !sync_load(&ksm->stop))
		in_time = cond_wait_until(&ksm->changed, &ksm->lock, &until);
	lock_release(&ksm->lock);
	return !sync_load(&ksm->stop);
}

static void *ksmd(void *arg)
{
	struct ksm *ksm = arg;
	struct turn t;
	uint64_t done;

	do {
		begin_turn(ksm, &t);
		done = ksm_scan(ksm, t.pages);
	} while (rest(ksm, !done, &t));
	return NULL;
}

void ksm_set_rate(struct ksm *ksm, uint64_t pages_to_scan, unsigned sleep_millisecs)
{
	lock_acquire(&ksm->lock);
	if (pages_to_scan)
		ksm->opts.pages_to_scan = pages_to_scan;
	ksm->opts.sleep_millisecs = sleep_millisecs;
	ksm->rates++;
	cond_broadcast(&ksm->changed);
	lock_release(&ksm->lock);
}

int ksm_start(struct ksm *ksm)
{
	int rc;

	if (ksm->running)
		return -EALREADY;
	rc = thread_start(&ksm->thread, ksmd, ksm);
	ksm->running = !rc;
	return rc;
}

void ksm_stop(struct ksm *ksm)
{
	if (!ksm->running)
		return;
	lock_acquire(&ksm->lock);
	sync_store(&ksm->stop, true);
	cond_broadcast(&ksm->changed);
	lock_release(&ksm->lock);
	bug_on(pthread_join(ksm->thread, NULL));
	sync_store(&ksm->stop, false);
	ksm->running = false;
}

void ksm_get_stats(struct ksm *ksm, struct ksm_stats *stats)
{
	ksm_claim(ksm);
	*stats = ksm->stats;
	for (uint64_t i = 0; i < ksm->stable.size; i++) {
		const struct ksm_node *n = &ksm->stable.node[i];
		/* One map is the service's own. */
		uint64_t sharers = n->sum ? pool_maps(ksm->pool, n->fn) - 1 : 0;

		if (!sharers)
			continue;
		stats->pages_shared++;
		stats->pages_sharing += sharers - 1;
	}
	stats->ksm_zero_pages = pool_zero_maps(ksm->pool);
	ksm_release(ksm);
}
