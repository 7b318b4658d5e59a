/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Threads that read a userfaultfd and hand each page fault to a resolver.
 * Owns the threads. The host view and the window each run a set; with as many threads as there can be faults at a
 * time nobody waits for another's fault. Knows nothing of what a fault means.
 *
 * Under a userfaultfd with events, whoever changes a VMA waits until that is read, with the locks that he holds; and a resolver
 * may want these. So there is one thread more, and one always reads: a thread that has read a fault resolves it if another
 * stays, else leaves it to who comes back first. What is read is noted in that order (uffd.h, reading).
 */
#ifndef UMBRA_MMU_HOST_FAULT_THREADS_H
#define UMBRA_MMU_HOST_FAULT_THREADS_H

#include "mmu/host/uffd.h"

struct fault_threads;

struct fault_ops {
	/* required. Resolve the fault and wake who waits for it. Called with no lock held. */
	void (*resolve)(void *ctx, const struct uffd_fault *fault);
	/*
	 * required. A thread ended that was not told to (@error: errno of the read, or 0 if the thread was killed).
	 * Faults may wait for ever from now on: fail closed. Called on the dying thread.
	 */
	void (*died)(void *ctx, int error);
	/*
	 * required with events. Note @msg, which is no fault. reading is held: takes no lock but leaves under it, allocates nothing,
	 * makes no call that waits for an event to be read.
	 */
	void (*event)(void *ctx, const struct uffd_msg *msg);
};

/* fault_threads_start - @n for faults; may be 0 with events. 0, -EINVAL for no threads, -ENOMEM, errno of what stops them (eventfd; mmap, UFFDIO_REGISTER) or pthread_create. @u outlives them. */
int fault_threads_start(struct fault_threads **out, struct uffd *u, unsigned n,
			const struct fault_ops *ops, void *ctx);

/* fault_threads_stop - end and join all; faults under way are resolved first. Not from a resolver. */
void fault_threads_stop(struct fault_threads *ft);

#endif
