// SPDX-License-Identifier: BSD-2-Clause
#include "tests/race/events.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>

#include "tests/race/explore.h"
#include "tests/race/sched.h"
#include "tests/race/vm.h"

struct event {
	struct uffd_msg msg;
	bool is_read, is_waited_for;
	struct event *next;
};

static struct lock lock;
static struct cond over, raised, read_one;
static _Atomic unsigned changing; /* written under lock */
static struct event *first, **last = &first;
static struct event unwaited; /* in setup: one at a time */

static struct {
	struct uffd *uffd; /* NULL: nobody reads yet, or no more */
	const struct fault_ops *ops;
	void *ctx;
} reader;

/* The thread that the library has started, and nobody has run yet. */
static struct {
	void *(*run)(void *);
	void *arg;
} started;

ssize_t __real_read(int fd, void *buf, size_t len);
int __real_poll(struct pollfd *fds, nfds_t n, int timeout);
ssize_t __wrap_read(int fd, void *buf, size_t len);
int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *),
			  void *arg);
int __wrap_pthread_join(pthread_t thread, void **result);
int __wrap_nanosleep(const struct timespec *time, struct timespec *left);

void events_reset(void)
{
	lock_init(&lock);
	atomic_store(&changing, 0);
	first = NULL;
	last = &first;
	memset(&reader, 0, sizeof(reader));
	memset(&started, 0, sizeof(started));
}

bool events_are_changing(void)
{
	return sync_load(&changing);
}

void events_begin(unsigned n)
{
	lock_acquire(&lock);
	sync_fetch_add(&changing, n);
	lock_release(&lock);
}

void events_end(void)
{
	lock_acquire(&lock);
	if (sync_fetch_sub(&changing, 1) == 1)
		cond_broadcast(&over);
	lock_release(&lock);
}

void events_settle(void)
{
	if (sched_current() < 0)
		return;
	lock_acquire(&lock);
	while (sync_load(&changing))
		cond_wait(&over, &lock);
	lock_release(&lock);
}

/* Before and after the threads nobody reads but who is here. */
static void raise_alone(const struct uffd_msg *msg)
{
	if (reader.uffd) {
		lock_acquire(&reader.uffd->reading);
		reader.ops->event(reader.ctx, msg);
		lock_release(&reader.uffd->reading);
		events_end();
		return;
	}
	bug_on(first);
	unwaited = (struct event){ .msg = *msg };
	*last = &unwaited;
	last = &unwaited.next;
}

void events_raise(const struct uffd_msg *msg)
{
	struct event event = { .msg = *msg, .is_waited_for = true };

	if (sched_current() < 0) {
		raise_alone(msg);
		return;
	}
	lock_acquire(&lock);
	*last = &event;
	last = &event.next;
	cond_broadcast(&raised);
	while (!event.is_read)
		cond_wait(&read_one, &lock);
	lock_release(&lock);
	events_end();
}

ssize_t __wrap_read(int fd, void *buf, size_t len)
{
	struct event *event;

	if (!vm_is_uffd(fd))
		return __real_read(fd, buf, len);
	bug_on(len != sizeof(event->msg));
	lock_acquire(&lock);
	event = first;
	if (event) {
		memcpy(buf, &event->msg, len);
		first = event->next;
		last = first ? last : &first;
		event->is_read = true;
		cond_broadcast(&read_one);
	}
	lock_release(&lock);
	if (!event) {
		errno = EAGAIN;
		return -1;
	}
	if (!event->is_waited_for)
		events_end();
	return (ssize_t)len;
}

/* ---- Threads ---- */

void events_note_by(struct uffd *u, const struct fault_ops *ops, void *ctx)
{
	reader.uffd = u;
	reader.ops = ops;
	reader.ctx = ctx;
}

void events_reader(void *ctx)
{
	struct uffd_msg msg;

	(void)ctx;
	for (;;) {
		lock_acquire(&lock);
		while (!first)
			cond_wait(&raised, &lock);
		lock_release(&lock);
		lock_acquire(&reader.uffd->reading);
		if (uffd_read(reader.uffd, &msg) > 0)
			reader.ops->event(reader.ctx, &msg);
		lock_release(&reader.uffd->reading);
	}
}

void events_follower(void *ctx)
{
	(void)ctx;
	started.run(started.arg);
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *),
			  void *arg)
{
	(void)attr;
	bug_on(started.run);
	started.run = run;
	started.arg = arg;
	*thread = pthread_self();
	return 0;
}

/* It has ended, or sleeps and will not be woken. */
int __wrap_pthread_join(pthread_t thread, void **result)
{
	(void)thread;
	(void)result;
	started.run = NULL;
	return 0;
}

/* In setup nobody else runs: who waits there lets the one run that has been started. */
int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout)
{
	if (!vm_is_uffd(fds[0].fd))
		return __real_poll(fds, n, timeout);
	bug_on(sched_current() >= 0);
	if (!first)
		started.run(started.arg);
	for (nfds_t i = 0; i < n; i++)
		fds[i].revents = i ? 0 : POLLIN;
	return 1;
}

int __wrap_nanosleep(const struct timespec *time, struct timespec *left)
{
	(void)time;
	(void)left;
	events_settle();
	return 0;
}
