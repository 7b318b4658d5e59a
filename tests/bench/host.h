/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The machine that figures come from: they mean nothing without it, nor without what else it had to do.
 * Owns nothing. Called by the harness. Knows no bench.
 */
#ifndef UMBRA_TESTS_BENCH_HOST_H
#define UMBRA_TESTS_BENCH_HOST_H

struct host {
	char cpu[128];	  /* model name, as the system calls it */
	char kernel[160]; /* Linux 6.1.0 */
	const char *kvm;  /* module, or "none" */
	long cpus;
	double gib;  /* of memory */
	double load; /* of the last minute, when host_get() was called */
};

void host_get(struct host *h);

#endif
