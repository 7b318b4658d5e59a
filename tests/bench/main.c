// SPDX-License-Identifier: BSD-2-Clause
/* umbra-bench: the command line. A new group is one line in groups[]. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/bench/bench.h"
#include "tests/bench/instructions.h"
#include "tests/bench/start_other.h"

enum { EXIT_USAGE = 2 };

/* What may take long on a busy machine, however seldom it is repeated, comes last: 4 GiB are forked. */
static const struct bench_group *const groups[] = {
	&bench_demand, &bench_notify, &bench_shadow, &bench_growth, &bench_source, &bench_dirty,
	&bench_ksm,    &bench_size,   &bench_scale,  &bench_start,  &bench_fork,
};

#define GROUPS (sizeof(groups) / sizeof(groups[0]))

static const char help[] =
	"Usage: umbra-bench list | all | instructions | GROUP... [OPTION]...\n"
	"\n"
	"Measure umbra beside a reference, in the same run, in turn. Nothing is asserted: times drift.\n"
	"\n"
	"  list           name the groups\n"
	"  all            run every group; parts that this machine cannot run say why\n"
	"  instructions   inner steps, once each, under a tool that counts: `make check-instructions`\n"
	"\n"
	"  --out DIR      write bench.json and a chart a group, GROUP.svg, to DIR\n"
	"  --json         JSON on stdout, instead of tables\n"
	"  --match TEXT   only cases whose name contains TEXT\n"
	"  --reps N       repetitions per case and side (9; with --quick 3)\n"
	"  --seconds N    time for all of it (480): fewer repetitions where it is short\n"
	"  --patience N   seconds for one repetition (120): what hangs ends the run, with a word about it\n"
	"  --quick        few and short cases\n"
	"  --long         large ones, too, which take minutes\n"
	"  --help         show this\n"
	"\n"
	"Columns: median and quartiles of umbra, of the reference, and of the ratio of each pair of runs; the ratio\n"
	"of the shortest runs, which says more on a busy machine; what the ratio should be at most.\n"
	"\n"
	"Example: umbra-bench shadow --match zap --out /tmp/figures\n"
	"Figures explained: docs/performance.md.\n"
	"\n"
	"Exit status: 0; 1 a case failed, or had no end; 2 the command line is wrong; 77 nothing could run here.\n";

static const struct bench_group *find_group(const char *name)
{
	for (size_t i = 0; i < GROUPS; i++)
		if (!strcmp(groups[i]->name, name))
			return groups[i];
	return NULL;
}

static void list(void)
{
	for (size_t i = 0; i < GROUPS; i++)
		printf("%-10s %s; reference: %s\n", groups[i]->name, groups[i]->what,
		       groups[i]->reference);
}

static bool parse_number(const char *option, const char *text, unsigned least, unsigned most,
			 unsigned *n)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (end == text || *end || value < least || value > most) {
		fprintf(stderr, "bench: %s: %s is not in %u..%u\n", option, text, least, most);
		return false;
	}
	*n = (unsigned)value;
	return true;
}

/* -1: go on; else an exit status. */
static int parse_options(struct bench_opts *opts, int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "quick", no_argument, NULL, 'q' },
		{ "long", no_argument, NULL, 'l' },
		{ "match", required_argument, NULL, 'm' },
		{ "reps", required_argument, NULL, 'r' },
		{ "seconds", required_argument, NULL, 's' },
		{ "out", required_argument, NULL, 'o' },
		{ "patience", required_argument, NULL, 'p' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int opt;

	while ((opt = getopt_long(argc, argv, "hjqlm:r:s:o:p:", options, NULL)) != -1)
		switch (opt) {
		case 'j':
			opts->json = true;
			break;
		case 'q':
			opts->quick = true;
			break;
		case 'm':
			opts->match = optarg;
			break;
		case 'l':
			opts->is_long = true;
			break;
		case 'o':
			opts->out = optarg;
			break;
		case 'r':
			if (!parse_number("--reps", optarg, 1, 1000, &opts->reps))
				return EXIT_USAGE;
			break;
		case 'p':
			if (!parse_number("--patience", optarg, 0, 86400, &opts->patience))
				return EXIT_USAGE;
			break;
		case 's':
			if (!parse_number("--seconds", optarg, 1, 86400, &opts->seconds))
				return EXIT_USAGE;
			break;
		case 'h':
			fputs(help, stdout);
			return EXIT_SUCCESS;
		default:
			return EXIT_USAGE; /* getopt has said why */
		}
	return -1;
}

/* A failure, else success if any group ran, else a skip. */
static int run_groups(struct bench *b, char **names)
{
	bool all = !strcmp(*names, "all"), failed = false, ran = false;

	for (size_t i = 0; all ? i < GROUPS : names[i] != NULL; i++)
		bench_plan(b, all ? groups[i] : find_group(names[i]));
	for (size_t i = 0; all ? i < GROUPS : names[i] != NULL; i++) {
		int err = bench_group_run(b, all ? groups[i] : find_group(names[i]));

		failed |= err && err != -ENODEV;
		ran |= !err;
	}
	return failed ? EXIT_FAILURE : ran ? EXIT_SUCCESS : BENCH_SKIPPED;
}

static unsigned count_groups(char **names)
{
	unsigned n = 0;

	while (names[n])
		n++;
	return !strcmp(*names, "all") ? GROUPS : n;
}

int main(int argc, char **argv)
{
	struct bench_opts opts = { .patience = 120 };
	int status = parse_options(&opts, argc, argv), err;
	char **names = argv + optind;
	struct bench *b;

	if (status >= 0)
		return status;
	if (!*names) {
		fputs(help, stderr);
		return EXIT_USAGE;
	}
	if (!strcmp(*names, "floor")) /* of the group start, for itself */
		return start_floor();
	if (!strcmp(*names, "instructions"))
		return instructions_run() ? EXIT_FAILURE : EXIT_SUCCESS;
	if (!strcmp(*names, "list")) {
		list();
		return EXIT_SUCCESS;
	}
	for (char **name = names; strcmp(*names, "all") && *name; name++)
		if (!find_group(*name)) {
			fprintf(stderr, "bench: no group %s; `umbra-bench list` names them\n",
				*name);
			return EXIT_USAGE;
		}
	opts.ngroups = count_groups(names);
	b = bench_create(&opts);
	if (!b) {
		fprintf(stderr, "bench: no memory, or standard output is closed\n");
		return EXIT_FAILURE;
	}
	status = run_groups(b, names);
	err = bench_destroy(b);
	if (err) {
		fprintf(stderr, "bench: output: %s\n", strerror(-err));
		status = EXIT_FAILURE;
	}
	return status;
}
