/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The state in which a vCPU enters the guest: 64-bit mode at the image's entry, no boot code.
 * Owns the layout of the page tables in guest RAM.
 * Called by hv/vm.c before any vCPU runs.
 * Does not know what the guest does, or how its memory is served.
 */
#ifndef UMBRA_HV_CPU_H
#define UMBRA_HV_CPU_H

#include <stdbool.h>
#include <stdint.h>

struct machine;
struct ram;

/*
 * Write the identity map to ABI_TABLES_GPA: 2 MiB pages over the first 4 GiB and over every GiB
 * that a region touches, readable, writable and executable at every CPL. Return 0 or -errno;
 * -ENOSPC when the tables do not fit below the image.
 */
int cpu_setup_tables(struct ram *ram, const struct machine *m);

/* Give vCPU @cpu, still unused, its CPUID and registers. Return 0 or -errno. */
int cpu_init(int kvm_fd, int vcpu_fd, const struct machine *m, unsigned cpu, uint64_t entry);

/*
 * Has KVM reset the vCPU? It does on AMD when a guest shuts down (shutdown_interception()), and the guest's registers
 * are gone. umbra's guests never run without paging, a vCPU just reset always does.
 */
bool cpu_was_reset(int vcpu_fd);

#endif /* UMBRA_HV_CPU_H */
