/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Device tree blobs: read one from a file, compile one from source, change a property of one.
 * Owns nothing; the blobs are the caller's, to be freed with free().
 * Called by hv/machine.c and the tests.
 * Does not judge what a tree says, only that it is a tree.
 */
#ifndef UMBRA_HV_DTB_H
#define UMBRA_HV_DTB_H

#include <stddef.h>

#include "hv/why.h"

/* No description of a machine comes near this; it bounds what a wrong file can cost. */
#define DTB_MAX_SIZE (1u << 20)

/*
 * Read the tree at @path: a name that ends in ".dts" is compiled with dtc, anything else is a blob.
 * *@fdt is a blob of *@size bytes that passes fdt_check_full().
 * Return 0, or -errno with the reason in @w.
 */
int dtb_read(const char *path, void **fdt, size_t *size, struct why *w);

/*
 * Carry out @text, "/node/property=value", on *@fdt, which is replaced by a larger blob of *@size bytes.
 * Nodes may be named without unit address; missing ones that the bindings know are made.
 * Return 0, or -errno with the reason in @w and *@fdt as it was or partly changed.
 */
int dtb_set(void **fdt, size_t *size, const char *text, struct why *w);

/* The compiler's part of dtb_read(): run dtc on @path (hv/dtc.c). */
int dtc_compile(const char *path, void **fdt, size_t *size, struct why *w);

#endif /* UMBRA_HV_DTB_H */
