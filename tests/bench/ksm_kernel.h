/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The kernel's KSM at full speed, as a reference: its settings are changed for the time of a measurement, and restored when that
 * is over, also by exit() and by the signals that end a program.
 * Owns /sys/kernel/mm/ksm between ksm_kernel_up() and _down(). Included by tests/bench/ksm*.c. Knows no umbra.
 */
#ifndef UMBRA_TESTS_BENCH_KSM_KERNEL_H
#define UMBRA_TESTS_BENCH_KSM_KERNEL_H

#include <stddef.h>
#include <stdint.h>

struct ksm_cost {
	double wall_ms, cpu_ms, left_mib; /* left: memory that the data still takes */
};

/* ksm_kernel_up - full speed, not running yet. 0, or -ENODEV: no KSM here, no right to set it, or it is in use already. */
int ksm_kernel_up(void);
void ksm_kernel_down(void);

/*
 * Merge @bytes at @data, private memory of @distinct contents, until all of it is. 0 or -errno (-ETIMEDOUT: 60 s).
 * ksm_kernel_forget - what has been merged is unmapped: let the counts say so.
 */
int ksm_kernel_merge(void *data, size_t bytes, uint64_t distinct, struct ksm_cost *cost);
void ksm_kernel_forget(void);

#endif
