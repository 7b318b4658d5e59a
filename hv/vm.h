/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A virtual machine: one run of a struct machine, from nothing to an exit status.
 * Owns every thread, descriptor and mapping of the run; none is left when it returns, but for a run of which the process
 * is about to end.
 * Called by hv/main.c and the tests.
 * Does not know device trees or command lines.
 */
#ifndef UMBRA_HV_VM_H
#define UMBRA_HV_VM_H

#include <stdbool.h>
#include <stdint.h>

struct machine;
struct ram;
struct ram_store;

enum vm_stats {
	STATS_NONE,
	STATS_TEXT,
	STATS_JSON,
};

struct vm_opts {
	const char *input;   /* file for the machine's input region, or NULL */
	const char *machine; /* file that the machine came from, or NULL: never written over */
	const char *trace;   /* file for the events of the secondary MMU, or NULL */
	enum vm_stats stats;
	unsigned working_set_ms; /* how often to ask which pages the guest uses; 0: never */
	bool check; /* at the end, compare the guest's tables with the host; with churn that is always done */
	bool quiet; /* print nothing but the guest's console and errors */
	bool alone; /* the process ends with the run: SIGINT and SIGTERM end the guest in order, and what exit(2) frees is left to it */

	/*
	 * Optional, for a program that drives the guest (benchmarks, tests): called at every phase mark (guest/abi.h)
	 * on the thread of vCPU @cpu, which waits for it. 0 or -errno, which ends the machine.
	 */
	int (*phase)(void *ctx, struct ram *ram, unsigned cpu, uint32_t phase,
		     const uint64_t payload[3], uint64_t *answer);
	void *phase_ctx;
	/*
	 * Optional, of the same program: called once no vCPU runs any more, before the memory goes. @ram as in a phase. What
	 * was made with ram_get_parts() is taken back before it returns.
	 */
	void (*ended)(void *ctx, struct ram *ram);
	uint64_t spare_frames;		    /* struct ram_opts */
	const struct ram_store *work_store; /* optional: of /work, which has no stamps then */
	/* Optional, to compare with: memory of at least the size of /work, which KVM serves the guest directly. */
	void *plain_work;
	/* Optional: get KVM's descriptors of the machine and of vCPU 0 before the guest runs, for what the caller does to that memslot. */
	int *plain_vm, *plain_vcpu;
	uint32_t
		plain_ring; /* 0, or the bytes of each vCPU's dirty ring, which the caller empties before it is full */
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
