/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Guest memory for tests: hv/ram.h over plain memory from gpa 0, without a VM.
 * Owns the bytes and a count of what was asked of it.
 * Called by unit tests of what reads and writes guest memory.
 * Does not know mmu/.
 */
#ifndef UMBRA_TESTS_UNIT_FAKE_RAM_H
#define UMBRA_TESTS_UNIT_FAKE_RAM_H

#include <stdint.h>

#include "hv/ram.h"

struct ram {
	uint8_t *bytes;
	uint64_t size;
	unsigned reads, writes;		   /* calls */
	int fail_reads, fail_writes;	   /* -errno: what every call returns */
	uint64_t mapped;		   /* ram_mapped() */
	uint64_t prefaulted, prefault_len; /* the last ram_prefault() */
	/* ram_working_set(): gets the stride; its pages are what is returned. NULL: none. */
	uint64_t (*working_set)(uint64_t stride);
};

/* All zeros. Fails the test when there is no memory. */
struct ram *fake_ram_create(uint64_t size);
void fake_ram_destroy(struct ram *ram);

#endif /* UMBRA_TESTS_UNIT_FAKE_RAM_H */
