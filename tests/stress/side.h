/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the pages of the side region hold, for the actors that take contents and rights away: side.c tells how it is used.
 * Owns: nothing; world.side_page. Who may call: actors of tests/stress/, with world.side_lock held.
 * May not know: who reads.
 */
#ifndef UMBRA_TESTS_STRESS_SIDE_H
#define UMBRA_TESTS_STRESS_SIDE_H

#include "tests/stress/stress.h"

#define SIDE_STAMP 0x51de000000000000UL
#define SIDE_NONE  (~0UL)     /* accesses get EFAULT */
#define SIDE_BAD   (~0UL - 1) /* EHWPOISON */

/* A change of pages [page, end) begins; they hold @value from now on; it is over. */
void side_begin(struct world *w, uint64_t page, uint64_t end);
void side_hold(struct world *w, uint64_t page, uint64_t end, uint64_t value);
void side_end(struct world *w, uint64_t page, uint64_t end);

/* At most @most pages, anywhere. */
void side_pick(uint64_t *random, uint64_t most, uint64_t *page, uint64_t *end);

/* Store something new to each page but those that are bad. All may be stored to. */
int side_store(struct world *w, uint64_t page, uint64_t end, uint64_t *random);

#endif
