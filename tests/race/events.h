/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Events of userfaultfd under the explorer: whoever changes memory that is watched by a descriptor with events waits until somebody has
 * read of it. And the threads that the library has for that, which a scenario runs as its own.
 * Owns the queue. vm.c raises events, the linker sends read() and the like of the library here. Knows no audit.
 */
#ifndef UMBRA_TESTS_RACE_EVENTS_H
#define UMBRA_TESTS_RACE_EVENTS_H

#include <stdbool.h>

#include "mmu/host/fault_threads.h"

/*
 * events_begin, _end - a change is under way: calls of userfaultfd say EAGAIN meanwhile. events_raise - return when @msg has been read;
 * in setup at once, since nobody would. events_are_changing.
 */
void events_begin(unsigned n);
void events_end(void);
void events_raise(const struct uffd_msg *msg);
bool events_are_changing(void);
/* Who has been told EAGAIN has nothing better to do than to wait: a thread that spins would hide the others. */
void events_settle(void);
void events_reset(void);

/* For kernel.c: who notes what is read, from now on; NULL: nobody. */
void events_note_by(struct uffd *u, const struct fault_ops *ops, void *ctx);

/* Threads of a scenario, the last ones, which it calls daemons: they read, and follow (audit.c's thread). */
void events_reader(void *ctx);
void events_follower(void *ctx);

#endif
