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

/*
 * Locks used to protect members:
 *	I	immutable after vcpu_create()
 *	v	the vCPU's thread while it runs, its owner before and after; KVM writes kvm_run during KVM_RUN.
 *		immediate_exit is an atomic that anybody sets
 *	o	the owner: who creates, starts and joins
 *	a	atomic
 */
struct vcpu {
	const struct vcpu_shared *shared; /* [I] */
	unsigned id;			  /* [I] */
	int fd;				  /* [I] */
	struct kvm_run *run;		  /* [I] the page [v] */
	size_t run_size;		  /* [I] */
	pthread_t thread;		  /* [o] */
	bool started;			  /* [o] */
	atomic_bool done;		  /* [a] the thread will not run the guest again */
};

/* vcpu_create - 0 or -errno; vcpu_destroy() undoes it, the thread having been joined or never started. */
int vcpu_create(struct vcpu *vcpu, int kvm, int vm, unsigned id, const struct vcpu_shared *shared);
void vcpu_destroy(struct vcpu *vcpu);

/*
 * vcpu_start - run the guest on a thread of its own until it exits, or somebody stops. 0 or -errno. A thread that is cancelled
 *	ends in KVM_RUN, and stops the machine.
 * vcpu_join_all - with the stop set: make all @n leave the guest and every system call, wait for the threads.
 */
int vcpu_start(struct vcpu *vcpu);
void vcpu_join_all(struct vcpu *vcpu, unsigned n);

#endif /* UMBRA_HV_VCPU_H */
