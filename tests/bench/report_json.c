/* SPDX-License-Identifier: BSD-2-Clause */
#include <string.h>

#include "hv/json.h"
#include "tests/bench/report.h"

static void put(FILE *f, const char *key, const char *value)
{
	fprintf(f, "\"%s\":", key);
	json_put_string(f, value);
}

static void put_summary(FILE *f, const char *key, const struct summary *s)
{
	fprintf(f, ",\"%s\":{\"median\":%.6g,\"quartiles\":[%.6g,%.6g],\"min\":%.6g}", key,
		s->median, s->low, s->high, s->min);
}

static void put_row(FILE *f, const struct row *row)
{
	fputc('{', f);
	put(f, "case", row->name);
	fputc(',', f);
	put(f, "unit", row->unit);
	put_summary(f, "umbra", &row->umbra);
	put_summary(f, "reference", &row->reference);
	put_summary(f, "ratio", &row->ratio);
	fprintf(f, ",\"ratio_of_shortest\":%.6g", row->shortest);
	if (row->target > 0)
		fprintf(f, ",\"target\":%.6g", row->target);
	fprintf(f, ",\"repetitions\":%u}", row->reps);
}

static void put_group(FILE *f, const struct result *r)
{
	fputs("{", f);
	put(f, "group", r->group->name);
	fputc(',', f);
	put(f, "what", r->group->what);
	fputc(',', f);
	put(f, "reference", r->group->reference);
	fprintf(f, ",\"load\":%.2f", r->host.load);
	if (r->error) {
		fputc(',', f);
		put(f, "error", strerror(-r->error));
	}
	fputs(",\"cases\":[", f);
	for (unsigned i = 0; i < r->nrows; i++) {
		fputs(i ? ",\n  " : "\n  ", f);
		put_row(f, &r->rows[i]);
	}
	fputs("],\"skipped\":[", f);
	for (unsigned i = 0; i < r->nskips; i++) {
		fputs(i ? ",\n  {" : "\n  {", f);
		put(f, "what", r->skips[i].what);
		fputc(',', f);
		put(f, "why", r->skips[i].why);
		fputc('}', f);
	}
	fputs("]}", f);
}

void report_json(FILE *f, const struct result *results, unsigned n)
{
	struct host h;

	host_get(&h);
	fputs("{\"machine\":{", f);
	put(f, "cpu", h.cpu);
	fprintf(f, ",\"cpus\":%ld,\"gib\":%.1f,", h.cpus, h.gib);
	put(f, "kernel", h.kernel);
	fputc(',', f);
	put(f, "kvm", h.kvm);
	fputs("},\n\"groups\":[", f);
	for (unsigned i = 0; i < n; i++) {
		fputs(i ? ",\n" : "\n", f);
		put_group(f, &results[i]);
	}
	fputs("\n]}\n", f);
}
