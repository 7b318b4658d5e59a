/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest run as a stopwatch: the toy guest, one workload, and the time between its phase marks.
 * Owns the machine and the memory of a run; nothing is left of it afterwards.
 * Called by the groups whose subject is guest memory.
 * Does not know cases or repetitions.
 */
#ifndef UMBRA_TESTS_BENCH_GUEST_H
#define UMBRA_TESTS_BENCH_GUEST_H

#include <stdbool.h>
#include <stdint.h>

struct ram;

/* Where /work is, for a caller who does something to it while the guest waits. */
struct guest_work {
	struct ram *ram;
	int vm, vcpu;  /* KVM's descriptors of the machine and of its first vCPU */
	uint32_t slot; /* of KVM */
	uint64_t gpa, bytes;
	void *plain; /* NULL: it is umbra's */
};

struct guest_run {
	const char *bootargs;  /* a workload that marks PHASE_BEGIN and PHASE_END once */
	uint64_t work_pages;   /* size of /work */
	unsigned cpus;	       /* 0: 1 */
	unsigned fault_around; /* as in struct machine */
	uint32_t plain_ring;   /* as in struct vm_opts */
	void *plain;	       /* /work is an ordinary memslot of this memory; NULL: umbra's */
	/*
	 * Optional, for one vCPU, which waits meanwhile: called at each phase mark of any number of rounds. 0 or -errno, which
	 * ends the run. The caller has the stopwatch then, and *time is zeros.
	 */
	int (*mark)(void *ctx, const struct guest_work *work, uint32_t phase, uint64_t round);
	void *mark_ctx;
};

struct guest_time {
	uint64_t ns;	 /* from when every vCPU is at PHASE_BEGIN until the last is at PHASE_END */
	uint64_t faults; /* that umbra resolved in that time, in all of guest memory */
};

/* 0 or -errno, having said why on stderr. */
int guest_run(const struct guest_run *run, struct guest_time *time);

#endif /* UMBRA_TESTS_BENCH_GUEST_H */
