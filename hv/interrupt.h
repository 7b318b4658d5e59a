/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * SIGINT and SIGTERM: the first ends the run in order, with trace and statistics; a second one, a moment later, kills.
 * Owns a thread that waits for them, and blocks them in the thread that starts it and all that this one starts.
 * Called by hv/vm.c, before any other thread of the run exists.
 * Does not know what is being stopped.
 */
#ifndef UMBRA_HV_INTERRUPT_H
#define UMBRA_HV_INTERRUPT_H

#include <pthread.h>
#include <signal.h>

#include "hv/stop.h"

struct interrupt {
	struct stop *stop;	 /* immutable */
	sigset_t watched, saved; /* immutable once started */
	pthread_t thread;
	bool started;	    /* the starter's */
	atomic_bool ending; /* the run is over */
};

/* 0 or -errno. Signals that the caller's parent had ignored stay so. */
int interrupt_start(struct interrupt *i, struct stop *stop);
/* Undo it; harmless when it was not started. */
void interrupt_stop(struct interrupt *i);

#endif /* UMBRA_HV_INTERRUPT_H */
