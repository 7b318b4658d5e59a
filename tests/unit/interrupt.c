// SPDX-License-Identifier: BSD-2-Clause
/* Signals that end a run: the sleep that they end, the second that kills, and what is left of them. */
#include "hv/interrupt.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

#include "hv/vm.h"
#include "tests/rig.h"
#include "tests/test.h"

#define LONG_NS 60000000000ull

static struct stop stop;
static struct interrupt i;

static void up(void)
{
	stop_init(&stop);
	memset(&i, 0, sizeof(i));
	check_eq(interrupt_start(&i, &stop), 0);
}

static void down(void)
{
	interrupt_stop(&i);
	stop_fini(&stop);
}

static void *stop_it(void *arg)
{
	stop_orderly(arg);
	return NULL;
}

UTEST(interrupt, a_stop_ends_the_sleep, .init = up, .fini = down, .timeout = 50)
{
	pthread_t t = rig_thread(stop_it, &stop);

	while (!interrupt_sleep(&i, LONG_NS))
		;
	check_eq(stop.status, 0);
	rig_join(t);
	/* One that came before. */
	check(interrupt_sleep(&i, LONG_NS));
}

UTEST(interrupt, a_signal_ends_the_sleep, .init = up, .fini = down, .timeout = 50)
{
	/* Twice, as timeout(1) does. */
	raise(SIGTERM);
	raise(SIGTERM);
	check(interrupt_sleep(&i, LONG_NS));
	check_eq(stop.status, VM_HOST_FAILED);
	check(strstr(stop.reason, "SIGTERM"), "%s", stop.reason);
}

UTEST(interrupt, without_sleep_the_clock_decides, .init = up, .fini = down)
{
	check(!interrupt_sleep(&i, 0));
	check(!interrupt_sleep(&i, 1000));
	raise(SIGINT);
	check(interrupt_sleep(&i, 0));
	check(strstr(stop.reason, "SIGINT"), "%s", stop.reason);
}

/* The wake that nobody has taken is SIGUSR2, which would kill. */
UTEST(interrupt, nothing_is_left, .init = up, .fini = down)
{
	struct sigaction now;

	raise(SIGTERM);
	interrupt_stop(&i);
	check_eq(sigaction(SIGTERM, NULL, &now), 0);
	check(now.sa_handler == SIG_DFL);
	check(!stop_is_set(&stop));
	stop_orderly(&stop);
	check_eq(interrupt_start(&i, &stop), 0);
	check(interrupt_sleep(&i, 0));
	check_eq(stop.status, 0);
}

static void ignored(void)
{
	check(signal(SIGINT, SIG_IGN) != SIG_ERR);
	up();
}

UTEST(interrupt, what_was_ignored_stays_so, .init = ignored, .fini = down)
{
	raise(SIGINT);
	check(!interrupt_sleep(&i, 1000));
	interrupt_stop(&i);
	raise(SIGINT);
	signal(SIGINT, SIG_DFL);
}

static void raise_twice(void *arg)
{
	const struct timespec later = { .tv_nsec = 200000000 };

	(void)arg;
	up();
	raise(SIGTERM);
	nanosleep(&later, NULL);
	raise(SIGTERM);
}

UTEST(interrupt, a_second_one_later_kills)
{
	check_eq(test_signal_of(raise_twice, NULL), SIGTERM);
}
