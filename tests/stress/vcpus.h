/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The guest of a world, where there is KVM: the machine that hv runs, with the workload stress.
 * Owns the thread that runs it. Who may call: tests/stress/. May not know the library: hv has it.
 */
#ifndef UMBRA_TESTS_STRESS_VCPUS_H
#define UMBRA_TESTS_STRESS_VCPUS_H

#include "tests/stress/stress.h"

struct ram;

/* The memory of the machine, from vcpus_create() until vcpus_end(). */
struct ram *vcpus_ram(struct guest_run *g);

#endif
