/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The library's side of notify_model.c: callbacks that write down what they were called with, and threads that make the
 * calls that wait. Owns the mm under test, its subscriptions, and the log. Who may call: notify_model.c.
 * May not know: which operations there are.
 */
#ifndef UMBRA_TESTS_UNIT_NOTIFY_RECORDER_H
#define UMBRA_TESTS_UNIT_NOTIFY_RECORDER_H

#include <errno.h>
#include <sched.h>
#include <semaphore.h>

#include "mmu/notify/interval.h"
#include "tests/rig.h"
#include "tests/test.h"
#include "tests/unit/notify_model.h"

#define HELPERS 3

static struct model model;
static struct m_log got;
static struct mmu_notifier_subscriptions mm;
static uint64_t seed, step, callbacks, waits;

#define same(have, want)                                                                     \
	do {                                                                                 \
		uint64_t have_ = (uint64_t)(have), want_ = (uint64_t)(want);                 \
		check(have_ == want_, "%s at step %lu of SEED=%lu: %lu, the model says %lu", \
		      #have, step, first_seed, have_, want_);                                \
	} while (0)
static uint64_t first_seed;

/* ---- The library's side: callbacks that write down what they were called with ---- */

struct sub {
	struct mmu_interval_notifier in;
	unsigned id;
	unsigned readers; /* helpers that wait in read_begin */
	uint64_t seen;	  /* what read_begin said last */
};

struct note {
	struct mmu_notifier mn;
	unsigned id;
};

static struct sub subs[M_SUBS];
static struct note fixed[M_LIST], *notes[M_LIST]; /* notes[i] is registered; NULL: not */
static struct mmu_notifier_range ranges[M_RANGES];

static unsigned id_of(struct mmu_notifier *mn)
{
	return ((struct note *)mn)->id;
}

static bool on_hit(struct mmu_interval_notifier *in, const struct mmu_notifier_range *r,
		   uint64_t cur_seq)
{
	unsigned id = ((struct sub *)in)->id;
	enum m_mood mood = model.sub[id].mood;

	m_say(&got, M_HIT, id, r->start, cur_seq);
	if (mood == M_BROKEN || (mood == M_MOODY && !mmu_notifier_range_blockable(r)))
		return false;
	mmu_interval_set_seq(in, cur_seq);
	return true;
}

static int on_start(struct mmu_notifier *mn, const struct mmu_notifier_range *r)
{
	enum m_mood mood = model.note[id_of(mn)].mood;

	m_say(&got, M_START, id_of(mn), r->start, r->end);
	return mood == M_BROKEN || (mood == M_MOODY && !mmu_notifier_range_blockable(r)) ? -EAGAIN
											 : 0;
}

static void on_end(struct mmu_notifier *mn, const struct mmu_notifier_range *r)
{
	m_say(&got, M_END, id_of(mn), r->start, r->end);
}

static void on_release(struct mmu_notifier *mn)
{
	m_say(&got, M_RELEASE, id_of(mn), 0, 0);
}

static void on_change(struct mmu_notifier *mn, hva_t addr, fn_t fn, bool writable)
{
	(void)writable;
	m_say(&got, M_CHANGE, id_of(mn), addr, fn << 1 | mmu_notifier_may_repoint(mn, addr));
}

static void on_tlb(struct mmu_notifier *mn, hva_t start, hva_t end)
{
	m_say(&got, M_TLB, id_of(mn), start, end);
}

static bool on_young(struct mmu_notifier *mn, hva_t start, hva_t end)
{
	m_say(&got, M_YOUNG, id_of(mn), start, end);
	return model.note[id_of(mn)].young;
}

static struct mmu_notifier *alloc_note(unsigned id)
{
	struct note *n = calloc(1, sizeof(*n));

	n->id = id;
	return &n->mn;
}

static struct mmu_notifier *alloc_6(struct mmu_notifier_subscriptions *of)
{
	(void)of;
	return alloc_note(6);
}

static struct mmu_notifier *alloc_7(struct mmu_notifier_subscriptions *of)
{
	(void)of;
	return alloc_note(7);
}

static void on_free(struct mmu_notifier *mn)
{
	m_say(&got, M_FREE, id_of(mn), 0, 0);
	free(mn);
}

static const struct mmu_interval_notifier_ops sub_ops = { .invalidate = on_hit };

#define BRACKET	   .invalidate_range_start = on_start, .invalidate_range_end = on_end
#define RELEASE	   .release = on_release
#define GET(alloc) .alloc_notifier = (alloc), .free_notifier = on_free

static const struct mmu_notifier_ops note_ops[M_LIST] = {
	{ BRACKET, RELEASE, .change_pte = on_change, .clear_young = on_young },
	{ BRACKET, RELEASE },
	{ .invalidate_range_start = on_start, RELEASE },
	{ .invalidate_range_start = on_start, RELEASE },
	{ .arch_invalidate_secondary_tlbs = on_tlb, RELEASE },
	{ .invalidate_range_end = on_end, .clear_young = on_young, RELEASE },
	{ BRACKET, RELEASE, GET(alloc_6) },
	{ .invalidate_range_start = on_start, .change_pte = on_change, RELEASE, GET(alloc_7) },
};

/* ---- Threads for what waits ---- */

static struct helper {
	pthread_t thread;
	sem_t go;
	enum { H_BEGIN, H_REMOVE, H_QUIT } job;
	struct sub *sub;
	bool is_busy;
	atomic_bool is_done;
} helpers[HELPERS];

static void *help(void *arg)
{
	struct helper *h = arg;

	for (;;) {
		while (sem_wait(&h->go))
			;
		if (h->job == H_QUIT)
			return NULL;
		if (h->job == H_BEGIN)
			h->sub->seen = mmu_interval_read_begin(&h->sub->in);
		else
			mmu_interval_notifier_remove(&h->sub->in);
		atomic_store(&h->is_done, true);
	}
}

static struct helper *idle_helper(void)
{
	for (unsigned i = 0; i < HELPERS; i++)
		if (!helpers[i].is_busy)
			return &helpers[i];
	return NULL;
}

static uint64_t waiters(void)
{
	uint64_t n;

	lock_acquire(&mm.lock);
	n = mm.waiters;
	lock_release(&mm.lock);
	return n;
}

/* Start @job elsewhere, and return when it sleeps. */
static void wait_elsewhere(struct helper *h, int job, struct sub *s)
{
	uint64_t before = waiters();

	waits++;
	h->job = job;
	h->sub = s;
	h->is_busy = true;
	s->readers += job == H_BEGIN;
	atomic_store(&h->is_done, false);
	sem_post(&h->go);
	while (waiters() == before) {
		check(!atomic_load(&h->is_done), "step %lu of SEED=%lu: should wait", step,
		      first_seed);
		sched_yield();
	}
}

static void finish_helpers(void)
{
	for (unsigned i = 0; i < HELPERS; i++) {
		struct helper *h = &helpers[i];

		if (!h->is_busy)
			continue;
		while (!atomic_load(&h->is_done))
			sched_yield();
		h->is_busy = false;
		h->sub->readers -= h->job == H_BEGIN;
	}
}

/* Debug builds want these calls from a thread without an open bracket, and this one may have some. */
static void do_elsewhere(int job, struct sub *s)
{
	struct helper *h = idle_helper();

	h->job = job;
	h->sub = s;
	atomic_store(&h->is_done, false);
	sem_post(&h->go);
	while (!atomic_load(&h->is_done))
		sched_yield();
}

static void call(int job, struct sub *s)
{
#ifdef UMBRA_DEBUG
	do_elsewhere(job, s);
#else
	(void)do_elsewhere;
	if (job == H_BEGIN)
		s->seen = mmu_interval_read_begin(&s->in);
	else
		mmu_interval_notifier_remove(&s->in);
#endif
}

#endif
