// SPDX-License-Identifier: BSD-2-Clause
/* The first failure: what was found, the last events around the page, the line that repeats it. It ends the program. */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "mmu/base/bug.h"
#include "mmu/base/trace.h"
#include "tests/stress/stress.h"

#define LAST_EVENTS 24

const char *const oracle_name[ORACLES] = {
	[PLAY_LOST] = "counters",	 [PLAY_STALE] = "versions",    [PLAY_TORN] = "versions",
	[PLAY_FOREIGN] = "versions",	 [PLAY_ORDER] = "litmus",      [PLAY_MERGED] = "merge",
	[ORACLE_SUM] = "counters",	 [ORACLE_FORK] = "fork",       [ORACLE_SIDE] = "versions",
	[ORACLE_DIRTY] = "dirty",	 [ORACLE_STORE] = "writeback", [ORACLE_CHECKER] = "tables",
	[ORACLE_ACCOUNT] = "accounting", [ORACLE_ERROR] = "errors",    [ORACLE_BUG] = "bug",
	[ORACLE_STUCK] = "watchdog",
};

static const struct stress_opts *options;
static struct world *_Atomic world;
static pthread_mutex_t first = PTHREAD_MUTEX_INITIALIZER;

double stress_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

const char *source_name(enum hostmm_source source)
{
	static const char *const name[HOSTMM_SOURCES] = { "uffd", "uffd-sigbus", "mprotect" };

	return source < HOSTMM_SOURCES ? name[source] : "?";
}

/* ---- The last events around a page ---- */

struct last {
	const struct world *w;
	uint64_t page;
	bool any;
	struct trace_record record[LAST_EVENTS];
	uint64_t n;
};

static bool meets(uint64_t start, uint64_t end, uint64_t at)
{
	return start <= at && at < end;
}

/* In any of the ways that an event may name it. */
static bool is_around(const struct last *l, const struct trace_record *r)
{
	hva_t hva = l->page < l->w->pages ? world_hva(l->w, l->page)
					  : side_hva(l->w, l->page - l->w->pages);
	const char *key = trace_event_info[r->event].arg[0];
	uint64_t n = !strcmp(trace_event_info[r->event].arg[1], "pages") ? r->arg[1] : 1;

	if (l->any)
		return true;
	if (!strcmp(key, "gfn"))
		return meets(r->arg[0], r->arg[0] + n, STRESS_GFN + l->page) ||
		       meets(r->arg[0], r->arg[0] + n, hva >> PAGE_SHIFT);
	if (!strcmp(key, "gpa"))
		return r->arg[0] >> PAGE_SHIFT == STRESS_GFN + l->page ||
		       r->arg[0] >> PAGE_SHIFT == hva >> PAGE_SHIFT;
	if (!strcmp(key, "start"))
		return meets(r->arg[0], r->arg[1], hva);
	if (!strcmp(key, "hva"))
		return meets(r->arg[0] & PAGE_MASK, (r->arg[0] & PAGE_MASK) + (n << PAGE_SHIFT),
			     hva);
	return !strcmp(key, "page") && r->arg[0] == l->page;
}

static void remember(const struct trace_record *r, void *ctx)
{
	struct last *l = ctx;

	if (r->event < TRACE_EVENT_COUNT && is_around(l, r))
		l->record[l->n++ % LAST_EVENTS] = *r;
}

static void print_events(const struct world *w, uint64_t page, bool any)
{
	struct last l = { .w = w, .page = page, .any = any };
	uint64_t now = trace_now();

	trace_for_each(remember, &l);
	fprintf(stderr, "last events%s:\n", any ? "" : " around the page");
	for (uint64_t i = l.n > LAST_EVENTS ? l.n - LAST_EVENTS : 0; i < l.n; i++) {
		const struct trace_record *r = &l.record[i % LAST_EVENTS];
		const struct trace_event_info *info = &trace_event_info[r->event];

		fprintf(stderr, "  -%10.3f us  %7u  %-24s", (double)(now - r->ns) / 1e3, r->tid,
			info->name);
		for (unsigned a = 0; a < 3 && *info->arg[a]; a++)
			fprintf(stderr, a ? " %s=%" PRId64 : " %s=0x%" PRIx64, info->arg[a],
				r->arg[a]);
		fputc('\n', stderr);
	}
}

/* ---- The end ---- */

static void print_command(const struct world *w)
{
	const struct stress_opts *o = w->o;

	fprintf(stderr,
		"repeat: %s %s --seed %" PRIu64 " --seconds %.0f --source %s --memory %" PRIu64
		" --vcpus %u --threads %u%s%s%s%s",
		program_invocation_name, w->scenario->name, o->seed,
		o->seconds < 10 ? 10 : o->seconds, source_name(o->source), o->memory, o->vcpus,
		o->threads, o->device ? " --device " : "", o->device ? o->device : "",
		o->no_kvm ? " --no-kvm" : "", o->check ? " --check" : "");
	if (o->mutant)
		fprintf(stderr, " --mutant %s%u", o->arms ? "M" : "", o->mutant);
	fputc('\n', stderr);
}

static bool is_stale(enum oracle oracle)
{
	return oracle == (enum oracle)PLAY_STALE || oracle == (enum oracle)PLAY_TORN ||
	       oracle == (enum oracle)PLAY_FOREIGN || oracle == (enum oracle)PLAY_ORDER ||
	       oracle == ORACLE_SIDE || oracle == ORACLE_FORK;
}

static bool is_lost(enum oracle oracle)
{
	return oracle == (enum oracle)PLAY_LOST || oracle == (enum oracle)PLAY_MERGED ||
	       oracle == ORACLE_SUM || oracle == ORACLE_DIRTY || oracle == ORACLE_STORE;
}

_Noreturn void fail(enum oracle oracle, uint64_t page, const char *fmt, ...)
{
	struct world *w = atomic_load(&world);
	char what[512];
	va_list args;

	pthread_mutex_lock(&first); /* for good: nobody reports a second one */
	va_start(args, fmt);
	vsnprintf(what, sizeof(what), fmt, args);
	va_end(args);
	alarm(10); /* whatever is broken, the end comes */
	if (!w) {
		fprintf(stderr, "umbra-stress: %s: %s\n", oracle_name[oracle], what);
		_exit(1);
	}
	fprintf(stderr, "%sumbra-stress: %s: %s: page %" PRIu64 ": %s, after %.2f s\n",
		isatty(STDERR_FILENO) ? "\r\033[K" : "", w->scenario->name, oracle_name[oracle],
		page, what, stress_now() - w->begin);
	fprintf(stderr, "seed: %" PRIu64 ", source: %s\n", w->o->seed, source_name(w->o->source));
	print_events(w, page, oracle == ORACLE_STUCK || oracle == ORACLE_BUG);
	print_command(w);
	tallies[ntallies] = (struct tally){ .scenario = w->scenario->name,
					    .seconds = stress_now() - w->begin,
					    .operations = world_operations(w),
					    .stale_reads = is_stale(oracle),
					    .lost_writes = is_lost(oracle),
					    .leaks = oracle == ORACLE_ACCOUNT,
					    .failed = true };
	tally_print(options, tallies, ntallies + 1, what);
	fflush(stdout);
	_exit(1);
}

static void on_bug(const char *file, int line, const char *what)
{
	fail(ORACLE_BUG, 0, "%s:%d: %s", file, line, what);
}

void fail_prepare(const struct stress_opts *o)
{
	options = o;
}

/* vm_run() has set a handler of its own. */
void fail_enter(struct world *w)
{
	atomic_store(&world, w);
	bug_set_handler(on_bug);
}
