/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Hypercalls, from the guest's side: one function per op, one exit per call.
 * Owns the hypercall page of the calling vCPU.
 * Called by all guest code; @cpu is always the caller's own index.
 * Does not know workloads.
 */
#ifndef UMBRA_GUEST_HCALL_H
#define UMBRA_GUEST_HCALL_H

#include "guest/abi.h"

/* Empty the page of @cpu and fill in magic and @op. For tests that want to break the rest. */
struct hc_page *hc_prepare(unsigned cpu, uint32_t op);

/* Hand page @gfn to the host. Return the status found in it: 0 or -HC_E*. */
int hc_issue(uint32_t gfn);

/* Write @len <= HC_CONSOLE_MAX bytes. Return 0 or -HC_E*. */
int hc_console(unsigned cpu, const void *buf, uint64_t len);

/* End this vCPU with @code. Returns only when the host refuses the code. */
void hc_exit(unsigned cpu, unsigned code);

/* Mark @phase with its payload. Return the host's answer. */
uint64_t hc_phase(unsigned cpu, enum hc_phase phase, uint64_t a, uint64_t b, uint64_t c);

/* The host's monotonic clock in ns. */
uint64_t hc_clock(unsigned cpu);

/* Sleep @ns, at most HC_WAIT_MAX, perhaps less. */
void hc_wait(unsigned cpu, uint64_t ns);

#endif
