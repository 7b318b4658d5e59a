// SPDX-License-Identifier: BSD-2-Clause
/*
 * All players stopped, or loading only.
 *
 *	who pauses			player
 *	request++, acks = 0		... a step ...
 *	wait for acks == players	request differs: acks++, once a request
 *					stop: wait for another request
 *	... nobody stores ...
 *	request++ (run)			goes on
 *
 * vCPUs see the request on the board, and come here by PHASE_STRESS_PAUSE.
 */
#include "tests/stress/stress.h"

#define HOW(request) ((enum pause_how)((request)&3))

static void make_request(struct world *w, enum pause_how how)
{
	uint64_t request = ((w->request >> 2) + 1) << 2 | how;

	w->acks = 0;
	atomic_store(&w->request, request);
	/* Not through a way out: the board is never changed, so its view serves every store. */
	if (w->board)
		__atomic_store_n(&w->board->pause, request, __ATOMIC_RELEASE);
	pthread_cond_broadcast(&w->pause_changed);
}

void pause_begin(struct world *w, enum pause_how how)
{
	pthread_mutex_lock(&w->pauser);
	pthread_mutex_lock(&w->pause_lock);
	make_request(w, how);
	while (w->acks < w->players)
		pthread_cond_wait(&w->pause_changed, &w->pause_lock);
	pthread_mutex_unlock(&w->pause_lock);
}

void pause_end(struct world *w)
{
	pthread_mutex_lock(&w->pause_lock);
	make_request(w, PAUSE_RUN);
	pthread_mutex_unlock(&w->pause_lock);
	pthread_mutex_unlock(&w->pauser);
}

bool pause_here(struct player *p)
{
	struct world *w = p->w;
	uint64_t request;

	pthread_mutex_lock(&w->pause_lock);
	request = w->request;
	if (p->acked != request) {
		p->acked = request;
		w->acks++;
		pthread_cond_broadcast(&w->pause_changed);
	}
	p->is_waiting = true;
	while (HOW(request) == PAUSE_STOP && w->request == request)
		pthread_cond_wait(&w->pause_changed, &w->pause_lock);
	p->is_waiting = false;
	/* What comes next has to be acknowledged like the first. */
	p->word = request;
	pthread_mutex_unlock(&w->pause_lock);
	return HOW(request) == PAUSE_QUIET;
}
