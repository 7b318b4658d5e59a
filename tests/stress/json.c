// SPDX-License-Identifier: BSD-2-Clause
/* What the scenarios came to, for people and for programs. */
#include <inttypes.h>
#include <stdio.h>

#include "tests/stress/stress.h"

struct tally tallies[32];
unsigned ntallies;

static void print_string(const char *s)
{
	putchar('"');
	for (; *s; s++)
		if (*s == '"' || *s == '\\')
			printf("\\%c", *s);
		else if ((unsigned char)*s < ' ')
			printf("\\u%04x", (unsigned)*s);
		else
			putchar(*s);
	putchar('"');
}

static void print_json(const struct stress_opts *o, const struct tally *t)
{
	printf("{\"scenario\": \"%s\", \"source\": \"%s\", \"seconds\": %.2f, \"operations\": %" PRIu64
	       ", \"faults\": %" PRIu64 ", \"retries\": %" PRIu64 ", \"merges\": %" PRIu64
	       ", \"refaults_spared\": %" PRIu64 ", \"stale_reads\": %" PRIu64
	       ", \"lost_writes\": %" PRIu64 ", \"leaks\": %" PRIu64 ", \"swapped_out\": %" PRIu64
	       ", \"swapped_in\": %" PRIu64 ", \"written_back\": %" PRIu64
	       ", \"poisoned\": %" PRIu64 ", \"missing\": ",
	       t->scenario, source_name(o->source), t->seconds, t->operations, t->faults,
	       t->retries, t->merges, t->refaults_spared, t->stale_reads, t->lost_writes, t->leaks,
	       t->swapped_out, t->swapped_in, t->written_back, t->poisoned);
	if (t->missing)
		print_string(t->missing);
	else
		printf("null");
	printf(", \"failed\": %s}", t->failed ? "true" : "false");
}

static void print_row(const struct tally *t)
{
	printf("%-10s %7.1f %12" PRIu64 " %10" PRIu64 " %9" PRIu64 " %9" PRIu64 " %9" PRIu64
	       " %6" PRIu64 " %6" PRIu64 " %6" PRIu64 "  %s%s\n",
	       t->scenario, t->seconds, t->operations, t->faults, t->retries, t->merges,
	       t->refaults_spared, t->stale_reads, t->lost_writes, t->leaks,
	       t->failed    ? "FAILED"
	       : t->missing ? "MISSING: "
			    : "ok",
	       t->missing ? t->missing : "");
}

void tally_print(const struct stress_opts *o, const struct tally *t, unsigned n, const char *error)
{
	if (!o->json) {
		printf("%-10s %7s %12s %10s %9s %9s %9s %6s %6s %6s\n", "scenario", "seconds",
		       "operations", "faults", "retries", "merges", "spared", "stale", "lost",
		       "leaks");
		for (unsigned i = 0; i < n; i++)
			print_row(&t[i]);
		return;
	}
	printf("{\"seed\": %" PRIu64
	       ", \"vcpus\": %u, \"kvm\": %s, \"threads\": %u, \"memory\": %" PRIu64
	       ", \"error\": ",
	       o->seed, o->vcpus, o->no_kvm ? "false" : "true", o->threads, o->memory);
	if (error)
		print_string(error);
	else
		printf("null");
	printf(", \"scenarios\": [");
	for (unsigned i = 0; i < n; i++) {
		printf(i ? ",\n  " : "\n  ");
		print_json(o, &t[i]);
	}
	printf("\n]}\n");
}
