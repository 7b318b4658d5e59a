/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The workloads of the toy guest: what each vCPU does once it has read its device tree.
 * Owns the barrier between vCPUs and the heap behind the image.
 * Called by guest/main.c; helpers by the workloads.
 * Does not know how the host serves the memory.
 */
#ifndef UMBRA_GUEST_WORKLOAD_H
#define UMBRA_GUEST_WORKLOAD_H

#include "guest/args.h"
#include "guest/fdt.h"

/* Exit codes of the guest. */
enum {
	EXIT_GOOD = 0,
	EXIT_WRONG_VALUE = 1, /* memory did not hold what it must */
	EXIT_BAD_ARGS = 2,    /* bootargs or device tree do not fit the workload */
};

struct workload {
	const char *name;
	int (*run)(const struct guest *g); /* runs on every vCPU; returns its exit code */
};

extern const struct workload workload_hello;
extern const struct workload workload_digest;
extern const struct workload workload_touch;
extern const struct workload workload_verify;
extern const struct workload workload_counter;
extern const struct workload workload_stress;
extern const struct workload workload_idle;
extern const struct workload workload_bad;

/* Say why the workload cannot run, once for all vCPUs. Return EXIT_BAD_ARGS. */
int workload_refuse(const struct guest *g, const char *why);

/* Return when every vCPU has come here as often as this one. */
void workload_barrier(const struct guest *g);

/* This vCPU's part of the RAM behind the image. */
struct region workload_heap(const struct guest *g);

static inline uint64_t work_pages(const struct guest *g)
{
	return g->work.size / ABI_PAGE_SIZE;
}

static inline uint64_t *work_word(const struct guest *g, uint64_t page, unsigned word)
{
	return (uint64_t *)(g->work.gpa + page * ABI_PAGE_SIZE) + word;
}

static inline uint64_t load(const uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static inline void store(uint64_t *word, uint64_t value)
{
	__atomic_store_n(word, value, __ATOMIC_RELEASE);
}

static inline unsigned current_cpl(void)
{
	uint16_t cs;

	__asm__("mov %%cs, %0" : "=r"(cs));
	return cs & 3;
}

/* Does the host want the guest to finish? */
static inline bool is_stopping(const struct guest *g)
{
	return g->board && load(&g->board->stop);
}

#endif
