/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the host told this guest: its device tree, read once per vCPU into plain C.
 * Owns nothing: strings point into the tree, which nobody changes after entry.
 * Called by guest/main.c; the struct is read by all workloads.
 * Does not know what workloads make of it.
 */
#ifndef UMBRA_GUEST_FDT_H
#define UMBRA_GUEST_FDT_H

#include <stdbool.h>

#include "guest/abi.h"

/* Guest memory [gpa, gpa + size); size 0: there is none. */
struct region {
	uint64_t gpa;
	uint64_t size;
};

struct guest {
	unsigned cpu; /* this one */
	unsigned cpus;
	struct region ram, input, work;
	const struct board *board; /* NULL: there is none */
	bool has_input;
	uint64_t input_bytes; /* exact length, may be 0; the rest of the last page is zero */
	const char *label;    /* name of the input */
	bool stamped;	      /* word 0 of each page of work is a stamp */
	const char *bootargs;
};

/* Read the tree at @dt as vCPU @cpu. Return NULL, or what is wrong with it. */
const char *guest_read_fdt(struct guest *g, const void *dt, unsigned cpu);

#endif
