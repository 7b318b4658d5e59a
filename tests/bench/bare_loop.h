/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Demand paging by userfaultfd without umbra: shared memory, and threads that read messages and answer each with one
 * UFFDIO_ZEROPAGE of the aligned block around the fault. The least that any user of userfaultfd pays.
 * And what is left of that without faults.
 * Owns memory and threads. Called by the groups that measure first touches. Knows no umbra.
 */
#ifndef UMBRA_TESTS_BENCH_BARE_LOOP_H
#define UMBRA_TESTS_BENCH_BARE_LOOP_H

#include <stdint.h>

struct bare_loop;

/* bare_plain - @bytes of shared memory that the system pages in by itself. MAP_FAILED: errno. */
void *bare_plain(uint64_t bytes);

/* bare_loop_start - @bytes of it that @threads threads page in, @around pages (a power of two) a fault. 0 or -errno. */
int bare_loop_start(struct bare_loop **out, uint64_t bytes, unsigned around, unsigned threads);
void *bare_loop_base(const struct bare_loop *l);
void bare_loop_stop(struct bare_loop *l);

/*
 * bare_ahead - the same by nobody's fault: one thread allocates @bytes of it with fallocate(2), maps them with UFFDIO_CONTINUE, @around
 * pages a call, and loads a word of each page. *@ns for all. What is left is what no user of userfaultfd can spare. 0 or -errno.
 */
int bare_ahead(uint64_t bytes, unsigned around, uint64_t *ns);

#endif
