/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The guest's console: standard output, which somebody may not read, or not any more.
 * Owns the lock that keeps writes of several vCPUs apart. Called by vCPU threads.
 * Does not know hypercalls.
 */
#ifndef UMBRA_HV_CONSOLE_H
#define UMBRA_HV_CONSOLE_H

#include <stdbool.h>
#include <stddef.h>

#include "hv/stop.h"
#include "mmu/base/sync.h"

struct console {
	struct lock lock;    /* held over write(2), which may block: take no other lock inside */
	struct stop *stop;   /* who is written for; immutable */
	atomic_bool waiting; /* somebody is in write(2) or waits for room */
};

void console_init(struct console *console, struct stop *stop);
void console_fini(struct console *console);

/*
 * Write all of @buf, also when that takes time; with the stop set, what is left is dropped. A signal that interrupts
 * write(2) makes it look at the stop: vcpu_join_all() sends them. Always 0: what goes wrong is a reason to stop.
 */
int console_write(struct console *console, const char *buf, size_t len);

/* Does a writer wait for the reader right now? */
bool console_is_waiting(struct console *console);

#endif /* UMBRA_HV_CONSOLE_H */
