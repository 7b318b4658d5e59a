// SPDX-License-Identifier: BSD-2-Clause
#include "hv/interrupt.h"

#include <stddef.h>
#include <string.h>

#include "hv/thread.h"
#include "hv/vm.h"
#include "mmu/base/trace.h"

/* timeout(1) sends its signal twice, to the process and to the group: that is one. */
#define ONE_SIGNAL_NS 100000000ull

/* Ends the thread. Nobody else in umbra uses it. */
#define WAKE_SIGNAL   SIGUSR2

static void die_of(int signal_number)
{
	sigset_t set;

	signal(signal_number, SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, signal_number);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	raise(signal_number);
}

static void *interrupt_main(void *arg)
{
	struct interrupt *i = arg;
	uint64_t first = 0;
	sigset_t set = i->watched;
	int got;

	thread_set_name("signals");
	sigaddset(&set, WAKE_SIGNAL);
	while (!atomic_load(&i->ending)) {
		if (sigwait(&set, &got) || got == WAKE_SIGNAL)
			continue;
		if (!first)
			first = trace_now();
		else if (trace_now() - first >= ONE_SIGNAL_NS)
			die_of(got);
		stop_because(i->stop, VM_HOST_FAILED, "umbra",
			     "interrupted by SIG%s before the guest ended", sigabbrev_np(got));
	}
	return NULL;
}

int interrupt_start(struct interrupt *i, struct stop *stop)
{
	static const int signals[] = { SIGINT, SIGTERM };
	sigset_t block;
	int err;

	i->stop = stop;
	atomic_init(&i->ending, false);
	sigemptyset(&i->watched);
	for (size_t n = 0; n < sizeof(signals) / sizeof(signals[0]); n++) {
		struct sigaction old;

		/* sigwait() would take an ignored signal, too. */
		if (!sigaction(signals[n], NULL, &old) && old.sa_handler != SIG_IGN)
			sigaddset(&i->watched, signals[n]);
	}
	block = i->watched;
	sigaddset(&block, WAKE_SIGNAL);
	err = -pthread_sigmask(SIG_BLOCK, &block, &i->saved);
	if (!err)
		err = -pthread_create(&i->thread, NULL, interrupt_main, i);
	if (err)
		pthread_sigmask(SIG_SETMASK, &i->saved, NULL);
	i->started = !err;
	return err;
}

void interrupt_stop(struct interrupt *i)
{
	if (!i->started)
		return;
	atomic_store(&i->ending, true);
	pthread_kill(i->thread, WAKE_SIGNAL);
	pthread_join(i->thread, NULL);
	pthread_sigmask(SIG_SETMASK, &i->saved, NULL);
	i->started = false;
}
