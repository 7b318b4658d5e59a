// SPDX-License-Identifier: BSD-2-Clause
#include "hv/stop.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define NS_PER_S 1000000000ull

void stop_init(struct stop *stop)
{
	memset(stop, 0, sizeof(*stop));
	lock_init(&stop->lock);
	cond_init(&stop->changed);
}

void stop_fini(struct stop *stop)
{
	cond_fini(&stop->changed);
	lock_fini(&stop->lock);
}

/* lock held. True: this caller is the first. */
static bool set_locked(struct stop *stop, int status)
{
	if (stop_is_set(stop))
		return false;
	stop->status = status;
	atomic_store_explicit(&stop->stopping, true, memory_order_release);
	cond_broadcast(&stop->changed);
	if (stop->wake_signal)
		pthread_kill(stop->sleeper, stop->wake_signal);
	return true;
}

void stop_because(struct stop *stop, int status, const char *component, const char *fmt, ...)
{
	va_list ap;

	lock_acquire(&stop->lock);
	if (set_locked(stop, status)) {
		snprintf(stop->component, sizeof(stop->component), "%s", component);
		va_start(ap, fmt);
		vsnprintf(stop->reason, sizeof(stop->reason), fmt, ap);
		va_end(ap);
	}
	lock_release(&stop->lock);
}

void stop_orderly(struct stop *stop)
{
	lock_acquire(&stop->lock);
	set_locked(stop, 0);
	lock_release(&stop->lock);
}

void stop_wakes(struct stop *stop, pthread_t thread, int signal)
{
	lock_acquire(&stop->lock);
	stop->sleeper = thread;
	stop->wake_signal = signal;
	lock_release(&stop->lock);
}

bool stop_sleep(struct stop *stop, uint64_t ns)
{
	struct timespec until;

	/* A wait until now still costs a trip through the scheduler. */
	if (!ns)
		return stop_is_set(stop);
	clock_gettime(CLOCK_MONOTONIC, &until);
	if (ns != UINT64_MAX) {
		ns += (uint64_t)until.tv_nsec;
		until.tv_sec += (time_t)(ns / NS_PER_S);
		until.tv_nsec = (long)(ns % NS_PER_S);
	}
	lock_acquire(&stop->lock);
	while (!stop_is_set(stop)) {
		if (ns == UINT64_MAX)
			cond_wait(&stop->changed, &stop->lock);
		else if (!cond_wait_until(&stop->changed, &stop->lock, &until))
			break;
	}
	lock_release(&stop->lock);
	return stop_is_set(stop);
}
