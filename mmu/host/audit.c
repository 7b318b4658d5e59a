/* SPDX-License-Identifier: BSD-2-Clause */
#include "mmu/host/audit.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "mmu/base/mutant.h"
#include "mmu/base/thread.h"
#include "mmu/base/trace.h"
#include "mmu/host/view_lost.h"

/* Events that may wait. The reader can neither wait for room nor allocate any. */
#define LOG	  256u

/* For how long to sleep while a change is under way that has no event yet. */
#define CHANGE_NS 50000L

/*
 * Locks used to protect members:
 *	I	immutable after start
 *	r	uffd->reading
 */
struct audit {
	audit_fn handle;	     /* [I] */
	void *ctx;		     /* [I] */
	struct uffd *uffd;	     /* [I] */
	struct cond changed;	     /* the log, what is in hand */
	struct audit_event log[LOG]; /* [r] */
	unsigned head, logged;	     /* [r] */
	bool is_lost;		     /* [r] some event did not fit */
	bool in_hand, stop;	     /* [r] an event is being dealt with */
	uint64_t seq;		     /* [r] events dealt with */
	struct audit_own *own;	     /* [r] calls under way */
	struct view_link *views;     /* [r] */
	struct audit_stats stats;    /* [r] */
	pthread_t thread;	     /* [I] */
};

/* ---- The log ---- */

static void push(struct audit *a, const struct audit_event *event)
{
	lock_assert_held(&a->uffd->reading);
	if (a->logged < LOG) {
		a->log[(a->head + a->logged++) % LOG] = *event;
	} else {
		a->is_lost = !mutant(471);
		a->stats.overflows++;
		if (event->kind == AUDIT_FORK)
			close(event->fd);
		/* Nobody will know whose frames are there: nobody may reach them. To protect raises no event. */
		if (event->kind == AUDIT_REMAP && !mutant(472))
			view_close_range(event->to, event->to + (event->end - event->start));
	}
	cond_broadcast(&a->changed);
}

static struct audit_event pop(struct audit *a)
{
	struct audit_event event = { .kind = AUDIT_ALL };

	if (a->logged && mutant(451)) { /* the last one first */
		event = a->log[(a->head + --a->logged) % LOG];
	} else if (a->logged) {
		event = a->log[a->head];
		a->head = (a->head + 1) % LOG;
		a->logged--;
	} else {
		a->is_lost = false;
	}
	return event;
}

static bool has_news(const struct audit *a)
{
	return a->logged || a->is_lost;
}

static bool is_behind(const struct audit *a)
{
	return has_news(a) || (a->in_hand && !mutant(453));
}

static void *audit_main(void *arg)
{
	struct audit *a = arg;

	lock_acquire(&a->uffd->reading);
	for (;;) {
		struct audit_event event;

		while (!has_news(a) && !a->stop)
			cond_wait(&a->changed, &a->uffd->reading);
		if (!has_news(a))
			break;
		event = pop(a);
		a->in_hand = true;
		lock_release(&a->uffd->reading);
		a->handle(a->ctx, &event);
		lock_acquire(&a->uffd->reading);
		a->in_hand = false;
		a->seq++;
		cond_broadcast(&a->changed);
	}
	lock_release(&a->uffd->reading);
	return NULL;
}

int audit_start(struct uffd *u, audit_fn handle, void *ctx)
{
	struct audit *a = calloc(1, sizeof(*a));
	int rc;

	bug_on(!u->has_events);
	if (!a)
		return -ENOMEM;
	a->handle = handle;
	a->ctx = ctx;
	a->uffd = u;
	cond_init(&a->changed);
	rc = thread_start(&a->thread, audit_main, a);
	if (rc) {
		cond_fini(&a->changed);
		free(a);
		return rc;
	}
	u->audit = a;
	return 0;
}

void audit_stop(struct uffd *u)
{
	struct audit *a = u->audit;

	lock_acquire(&u->reading);
	bug_on(a->own || a->views);
	a->stop = true;
	cond_broadcast(&a->changed);
	lock_release(&u->reading);
	bug_on(pthread_join(a->thread, NULL));
	u->audit = NULL;
	cond_fini(&a->changed);
	free(a);
}

/* ---- Whose call was it? ---- */

void audit_begin(struct uffd *u, struct audit_own *own, hva_t start, hva_t end, bool unmaps)
{
	struct audit *a = u ? u->audit : NULL;

	*own = (struct audit_own){ .start = start, .end = end, .unmaps = unmaps };
	if (!a)
		return;
	lock_acquire(&u->reading);
	own->next = a->own;
	a->own = own;
	lock_release(&u->reading);
}

/* The call has returned, so its event has been read; and, now that we have the lock, noted. */
void audit_end(struct uffd *u, struct audit_own *own)
{
	struct audit *a = u ? u->audit : NULL;
	struct audit_own **link;

	if (!a)
		return;
	lock_acquire(&u->reading);
	for (link = &a->own; *link != own; link = &(*link)->next)
		;
	*link = own->next;
	lock_release(&u->reading);
}

/*
 * An unmap has one event, of exactly what the call said; so a second one is not ours. A discard has one for each VMA, and what others
 * discard besides is harmless.
 */
static bool is_own(struct audit *a, const struct audit_event *event)
{
	bool unmaps = event->kind == AUDIT_UNMAP;

	if (event->kind != AUDIT_REMOVE && !unmaps)
		return false;
	for (struct audit_own *own = a->own; own; own = own->next) {
		if (own->unmaps != unmaps || event->start < own->start || event->end > own->end)
			continue;
		if (unmaps && !mutant(482) &&
		    (own->is_read || event->start != own->start || event->end != own->end))
			continue;
		own->is_read = true;
		return true;
	}
	return false;
}

/* ---- What is read ---- */

static bool decode(const struct uffd_msg *msg, struct audit_event *event)
{
	switch (msg->event) {
	case UFFD_EVENT_REMOVE:
	case UFFD_EVENT_UNMAP:
		*event = (struct audit_event){
			.kind = msg->event == UFFD_EVENT_UNMAP ? AUDIT_UNMAP : AUDIT_REMOVE,
			.start = msg->arg.remove.start,
			.end = msg->arg.remove.end,
		};
		return true;
	case UFFD_EVENT_REMAP:
		*event = (struct audit_event){
			.kind = AUDIT_REMAP,
			.start = msg->arg.remap.from,
			.end = msg->arg.remap.from + msg->arg.remap.len,
			.to = msg->arg.remap.to,
		};
		/* Of length 0: a second mapping, which shows nothing. Who touches it is told so (source.c). */
		return msg->arg.remap.len;
	case UFFD_EVENT_FORK:
		*event = (struct audit_event){ .kind = AUDIT_FORK, .fd = (int)msg->arg.fork.ufd };
		return true;
	default:
		return false;
	}
}

static uint64_t *counter(struct audit *a, enum audit_kind kind)
{
	uint64_t *of[] = { [AUDIT_REMOVE] = &a->stats.removes,
			   [AUDIT_UNMAP] = &a->stats.unmaps,
			   [AUDIT_REMAP] = &a->stats.remaps,
			   [AUDIT_FORK] = &a->stats.forks };

	return of[kind];
}

static void mark(struct view *view, const struct audit_event *event)
{
	if ((event->kind == AUDIT_UNMAP && !mutant(431)) || event->kind == AUDIT_REMAP)
		view_lose(view, event->start, event->end);
	if (event->kind == AUDIT_REMAP)
		view_regain(view, event->to, event->to + (event->end - event->start));
}

void audit_note(struct uffd *u, const struct uffd_msg *msg)
{
	struct audit *a = u->audit;
	struct audit_event event;

	lock_assert_held(&u->reading);
	if (!decode(msg, &event))
		return;
	if (is_own(a, &event) && !mutant(481)) {
		a->stats.own++;
		return;
	}
	++*counter(a, event.kind);
	trace_instant(umbra_raw, event.start, event.end, event.kind);
	for (struct view_link *v = a->views; v; v = v->next)
		mark(v->view, &event);
	push(a, &event);
}

/* ---- Views ---- */

static void add_view(struct audit *a, struct view *view)
{
	struct view_link *link = view_link(view);

	lock_assert_held(&a->uffd->reading);
	link->view = view;
	link->next = a->views;
	a->views = link;
}

/* What the log still says about its place was said of what was there before. */
void audit_add_view(struct uffd *u, struct view *view)
{
	lock_acquire(&u->reading);
	add_view(u->audit, view);
	lock_release(&u->reading);
}

void audit_adopt_view(struct uffd *u, struct view *view)
{
	struct audit *a = u->audit;

	lock_acquire(&u->reading);
	for (unsigned i = 0; i < a->logged && !mutant(455); i++)
		mark(view, &a->log[(a->head + i) % LOG]);
	add_view(a, view);
	lock_release(&u->reading);
}

/* It may have been retired. */
static void remove_view(struct audit *a, struct view *view)
{
	struct view_link **link;

	lock_assert_held(&a->uffd->reading);
	for (link = &a->views; *link && (*link)->view != view; link = &(*link)->next)
		;
	if (*link)
		*link = (*link)->next;
}

void audit_remove_view(struct uffd *u, struct view *view)
{
	lock_acquire(&u->reading);
	remove_view(u->audit, view);
	lock_release(&u->reading);
}

bool audit_retire_view(struct uffd *u, struct view *view)
{
	uint64_t page = 0;
	bool is_gone;

	lock_acquire(&u->reading);
	while (page < view_pages(view) && view_is_lost(view, page))
		page++;
	is_gone = page == view_pages(view);
	if (is_gone)
		remove_view(u->audit, view);
	lock_release(&u->reading);
	return is_gone;
}

void audit_shut(struct uffd *u)
{
	lock_acquire(&u->reading);
	for (struct view_link *v = u->audit->views; v; v = v->next)
		view_close(v->view);
	uffd_abandon(u);
	lock_release(&u->reading);
}

/* ---- Who waits for it ---- */

uint64_t audit_seq(struct uffd *u)
{
	uint64_t seq;

	lock_acquire(&u->reading);
	seq = u->audit->seq;
	lock_release(&u->reading);
	return seq;
}

/*
 * A change is under way from before its VMAs change until after its event was read; and who has read holds the lock until it is in
 * the log. So: no change, and then nothing in the log, is the end of all that began before.
 */
bool audit_settle(struct uffd *u, uint64_t seq)
{
	const struct timespec pause = { .tv_nsec = CHANGE_NS };
	struct audit *a = u->audit;
	bool again;

	for (;;) {
		bool changing = uffd_is_changing(u) && !mutant(454);

		if (changing)
			nanosleep(&pause, NULL);
		lock_acquire(&u->reading);
		again = is_behind(a);
		while (is_behind(a))
			cond_wait(&a->changed, &u->reading);
		again |= a->seq != seq;
		lock_release(&u->reading);
		if (!changing)
			return again;
	}
}

void audit_add_stats(struct uffd *u, struct audit_stats *sum)
{
	const struct audit_stats *s = &u->audit->stats;

	lock_acquire(&u->reading);
	sum->removes += s->removes;
	sum->unmaps += s->unmaps;
	sum->remaps += s->remaps;
	sum->forks += s->forks;
	sum->overflows += s->overflows;
	sum->own += s->own;
	lock_release(&u->reading);
}
