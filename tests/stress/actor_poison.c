// SPDX-License-Identifier: BSD-2-Clause
/*
 * Frames of side pages go bad. The page gets a new one when it is discarded, cut off or moved over; the frame never comes back, so
 * a run has POISON_MOST of them, spread over its time.
 */
#include <errno.h>

#include "mmu/host/hostmm_reclaim.h"
#include "tests/stress/actors.h"
#include "tests/stress/side.h"

static bool is_time(const struct world *w)
{
	double part = (stress_now() - w->begin) / w->o->seconds;

	return (double)pool_poisoned(w->pool) < part * POISON_MOST;
}

/* Without a userfaultfd the access that fails is the thread's own signal, which access_load() survives. */
static void look(const struct world *w, uint64_t page)
{
	const void *at = (const void *)(uintptr_t)side_hva(w, page);
	uint64_t value;

	if (w->o->source != HOSTMM_SOURCE_UFFD && access_load(at, &value))
		fail(ORACLE_SIDE, w->pages + page, "a host thread has loaded %#lx from a bad page",
		     value);
}

/* It is stored to first: a frame with contents that no other page has. */
int act_poison(struct world *w, uint64_t *random)
{
	uint64_t page = play_random(random) % SIDE_PAGES;
	int rc;

	if (!is_time(w))
		return 0;
	pthread_mutex_lock(&w->side_lock);
	rc = side_store(w, page, page + 1, random);
	side_begin(w, page, page + 1);
	rc = rc ?: hostmm_poison(w->mm, side_hva(w, page));
	if (!rc) {
		side_hold(w, page, page + 1, SIDE_BAD);
		look(w, page);
	}
	side_end(w, page, page + 1);
	pthread_mutex_unlock(&w->side_lock);
	/* It was bad, or somebody has reclaimed it. */
	return rc == -ENOENT ? 0 : rc;
}
