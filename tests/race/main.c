// SPDX-License-Identifier: BSD-2-Clause
/* umbra-race: the command line of the explorer. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/race/jobs.h"
#include "tests/race/mutants.h"
#include "tests/race/options.h"
#include "tests/race/scenario.h"
#include "tests/race/selftest.h"

#define SELFTEST_PROGRAMS 300u
#define DEFAULT_SCHEDULES 3000000u

static const struct race_scenario *current_scenario;

/* A row has been printed: what parts it from the next is due. */
static bool more;

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

static void print_head(void)
{
	printf("%-26s %-16s %6s %-10s %-10s %10s %-9s %7s\n", "scenario", "variant", "switch",
	       "expected", "found", "schedules", "exhausted", "seconds");
	more = true;
}

static void print_row(const struct args *a, const struct row *row, const struct explore_result *r)
{
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
		print_head();
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
	if (limits.progress && row.seconds > 2 && isatty(STDERR_FILENO))
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

/* Scenarios that have a row to print. */
struct chosen {
	struct args *args;
	const struct race_scenario *scenario[JOBS_MAX];
	unsigned n, rows;
};

static bool take(struct chosen *c, const struct race_scenario *s)
{
	unsigned rows = count_chosen(c->args, s);

	bug_on(c->n == JOBS_MAX);
	if (rows)
		c->scenario[c->n++] = s;
	c->rows += rows;
	return rows;
}

static int run_in_turn(struct chosen *c)
{
	int status = EXIT_AS_EXPECTED;

	for (unsigned i = 0; i < c->n; i++)
		status = worse(status, run_scenario(c->args, c->scenario[i]));
	return status;
}

static int run_one(void *ctx, unsigned i)
{
	struct chosen *c = ctx;

	more = !c->args->json || i;
	c->args->limits.progress = NULL; /* the parent tells */
	return run_scenario(c->args, c->scenario[i]);
}

static int run_side_by_side(struct chosen *c)
{
	int status;

	if (!c->args->json)
		print_head();
	status = jobs_run(c->n, c->args->jobs, run_one, c);
	return status < 0 ? EXIT_UNEXPECTED : status;
}

/* Those with @names, or all; what is wrong with the command line otherwise. */
static int choose(struct chosen *c, char **names, int n)
{
	const struct args *a = c->args;

	if (n > (int)JOBS_MAX)
		return usage("too many scenarios: ", names[JOBS_MAX]);
	for (int i = 0; i < n; i++) {
		const struct race_scenario *s = find(names[i]);

		if (!s)
			return usage("no such scenario: ", names[i]);
		if (!take(c, s))
			return usage("no such variant: ", a->variant);
	}
	for (unsigned i = 0; !n && race_scenarios[i]; i++)
		take(c, race_scenarios[i]);
	if (!c->rows)
		return usage("no such variant: ", a->variant);
	if (a->has_seed && !a->limits.random)
		return usage("--seed is for --random", "");
	return a->limits.replay ? check_replay(a, c->scenario[0], c->rows) : 0;
}

static int run_chosen(struct chosen *c)
{
	const struct args *a = c->args;
	int status;

	if (a->no_switch)
		return EXIT_UNEXPECTED;
	if (a->json)
		printf("[");
	status = a->jobs > 1 && !a->explain && !a->svg ? run_side_by_side(c) : run_in_turn(c);
	if (a->json)
		printf("]\n");
	if ((a->explain || a->svg) && !a->drawn)
		fprintf(stderr, "umbra-race: nothing to draw, no schedule fails\n");
	return status;
}

static int run(struct args *a, char **names, int n)
{
	struct chosen c = { .args = a };
	int status;

	status = choose(&c, names, n);
	return status ? status : run_chosen(&c);
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
