/* SPDX-License-Identifier: BSD-2-Clause */
#include "mmu/host/fault_threads.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "mmu/base/addr.h"
#include "mmu/base/bug.h"
#include "mmu/base/mutant.h"
#include "mmu/base/sync.h"
#include "mmu/base/thread.h"
#include "mmu/host/bell.h"

/* Faults that nobody could be spared for. Who does not find room is woken, and faults again. */
#define QUEUE	    256u

/* The pages that one fault looks up lie on it: 8 KiB. */
#define STACK_BYTES (4 * PAGE_SIZE)

/*
 * Locks used to protect members:
 *	I	immutable after start
 *	r	uffd->reading
 *	a	atomic
 */
struct fault_threads {
	struct uffd *uffd;	     /* [I] */
	const struct fault_ops *ops; /* [I] */
	void *ctx;		     /* [I] */
	int stop_fd;		     /* [I] with events; readable: end */
	struct bell bell;	     /* [I] without; rung: end */
	atomic_uint alive;	     /* [a] ... threads that may hear it */
	unsigned readers;      /* [r] threads that do nothing but wait for something to read */
	unsigned head, queued; /* [r] */
	struct uffd_fault queue[QUEUE]; /* [r] */
	unsigned n;			/* [I] */
	pthread_t thread[];
};

/* What a thread's cleanup must know: why it ends. */
struct fault_thread {
	struct fault_threads *ft;
	int result; /* of reading: 1 in the middle of the loop, 0 told to stop, -errno */
};

static void tell_to_stop(struct fault_threads *ft)
{
	uint64_t one = 1;

	if (ft->uffd->has_events)
		bug_on(write(ft->stop_fd, &one, sizeof(one)) != sizeof(one));
	else
		bell_ring(&ft->bell);
}

/* @n threads hear the bell no more, whether they have heard it or not: the others do, or nobody needs to. */
static void leave(struct fault_threads *ft, unsigned n)
{
	if (atomic_fetch_sub(&ft->alive, n) == n)
		bell_silence(&ft->bell);
	else
		bell_pass(&ft->bell);
}

static void fault_thread_ends(void *arg)
{
	struct fault_thread *self = arg;
	struct fault_threads *ft = self->ft;

	if (self->result) {
		/* The userfaultfd is about to be abandoned, and is closed when nobody waits in poll() for it any more. */
		if (ft->uffd->has_events)
			tell_to_stop(ft);
		ft->ops->died(ft->ctx, self->result < 0 ? -self->result : 0);
	}
	if (!ft->uffd->has_events)
		leave(ft, 1);
}

/* Whoever cancels a thread finds it where it waits, between faults, where it holds no lock; the cleanup still runs. */
static int wait_to_read(struct fault_threads *ft)
{
	int rc;

	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
	rc = uffd_wait(ft->uffd, ft->stop_fd);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	return rc;
}

/* 1; 0: told to stop; -errno. */
static int read_fault(struct fault_threads *ft, struct uffd_fault *fault)
{
	struct uffd_msg msg;
	int rc;

	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
	do
		rc = uffd_read(ft->uffd, &msg);
	while (!rc);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	if (rc < 0)
		return rc;
	if (!uffd_is_fault(&msg, fault))
		return -EPROTO;
	return !bell_is_rung(&ft->bell, fault);
}

static void resolve(struct fault_threads *ft, const struct uffd_fault *fault)
{
	ft->ops->resolve(ft->ctx, fault);
}

static void serve_faults(struct fault_thread *self)
{
	struct uffd_fault fault;

	while ((self->result = read_fault(self->ft, &fault)) > 0)
		resolve(self->ft, &fault);
}

/* reading held. */
static void put_off(struct fault_threads *ft, const struct uffd_fault *fault)
{
	if (ft->queued < QUEUE)
		ft->queue[(ft->head + ft->queued++) % QUEUE] = *fault;
	else /* an address that is a page's: NOLINTNEXTLINE(performance-no-int-to-ptr) */
		uffd_wake(ft->uffd, (void *)(uintptr_t)fault->addr, PAGE_SIZE);
}

/* Read and note one message. True: the caller, whom another stands in for, is to resolve *@fault. */
static bool read_and_note(struct fault_thread *self, struct uffd_fault *fault)
{
	struct fault_threads *ft = self->ft;
	struct uffd_msg msg;
	bool leaves = false;

	lock_acquire(&ft->uffd->reading);
	self->result = uffd_read(ft->uffd, &msg);
	if (self->result > 0 && !uffd_is_fault(&msg, fault))
		ft->ops->event(ft->ctx, &msg);
	else if (self->result > 0 && (ft->readers > 1 || mutant(461)))
		leaves = true;
	else if (self->result > 0)
		put_off(ft, fault);
	ft->readers -= leaves;
	lock_release(&ft->uffd->reading);
	return leaves;
}

/* Then what has been put off meanwhile, and back. Nobody else comes for that: all others resolve, too. */
static void resolve_all(struct fault_threads *ft, struct uffd_fault *fault)
{
	bool more;

	do {
		resolve(ft, fault);
		lock_acquire(&ft->uffd->reading);
		more = ft->queued;
		if (more) {
			*fault = ft->queue[ft->head];
			ft->head = (ft->head + 1) % QUEUE;
			ft->queued--;
		} else {
			ft->readers++;
		}
		lock_release(&ft->uffd->reading);
	} while (more);
}

static void serve_events(struct fault_thread *self)
{
	struct uffd_fault fault;

	while ((self->result = wait_to_read(self->ft)) > 0) {
		if (read_and_note(self, &fault))
			resolve_all(self->ft, &fault);
		if (self->result < 0)
			break;
		self->result = 1; /* where it waits it may be killed */
	}
}

/* What a fault takes of the stack gets its memory while nobody waits yet. */
static void touch_stack(void)
{
	char stack[STACK_BYTES];

	for (size_t i = 0; i < STACK_BYTES; i += PAGE_SIZE)
		*(volatile char *)&stack[i] = 0;
}

static void *fault_thread_main(void *arg)
{
	struct fault_thread self = { .ft = arg, .result = 1 };

	touch_stack();
	/* A thread's first section takes memory, and liburcu gives up without: not when the process is at a limit. */
	sync_rcu_read_lock();
	sync_rcu_read_unlock();
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	pthread_cleanup_push(fault_thread_ends, &self);
	if (self.ft->uffd->has_events)
		serve_events(&self);
	else
		serve_faults(&self);
	pthread_cleanup_pop(1);
	return NULL;
}

/* How the threads are told to stop. */
static int open_stop(struct fault_threads *ft)
{
	if (!ft->uffd->has_events)
		return bell_init(&ft->bell, ft->uffd);
	ft->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return ft->stop_fd < 0 ? -errno : 0;
}

static void close_stop(struct fault_threads *ft)
{
	if (ft->uffd->has_events)
		close(ft->stop_fd);
	else
		bell_fini(&ft->bell);
}

int fault_threads_start(struct fault_threads **out, struct uffd *u, unsigned n,
			const struct fault_ops *ops, void *ctx)
{
	struct fault_threads *ft;
	int rc;

	n += u->has_events;
	if (!n)
		return -EINVAL;
	ft = calloc(1, sizeof(*ft) + n * sizeof(ft->thread[0]));
	if (!ft)
		return -ENOMEM;
	ft->uffd = u;
	ft->readers = n;
	ft->ops = ops;
	ft->ctx = ctx;
	atomic_init(&ft->alive, n);
	rc = open_stop(ft);
	if (rc) {
		free(ft);
		return rc;
	}
	for (; ft->n < n && !rc; ft->n += !rc)
		rc = thread_start(&ft->thread[ft->n], fault_thread_main, ft);
	if (rc) {
		if (!u->has_events)
			leave(ft, n - ft->n);
		fault_threads_stop(ft);
		return rc;
	}
	*out = ft;
	return 0;
}

void fault_threads_stop(struct fault_threads *ft)
{
	tell_to_stop(ft);
	for (unsigned i = 0; i < ft->n; i++)
		bug_on(pthread_join(ft->thread[i], NULL));
	close_stop(ft);
	free(ft);
}
