// SPDX-License-Identifier: BSD-2-Clause
/* umbra-race: the command line of the explorer. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/race/mutants.h"
#include "tests/race/options.h"
#include "tests/race/scenario.h"
#include "tests/race/selftest.h"

#define SELFTEST_PROGRAMS 300u
#define DEFAULT_SCHEDULES 3000000u

static const struct race_scenario *current_scenario;

static const char *const expect_name[] = { "none", "pass", "violation", "deadlock", "pending" };

static enum race_expect found_of(const struct explore_result *r)
{
	return r->verdict == EXPLORE_PASS	 ? RACE_PASS
	       : r->verdict == EXPLORE_VIOLATION ? RACE_VIOLATION
						 : RACE_DEADLOCK;
}

static double seconds_since(const struct timespec *start)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - start->tv_sec) + (double)(now.tv_nsec - start->tv_nsec) / 1e9;
}

static struct timespec progress_start;

static double progress_shown;

static void progress(void *ctx, uint64_t schedules, unsigned bound)
{
	const struct race_variant *v = ctx;
	double s = seconds_since(&progress_start);

	if (s < 2 || s - progress_shown < 0.5 || !isatty(STDERR_FILENO))
		return;
	progress_shown = s;
	fprintf(stderr, "\r%s %s: bound %u, %llu schedules, %.0f s ", current_scenario->name,
		v->name, bound, (unsigned long long)schedules, s);
}

/* What a row says, and whether that is as it should be. */
struct row {
	const struct race_variant *variant;
	unsigned arm; /* switch that is on */
	enum race_expect found;
	bool odd, survived;
	double seconds;
};

static void print_row(const struct args *a, const struct row *row, const struct explore_result *r)
{
	static bool more;
	const struct race_variant *v = row->variant;
	const char *exhausted = row->found != RACE_PASS || a->limits.replay ? "-"
				: r->complete				    ? "complete"
				: r->exhausted				    ? "yes"
									    : "NO";
	char arm[12] = "-";

	if (a->json) {
		printf("%s{\"scenario\":\"%s\",\"variant\":\"%s\",\"switch\":%u,\"expected\":\"%s\",\"found\":\"%s\","
		       "\"schedules\":%llu,\"exhausted\":%s,\"survived\":%s,\"seconds\":%.3f}",
		       more ? ",\n " : "", current_scenario->name, v->name, row->arm,
		       expect_name[v->expect], expect_name[row->found],
		       (unsigned long long)r->schedules, r->exhausted ? "true" : "false",
		       row->survived ? "true" : "false", row->seconds);
		more = true;
		return;
	}
	if (row->arm)
		snprintf(arm, sizeof(arm), "%u", row->arm);
	if (!more)
		printf("%-26s %-16s %6s %-10s %-10s %10s %-9s %7s\n", "scenario", "variant",
		       "switch", "expected", "found", "schedules", "exhausted", "seconds");
	more = true;
	printf("%-26s %-16s %6s %-10s %-10s %10llu %-9s %7.2f%s\n", current_scenario->name, v->name,
	       arm, expect_name[v->expect], expect_name[row->found],
	       (unsigned long long)r->schedules, exhausted, row->seconds,
	       row->survived ? "  SURVIVED"
	       : row->odd    ? "  UNEXPECTED"
			     : "");
	if (row->survived && mutants_killer(row->arm))
		printf("    switch %u is killed by %s\n", row->arm, mutants_killer(row->arm));
	fflush(stdout);
}

/* FILE.svg for the first picture, FILE-2.svg for the second. */
static void picture_path(char *path, size_t size, const char *file, unsigned n)
{
	const char *dot = strrchr(file, '.');
	int stem = dot && !strchr(dot, '/') ? (int)(dot - file) : (int)strlen(file);

	if (n < 2)
		snprintf(path, size, "%s", file);
	else
		snprintf(path, size, "%.*s-%u%s", stem, file, n, file + stem);
}

static int explain(struct args *a, const struct race_variant *v, unsigned arm,
		   const struct explore_result *r)
{
	struct race_picture picture = { current_scenario, v, r, arm == v->mutant ? 0 : arm };
	char path[4096];
	int err;

	if (!a->explain && !a->svg)
		return 0;
	if (r->verdict == EXPLORE_PASS && !a->limits.replay)
		return 0;
	a->drawn++;
	if (a->explain)
		draw_text(&picture);
	if (!a->svg)
		return 0;
	picture_path(path, sizeof(path), a->svg, a->drawn);
	err = draw_svg(&picture, path);
	if (err)
		fprintf(stderr, "umbra-race: %s: %s\n", path, strerror(-err));
	return err;
}

static void print_failure(const struct args *a, const struct explore_result *r)
{
	bool searched = !a->limits.replay && !a->limits.random;

	if (r->verdict == EXPLORE_PASS || a->json || a->explain)
		return;
	printf("    %s\n    %s (%u preemptions): %s\n", r->why,
	       searched ? "schedule with the fewest preemptions" : "schedule", r->preemptions,
	       r->schedule);
}

/* Variant @n with switch @override, or its own. */
static int run_variant(struct args *a, unsigned n, unsigned override)
{
	const struct race_variant *v = &current_scenario->variant[n];
	struct row row = { v, override ? override : v->mutant, RACE_PENDING, false, false, 0 };
	struct explore_limits limits = a->limits;
	static struct explore_result r;

	if (v->expect == RACE_PENDING) {
		memset(&r, 0, sizeof(r));
		print_row(a, &row, &r);
		return EXIT_AS_EXPECTED;
	}
	clock_gettime(CLOCK_MONOTONIC, &progress_start);
	progress_shown = 0;
	limits.progress_ctx = (void *)v;
	race_explore(current_scenario, n, override, &limits, &r);
	row.seconds = seconds_since(&progress_start);
	if (row.seconds > 2 && isatty(STDERR_FILENO))
		fprintf(stderr, "\r\033[K");
	if (r.misfit[0]) {
		fprintf(stderr, "umbra-race: --replay: %s\n", r.misfit);
		return EXIT_USAGE;
	}
	row.found = found_of(&r);
	if (override && override != v->mutant && override != v->immune)
		row.survived = v->expect == RACE_PASS && row.found == RACE_PASS && !limits.replay;
	else
		row.odd = !limits.replay &&
			  (row.found != v->expect ||
			   (row.found == RACE_PASS && !r.exhausted && !limits.random));
	print_row(a, &row, &r);
	print_failure(a, &r);
	if (explain(a, v, row.arm, &r))
		return EXIT_UNEXPECTED;
	return row.odd || row.survived ? EXIT_UNEXPECTED : EXIT_AS_EXPECTED;
}

static int worse(int a, int b)
{
	return a > b ? a : b;
}

/* One that fails anyway says nothing of a mutant, unless it is that mutant. */
static bool shows_mutant(const struct args *a, const struct race_variant *v)
{
	bool own = false;

	for (unsigned i = 0; i < a->arms; i++)
		own |= a->arm[i] == v->mutant;
	return !a->arms || v->expect == RACE_PASS || own;
}

static bool is_chosen(const struct args *a, const struct race_variant *v)
{
	if (v->expect == RACE_NONE)
		return false;
	return a->variant ? !strcmp(a->variant, v->name) : shows_mutant(a, v);
}

static unsigned count_chosen(const struct args *a, const struct race_scenario *s)
{
	unsigned n = 0;

	for (unsigned i = 0; i < RACE_VARIANTS; i++)
		n += is_chosen(a, &s->variant[i]);
	return n;
}

static int run_scenario(struct args *a, const struct race_scenario *s)
{
	int status = EXIT_AS_EXPECTED;

	current_scenario = s;
	for (unsigned i = 0; i < RACE_VARIANTS; i++)
		for (unsigned k = 0; is_chosen(a, &s->variant[i]) && k < (a->arms ? a->arms : 1);
		     k++)
			status = worse(status, run_variant(a, i, a->arm[k]));
	return status;
}

static const struct race_scenario *find(const char *name)
{
	for (unsigned i = 0; race_scenarios[i]; i++)
		if (!strcmp(race_scenarios[i]->name, name))
			return race_scenarios[i];
	return NULL;
}

static int list(void)
{
	for (unsigned i = 0; race_scenarios[i]; i++) {
		const struct race_scenario *s = race_scenarios[i];

		printf("%-26s %-20s %s\n", s->name, s->rows, s->title);
		for (unsigned k = 0; k < RACE_VARIANTS && s->variant[k].expect != RACE_NONE; k++)
			printf("    %-16s %-10s %s\n", s->variant[k].name,
			       expect_name[s->variant[k].expect], s->variant[k].says);
	}
	return EXIT_AS_EXPECTED;
}

/* One run of one variant, and a text that can be one: LETTER STEPS, again and again. */
static int check_replay(const struct args *a, const struct race_scenario *s, unsigned variants)
{
	const char *at = a->limits.replay;
	char *end;

	if (variants != 1 || a->arms > 1)
		return usage("--replay is for one variant: ", "name it, and one arm of a mutant");
	if (a->limits.random)
		return usage("--replay is one schedule: ", "not with --random");
	if (!*at)
		return usage("--replay: ", "no schedule");
	for (; *at; at = end) {
		unsigned thread = (unsigned)(*at - 'a');
		unsigned long steps;

		if (*at < 'a' || thread >= s->program.threads)
			return usage("--replay: no such thread: ", at);
		if (at[1] < '0' || at[1] > '9')
			return usage("--replay: no number of steps: ", at);
		steps = strtoul(at + 1, &end, 10);
		if (steps > 1000000)
			return usage("--replay: too many steps: ", at);
	}
	return 0;
}

static int run(struct args *a, char **names, int n)
{
	int status = EXIT_AS_EXPECTED;
	unsigned variants = 0;

	for (int i = 0; i < n; i++) {
		if (!find(names[i]))
			return usage("no such scenario: ", names[i]);
		if (!count_chosen(a, find(names[i])))
			return usage("no such variant: ", a->variant);
		variants += count_chosen(a, find(names[i]));
	}
	for (unsigned i = 0; !n && race_scenarios[i]; i++)
		variants += count_chosen(a, race_scenarios[i]);
	if (!variants)
		return usage("no such variant: ", a->variant);
	if (a->has_seed && !a->limits.random)
		return usage("--seed is for --random", "");
	if (a->limits.replay && check_replay(a, n ? find(names[0]) : race_scenarios[0], variants))
		return EXIT_USAGE;
	if (a->no_switch)
		return EXIT_UNEXPECTED;
	if (a->json)
		printf("[");
	for (int i = 0; i < n; i++)
		status = worse(status, run_scenario(a, find(names[i])));
	for (unsigned i = 0; !n && race_scenarios[i]; i++)
		status = worse(status, run_scenario(a, race_scenarios[i]));
	if (a->json)
		printf("]\n");
	if ((a->explain || a->svg) && !a->drawn)
		fprintf(stderr, "umbra-race: nothing to draw, no schedule fails\n");
	return status;
}

int main(int argc, char **argv)
{
	struct args a = { .limits = { .bound = RACE_BOUND,
				      .schedules = DEFAULT_SCHEDULES,
				      .progress = progress } };
	const char *command;
	int status;

	status = options_parse(&a, argc, argv);
	if (status >= 0)
		return status;
	command = optind < argc ? argv[optind++] : "";
	if (!strcmp(command, "list") && optind == argc)
		return list();
	if (!strcmp(command, "all") && optind == argc)
		return run(&a, NULL, 0);
	if (!strcmp(command, "doc") && optind + 1 == argc)
		return race_document(argv[optind]) ? EXIT_UNEXPECTED : EXIT_AS_EXPECTED;
	if (!strcmp(command, "mutants") && optind == argc) {
		mutants_list();
		return EXIT_AS_EXPECTED;
	}
	if (!strcmp(command, "selftest") && optind == argc)
		return mutants_check() && selftest(SELFTEST_PROGRAMS, a.limits.seed)
			       ? EXIT_AS_EXPECTED
			       : EXIT_UNEXPECTED;
	if (!strcmp(command, "run") && optind < argc)
		return run(&a, argv + optind, argc - optind);
	return usage(*command ? "cannot do: " : "name a command", command);
}
