/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/bench/report.h"

const char *report_digits(double v, char buf[static 16])
{
	snprintf(buf, 16,
		 v == 0	   ? "0"
		 : v < 0.1 ? "%.4f"
		 : v < 10  ? "%.2f"
		 : v < 100 ? "%.1f"
			   : "%.0f",
		 v);
	return buf;
}

static const char *spread(const struct summary *s, char buf[static 48])
{
	char low[16], high[16];

	snprintf(buf, 48, "%s..%s", report_digits(s->low, low), report_digits(s->high, high));
	return buf;
}

void report_head(FILE *f, const struct result *r, unsigned reps)
{
	const struct host *h = &r->host;

	fprintf(f, "%s: %s\n%s, %ld CPUs, %.0f GiB; %s; KVM module: %s; load %.1f at the start\n",
		r->group->name, r->group->what, h->cpu, h->cpus, h->gib, h->kernel, h->kvm,
		h->load);
	fprintf(f, "%s, less is better; reference: %s; at most %u runs of each, in turn\n\n",
		r->group->unit, r->group->reference, reps);
	fprintf(f, "  %-44s %7s %-15s %7s %-15s %7s %-13s %8s %7s %4s\n", "case", "umbra",
		"quartiles", "ref.", "quartiles", "ratio", "quartiles", "shortest", "target",
		"runs");
}

void report_row(FILE *f, const struct row *row)
{
	char buf[5][16], around[3][48], target[24] = "";

	if (row->target > 0)
		snprintf(target, sizeof(target), "<=%s", report_digits(row->target, buf[4]));
	fprintf(f, "  %-44s %7s %-15s %7s %-15s %7s %-13s %8s %7s %4u\n", row->name,
		report_digits(row->umbra.median, buf[0]), spread(&row->umbra, around[0]),
		report_digits(row->reference.median, buf[1]), spread(&row->reference, around[1]),
		report_digits(row->ratio.median, buf[2]), spread(&row->ratio, around[2]),
		report_digits(row->shortest, buf[3]), target, row->reps);
}

void report_skip(FILE *f, const struct skip *skip)
{
	fprintf(f, "  skipped: %s: %s\n", skip->what, skip->why);
}
