/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A ring of the last events of the secondary MMU, under the names of KVM's tracepoints where KVM has them.
 * Owns the ring. Any thread may emit, without a lock; an exporter reads when the emitters rest. mmu/ never prints:
 * hv turns the ring into a file. Off costs one load. Knows nothing above mmu/base.
 */
#ifndef UMBRA_MMU_BASE_TRACE_H
#define UMBRA_MMU_BASE_TRACE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Events that KVM has too bear the names of its tracepoints, the others begin with umbra_. Name and argument names;
 * the first argument of every event is an address or a frame number, printed in hex.
 */
#define TRACE_EVENTS(X)                                   \
	X(kvm_page_fault, "gpa", "write", "result")       \
	X(kvm_mmu_set_spte, "gfn", "pages", "fn")         \
	X(kvm_set_spte_hva, "gfn", "pages", "fn")         \
	X(kvm_tdp_mmu_spte_changed, "gfn", "pages", "fn") \
	X(kvm_unmap_hva_range, "start", "end", "event")   \
	X(kvm_age_hva, "gfn", "pages", "young")           \
	X(umbra_invalidate_end, "start", "end", "seq")    \
	X(umbra_zap, "gfn", "pages", "batches")           \
	X(fast_page_fault, "gfn", "write", "spte")        \
	X(kvm_mmu_zap_all_fast, "result", "", "")         \
	X(umbra_retry, "gfn", "pages", "seq")             \
	X(kvm_exit, "gpa", "reason", "vcpu")              \
	X(kvm_hypercall, "gfn", "op", "vcpu")             \
	X(umbra_host_fault, "hva", "write", "result")     \
	X(umbra_page_in, "hva", "pages", "result")        \
	X(umbra_repoint, "page", "fn", "writable")        \
	X(umbra_raw, "start", "end", "kind")

enum trace_event {
#define TRACE_ENUM(name, a, b, c) TRACE_##name,
	TRACE_EVENTS(TRACE_ENUM)
#undef TRACE_ENUM
		TRACE_EVENT_COUNT
};

struct trace_record {
	_Atomic uint64_t serial; /* index + 1 of the event held, 0 while empty or being written */
	uint64_t ns;		 /* CLOCK_MONOTONIC at the start of the event */
	uint32_t duration_ns;	 /* 0 for an instant */
	uint32_t tid;
	uint32_t event;
	uint64_t arg[3];
};

struct trace_event_info {
	const char *name;
	const char *arg[3];
};

extern const struct trace_event_info trace_event_info[TRACE_EVENT_COUNT];
extern atomic_bool trace_on;

/*
 * trace_start - allocate a ring of 2^order records and begin to record. One ring per process.
 * 0, -EBUSY if one is recording, -ENOMEM, -EINVAL for an order above 26. trace_stop() frees it; call it when
 * no other thread of the library runs.
 */
int trace_start(unsigned order);
void trace_stop(void);

uint64_t trace_now(void);
void trace_emit_slow(enum trace_event event, uint64_t start_ns, uint64_t a, uint64_t b, uint64_t c);

static inline bool trace_is_on(void)
{
	return __builtin_expect(atomic_load_explicit(&trace_on, memory_order_relaxed), false);
}

/* The time to hand to trace_span() at the end of what is measured; 0 while tracing is off. */
static inline uint64_t trace_begin(void)
{
	return trace_is_on() ? trace_now() : 0;
}

#define trace_span(event, begin, a, b, c)                                                     \
	do {                                                                                  \
		if (trace_is_on())                                                            \
			trace_emit_slow(TRACE_##event, (begin), (uint64_t)(a), (uint64_t)(b), \
					(uint64_t)(c));                                       \
	} while (0)
#define trace_instant(event, a, b, c) trace_span(event, 0, a, b, c)

/*
 * trace_for_each - call @visit for every record that is whole, oldest first. Safe beside emitters, which may
 * overwrite what is not yet visited. Returns how many older events the ring has dropped.
 */
uint64_t trace_for_each(void (*visit)(const struct trace_record *, void *ctx), void *ctx);

#endif
