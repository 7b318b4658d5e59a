/* SPDX-License-Identifier: BSD-2-Clause */
#include "mmu/host/fault_threads.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "mmu/base/bug.h"
#include "mmu/base/sync.h"

struct fault_threads {
	struct uffd *uffd;
	const struct fault_ops *ops;
	void *ctx;
	int stop_fd; /* readable: end */
	unsigned n;
	pthread_t thread[];
};

/* What a thread's cleanup must know: why it ends. */
struct fault_thread {
	struct fault_threads *ft;
	int result; /* of uffd_read_fault(): 1 in the middle of the loop, 0 told to stop, -errno */
};

static void fault_thread_ends(void *arg)
{
	struct fault_thread *self = arg;

	if (self->result)
		self->ft->ops->died(self->ft->ctx, self->result < 0 ? -self->result : 0);
}

static void *fault_thread_main(void *arg)
{
	struct fault_thread self = { .ft = arg, .result = 1 };
	struct fault_threads *ft = arg;

	/* A thread's first section takes memory, and liburcu gives up without: not when the process is at a limit. */
	sync_rcu_read_lock();
	sync_rcu_read_unlock();
	/* Whoever cancels the thread finds it between faults, where it holds no lock; the cleanup still runs. */
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	pthread_cleanup_push(fault_thread_ends, &self);
	for (;;) {
		uint64_t addr;
		bool write;

		pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
		self.result = uffd_read_fault(ft->uffd, ft->stop_fd, &addr, &write);
		pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
		if (self.result <= 0)
			break;
		ft->ops->resolve(ft->ctx, addr, write);
	}
	pthread_cleanup_pop(1);
	return NULL;
}

int fault_threads_start(struct fault_threads **out, struct uffd *u, unsigned n,
			const struct fault_ops *ops, void *ctx)
{
	struct fault_threads *ft;
	sigset_t all, old;
	int rc = 0;

	if (!n)
		return -EINVAL;
	ft = calloc(1, sizeof(*ft) + n * sizeof(ft->thread[0]));
	if (!ft)
		return -ENOMEM;
	ft->uffd = u;
	ft->ops = ops;
	ft->ctx = ctx;
	ft->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (ft->stop_fd < 0) {
		rc = -errno;
		free(ft);
		return rc;
	}
	/* Signals are the embedder's affair, and none of them may run a handler that faults on these threads. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	for (; ft->n < n && !rc; ft->n += !rc)
		rc = -pthread_create(&ft->thread[ft->n], NULL, fault_thread_main, ft);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc) {
		fault_threads_stop(ft);
		return rc;
	}
	*out = ft;
	return 0;
}

void fault_threads_stop(struct fault_threads *ft)
{
	uint64_t one = 1;

	bug_on(write(ft->stop_fd, &one, sizeof(one)) != sizeof(one));
	for (unsigned i = 0; i < ft->n; i++)
		bug_on(pthread_join(ft->thread[i], NULL));
	close(ft->stop_fd);
	free(ft);
}
