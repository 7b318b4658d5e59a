// SPDX-License-Identifier: BSD-2-Clause
#include "tests/race/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

static const char help[] =
	"Usage: umbra-race list\n"
	"       umbra-race run NAME... [OPTION]...\n"
	"       umbra-race all [OPTION]...\n"
	"       umbra-race mutants\n"
	"       umbra-race selftest [--seed S]\n"
	"       umbra-race doc DIR\n"
	"\n"
	"Run the threads of a scenario, which call the real library, under every schedule.\n"
	"\n"
	"  --variant NAME   only this protocol of the scenario\n"
	"  --bound N        preemptions at most (default 3, or what the scenario says)\n"
	"  --schedules N    give up after N schedules (default 3000000)\n"
	"  --random N       N random schedules (PCT) instead of all; --seed S\n"
	"  --mutant Mn      with one rule of the library broken: M7, or one arm of it: 131 (umbra-race mutants)\n"
	"  --replay STR     one schedule, as a failing run printed it\n"
	"  --explain        draw the failing run as columns of text (with --replay: any run)\n"
	"  --svg FILE       the same as a picture\n"
	"  --jobs N         N scenarios at once (default 1; pictures are drawn one by one)\n"
	"  --json           rows {scenario, variant, switch, expected, found, schedules, exhausted, seconds}\n"
	"\n"
	"Exit status: 0 when all came out as expected, 1 when not, 2 for a wrong command line. With a mutant, only\n"
	"protocols run that should pass, and it is expected that none does: the mutant has SURVIVED one that does, unless\n"
	"the protocol is one that it cannot harm.\n";

#define MAX_JOBS 1024u

int usage(const char *what, const char *arg)
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
	OPT_JOBS,
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
	int found;

	switch (opt) {
	case OPT_VARIANT:
		a->variant = optarg;
		return true;
	case OPT_BOUND:
		if (!number(optarg, &n) || n > 100)
			return false;
		a->limits.bound = (int)n;
		return true;
	case OPT_SCHEDULES:
		return number(optarg, &a->limits.schedules) && a->limits.schedules;
	case OPT_RANDOM:
		return number(optarg, &a->limits.random) && a->limits.random;
	case OPT_SEED:
		a->has_seed = true;
		return number(optarg, &a->limits.seed);
	case OPT_MUTANT:
		found = mutants_find(optarg, a->arm);
		a->arms = found > 0 ? (unsigned)found : 0;
		a->no_switch = !found;
		return found >= 0;
	case OPT_REPLAY:
		a->limits.replay = optarg;
		return true;
	case OPT_EXPLAIN:
		a->explain = true;
		return true;
	case OPT_SVG:
		a->svg = optarg;
		return true;
	case OPT_JOBS:
		if (!number(optarg, &n) || !n || n > MAX_JOBS)
			return false;
		a->jobs = (unsigned)n;
		return true;
	case OPT_JSON:
		a->json = true;
		return true;
	default:
		return false;
	}
}

int options_parse(struct args *a, int argc, char **argv)
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
		{ "jobs", required_argument, NULL, OPT_JOBS },
		{ "json", no_argument, NULL, OPT_JSON },
		{ "help", no_argument, NULL, OPT_HELP },
		{ 0 },
	};
	int opt;

	while ((opt = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (opt == OPT_HELP || opt == 'h') {
			fputs(help, stdout);
			return EXIT_AS_EXPECTED;
		}
		if (opt == '?')
			return EXIT_USAGE;
		if (!take_option(a, opt))
			return usage("bad value: ", optarg ? optarg : "");
	}
	return -1;
}
