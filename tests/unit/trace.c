// SPDX-License-Identifier: BSD-2-Clause
/* The trace ring: what comes out is what went in, the newest of it, also beside emitters. */
#include "mmu/base/trace.h"

#include <errno.h>

#include "tests/rig.h"
#include "tests/test.h"

struct seen {
	uint64_t count, first, last, mixed;
};

static void look(const struct trace_record *r, void *ctx)
{
	struct seen *s = ctx;

	if (!s->count++)
		s->first = r->arg[0];
	s->last = r->arg[0];
	/* Emitters below write a, a + 1, a + 2. */
	s->mixed += r->arg[1] != r->arg[0] + 1 || r->arg[2] != r->arg[0] + 2;
}

UTEST(trace, refuses_and_is_silent_when_off)
{
	struct seen s = { .count = 0 };

	check_eq(trace_start(27), -EINVAL);
	trace_instant(kvm_exit, 1, 2, 3);
	check_eq(trace_for_each(look, &s), 0);
	check_eq(s.count, 0);
	check_eq(trace_begin(), 0);
	check_eq(trace_start(2), 0);
	check_eq(trace_start(2), -EBUSY);
	check(trace_begin() > 0);
	trace_stop();
	trace_instant(kvm_exit, 1, 2, 3);
}

UTEST(trace, keeps_the_newest)
{
	struct seen s = { .count = 0 };

	check_eq(trace_start(4), 0);
	for (uint64_t i = 0; i < 10; i++)
		trace_instant(umbra_zap, i, i + 1, i + 2);
	check_eq(trace_for_each(look, &s), 0);
	check(s.count == 10 && s.first == 0 && s.last == 9 && !s.mixed);
	for (uint64_t i = 10; i < 100; i++)
		trace_instant(umbra_zap, i, i + 1, i + 2);
	s = (struct seen){ .count = 0 };
	check_eq(trace_for_each(look, &s), 84);
	check(s.count == 16 && s.first == 84 && s.last == 99 && !s.mixed);
	trace_stop();
	check_eq(trace_start(4), 0);
	s = (struct seen){ .count = 0 };
	check_eq(trace_for_each(look, &s), 0);
	check_eq(s.count, 0);
	trace_stop();
}

static void look_at_span(const struct trace_record *r, void *ctx)
{
	*(struct trace_record *)ctx = (struct trace_record){ .ns = r->ns,
							     .duration_ns = r->duration_ns,
							     .tid = r->tid,
							     .event = r->event };
}

UTEST(trace, measures_spans)
{
	struct trace_record r;
	uint64_t begin;

	check_eq(trace_start(4), 0);
	begin = trace_begin();
	while (trace_now() < begin + 1000000)
		;
	trace_span(kvm_page_fault, begin, 1, 2, 3);
	trace_for_each(look_at_span, &r);
	check_eq(r.event, TRACE_kvm_page_fault);
	check_eq(r.ns, begin);
	check(r.duration_ns >= 1000000);
	check(r.tid != 0);
	check_str(trace_event_info[r.event].name, "kvm_page_fault");
	check_str(trace_event_info[r.event].arg[0], "gpa");
	trace_stop();
}

static atomic_bool stop;

static void *emit(void *arg)
{
	for (uint64_t i = 0; !atomic_load_explicit(&stop, memory_order_relaxed); i++)
		trace_instant(umbra_zap, i, i + 1, i + 2);
	return arg;
}

/* One emitter, so that no other can lap it: a reader beside it sees whole records only. */
UTEST(trace, reads_whole_records_beside_an_emitter)
{
	struct seen s = { .count = 0 };
	pthread_t t;
	double until;

	check_eq(trace_start(6), 0);
	atomic_store(&stop, false);
	t = rig_thread(emit, NULL);
	for (until = rig_now() + 0.3; rig_now() < until || !s.count;)
		trace_for_each(look, &s);
	atomic_store(&stop, true);
	rig_join(t);
	check_eq(s.mixed, 0);
	trace_stop();
}

/* A fault leaves its story under the names of KVM's tracepoints. */
static void count_events(const struct trace_record *r, void *ctx)
{
	((unsigned *)ctx)[r->event]++;
}

UTEST(trace, tells_the_story_of_a_fault)
{
	unsigned n[TRACE_EVENT_COUNT] = { 0 };
	struct rig r;

	rig_up(&r, &(struct rig_opts){ .pages = 4, .around = 1 });
	check_eq(trace_start(8), 0);
	rig_store(rig_word(r.guest, 2, 0), 1);
	check_eq(hostmm_zap(r.mm, rig_hva(&r, 0), rig_hva(&r, 4)), 0);
	window_stop(r.window); /* the fault's own record comes after the wake */
	trace_for_each(count_events, n);
	trace_stop();
	check_eq(n[TRACE_kvm_page_fault], 1);
	check_eq(n[TRACE_kvm_mmu_set_spte], 1);
	check_eq(n[TRACE_umbra_page_in], 1);
	check_eq(n[TRACE_kvm_unmap_hva_range], 1);
	check_eq(n[TRACE_umbra_zap], 1);
	check_eq(n[TRACE_umbra_invalidate_end], 1);
	rig_down(&r);
}
