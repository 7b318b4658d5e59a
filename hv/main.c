// SPDX-License-Identifier: BSD-2-Clause
/* The command line. The only place that decides an exit status and calls exit(), by returning. */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <malloc.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hv/bindings.h"
#include "hv/doctor.h"
#include "hv/log.h"
#include "hv/machine.h"
#include "hv/vm.h"
#include "hv/workloads.h"

#ifndef UMBRA_VERSION
#define UMBRA_VERSION "0.1.0"
#endif

static const char help_umbra[] =
	"Usage: umbra COMMAND ...\n"
	"\n"
	"Run small guests whose memory is served by a secondary MMU in user space.\n"
	"\n"
	"Commands:\n"
	"  run MACHINE.dts|.dtb [OPTION]...   build the machine and run its guest\n"
	"  doctor [--json]                    tell what this host can do, and how to fix the rest\n"
	"  help [run|doctor|machine|workloads]\n"
	"                                     explain a command, every property of a machine, or\n"
	"                                     what the toy guest can do\n"
	"\n"
	"Options:\n"
	"  -h, --help       show this\n"
	"  -V, --version    show the version\n"
	"\n"
	"Exit status:\n"
	"  0..124  the guest's own\n"
	"  125     umbra or the host failed\n"
	"  126     the machine description, image, input or command line is invalid\n"
	"  127     the guest stopped abnormally\n";

static const char help_run[] =
	"Usage: umbra run MACHINE.dts|.dtb [OPTION]...\n"
	"\n"
	"Build the machine that a device tree describes and run its guest to the end.\n"
	"\n"
	"  --input FILE         the file for the machine's input region\n"
	"  --set PATH=VALUE     change a property first, e.g. --set /cpus/count=2; repeatable\n"
	"  --stats[=json]       say on stderr, at the end, what the secondary MMU did, and about\n"
	"                       how much memory the guest used over time\n"
	"  --working-set[=SECONDS]\n"
	"                       say at the end how many pages the guest used in each second, or\n"
	"                       each SECONDS; with --stats=json, as its member working_set\n"
	"  --trace FILE         write its events to FILE, for Perfetto or chrome://tracing\n"
	"  --timeout SECONDS    stop the guest when it runs longer\n"
	"  --check              compare the guest's tables with the host's at the end; runs\n"
	"                       with churn always do\n"
	"  -q, --quiet          print nothing but the guest's console and errors\n"
	"  -h, --help           show this\n"
	"\n"
	"VALUE is written the way the property wants it: 2, 0x1000, 64M, true, false, text,\n"
	"one,two for lists, ADDRESS,SIZE for reg; or raw: <1 2 3> cells, \"a\",\"b\" strings.\n"
	"`umbra help machine` lists the properties, `umbra help workloads` the boot arguments.\n";

static const char help_doctor[] =
	"Usage: umbra doctor [--json]\n"
	"\n"
	"Check /dev/kvm, userfaultfd, memory limits and how fast each privilege level runs, and\n"
	"say for each what works, what is degraded and how to fix it.\n"
	"\n"
	"  --json        print one JSON object instead of a table\n"
	"  -h, --help    show this\n"
	"\n"
	"Exit status: 0 when a guest can run here, 125 when it cannot.\n";

/* What `umbra run` was asked for. */
struct run_args {
	const char *machine;
	const char **sets;
	size_t nsets;
	bool has_timeout;
	unsigned timeout_ms;
	struct vm_opts vm;
};

/* @command: what the user should ask for help, "" for umbra itself. */
static int __attribute__((format(printf, 2, 3)))
usage_error(const char *command, const char *fmt, ...)
{
	char reason[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(reason, sizeof(reason), fmt, ap);
	va_end(ap);
	log_error("umbra", *command ? command : "command line", "%s; see `umbra help%s%s`", reason,
		  *command ? " " : "", command);
	return VM_INVALID;
}

/* Text that was asked for goes to stdout; a full disk there is a failure, too. */
static int finish_output(void)
{
	if (!fflush(stdout) && !ferror(stdout))
		return 0;
	log_error("umbra", "write to stdout", "%s", strerror(errno));
	return VM_HOST_FAILED;
}

static int show(const char *text)
{
	fputs(text, stdout);
	return finish_output();
}

static int show_bindings(void)
{
	const char *node = "";
	char values[256];

	printf("Properties of a machine description. Change one with --set NODE/PROPERTY=VALUE.\n");
	for (size_t i = 0; i < bindings_count; i++) {
		const struct binding *b = &bindings[i];

		if (strcmp(b->node, node))
			printf("\n%s\n", b->node);
		node = b->node;
		binding_describe(b, values, sizeof(values));
		printf("  %-18s %s\n  %18s %s", b->prop, b->help, "", values);
		if (b->def)
			printf(" (default: %s)", b->def);
		printf("%s\n", b->required ? " (required)" : "");
	}
	return finish_output();
}

static int parse_timeout(const char *text, unsigned *ms)
{
	char *end;
	double seconds;

	errno = 0;
	seconds = strtod(text, &end);
	if (errno || end == text || *end || !isfinite(seconds) || seconds < 0.001 ||
	    seconds > INT_MAX / 1000)
		return -EINVAL;
	*ms = (unsigned)(seconds * 1000);
	return 0;
}

enum run_option {
	OPT_INPUT = 256,
	OPT_SET,
	OPT_STATS,
	OPT_WORKING_SET,
	OPT_TRACE,
	OPT_TIMEOUT,
	OPT_QUIET,
	OPT_CHECK,
	OPT_HELP,
	OPT_JSON
};

/* Return 0 to go on, 1 for help, -EINVAL after telling the user. */
static int take_run_option(struct run_args *a, int opt, char **argv)
{
	switch (opt) {
	case OPT_INPUT:
		a->vm.input = optarg;
		return 0;
	case OPT_SET:
		a->sets[a->nsets++] = optarg;
		return 0;
	case OPT_STATS:
		a->vm.stats = optarg ? STATS_JSON : STATS_TEXT;
		if (!optarg || !strcmp(optarg, "json"))
			return 0;
		usage_error("run", "--stats= is followed by json or left out");
		return -EINVAL;
	case OPT_WORKING_SET:
		a->vm.working_set_ms = 1000;
		if (!optarg || !parse_timeout(optarg, &a->vm.working_set_ms))
			return 0;
		usage_error("run", "--working-set wants seconds, from 0.001 up");
		return -EINVAL;
	case OPT_TRACE:
		a->vm.trace = optarg;
		return 0;
	case OPT_TIMEOUT:
		a->has_timeout = true;
		if (!parse_timeout(optarg, &a->timeout_ms))
			return 0;
		usage_error("run", "--timeout wants seconds, from 0.001 up");
		return -EINVAL;
	case OPT_QUIET:
		a->vm.quiet = true;
		return 0;
	case OPT_CHECK:
		a->vm.check = true;
		return 0;
	case OPT_HELP:
		return 1;
	case ':':
		usage_error("run", "%s lacks its value", argv[optind - 1]);
		return -EINVAL;
	default:
		usage_error("run", "unknown option %s", argv[optind - 1]);
		return -EINVAL;
	}
}

/* @a->sets has room for one assignment per argument. */
static int parse_run_args(struct run_args *a, int argc, char **argv)
{
	static const struct option options[] = {
		{ "input", required_argument, NULL, OPT_INPUT },
		{ "set", required_argument, NULL, OPT_SET },
		{ "stats", optional_argument, NULL, OPT_STATS },
		{ "working-set", optional_argument, NULL, OPT_WORKING_SET },
		{ "trace", required_argument, NULL, OPT_TRACE },
		{ "timeout", required_argument, NULL, OPT_TIMEOUT },
		{ "quiet", no_argument, NULL, OPT_QUIET },
		{ "check", no_argument, NULL, OPT_CHECK },
		{ "help", no_argument, NULL, OPT_HELP },
		{ 0 },
	};
	int opt, ret;

	while ((opt = getopt_long(argc, argv, ":hq", options, NULL)) != -1) {
		if (opt == 'h')
			opt = OPT_HELP;
		if (opt == 'q')
			opt = OPT_QUIET;
		ret = take_run_option(a, opt, argv);
		if (ret)
			return ret;
	}
	if (optind + 1 != argc) {
		if (optind == argc)
			usage_error("run", "name a machine description (.dts or .dtb)");
		else
			usage_error("run", "%s is one argument too many", argv[optind + 1]);
		return -EINVAL;
	}
	a->machine = argv[optind];
	return 0;
}

static int run_machine(struct run_args *a)
{
	char why[MACHINE_WHY_SIZE];
	struct machine m;
	int err;

	err = machine_load(&m, a->machine, a->sets, a->nsets, why, sizeof(why));
	if (err) {
		log_error("machine", "load", "%s", why);
		return machine_exit_status(err);
	}
	a->vm.machine = a->machine;
	a->vm.alone = true;
	if (a->has_timeout)
		m.timeout_ms = a->timeout_ms;
	return vm_run(&m, &a->vm);
}

static int command_run(int argc, char **argv)
{
	struct run_args a = { 0 };
	int ret;

	a.sets = calloc((size_t)argc, sizeof(*a.sets));
	if (!a.sets) {
		log_error("umbra", "run", "no memory for the command line");
		return VM_HOST_FAILED;
	}
	ret = parse_run_args(&a, argc, argv);
	if (ret < 0) {
		ret = VM_INVALID;
	} else if (ret) {
		ret = show(help_run);
	} else {
		log_set_quiet(a.vm.quiet);
		ret = run_machine(&a);
	}
	free(a.sets);
	return ret;
}

static int command_doctor(int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, OPT_JSON },
		{ "help", no_argument, NULL, OPT_HELP },
		{ 0 },
	};
	bool json = false, can_run;
	int opt;

	while ((opt = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
		if (opt == OPT_JSON)
			json = true;
		else if (opt == OPT_HELP || opt == 'h')
			return show(help_doctor);
		else
			return usage_error("doctor", "unknown option %s", argv[optind - 1]);
	}
	if (optind != argc)
		return usage_error("doctor", "it takes no arguments");
	can_run = doctor_print(stdout, json);
	return finish_output() || !can_run ? VM_HOST_FAILED : 0;
}

static int command_help(int argc, char **argv)
{
	const char *topic = argc > 1 ? argv[1] : "";

	if (argc > 2)
		return usage_error("", "help explains one topic");
	if (!*topic || !strcmp(topic, "--help"))
		return show(help_umbra);
	if (!strcmp(topic, "run"))
		return show(help_run);
	if (!strcmp(topic, "doctor"))
		return show(help_doctor);
	if (!strcmp(topic, "machine"))
		return show_bindings();
	if (!strcmp(topic, "workloads")) {
		workloads_print(stdout);
		return finish_output();
	}
	return usage_error("", "no help on %s; the topics are run, doctor, machine and workloads",
			   topic);
}

int main(int argc, char **argv)
{
	const char *command = argc > 1 ? argv[1] : "";

	/* Threads allocate little: one heap spares each of them a mapping. */
	mallopt(M_ARENA_MAX, 1);
	signal(SIGXFSZ, SIG_IGN); /* RLIMIT_FSIZE: an errno, which can be told */
	if (!strcmp(command, "run"))
		return command_run(argc - 1, argv + 1);
	if (!strcmp(command, "doctor"))
		return command_doctor(argc - 1, argv + 1);
	if (!strcmp(command, "help"))
		return command_help(argc - 1, argv + 1);
	if (!strcmp(command, "--help") || !strcmp(command, "-h"))
		return show(help_umbra);
	if (!strcmp(command, "--version") || !strcmp(command, "-V")) {
		printf("umbra %s\n", UMBRA_VERSION);
		return finish_output();
	}
	if (*command)
		return usage_error("", "unknown command %s", command);
	return usage_error("", "name a command");
}
