// SPDX-License-Identifier: BSD-2-Clause
#include "hv/interrupt.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "hv/vm.h"
#include "mmu/base/trace.h"

/* timeout(1) sends its signal twice, to the process and to the group: that is one. */
#define ONE_SIGNAL_NS 100000000ull
#define NS_PER_S      1000000000ull

/* Ends the starter's sleep. He blocks it and takes it there: one that comes before the sleep ends it, too. */
#define WAKE_SIGNAL   SIGUSR2

static const int watched[INTERRUPT_SIGNALS] = { SIGINT, SIGTERM };

/* For the handler, on any thread. */
static struct {
	_Atomic uint64_t first; /* when the first came; 0: none has */
	_Atomic int got;	/* which one */
	pthread_t starter;	/* immutable while the handler is set */
} the;

static void on_signal(int signal_number)
{
	uint64_t none = 0, now = trace_now();
	int saved = errno;

	if (atomic_compare_exchange_strong(&the.first, &none, now)) {
		atomic_store(&the.got, signal_number);
		pthread_kill(the.starter, WAKE_SIGNAL);
	} else if (now - none >= ONE_SIGNAL_NS) {
		/* It is blocked until the handler returns. */
		signal(signal_number, SIG_DFL);
		raise(signal_number);
	}
	errno = saved;
}

int interrupt_start(struct interrupt *i, struct stop *stop)
{
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	int err;

	i->stop = stop;
	for (size_t n = 0; n < INTERRUPT_SIGNALS; n++)
		if (sigaction(watched[n], NULL, &i->old[n]))
			return -errno;
	sigemptyset(&i->wake);
	sigaddset(&i->wake, WAKE_SIGNAL);
	err = -pthread_sigmask(SIG_BLOCK, &i->wake, &i->saved);
	if (err)
		return err;
	atomic_store(&the.first, 0);
	atomic_store(&the.got, 0);
	the.starter = pthread_self();
	i->started = true;
	stop_wakes(stop, the.starter, WAKE_SIGNAL);
	for (size_t n = 0; n < INTERRUPT_SIGNALS; n++)
		if (i->old[n].sa_handler != SIG_IGN && sigaction(watched[n], &sa, NULL))
			return -errno;
	return 0;
}

bool interrupt_sleep(struct interrupt *i, uint64_t ns)
{
	const struct timespec t = { .tv_sec = (time_t)(ns / NS_PER_S),
				    .tv_nsec = (long)(ns % NS_PER_S) };
	int got;

	if (!i->started)
		return stop_sleep(i->stop, ns);
	/* Whatever ends it, the caller looks at the clock again. */
	if (ns && !stop_is_set(i->stop))
		(void)sigtimedwait(&i->wake, NULL, &t);
	got = atomic_load(&the.got);
	if (got)
		stop_because(i->stop, VM_HOST_FAILED, "umbra",
			     "interrupted by SIG%s before the guest ended", sigabbrev_np(got));
	return stop_is_set(i->stop);
}

void interrupt_stop(struct interrupt *i)
{
	const struct timespec now = { 0 };

	if (!i->started)
		return;
	for (size_t n = 0; n < INTERRUPT_SIGNALS; n++)
		if (i->old[n].sa_handler != SIG_IGN)
			(void)sigaction(watched[n], &i->old[n], NULL);
	stop_wakes(i->stop, the.starter, 0);
	/* What is pending would kill. */
	while (sigtimedwait(&i->wake, NULL, &now) > 0)
		;
	pthread_sigmask(SIG_SETMASK, &i->saved, NULL);
	i->started = false;
}
