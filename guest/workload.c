// SPDX-License-Identifier: BSD-2-Clause
#include "guest/workload.h"

#include "guest/hcall.h"
#include "guest/print.h"

#define BARRIER_SPINS	    1000
#define BARRIER_WAIT_NS	    50000
#define BARRIER_WAIT_MAX_NS 10000000

int workload_refuse(const struct guest *g, const char *why)
{
	if (g->cpu == 0)
		print(g->cpu, "guest: %s: bootargs are \"%s\"\n", why, g->bootargs);
	return EXIT_BAD_ARGS;
}

/*
 * Arrivals count up for ever: the nth barrier is passed when cpus * n have arrived. A vCPU that
 * waits long sleeps in the host, which may have fewer CPUs than the guest.
 */
void workload_barrier(const struct guest *g)
{
	static uint64_t arrived;
	uint64_t mine = __atomic_fetch_add(&arrived, 1, __ATOMIC_ACQ_REL);
	uint64_t want = (mine / g->cpus + 1) * g->cpus;

	uint64_t wait = BARRIER_WAIT_NS;

	for (unsigned spins = 0; spins < BARRIER_SPINS && load(&arrived) < want; spins++)
		__builtin_ia32_pause();
	while (load(&arrived) < want) {
		hc_wait(g->cpu, wait);
		if (wait < BARRIER_WAIT_MAX_NS)
			wait *= 2;
	}
}

struct region workload_heap(const struct guest *g)
{
	extern char image_end[];
	uint64_t start = (uint64_t)image_end, end = g->ram.gpa + g->ram.size;
	uint64_t share = (end - start) / g->cpus / ABI_PAGE_SIZE * ABI_PAGE_SIZE;

	return (struct region){ .gpa = start + share * g->cpu, .size = share };
}
