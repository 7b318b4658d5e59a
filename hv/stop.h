/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The end of a run: whoever first finds a reason to stop states it, everybody else winds down.
 * Owns the reason. One per run; called by every thread of it.
 * Does not know what is being stopped, and stops nothing itself.
 */
#ifndef UMBRA_HV_STOP_H
#define UMBRA_HV_STOP_H

#include <pthread.h>
#include <stdint.h>

#include "mmu/base/sync.h"

/*
 * Locks used to protect members:
 *	l	lock
 *	a	atomic: written under l, read without it as well
 */
struct stop {
	struct lock lock;
	struct cond changed;
	atomic_bool stopping; /* [a] */
	int status;	      /* [l] exit status of the reason; 0: an orderly end */
	char component[16];   /* [l] where it was found, "" for an orderly end */
	char reason[512];     /* [l] */
	pthread_t sleeper;    /* [l] of stop_wakes() */
	int wake_signal;      /* [l] 0: nobody */
};

void stop_init(struct stop *stop);
void stop_fini(struct stop *stop);

static inline bool stop_is_set(struct stop *stop)
{
	return atomic_load_explicit(&stop->stopping, memory_order_acquire);
}

/* Stop with exit @status because of what @component found. Only the first call counts. */
void stop_because(struct stop *stop, int status, const char *component, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* Stop: everything is done. */
void stop_orderly(struct stop *stop);

/*
 * Whoever stops sends @signal to @thread, which takes it with sigtimedwait() in place of stop_sleep(). 0: to nobody any
 * more.
 */
void stop_wakes(struct stop *stop, pthread_t thread, int signal);

/* Sleep for @ns, or until somebody stops. True: stopped. UINT64_MAX: for ever. */
bool stop_sleep(struct stop *stop, uint64_t ns);

#endif /* UMBRA_HV_STOP_H */
