/* SPDX-License-Identifier: BSD-2-Clause */
/* Memory of a process that is its own and no file's: what metadata is made of. Owns nothing. */
#ifndef UMBRA_TESTS_BENCH_PRIVATE_H
#define UMBRA_TESTS_BENCH_PRIVATE_H

#include <sys/types.h>

/* private_bytes - RssAnon of this process; private_bytes_of - of another. 0 or -errno. */
int private_bytes(double *bytes);
int private_bytes_of(pid_t pid, double *bytes);

#endif
