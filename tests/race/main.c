// SPDX-License-Identifier: BSD-2-Clause
/* umbra-race: the command line of the explorer. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/race/scenario.h"
#include "tests/race/selftest.h"

#define SELFTEST_PROGRAMS 300u
#define DEFAULT_SCHEDULES 3000000u

enum { EXIT_AS_EXPECTED, EXIT_UNEXPECTED, EXIT_USAGE };

static const char help[] =
	"Usage: umbra-race list\n"
	"       umbra-race run NAME... [OPTION]...\n"
	"       umbra-race all [OPTION]...\n"
	"       umbra-race selftest\n"
	"       umbra-race doc DIR\n"
	"\n"
	"Run the threads of a scenario, which call the real library, under every schedule.\n"
	"\n"
	"  --variant NAME   only this protocol of the scenario\n"
	"  --bound N        preemptions at most (default 3, or what the scenario says)\n"
	"  --schedules N    give up after N schedules (default 3000000)\n"
	"  --random N       N random schedules (PCT) instead of all; --seed S\n"
	"  --mutant Mn      with one rule of the library broken: M7\n"
	"  --replay STR     one schedule, as a failing run printed it\n"
	"  --explain        draw the failing run as columns of text (with --replay: any run)\n"
	"  --svg FILE       the same as a picture\n"
	"  --json           rows {scenario, variant, expected, found, schedules, exhausted, seconds}\n"
	"\n"
	"Exit status: 0 when all came out as expected, 1 when not, 2 for a wrong command line.\n";

struct args {
	const char *variant, *svg;
	bool explain, json, overridden;
	unsigned bound, mutant;
	struct explore_limits limits;
};

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

static void progress(void *ctx, uint64_t schedules, unsigned bound)
{
	static double shown;
	double s = seconds_since(&progress_start);

	(void)ctx;
	if (s < 2 || s - shown < 0.5 || !isatty(STDERR_FILENO))
		return;
	shown = s;
	fprintf(stderr, "\r%s: bound %u, %llu schedules, %.0f s ", current_scenario->name, bound,
		(unsigned long long)schedules, s);
}

static void print_row(const struct args *a, const struct race_variant *v, enum race_expect found,
		      const struct explore_result *r, double seconds)
{
	static bool more;
	const char *exhausted = found != RACE_PASS ? "-"
				: r->complete	   ? "complete"
				: r->exhausted	   ? "yes"
						   : "NO";
	bool odd = found != v->expect && !a->overridden;

	if (a->json) {
		printf("%s{\"scenario\":\"%s\",\"variant\":\"%s\",\"expected\":\"%s\",\"found\":\"%s\","
		       "\"schedules\":%llu,\"exhausted\":%s,\"seconds\":%.3f}",
		       more ? ",\n " : "[", current_scenario->name, v->name, expect_name[v->expect],
		       expect_name[found], (unsigned long long)r->schedules,
		       r->exhausted ? "true" : "false", seconds);
		more = true;
		return;
	}
	if (!more)
		printf("%-26s %-16s %-10s %-10s %10s %-9s %7s\n", "scenario", "variant", "expected",
		       "found", "schedules", "exhausted", "seconds");
	more = true;
	printf("%-26s %-16s %-10s %-10s %10llu %-9s %7.2f%s\n", current_scenario->name, v->name,
	       expect_name[v->expect], expect_name[found], (unsigned long long)r->schedules,
	       exhausted, seconds, odd ? "  UNEXPECTED" : "");
	fflush(stdout);
}

static int explain(const struct args *a, const struct race_variant *v,
		   const struct explore_result *r)
{
	struct race_picture picture = { current_scenario, v, r };
	int err;

	if (r->verdict == EXPLORE_PASS && !a->limits.replay)
		return 0;
	if (a->explain)
		draw_text(&picture);
	if (!a->svg)
		return 0;
	err = draw_svg(&picture, a->svg);
	if (err)
		fprintf(stderr, "umbra-race: %s: %s\n", a->svg, strerror(-err));
	return err;
}

/* True: as expected. */
static bool run_variant(const struct args *a, unsigned n)
{
	const struct race_variant *v = &current_scenario->variant[n];
	struct explore_limits limits = a->limits;
	static struct explore_result r;
	struct timespec start;
	enum race_expect found;
	double seconds;

	if (v->expect == RACE_PENDING) {
		memset(&r, 0, sizeof(r));
		print_row(a, v, RACE_PENDING, &r, 0);
		return true;
	}
	limits.bound = a->bound;
	clock_gettime(CLOCK_MONOTONIC, &start);
	progress_start = start;
	race_explore(current_scenario, n, a->mutant, &limits, &r);
	seconds = seconds_since(&start);
	if (seconds > 2 && isatty(STDERR_FILENO))
		fprintf(stderr, "\r\033[K");
	found = found_of(&r);
	print_row(a, v, found, &r, seconds);
	if (found != RACE_PASS && !a->json && !a->explain) {
		printf("    %s\n    shortest schedule (%u preemptions): %s\n", r.why, r.preemptions,
		       r.schedule);
	}
	if (explain(a, v, &r))
		return false;
	if (a->overridden)
		return true;
	return found == v->expect && (found != RACE_PASS || r.exhausted || limits.random);
}

static bool run_scenario(const struct args *a, const struct race_scenario *s)
{
	bool as_expected = true, any = false;

	current_scenario = s;
	for (unsigned i = 0; i < RACE_VARIANTS && s->variant[i].expect != RACE_NONE; i++) {
		if (a->variant && strcmp(a->variant, s->variant[i].name))
			continue;
		any = true;
		as_expected &= run_variant(a, i);
	}
	if (!any) {
		fprintf(stderr, "umbra-race: %s has no variant %s\n", s->name, a->variant);
		return false;
	}
	return as_expected;
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

static int usage(const char *what, const char *arg)
{
	fprintf(stderr, "umbra-race: %s%s; see umbra-race --help\n", what, arg);
	return EXIT_USAGE;
}

enum {
	OPT_VARIANT = 256,
	OPT_BOUND,
	OPT_SCHEDULES,
	OPT_RANDOM,
	OPT_SEED,
	OPT_MUTANT,
	OPT_REPLAY,
	OPT_EXPLAIN,
	OPT_SVG,
	OPT_JSON,
	OPT_HELP
};

static bool number(const char *text, uint64_t *value)
{
	char *end;

	errno = 0;
	*value = strtoull(text, &end, 0);
	return !errno && end != text && !*end && *text != '-';
}

static bool take_option(struct args *a, int opt)
{
	uint64_t n = 0;

	switch (opt) {
	case OPT_VARIANT:
		a->variant = optarg;
		return true;
	case OPT_BOUND:
		if (!number(optarg, &n) || n > 100)
			return false;
		a->bound = (unsigned)n;
		return true;
	case OPT_SCHEDULES:
		return number(optarg, &a->limits.schedules);
	case OPT_RANDOM:
		return number(optarg, &a->limits.random) && a->limits.random;
	case OPT_SEED:
		return number(optarg, &a->limits.seed);
	case OPT_MUTANT:
		if (!number(optarg + (*optarg == 'M' || *optarg == 'm'), &n) || !n || n > 999)
			return false;
		a->mutant = (unsigned)n;
		a->overridden = true;
		return true;
	case OPT_REPLAY:
		a->limits.replay = optarg;
		a->overridden = true;
		return true;
	case OPT_EXPLAIN:
		a->explain = true;
		return true;
	case OPT_SVG:
		a->svg = optarg;
		return true;
	case OPT_JSON:
		a->json = true;
		return true;
	default:
		return false;
	}
}

static int run(const struct args *a, char **names, int n)
{
	bool as_expected = true;

	for (int i = 0; i < n; i++)
		if (!find(names[i]))
			return usage("no such scenario: ", names[i]);
	for (int i = 0; i < n; i++)
		as_expected &= run_scenario(a, find(names[i]));
	for (unsigned i = 0; !n && race_scenarios[i]; i++)
		as_expected &= run_scenario(a, race_scenarios[i]);
	if (a->json)
		printf("]\n");
	return as_expected ? EXIT_AS_EXPECTED : EXIT_UNEXPECTED;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "variant", required_argument, NULL, OPT_VARIANT },
		{ "bound", required_argument, NULL, OPT_BOUND },
		{ "schedules", required_argument, NULL, OPT_SCHEDULES },
		{ "random", required_argument, NULL, OPT_RANDOM },
		{ "seed", required_argument, NULL, OPT_SEED },
		{ "mutant", required_argument, NULL, OPT_MUTANT },
		{ "replay", required_argument, NULL, OPT_REPLAY },
		{ "explain", no_argument, NULL, OPT_EXPLAIN },
		{ "svg", required_argument, NULL, OPT_SVG },
		{ "json", no_argument, NULL, OPT_JSON },
		{ "help", no_argument, NULL, OPT_HELP },
		{ 0 },
	};
	struct args a = { .limits = { .schedules = DEFAULT_SCHEDULES, .progress = progress } };
	const char *command;
	int opt;

	while ((opt = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (opt == OPT_HELP || opt == 'h') {
			fputs(help, stdout);
			return EXIT_AS_EXPECTED;
		}
		if (opt == '?')
			return EXIT_USAGE;
		if (!take_option(&a, opt))
			return usage("bad value: ", optarg ? optarg : "");
	}
	command = optind < argc ? argv[optind++] : "";
	if (!strcmp(command, "list") && optind == argc)
		return list();
	if (!strcmp(command, "all") && optind == argc)
		return run(&a, NULL, 0);
	if (!strcmp(command, "doc") && optind + 1 == argc)
		return race_document(argv[optind]) ? EXIT_UNEXPECTED : EXIT_AS_EXPECTED;
	if (!strcmp(command, "selftest") && optind == argc)
		return selftest(SELFTEST_PROGRAMS, a.limits.seed) ? EXIT_AS_EXPECTED
								  : EXIT_UNEXPECTED;
	if (!strcmp(command, "run") && optind < argc)
		return run(&a, argv + optind, argc - optind);
	return usage(*command ? "cannot do: " : "name a command", command);
}
