// SPDX-License-Identifier: BSD-2-Clause
/* Actors that take contents and rights away. What the pages of the side region hold after each, side.c checks. */
#include <errno.h>

#include "tests/stress/actors.h"
#include "tests/stress/side.h"

#define BOTH (HOSTMM_PROT_READ | HOSTMM_PROT_WRITE)

int act_store(struct world *w, uint64_t *random)
{
	uint64_t page, end;
	int rc;

	side_pick(random, 16, &page, &end);
	pthread_mutex_lock(&w->side_lock);
	rc = side_store(w, page, end, random);
	pthread_mutex_unlock(&w->side_lock);
	return rc;
}

int act_discard(struct world *w, uint64_t *random)
{
	uint64_t page, end;
	int rc;

	side_pick(random, 32, &page, &end);
	pthread_mutex_lock(&w->side_lock);
	side_begin(w, page, end);
	rc = hostmm_discard(w->mm, side_hva(w, page), side_hva(w, end));
	side_hold(w, page, end, 0);
	side_end(w, page, end);
	pthread_mutex_unlock(&w->side_lock);
	return rc;
}

/* Shrink, look whether all are told, extend: what comes back is new. */
int act_truncate(struct world *w, uint64_t *random)
{
	uint64_t left = play_random(random) % SIDE_PAGES;
	int rc;

	pthread_mutex_lock(&w->side_lock);
	side_begin(w, left, SIDE_PAGES);
	rc = hostmm_truncate(w->mm, w->side, left);
	side_hold(w, left, SIDE_PAGES, SIDE_NONE);
	side_end(w, left, SIDE_PAGES);
	if (!rc && play_random(random) & 1)
		sched_yield();
	side_begin(w, left, SIDE_PAGES);
	rc = rc ?: hostmm_truncate(w->mm, w->side, SIDE_PAGES);
	side_hold(w, left, SIDE_PAGES, 0);
	side_end(w, left, SIDE_PAGES);
	rc = rc ?: side_store(w, left, left + (SIDE_PAGES - left) / 2, random);
	pthread_mutex_unlock(&w->side_lock);
	return rc;
}

static void hold_none(struct world *w, uint64_t page, uint64_t end, uint64_t *saved)
{
	for (uint64_t p = page; p < end; p++) {
		saved[p - page] = atomic_load(&w->side_page[p].value);
		side_hold(w, p, p + 1, SIDE_NONE);
	}
}

/* No rights, then back: contents stay. Or loads only, under which they stay all the time. */
int act_protect(struct world *w, uint64_t *random)
{
	unsigned prot = play_random(random) & 1 ? HOSTMM_PROT_READ : 0;
	uint64_t saved[SIDE_PAGES], page, end;
	int rc;

	side_pick(random, 32, &page, &end);
	pthread_mutex_lock(&w->side_lock);
	if (!prot) {
		side_begin(w, page, end);
		hold_none(w, page, end, saved);
	}
	rc = hostmm_protect(w->mm, side_hva(w, page), side_hva(w, end), prot);
	if (!prot)
		side_end(w, page, end);
	if (play_random(random) & 1)
		sched_yield();
	if (!prot)
		side_begin(w, page, end);
	rc = rc ?: hostmm_protect(w->mm, side_hva(w, page), side_hva(w, end), BOTH);
	for (uint64_t p = page; !prot && p < end; p++)
		side_hold(w, p, p + 1, saved[p - page]);
	if (!prot)
		side_end(w, page, end);
	pthread_mutex_unlock(&w->side_lock);
	return rc;
}

/* Under the loads of all: no guest may store now, so none does. */
int act_protect_quiet(struct world *w, uint64_t *random)
{
	uint64_t n = 1 + play_random(random) % 256, page = play_random(random) % (w->pages - n + 1);
	int rc;

	pause_begin(w, PAUSE_QUIET);
	rc = hostmm_protect(w->mm, world_hva(w, page), world_hva(w, page + n), HOSTMM_PROT_READ);
	rc = rc ?: hostmm_protect(w->mm, world_hva(w, page), world_hva(w, page + n), BOTH);
	pause_end(w);
	return rc;
}

int act_move(struct world *w, uint64_t *random)
{
	uint64_t n = 1 + play_random(random) % 16;
	uint64_t from = play_random(random) % (SIDE_PAGES / 2 - n);
	uint64_t to = SIDE_PAGES / 2 + play_random(random) % (SIDE_PAGES / 2 - n);
	int rc;

	if (play_random(random) & 1) {
		uint64_t other = from;

		from = to;
		to = other;
	}
	pthread_mutex_lock(&w->side_lock);
	side_begin(w, from, from + n);
	side_begin(w, to, to + n);
	rc = hostmm_move(w->mm, side_hva(w, from), side_hva(w, from + n), side_hva(w, to));
	for (uint64_t i = 0; i < n; i++)
		side_hold(w, to + i, to + i + 1, atomic_load(&w->side_page[from + i].value));
	side_hold(w, from, from + n, 0);
	side_end(w, from, from + n);
	side_end(w, to, to + n);
	pthread_mutex_unlock(&w->side_lock);
	return rc;
}

/* Absent pages get the shared frames of zeros: nothing that anyone could see. */
int act_zero(struct world *w, uint64_t *random)
{
	uint64_t page, end;
	int rc;

	side_pick(random, 32, &page, &end);
	pthread_mutex_lock(&w->side_lock);
	rc = hostmm_map_zero(w->mm, side_hva(w, page), side_hva(w, end));
	pthread_mutex_unlock(&w->side_lock);
	return rc == -ENOSPC ? 0 : rc;
}
