// SPDX-License-Identifier: BSD-2-Clause
/* umbra-stress: the command line, and one world after the other. */
#include <errno.h>
#include <getopt.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/stress/mutant.h"
#include "tests/stress/stress.h"

enum { EXIT_USAGE = 2, EXIT_SKIPPED = 77 };

#define SCENARIO_MAX 32

static const char help[] =
	"Usage: umbra-stress [OPTION]... SCENARIO...\n"
	"A guest, devices and host threads work on the same memory while it changes beneath them.\n"
	"\n"
	"  --seconds N        in all, shared by the scenarios (default 5 each)\n"
	"  --seed N           of all choices of players and actors (default 1)\n"
	"  --source S         of the host view: uffd, uffd-sigbus, mprotect (default uffd)\n"
	"  --memory MIB       that they share, 2..1024 (default 8)\n"
	"  --vcpus N          of the guest, 0..16 (default 2)\n"
	"  --threads N        on the host view, 0..16 (default 2)\n"
	"  --device PROFILE   one device of that profile instead of one of each good one; none: no device\n"
	"  --no-kvm           no guest: threads on the window take the place of its vCPUs\n"
	"  --mutant N         break a rule: M3 with all its arms, or that switch (umbra-stress-mutants only)\n"
	"  --check            compare all tables once in a while, with everybody stopped\n"
	"  --json             the summary as JSON on standard output\n"
	"  --quiet            no progress\n"
	"  --list, --help\n"
	"\n"
	"all: every scenario in turn. Exit status: 0 all is well; 1 something was stale, lost, left over or stuck, or\n"
	"what a scenario needs is missing; 2 the command line is wrong; 77 this host has no KVM (try --no-kvm), or refuses it or\n"
	"userfaultfd.\n"
	"\n"
	"Scenarios:\n";

static void print_help(FILE *out)
{
	fputs(help, out);
	for (const struct scenario *s = scenarios; s->name; s++)
		fprintf(out, "  %-10s %s%s%s\n", s->name, s->says, s->missing ? "; missing: " : "",
			s->missing ? s->missing : "");
}

static int usage(const char *what, const char *text)
{
	fprintf(stderr, "umbra-stress: %s: %s; --help tells more\n", what, text);
	return EXIT_USAGE;
}

static bool read_number(const char *text, uint64_t least, uint64_t most, uint64_t *n)
{
	char *end;

	errno = 0;
	*n = strtoull(text, &end, 0);
	return *text >= '0' && *text <= '9' && !*end && !errno && *n >= least && *n <= most;
}

static bool read_source(const char *text, enum hostmm_source *source)
{
	for (unsigned i = 0; i < HOSTMM_SOURCES; i++)
		if (!strcmp(text, source_name(i))) {
			*source = i;
			return true;
		}
	return false;
}

static const struct option long_options[] = {
	{ "seconds", required_argument, NULL, 't' },
	{ "seed", required_argument, NULL, 's' },
	{ "source", required_argument, NULL, 'S' },
	{ "memory", required_argument, NULL, 'm' },
	{ "vcpus", required_argument, NULL, 'v' },
	{ "threads", required_argument, NULL, 'n' },
	{ "device", required_argument, NULL, 'd' },
	{ "no-kvm", no_argument, NULL, 'k' },
	{ "mutant", required_argument, NULL, 'M' },
	{ "check", no_argument, NULL, 'c' },
	{ "json", no_argument, NULL, 'j' },
	{ "quiet", no_argument, NULL, 'q' },
	{ "list", no_argument, NULL, 'l' },
	{ "help", no_argument, NULL, 'h' },
	{ 0 },
};

/* An option with a number: false if it is none. */
static bool take_number(struct stress_opts *o, int opt, const char *text)
{
	uint64_t n;

	switch (opt) {
	case 's':
		return read_number(text, 0, UINT64_MAX, &o->seed);
	case 'm':
		return read_number(text, 2, 1024, &o->memory);
	case 'v':
		if (!read_number(text, 0, 16, &n))
			return false;
		o->vcpus = (unsigned)n;
		return true;
	case 'n':
		if (!read_number(text, 0, 16, &n))
			return false;
		o->threads = (unsigned)n;
		return true;
	case 'M':
		if (!read_number(*text == 'M' ? text + 1 : text, 1, 9999, &n))
			return false;
		o->mutant = (unsigned)n;
		o->arms = *text == 'M';
		return true;
	default:
		return false;
	}
}

static int take_option(struct stress_opts *o, int opt)
{
	char *end;

	switch (opt) {
	case 't':
		o->seconds = strtod(optarg, &end);
		if (*end || end == optarg || !(o->seconds > 0) || o->seconds > 1e6)
			return usage("--seconds", "a number above 0");
		return -1;
	case 'S':
		return read_source(optarg, &o->source)
			       ? -1
			       : usage("--source", "uffd, uffd-sigbus or mprotect");
	case 'd':
		if (strcmp(optarg, "none") && !device_profile(optarg))
			return usage("--device", "no such profile");
		o->device = optarg;
		return -1;
	case 'k':
		o->no_kvm = true;
		return -1;
	case 'c':
		o->check = true;
		return -1;
	case 'j':
		o->json = true;
		return -1;
	case 'q':
		o->quiet = true;
		return -1;
	case 'l':
		for (const struct scenario *s = scenarios; s->name; s++)
			puts(s->name);
		return EXIT_SUCCESS;
	case 'h':
		print_help(stdout);
		return EXIT_SUCCESS;
	case '?':
		return EXIT_USAGE; /* getopt has said why */
	default:
		return take_number(o, opt, optarg)
			       ? -1
			       : usage(optarg, "not a number that this option takes");
	}
}

static const struct scenario *find(const char *name)
{
	for (const struct scenario *s = scenarios; s->name; s++)
		if (!strcmp(s->name, name))
			return s;
	return NULL;
}

static int choose(char **names, const struct scenario **list, unsigned *n)
{
	*n = 0;
	if (!*names)
		return usage("SCENARIO", "name one, or all");
	for (; *names; names++) {
		bool all = !strcmp(*names, "all");

		if (!all && !find(*names))
			return usage(*names, "no such scenario");
		for (const struct scenario *s = scenarios; s->name; s++)
			if ((all || !strcmp(s->name, *names)) && *n < SCENARIO_MAX - 1)
				list[(*n)++] = s;
	}
	return -1;
}

static int run_all(const struct stress_opts *o, const struct scenario *const *list, unsigned n)
{
	int status = EXIT_SUCCESS;

	for (unsigned i = 0; i < n; i++) {
		struct world *w = calloc(1, sizeof(*w));
		int rc;

		if (!w)
			return EXIT_FAILURE;
		w->o = o;
		w->scenario = list[i];
		rc = world_run(w, &tallies[ntallies]);
		if (rc) {
			fprintf(stderr, "umbra-stress: %s: the host refuses: %s\n", list[i]->name,
				strerror(-rc));
			return rc == -EPERM || rc == -ENOSYS || rc == -EOPNOTSUPP || rc == -ENODEV
				       ? EXIT_SKIPPED
				       : EXIT_FAILURE;
		}
		if (tallies[ntallies++].missing)
			status = EXIT_FAILURE;
		free(w);
	}
	tally_print(o, tallies, ntallies, NULL);
	if (fflush(stdout) || ferror(stdout))
		return EXIT_FAILURE;
	return status;
}

static void *return_at_once(void *arg)
{
	return arg;
}

/*
 * What comes with the first threads must not look like a leak of the first world: an arena of the heap for each, and, under
 * the thread sanitizer, a thread of its own.
 */
static void settle(void)
{
	pthread_t t;

	mallopt(M_ARENA_MAX, 1);
	if (!pthread_create(&t, NULL, return_at_once, NULL))
		pthread_join(t, NULL);
}

int main(int argc, char **argv)
{
	static struct stress_opts o = { .seed = 1, .memory = 8, .vcpus = 2, .threads = 2 };
	const struct scenario *list[SCENARIO_MAX];
	unsigned n;
	int opt, status;

	while ((opt = getopt_long(argc, argv, "h", long_options, NULL)) != -1) {
		status = take_option(&o, opt);
		if (status >= 0)
			return status;
	}
	status = choose(argv + optind, list, &n);
	if (status >= 0)
		return status;
	if (o.mutant && !mutants_are_here())
		return usage("--mutant", "umbra-stress-mutants has them, this program does not");
	if (!o.no_kvm && o.vcpus && !world_has_kvm()) {
		fprintf(stderr,
			"umbra-stress: /dev/kvm: %s: without it there is no guest; --no-kvm puts "
			"threads on its window in the place of its vCPUs\n",
			strerror(errno));
		return EXIT_SKIPPED;
	}
	if (!o.vcpus && !o.threads && o.device && !strcmp(o.device, "none"))
		return usage("players", "no vCPU, no thread and no device");
	o.seconds = o.seconds > 0 ? o.seconds / n : 5;
	settle();
	mutant_choose(o.mutant, o.arms);
	access_prepare();
	fail_prepare(&o);
	return run_all(&o, list, n);
}
