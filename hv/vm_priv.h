/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The inside of a run: what its parts share.
 * Owns nothing of its own: hv/vm.c makes and frees a struct vm.
 * Included by hv/vm*.c only.
 */
#ifndef UMBRA_HV_VM_PRIV_H
#define UMBRA_HV_VM_PRIV_H

#include "hv/console.h"
#include "hv/interrupt.h"
#include "hv/machine.h"
#include "hv/stop.h"
#include "hv/store.h"
#include "hv/trace_file.h"
#include "hv/vcpu.h"
#include "hv/vm.h"
#include "hv/why.h"
#include "hv/working_set.h"

struct churn;

/*
 * Locks used to protect members:
 *	I	immutable once the vCPUs run; changed by vm_run()'s thread before and after
 *	t	vm_run()'s thread only
 *	l	lock
 *	s	synchronises itself: see the type
 */
struct vm {
	struct machine m;	    /* [I] */
	const struct vm_opts *opts; /* [I] */
	struct stop stop;	    /* [s] leave the guest */
	struct stop finish;	    /* [s] host threads end; the board says so to the guest */
	struct console console;	    /* [s] */
	struct interrupt interrupt; /* [s] */

	int input_fd;			/* [I] */
	struct file_store input;	/* [I] */
	struct stamp_store stamps;	/* [s] */
	bool has_stamps;		/* [I] */
	struct trace_file trace;	/* [t] */
	struct working_set working_set; /* [t] */
	struct ram *ram;		/* [s] the pointer is [I] */
	uint64_t entry;			/* [I] of the image */
	int kvm, fd;			/* [I] */
	struct vcpu_shared shared;	/* [I] */
	unsigned nvcpus;		/* [I] created */
	struct vcpu vcpu[MACHINE_MAX_CPUS];
	struct churn *churn; /* [t] */

	struct lock lock;
	unsigned running;		 /* [l] vCPUs that have not called HC_EXIT */
	unsigned code[MACHINE_MAX_CPUS]; /* [l] */
	uint64_t guest_increments;	 /* [l] */
	bool counted;			 /* [l] */
};

/* hv/vm_setup.c. From nothing to vCPUs that could run. 0, or an exit status after telling the user. */
int vm_setup(struct vm *vm);
/* What vm_setup() made, all or a part. */
void vm_undo_setup(struct vm *vm);

/* hv/vm_hcall.c */
extern const struct hcall_ops vm_hcalls;
void vm_vcpu_exited(void *ctx, unsigned id, unsigned code);

/* hv/vm_end.c. Nothing runs any more: check the memory, tell the user, return the exit status. */
int vm_conclude(struct vm *vm, uint64_t run_ns);

#endif /* UMBRA_HV_VM_PRIV_H */
