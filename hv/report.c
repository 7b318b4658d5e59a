// SPDX-License-Identifier: BSD-2-Clause
#include "hv/report.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "hv/json.h"
#include "hv/log.h"
#include "hv/machine.h"
#include "hv/ram.h"
#include "hv/thread.h"
#include "hv/working_set.h"
#include "mmu/base/trace.h"

static void stats_json(FILE *out, const struct machine *m, const struct report *r,
		       const struct ram_stats *s)
{
	const struct {
		const char *name;
		uint64_t value;
	} field[] = {
		{ "status", (uint64_t)r->status },
		{ "vcpus", m->cpus },
		{ "run_ns", r->run_ns },
		{ "faults", s->faults },
		{ "fast", s->fast },
		{ "spurious", s->spurious },
		{ "pages", s->pages },
		{ "batches", s->batches },
		{ "upgrades", s->upgrades },
		{ "repointed", s->repointed },
		{ "retries", s->retries },
		{ "invalidations", s->invalidations },
		{ "zapped", s->zapped },
		{ "flushes", s->flushes },
		{ "yields", s->yields },
		{ "zap_alls", s->zap_alls },
		{ "splits", s->splits },
		{ "collapses", s->collapses },
		{ "pruned", s->pruned },
		{ "aged", s->aged },
		{ "host_faults", s->host_faults },
		{ "page_ins", s->page_ins },
		{ "discards", s->discards },
		{ "wrprotects", s->wrprotects },
		{ "remaps", s->remaps },
		{ "zaps", s->zaps },
		{ "raw_removes", s->raw_removes },
		{ "raw_unmaps", s->raw_unmaps },
		{ "raw_remaps", s->raw_remaps },
		{ "raw_forks", s->raw_forks },
		{ "raw_overflows", s->raw_overflows },
		{ "raw_failures", s->raw_failures },
		{ "pages_shared", s->pages_shared },
		{ "pages_sharing", s->pages_sharing },
		{ "pages_unshared", s->pages_unshared },
		{ "pages_volatile", s->pages_volatile },
		{ "full_scans", s->full_scans },
		{ "ksm_zero_pages", s->ksm_zero_pages },
		{ "ksm_merged", s->ksm_merged },
		{ "leaves", s->leaves },
		{ "leaves_4k", s->leaves_4k },
		{ "leaves_2m", s->leaves_2m },
		{ "leaves_1g", s->leaves_1g },
		{ "mapped", s->mapped },
		{ "table_pages", s->table_pages },
		{ "frames", s->frames },
		{ "changes", r->changes },
		{ "guest_increments", r->guest_increments },
		{ "host_increments", r->host_increments },
		{ "working_set_stride", r->working_set->stride },
	};

	fprintf(out, "{\"model\":");
	json_put_string(out, m->model);
	for (unsigned i = 0; i < sizeof(field) / sizeof(field[0]); i++)
		fprintf(out, ",\"%s\":%" PRIu64, field[i].name, field[i].value);
	fprintf(out, ",\"working_set\":");
	working_set_json(r->working_set, out);
	fprintf(out, "}\n");
}

static void stats_text(FILE *out, const struct report *r, const struct ram_stats *s)
{
	fprintf(out,
		"mmu: %" PRIu64 " faults, %" PRIu64 " pages installed in %" PRIu64
		" batches, %" PRIu64 " retries, %" PRIu64 " invalidations, %.3f s\n",
		s->faults, s->pages, s->batches, s->retries, s->invalidations,
		(double)r->run_ns / 1e9);
	fprintf(out,
		"mmu: %" PRIu64 " leaves of 4K, %" PRIu64 " of 2M, %" PRIu64 " of 1G, %" PRIu64
		" split, %" PRIu64 " collapsed, %" PRIu64 " repointed, %" PRIu64
		" fast faults, %" PRIu64 " flushes, %" PRIu64 " pages aged\n",
		s->leaves_4k, s->leaves_2m, s->leaves_1g, s->splits, s->collapses, s->repointed,
		s->fast, s->flushes, s->aged);
	if (r->working_set->budget) {
		fprintf(out, "mmu: working set: ");
		working_set_text(r->working_set, out);
		if (r->working_set->stride > 1)
			fprintf(out, "; by one page in %" PRIu64, r->working_set->stride);
		fputc('\n', out);
	}
	if (s->raw_removes + s->raw_unmaps + s->raw_remaps + s->raw_forks)
		fprintf(out,
			"audit: %" PRIu64 " discards, %" PRIu64 " unmaps, %" PRIu64
			" moves, %" PRIu64 " forks of the host view by others, %" PRIu64
			" not noted, %" PRIu64 " not followed\n",
			s->raw_removes, s->raw_unmaps, s->raw_remaps, s->raw_forks,
			s->raw_overflows, s->raw_failures);
	if (s->full_scans)
		fprintf(out,
			"ksm: %" PRIu64 " pages shared, %" PRIu64 " sharing, %" PRIu64
			" unshared, %" PRIu64 " volatile, %" PRIu64 " of zeros, %" PRIu64
			" merged in %" PRIu64 " full scans\n",
			s->pages_shared, s->pages_sharing, s->pages_unshared, s->pages_volatile,
			s->ksm_zero_pages, s->ksm_merged, s->full_scans);
}

void report_stats(const struct machine *m, const struct report *r, const struct ram_stats *s,
		  bool json)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return;
	if (json)
		stats_json(out, m, r, s);
	else
		stats_text(out, r, s);
	if (!fclose(out))
		log_text(text, len);
	free(text);
}

struct trace_out {
	FILE *file;
	int pid;
	bool more;
};

/* Times in microseconds, as the format wants; a span when the event lasted, else an instant. */
static void trace_one(const struct trace_record *r, void *ctx)
{
	const struct trace_event_info *info = &trace_event_info[r->event];
	struct trace_out *out = ctx;

	fprintf(out->file,
		"%s\n{\"name\":\"%s\",\"cat\":\"mmu\",\"pid\":%d,\"tid\":%u,\"ts\":%.3f,",
		out->more ? "," : "", info->name, out->pid, r->tid, (double)r->ns / 1e3);
	if (r->duration_ns)
		fprintf(out->file, "\"ph\":\"X\",\"dur\":%.3f,", (double)r->duration_ns / 1e3);
	else
		fprintf(out->file, "\"ph\":\"i\",\"s\":\"t\",");
	fprintf(out->file,
		"\"args\":{\"%s\":\"0x%" PRIx64 "\",\"%s\":%" PRId64 ",\"%s\":%" PRId64 "}}",
		info->arg[0], r->arg[0], info->arg[1], (int64_t)r->arg[1], info->arg[2],
		(int64_t)r->arg[2]);
	out->more = true;
}

/* Names come before the events that they belong to. */
static void name_one(uint32_t tid, const char *name, void *ctx)
{
	struct trace_out *out = ctx;

	fprintf(out->file,
		"%s\n{\"name\":\"thread_name\",\"ph\":\"M\",\"pid\":%d,\"tid\":%u,\"args\":{\"name\":",
		out->more ? "," : "", out->pid, tid);
	json_put_string(out->file, name);
	fprintf(out->file, "}}");
	out->more = true;
}

int report_trace(FILE *file, uint64_t *dropped)
{
	struct trace_out out = { .file = file, .pid = (int)getpid() };

	errno = 0;
	fprintf(file, "{\"displayTimeUnit\":\"ns\",\"traceEvents\":[");
	thread_for_each(name_one, &out);
	*dropped = trace_for_each(trace_one, &out);
	fprintf(file, "\n]}\n");
	if (fflush(file) || ferror(file))
		return errno ? -errno : -EIO;
	return 0;
}

#define LAST_EVENTS 32u

struct last_events {
	uint64_t seen;
	struct {
		uint64_t ns, arg[3];
		uint32_t tid, event;
	} event[LAST_EVENTS];
};

static void remember(const struct trace_record *r, void *ctx)
{
	struct last_events *last = ctx;
	uint64_t at = last->seen++ % LAST_EVENTS;

	last->event[at].ns = r->ns;
	last->event[at].tid = r->tid;
	last->event[at].event = r->event;
	for (unsigned i = 0; i < 3; i++)
		last->event[at].arg[i] = r->arg[i];
}

void report_last_events(FILE *out)
{
	struct last_events last = { .seen = 0 };

	trace_for_each(remember, &last);
	for (uint64_t i = last.seen > LAST_EVENTS ? last.seen - LAST_EVENTS : 0; i < last.seen;
	     i++) {
		uint64_t at = i % LAST_EVENTS;
		const struct trace_event_info *info = &trace_event_info[last.event[at].event];

		fprintf(out,
			"trace: %" PRIu64 ".%06" PRIu64 " %u %s %s=0x%" PRIx64 " %s=%" PRId64
			" %s=%" PRId64 "\n",
			last.event[at].ns / 1000000000, last.event[at].ns / 1000 % 1000000,
			last.event[at].tid, info->name, info->arg[0], last.event[at].arg[0],
			info->arg[1], (int64_t)last.event[at].arg[1], info->arg[2],
			(int64_t)last.event[at].arg[2]);
	}
}
