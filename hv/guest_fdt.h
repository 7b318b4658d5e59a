/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The guest's device tree, derived from the machine: what is there, where, and what to do with it.
 * Owns nothing.
 * Called by hv/vm.c before any vCPU runs.
 * Does not know the machine's own device tree, or what workloads read.
 */
#ifndef UMBRA_HV_GUEST_FDT_H
#define UMBRA_HV_GUEST_FDT_H

#include <stddef.h>
#include <stdint.h>

struct machine;
struct ram;

/*
 * Build the tree in @buf. @input_bytes and @input_name are the exact length and the file name of
 * the input, used when the machine has one. Return 0 or -errno; -ENOSPC when @size bytes do not
 * hold it.
 */
int guest_fdt_build(const struct machine *m, uint64_t input_bytes, const char *input_name,
		    void *buf, size_t size);

/* Build it and write it to ABI_DT_GPA. Return 0 or -errno. */
int guest_fdt_write(struct ram *ram, const struct machine *m, uint64_t input_bytes,
		    const char *input_name);

#endif /* UMBRA_HV_GUEST_FDT_H */
