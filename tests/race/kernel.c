// SPDX-License-Identifier: BSD-2-Clause
/*
 * What the explorer has in place of parts of the library: no fault threads, since who faults in a view resolves that
 * himself (vm.h), but who reads events (events.h); the trace, which becomes lines of the timeline; and the switch that is on.
 */
#include <stdio.h>

#include "mmu/base/mutant.h"
#include "mmu/base/trace.h"
#include "mmu/host/fault_threads.h"
#include "tests/race/events.h"
#include "tests/race/explore.h"

int fault_threads_start(struct fault_threads **out, struct uffd *u, unsigned n,
			const struct fault_ops *ops, void *ctx)
{
	static struct fault_threads *none;

	(void)n;
	if (u->has_events)
		events_note_by(u, ops, ctx);
	*out = u->has_events ? (void *)&none : NULL; /* what can be stopped */
	return 0;
}

void fault_threads_stop(struct fault_threads *ft)
{
	(void)ft;
	events_note_by(NULL, NULL, NULL);
}

const struct trace_event_info trace_event_info[TRACE_EVENT_COUNT] = {
#define TRACE_INFO(name, a, b, c) { #name, { a, b, c } },
	TRACE_EVENTS(TRACE_INFO)
#undef TRACE_INFO
};

atomic_bool trace_on = true;

uint64_t trace_now(void)
{
	return 0;
}

/* Addresses in hexadecimal, all else as it is counted. */
static const char *number(char *text, uint64_t n)
{
	if (n >> 24 && ~n >> 24)
		snprintf(text, 24, "%#llx", (unsigned long long)n);
	else
		snprintf(text, 24, "%lld", (long long)n);
	return text;
}

void trace_emit_slow(enum trace_event event, uint64_t start_ns, uint64_t a, uint64_t b, uint64_t c)
{
	const struct trace_event_info *info = &trace_event_info[event];
	char text[3][24];

	(void)start_ns;
	explore_trace("%s %s=%s %s=%s %s=%s", info->name, info->arg[0], number(text[0], a),
		      info->arg[1], number(text[1], b), info->arg[2], number(text[2], c));
}

static unsigned mutant;

void explore_set_mutant(unsigned n)
{
	mutant = n;
}

bool mutant_on(unsigned n)
{
	return mutant == n;
}
