/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/bench/watchdog.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed;	 /* with CLOCK_MONOTONIC */
static struct timespec deadline; /* [lock] */
static bool armed;		 /* [lock] */
static unsigned patience;	 /* [lock] seconds, for the message */
static char what[256];		 /* [lock] */

static void *watch(void *arg)
{
	(void)arg;
	pthread_mutex_lock(&lock);
	for (;;) {
		struct timespec until = deadline;
		int err = 0;

		if (!armed)
			pthread_cond_wait(&changed, &lock);
		else
			err = pthread_cond_timedwait(&changed, &lock, &until);
		/* Another deadline may be what is armed now. */
		if (err != ETIMEDOUT || !armed || deadline.tv_sec != until.tv_sec ||
		    deadline.tv_nsec != until.tv_nsec)
			continue;
		fprintf(stderr, "bench: %s: no end after %u s: stopped\n", what, patience);
		_exit(EXIT_FAILURE);
	}
	return NULL;
}

int watchdog_start(void)
{
	pthread_condattr_t attr;
	pthread_t thread;
	int err = pthread_condattr_init(&attr);

	if (!err)
		err = pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	if (!err)
		err = pthread_cond_init(&changed, &attr);
	if (!err)
		err = pthread_create(&thread, NULL, watch, NULL);
	if (!err)
		err = pthread_detach(thread);
	return -err;
}

void watchdog_arm(unsigned seconds, const char *fmt, ...)
{
	va_list ap;

	pthread_mutex_lock(&lock);
	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	clock_gettime(CLOCK_MONOTONIC, &deadline);
	deadline.tv_sec += seconds;
	patience = seconds;
	armed = true;
	pthread_cond_signal(&changed);
	pthread_mutex_unlock(&lock);
}

void watchdog_disarm(void)
{
	pthread_mutex_lock(&lock);
	armed = false;
	pthread_mutex_unlock(&lock);
}
