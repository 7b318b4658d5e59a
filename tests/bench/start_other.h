/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a start of umbra is compared with: the bare system calls, and QEMU's microvm. Both run a guest that writes one byte and ends.
 * Owns nothing. Called by tests/bench/start.c and main.c. Knows no umbra.
 */
#ifndef UMBRA_TESTS_BENCH_START_OTHER_H
#define UMBRA_TESTS_BENCH_START_OTHER_H

#include <stdbool.h>
#include <stddef.h>

/*
 * start_floor - the body of `umbra-bench floor`: what no VMM can leave out. A VM with 16 MiB of memory, a vCPU, a byte out of the
 * guest to stdout, the guest's end. An exit status.
 */
int start_floor(void);

/* start_write_kernel - write the guest for QEMU, an ELF file that is entered by PVH, to @path. 0 or -errno. */
int start_write_kernel(const char *path);

#endif
