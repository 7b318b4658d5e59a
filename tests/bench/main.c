// SPDX-License-Identifier: BSD-2-Clause
/* umbra-bench: the command line. A new group is one line in groups[]. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/bench/bench.h"

enum { EXIT_USAGE = 2 };

static const struct bench_group *const groups[] = {
	&bench_demand, &bench_dirty,  &bench_fork, &bench_ksm,
	&bench_notify, &bench_shadow, &bench_size, &bench_source,
};

#define GROUPS (sizeof(groups) / sizeof(groups[0]))

static const char help[] =
	"Usage: umbra-bench list | all | GROUP... [OPTION]...\n"
	"\n"
	"Measure umbra beside a reference, in the same run. Nothing is asserted: times drift.\n"
	"\n"
	"  list           name the groups\n"
	"  all            run every group\n"
	"\n"
	"  --json         one JSON array of rows on stdout, instead of tables\n"
	"  --quick        few and short cases\n"
	"  --match TEXT   only cases whose name contains TEXT\n"
	"  --reps N       repetitions per case and side\n"
	"  --help         show this\n"
	"\n"
	"Exit status: 0; 1 a case failed; 2 the command line is wrong; 77 skipped, no usable /dev/kvm.\n";

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

/* -1: go on; else an exit status. */
static int parse_options(struct bench_opts *opts, int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },	   { "quick", no_argument, NULL, 'q' },
		{ "match", required_argument, NULL, 'm' }, { "reps", required_argument, NULL, 'r' },
		{ "help", no_argument, NULL, 'h' },	   { 0 },
	};
	int opt;

	while ((opt = getopt_long(argc, argv, "hjqm:r:", options, NULL)) != -1) {
		char *end = NULL;
		unsigned long n;

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
		case 'r':
			n = strtoul(optarg, &end, 10);
			if (*end || n < 1 || n > 1000) {
				fprintf(stderr, "bench: --reps: %s is not in 1..1000\n", optarg);
				return EXIT_USAGE;
			}
			opts->reps = (unsigned)n;
			break;
		case 'h':
			fputs(help, stdout);
			return EXIT_SUCCESS;
		default:
			return EXIT_USAGE; /* getopt has said why */
		}
	}
	return -1;
}

/* The worse of two exit statuses: a failure, then a skip, then success. */
static int worse(int a, int b)
{
	if (a == EXIT_FAILURE || b == EXIT_FAILURE)
		return EXIT_FAILURE;
	return a ? a : b;
}

static int run_groups(struct bench *b, char **names)
{
	bool all = !strcmp(*names, "all");
	int status = EXIT_SUCCESS;

	for (size_t i = 0; all ? i < GROUPS : names[i] != NULL; i++) {
		int err = bench_group_run(b, all ? groups[i] : find_group(names[i]));

		status = worse(status, err == -ENODEV ? BENCH_SKIPPED
				       : err	      ? EXIT_FAILURE
						      : EXIT_SUCCESS);
	}
	return status;
}

int main(int argc, char **argv)
{
	struct bench_opts opts = { 0 };
	int status = parse_options(&opts, argc, argv), err;
	char **names = argv + optind;
	struct bench *b;

	if (status >= 0)
		return status;
	if (!*names) {
		fputs(help, stderr);
		return EXIT_USAGE;
	}
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
	b = bench_create(&opts);
	if (!b) {
		fprintf(stderr, "bench: no memory, or standard output is closed\n");
		return EXIT_FAILURE;
	}
	status = run_groups(b, names);
	err = bench_destroy(b);
	if (err) {
		fprintf(stderr, "bench: standard output: %s\n", strerror(-err));
		status = EXIT_FAILURE;
	}
	return status;
}
