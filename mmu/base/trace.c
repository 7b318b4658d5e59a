/* SPDX-License-Identifier: BSD-2-Clause */
#include "mmu/base/trace.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "mmu/base/addr.h"

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

	/* Acquire: pairs with trace_start(), whose ring this is. */
	if (!atomic_load_explicit(&trace_on, memory_order_acquire))
		return;

	uint64_t serial = atomic_fetch_add_explicit(&ring_next, 1, memory_order_relaxed);
	struct trace_record *r = &ring[serial & ring_mask];

	/* Pairs with the two loads of serial in trace_for_each(): a record in the making has none. */
	atomic_store_explicit(&r->serial, 0, memory_order_relaxed);
	atomic_thread_fence(memory_order_release);
	__atomic_store_n(&r->ns, start_ns ? start_ns : now, __ATOMIC_RELAXED);
	__atomic_store_n(&r->duration_ns,
			 (uint32_t)min_u64(start_ns ? now - start_ns : 0, UINT32_MAX),
			 __ATOMIC_RELAXED);
	__atomic_store_n(&r->tid, trace_tid(), __ATOMIC_RELAXED);
	__atomic_store_n(&r->event, event, __ATOMIC_RELAXED);
	__atomic_store_n(&r->arg[0], a, __ATOMIC_RELAXED);
	__atomic_store_n(&r->arg[1], b, __ATOMIC_RELAXED);
	__atomic_store_n(&r->arg[2], c, __ATOMIC_RELAXED);
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
		copy.ns = __atomic_load_n(&r->ns, __ATOMIC_RELAXED);
		copy.duration_ns = __atomic_load_n(&r->duration_ns, __ATOMIC_RELAXED);
		copy.tid = __atomic_load_n(&r->tid, __ATOMIC_RELAXED);
		copy.event = __atomic_load_n(&r->event, __ATOMIC_RELAXED);
		for (unsigned k = 0; k < 3; k++)
			copy.arg[k] = __atomic_load_n(&r->arg[k], __ATOMIC_RELAXED);
		atomic_thread_fence(memory_order_acquire);
		if (atomic_load_explicit(&r->serial, memory_order_relaxed) != i + 1)
			continue;
		visit(&copy, ctx);
	}
	return dropped;
}
