/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The image loader: an ELF64 file into the RAM of a fresh machine.
 * Owns nothing; the file is closed when it returns.
 * Called by hv/vm.c before any vCPU runs.
 * Does not know KVM, or where guest memory really is.
 */
#ifndef UMBRA_HV_LOAD_H
#define UMBRA_HV_LOAD_H

#include <stddef.h>
#include <stdint.h>

struct machine;
struct ram;

/*
 * Load the static executable at @path at the addresses it was linked for and store its entry point
 * in @entry. Nothing is written before everything has been checked. RAM must read as zeros: what a
 * segment does not store is not cleared.
 *
 * Return 0, or -errno with the reason in @why (what, where, what to do; no newline): -EINVAL when
 * the file is not an image for this machine, what open() says when there is none, otherwise the
 * host's error.
 */
int load_image(struct ram *ram, const struct machine *m, const char *path, uint64_t *entry,
	       char *why, size_t why_len);

#endif /* UMBRA_HV_LOAD_H */
