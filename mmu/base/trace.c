/* SPDX-License-Identifier: BSD-2-Clause */
#include "mmu/base/trace.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

const struct trace_event_info trace_event_info[TRACE_EVENT_COUNT] = {
#define TRACE_INFO(name, a, b, c) { #name, { a, b, c } },
	TRACE_EVENTS(TRACE_INFO)
#undef TRACE_INFO
};

atomic_bool trace_on;

static struct trace_record *ring; /* allocated while trace_on, or after the last stop */
static uint64_t ring_mask;
static _Atomic uint64_t ring_next; /* events emitted so far */

int trace_start(unsigned order)
{
	if (order > 26)
		return -EINVAL;
	if (trace_is_on())
		return -EBUSY;
	ring = calloc((size_t)1 << order, sizeof(*ring));
	if (!ring)
		return -ENOMEM;
	ring_mask = ((uint64_t)1 << order) - 1;
	atomic_store(&ring_next, 0);
	atomic_store(&trace_on, true);
	return 0;
}

void trace_stop(void)
{
	atomic_store(&trace_on, false);
	free(ring);
	ring = NULL;
}

uint64_t trace_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint32_t trace_tid(void)
{
	static _Thread_local uint32_t tid;

	if (!tid)
		tid = (uint32_t)syscall(SYS_gettid);
	return tid;
}

void trace_emit_slow(enum trace_event event, uint64_t start_ns, uint64_t a, uint64_t b, uint64_t c)
{
	uint64_t now = trace_now();
	uint64_t serial = atomic_fetch_add_explicit(&ring_next, 1, memory_order_relaxed);
	struct trace_record *r = &ring[serial & ring_mask];

	/* Pairs with the two loads of serial in trace_for_each(): a record in the making has none. */
	atomic_store_explicit(&r->serial, 0, memory_order_relaxed);
	atomic_thread_fence(memory_order_release);
	r->ns = start_ns ? start_ns : now;
	r->duration_ns = start_ns ? (uint32_t)(now - start_ns > UINT32_MAX ? UINT32_MAX
									   : now - start_ns)
				  : 0;
	r->tid = trace_tid();
	r->event = event;
	r->arg[0] = a;
	r->arg[1] = b;
	r->arg[2] = c;
	atomic_store_explicit(&r->serial, serial + 1, memory_order_release);
}

uint64_t trace_for_each(void (*visit)(const struct trace_record *, void *ctx), void *ctx)
{
	uint64_t end, i;

	if (!ring)
		return 0;
	end = atomic_load_explicit(&ring_next, memory_order_relaxed);
	i = end > ring_mask + 1 ? end - ring_mask - 1 : 0;
	uint64_t dropped = i;
	for (; i < end; i++) {
		struct trace_record *r = &ring[i & ring_mask];
		struct trace_record copy = { .ns = 0 };

		if (atomic_load_explicit(&r->serial, memory_order_acquire) != i + 1)
			continue;
		copy.ns = r->ns;
		copy.duration_ns = r->duration_ns;
		copy.tid = r->tid;
		copy.event = r->event;
		for (unsigned k = 0; k < 3; k++)
			copy.arg[k] = r->arg[k];
		atomic_thread_fence(memory_order_acquire);
		if (atomic_load_explicit(&r->serial, memory_order_relaxed) != i + 1)
			continue;
		visit(&copy, ctx);
	}
	return dropped;
}
