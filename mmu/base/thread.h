/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Threads of the library's own. Signals are the embedder's affair, and none may run a handler on a thread that serves faults,
 * or that a fault waits for: it would fault, and wait for itself.
 * Owns nothing. Knows nothing above mmu/base.
 */
#ifndef UMBRA_MMU_BASE_THREAD_H
#define UMBRA_MMU_BASE_THREAD_H

#include <pthread.h>

/* thread_start - run @fn(@arg) on a thread of its own, which takes no signal. 0, or the negative errno of pthread_create(). */
int thread_start(pthread_t *thread, void *(*fn)(void *), void *arg);

#endif
