/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Hypercalls, from the host's side: decode a page, check every field, then do it.
 * Owns nothing between calls.
 * Called by the vCPU threads of hv/vcpu.c, and by tests with ops of their own.
 * Does not know KVM, vCPUs or the console: struct hcall_ops does.
 */
#ifndef UMBRA_HV_HCALL_H
#define UMBRA_HV_HCALL_H

#include <stddef.h>
#include <stdint.h>

struct ram;

/*
 * What calls end in. All members are required, are called on the thread of vCPU @cpu with no lock
 * held, and return 0 or -errno; an error ends the machine. Arguments have been checked against
 * guest/abi.h.
 */
struct hcall_ops {
	/* Write @len > 0 bytes, none of them terminated, in one go. */
	int (*console)(void *ctx, unsigned cpu, const char *buf, size_t len);
	/* @phase is an enum hc_phase. May block. *@answer is 0 on entry. */
	int (*phase)(void *ctx, unsigned cpu, uint32_t phase, const uint64_t payload[3],
		     uint64_t *answer);
	int (*clock)(void *ctx, unsigned cpu, uint64_t *ns);
	/* May return early. */
	int (*wait)(void *ctx, unsigned cpu, uint64_t ns);
};

enum hcall_result {
	HCALL_CONTINUE, /* run the vCPU again; a refused call counts as this, the guest reads why */
	HCALL_EXIT,	/* the vCPU is done: exit.code */
	HCALL_BAD,	/* the guest broke the protocol beyond an answer: exit.reason */
	HCALL_HOST_ERROR, /* exit.error is -errno, of an op or of guest memory */
};

struct hcall_exit {
	uint32_t op;   /* what was asked for, as the guest wrote it; 0 when it could not be read */
	unsigned code; /* 0..HC_EXIT_MAX */
	int error;
	char reason[128];
};

/* Carry out the call in page @gfn of vCPU @cpu. @out is valid as far as the result says. */
enum hcall_result hcall_dispatch(struct ram *ram, const struct hcall_ops *ops, void *ctx,
				 unsigned cpu, uint32_t gfn, struct hcall_exit *out);

#endif /* UMBRA_HV_HCALL_H */
