/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The heap of an explored run: memory is never reused within a run, and what a thread allocates has the same address in
 * every schedule, so that objects can be told apart across runs and a use after free is seen.
 * Owns the arenas. The linker wraps malloc() and the like of the library to it. Knows no threads but by number.
 */
#ifndef UMBRA_TESTS_RACE_HEAP_H
#define UMBRA_TESTS_RACE_HEAP_H

#include <stdbool.h>
#include <stddef.h>

/* Where mappings of a run go, so that addresses in timelines and in choices of the library are always the same. */
#define HEAP_MAPS_BASE ((char *)0x100000000000ul)
#define HEAP_MAPS_SIZE (1ul << 40)

/* heap_reset - forget all allocations; their count must have come back to zero unless @abandoned. */
void heap_reset(bool abandoned);
/* heap_use - allocations come from arena @arena (0: setup and finish; 1 + n: thread n) from now on. */
void heap_use(unsigned arena);
bool heap_is_freed(const void *p);
/* heap_outside - zeroed memory that outlives the run, for the explorer itself. heap_outside_free() returns it. */
void *heap_outside(size_t n, size_t size);
void heap_outside_free(void *p);
/* Allocations that are live. */
size_t heap_live(void);

#endif
