/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a run tells the user at its end: one line or a JSON object of statistics, and the trace file.
 * Owns nothing. Called by vm.c when nothing runs any more.
 * Does not know how the numbers came about.
 */
#ifndef UMBRA_HV_REPORT_H
#define UMBRA_HV_REPORT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct machine;
struct ram_stats;
struct working_set;

/* What vm.c adds to the numbers of the memory. */
struct report {
	int status;
	uint64_t run_ns; /* from the first vCPU's start to the last one's end */
	uint64_t guest_increments, host_increments, changes;
	const struct working_set *working_set;
};

/* To stderr. @json: one JSON object on one line. */
void report_stats(const struct machine *m, const struct report *r, const struct ram_stats *s,
		  bool json);

/*
 * Write the trace ring to @file in Chrome's trace event format, which Perfetto opens. Returns 0 or -errno; *@dropped
 * gets how many older events the ring had no room for.
 */
int report_trace(FILE *file, uint64_t *dropped);

/* The last events of the trace ring, if it is on, one a line: what led to a bug. */
void report_last_events(FILE *out);

#endif /* UMBRA_HV_REPORT_H */
