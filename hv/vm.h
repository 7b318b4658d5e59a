/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A virtual machine: one run of a struct machine, from nothing to an exit status.
 * Owns every thread, descriptor and mapping of the run; none is left when it returns.
 * Called by hv/main.c and the tests.
 * Does not know device trees or command lines.
 */
#ifndef UMBRA_HV_VM_H
#define UMBRA_HV_VM_H

#include <stdbool.h>

struct machine;

enum vm_stats {
	STATS_NONE,
	STATS_TEXT,
	STATS_JSON,
};

struct vm_opts {
	const char *input; /* file for the machine's input region, or NULL */
	const char *trace; /* file for the events of the secondary MMU, or NULL */
	enum vm_stats stats;
	bool quiet; /* print nothing but the guest's console and errors */
};

/* What vm_run() returns when the guest did not end by itself with a code of 0..124. */
enum vm_status {
	VM_HOST_FAILED = 125, /* umbra or the host failed */
	VM_INVALID = 126,     /* the machine description, image, input or command line is invalid */
	VM_GUEST_STOPPED = 127, /* the guest stopped abnormally */
};

/* Run @m to its end. Return an exit status: 0..124 the guest's own, else enum vm_status. */
int vm_run(const struct machine *m, const struct vm_opts *o);

#endif /* UMBRA_HV_VM_H */
