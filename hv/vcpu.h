/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A vCPU: its descriptor, its thread, and what its exits mean.
 * Owns the thread and the mapping of kvm_run. vm.c creates and joins.
 * Knows hypercalls only as ops, memory only as hv/ram.h.
 */
#ifndef UMBRA_HV_VCPU_H
#define UMBRA_HV_VCPU_H

#include <linux/kvm.h>
#include <pthread.h>

#include "hv/hcall.h"
#include "hv/stop.h"

struct ram;

/* What all vCPUs of a machine share; outlives them. */
struct vcpu_shared {
	struct ram *ram;
	struct stop *stop;
	const struct hcall_ops *hcalls;
	void *hcall_ctx;
	/* required. vCPU @id called HC_EXIT. On its thread. */
	void (*exited)(void *ctx, unsigned id, unsigned code);
	void *exited_ctx;
};

struct vcpu {
	const struct vcpu_shared *shared;
	unsigned id;
	int fd;
	struct kvm_run *run;
	size_t run_size;
	pthread_t thread;
	bool started;
	atomic_bool done; /* the thread will not run the guest again */
};

/* vcpu_create - 0 or -errno; vcpu_destroy() undoes it, the thread having been joined or never started. */
int vcpu_create(struct vcpu *vcpu, int kvm, int vm, unsigned id, const struct vcpu_shared *shared);
void vcpu_destroy(struct vcpu *vcpu);

/*
 * vcpu_start - run the guest on a thread of its own until it exits, or somebody stops. 0 or -errno.
 * vcpu_join - with the stop set: make it leave the guest, wait for the thread.
 */
int vcpu_start(struct vcpu *vcpu);
void vcpu_join(struct vcpu *vcpu);

#endif /* UMBRA_HV_VCPU_H */
