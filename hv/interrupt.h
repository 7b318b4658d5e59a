/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * SIGINT and SIGTERM: the first ends the run in order, with trace and statistics; a second one, a moment later, kills.
 * Owns their handler, and the sleep of the thread that starts it, which the handler must be able to end. One at a time in a process.
 * Called by hv/vm.c, where the run is all that the process does.
 * Does not know what is being stopped.
 */
#ifndef UMBRA_HV_INTERRUPT_H
#define UMBRA_HV_INTERRUPT_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "hv/stop.h"

#define INTERRUPT_SIGNALS 2

/* The starter's. */
struct interrupt {
	struct stop *stop;
	struct sigaction old[INTERRUPT_SIGNALS];
	sigset_t wake, saved;
	bool started;
};

/* 0 or -errno. Signals that the caller's parent had ignored stay so. */
int interrupt_start(struct interrupt *i, struct stop *stop);
/* stop_sleep() of the starter; also when it was not started. */
bool interrupt_sleep(struct interrupt *i, uint64_t ns);
/* Undo it; harmless when it was not started. */
void interrupt_stop(struct interrupt *i);

#endif /* UMBRA_HV_INTERRUPT_H */
