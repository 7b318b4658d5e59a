/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Names of threads, for `ps -L` while they live and for the trace after they have ended.
 * Owns one table for the process. A thread names itself; vm.c forgets them all.
 * Does not know what the threads do.
 */
#ifndef UMBRA_HV_THREAD_H
#define UMBRA_HV_THREAD_H

#include <stdint.h>

#define THREAD_NAME_SIZE 16 /* the kernel's limit */

/* Name the calling thread, and remember that. Threads that it starts begin with the same name. */
void thread_set_name(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* The name of the calling thread until @saved is given back: what threads started in between are called. */
void thread_lend_name(const char *name, char saved[THREAD_NAME_SIZE]);
void thread_return_name(const char saved[THREAD_NAME_SIZE]);

/* Call @visit for every thread that had a name since the last thread_forget(), and for all that live. */
void thread_for_each(void (*visit)(uint32_t tid, const char *name, void *ctx), void *ctx);
void thread_forget(void);

#endif /* UMBRA_HV_THREAD_H */
