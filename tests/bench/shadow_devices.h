/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Software devices on the region of a shadow_rig, for measuring: how their faults get along with each other, and with who
 * takes pages away.
 * Owns nothing. Included by tests/bench/shadow*.c.
 */
#ifndef UMBRA_TESTS_BENCH_SHADOW_DEVICES_H
#define UMBRA_TESTS_BENCH_SHADOW_DEVICES_H

#include "tests/bench/shadow_rig.h"

/*
 * devices_fault_ns - a load from every page, shared by @n devices (1 or 2), each in a thread and with a range of its own: leaves of 4K,
 * @around a fault. *@value: nanoseconds a page, of the shortest of some rounds with tables in place. 0 or -errno.
 */
int devices_fault_ns(struct shadow_rig *r, unsigned n, unsigned around, double *value);

struct devices_latency {
	double p50, p99, max; /* ns */
};

/*
 * devices_zap_latency - zaps of one page each, mapped by a device, 20,000 times; if @crowded, while the devices (as many as there
 * are processors left, 2 at most) fault in the same pages 4K by 4K without an end. 0 or -errno.
 */
int devices_zap_latency(struct shadow_rig *r, bool crowded, struct devices_latency *latency);

#endif
