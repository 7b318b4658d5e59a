// SPDX-License-Identifier: BSD-2-Clause
#include "tests/race/notes.h"

#include <stdarg.h>
#include <stdio.h>

/* A run that has no end must keep room for its verdict. */
#define NOTES_KEPT 16u

static struct explore_note notes[EXPLORE_NOTES];
static unsigned used;

static void note(bool important, unsigned max, const char *fmt, va_list ap)
{
	struct explore_note *n = &notes[used];

	if (used >= max)
		return;
	used++;
	n->thread = sched_current();
	n->step = sched_step();
	n->important = important;
	vsnprintf(n->text, sizeof(n->text), fmt, ap);
}

void explore_say(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	note(true, EXPLORE_NOTES - NOTES_KEPT, fmt, ap);
	va_end(ap);
}

void explore_trace(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	note(false, EXPLORE_NOTES - NOTES_KEPT, fmt, ap);
	va_end(ap);
}

static void say_last(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	note(true, EXPLORE_NOTES, fmt, ap);
	va_end(ap);
}

void notes_verdict(const char *verdict, const char *why)
{
	say_last("%s: %s", verdict, why);
}

const struct explore_note *explore_notes(unsigned *count)
{
	*count = used;
	return notes;
}

void notes_begin(void)
{
	used = 0;
}

void notes_stop(const struct sched_op *op, bool enabled)
{
	static const char *const verb[EXPLORE_OP_COUNT] = {
		[EXPLORE_LOAD] = "reads",
		[EXPLORE_STORE] = "writes",
		[EXPLORE_RMW] = "changes",
		[EXPLORE_LOCK] = "locks",
		[EXPLORE_UNLOCK] = "unlocks",
		[EXPLORE_SLEEP] = "goes on from",
		[EXPLORE_WAKE] = "wakes or sleeps on",
		[EXPLORE_READ_LOCK] = "locks for reading",
		[EXPLORE_READ_UNLOCK] = "unlocks",
		[EXPLORE_WRITE_ASK] = "locks for writing",
		[EXPLORE_WRITE_LOCK] = "locks for writing",
		[EXPLORE_WRITE_UNLOCK] = "unlocks",
		[EXPLORE_RCU_LOCK] = "enters",
		[EXPLORE_RCU_UNLOCK] = "leaves",
		[EXPLORE_RCU_WAIT] = "has waited for",
		[EXPLORE_FREE] = "frees",
		[EXPLORE_NOTE] = "passes",
	};
	const char *what = op->what[0] == '&' ? op->what + 1 : op->what;

	if (!op->where[0]) /* a mark of the scenario, which says what it does */
		return;
	explore_trace("%s %s(), before it %s %s", enabled ? "stops in" : "waits in", op->where,
		      verb[op->op], what);
}
