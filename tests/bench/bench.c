// SPDX-License-Identifier: BSD-2-Clause
#include "tests/bench/bench.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "hv/kvmio.h"

#define REPS	   9u
#define REPS_QUICK 3u
#define REPS_MAX   1000u

struct bench {
	struct bench_opts opts;
	const struct bench_group *group;
	FILE *out;   /* what stdout was; fd 1 is the guests' now */
	int console; /* what guests print, kept for the case that one fails */
	unsigned rows;
	double *sample[2]; /* [umbra, reference], opts.reps each */
};

uint64_t bench_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

bool bench_is_quick(const struct bench *b)
{
	return b->opts.quick;
}

void bench_warm_memory(uint64_t bytes)
{
	/* Shared memory, as pools are. Small pages, or it would warm no more than their heads. */
	char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return;
	madvise(p, bytes, MADV_NOHUGEPAGE);
	for (uint64_t at = 0; at < bytes; at += 4096)
		((volatile char *)p)[at] = 1;
	munmap(p, bytes);
}

/* Guests write to fd 1. Give them another, and keep the user's for rows. */
static int take_stdout(struct bench *b)
{
	int fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);

	if (fd < 0)
		return -errno;
	b->out = fdopen(fd, "w");
	if (!b->out) {
		close(fd);
		return -ENOMEM;
	}
	b->console = memfd_create("umbra-bench-console", MFD_CLOEXEC);
	if (b->console < 0 || dup2(b->console, STDOUT_FILENO) < 0)
		return -errno;
	return 0;
}

static void drop_console(struct bench *b)
{
	if (!ftruncate(b->console, 0))
		lseek(b->console, 0, SEEK_SET);
}

static void show_console(struct bench *b)
{
	char buf[4096];
	ssize_t n;

	lseek(b->console, 0, SEEK_SET);
	while ((n = read(b->console, buf, sizeof(buf))) > 0)
		fwrite(buf, 1, (size_t)n, stderr);
	drop_console(b);
}

struct bench *bench_create(const struct bench_opts *opts)
{
	struct bench *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	b->opts = *opts;
	b->console = -1;
	if (!b->opts.reps)
		b->opts.reps = opts->quick ? REPS_QUICK : REPS;
	if (b->opts.reps > REPS_MAX)
		b->opts.reps = REPS_MAX;
	for (unsigned i = 0; i < 2; i++)
		b->sample[i] = calloc(b->opts.reps, sizeof(double));
	if (!b->sample[0] || !b->sample[1] || take_stdout(b)) {
		bench_destroy(b);
		return NULL;
	}
	if (b->opts.json)
		fputc('[', b->out);
	return b;
}

int bench_destroy(struct bench *b)
{
	int err = 0;

	if (b->out) {
		if (b->opts.json)
			fprintf(b->out, "%s]\n", b->rows ? "\n" : "");
		errno = 0;
		if (fflush(b->out) || ferror(b->out))
			err = errno ? -errno : -EIO;
		fclose(b->out);
	}
	if (b->console >= 0)
		close(b->console);
	free(b->sample[0]);
	free(b->sample[1]);
	free(b);
	return err;
}

struct summary {
	double median, min, low, high; /* low and high: quartiles */
};

static int by_value(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* The value a fraction @at of the way up, between two where it falls between them. Sorted. */
static double quantile(const double *v, unsigned n, double at)
{
	double where = at * (n - 1);
	unsigned i = (unsigned)where;

	return i + 1 < n ? v[i] + (where - i) * (v[i + 1] - v[i]) : v[i];
}

static struct summary summarise(double *v, unsigned n)
{
	qsort(v, n, sizeof(*v), by_value);
	return (struct summary){
		.median = quantile(v, n, 0.5),
		.min = v[0],
		.low = quantile(v, n, 0.25),
		.high = quantile(v, n, 0.75),
	};
}

/* Three digits that count, and no more: the rest is noise. */
static const char *digits(double v, char buf[static 16])
{
	snprintf(buf, 16, v < 10 ? "%.2f" : v < 100 ? "%.1f" : "%.0f", v);
	return buf;
}

static const char *spread(const struct summary *s, char buf[static 48])
{
	char low[16], high[16];

	snprintf(buf, 48, "%s..%s", digits(s->low, low), digits(s->high, high));
	return buf;
}

static double ratio_of(double umbra, double reference)
{
	return reference > 0 ? umbra / reference : 0;
}

/*
 * Noise only ever adds time, so the ratio of the two shortest runs says more than that of the medians when others use
 * the machine, too.
 */
static void print_row(struct bench *b, const struct bench_case *c)
{
	struct summary u = summarise(b->sample[0], b->opts.reps);
	struct summary r = summarise(b->sample[1], b->opts.reps);
	double ratio = ratio_of(u.median, r.median), best = ratio_of(u.min, r.min);
	char buf[4][16], around[2][48];

	if (b->opts.json)
		fprintf(b->out,
			"%s\n{\"group\":\"%s\",\"case\":\"%s\",\"umbra\":%.2f,\"reference\":%.2f,"
			"\"ratio\":%.4f,\"unit\":\"%s\",\"against\":\"%s\",\"repetitions\":%u,"
			"\"umbra_min\":%.2f,\"reference_min\":%.2f,\"ratio_min\":%.4f,"
			"\"umbra_quartiles\":[%.2f,%.2f],\"reference_quartiles\":[%.2f,%.2f]}",
			b->rows ? "," : "", b->group->name, c->name, u.median, r.median, ratio,
			b->group->unit, b->group->reference, b->opts.reps, u.min, r.min, best,
			u.low, u.high, r.low, r.high);
	else
		fprintf(b->out, "  %-32s %7s %7s  %6.3f   %7s %7s  %6.3f   %-14s %-14s\n", c->name,
			digits(u.median, buf[0]), digits(r.median, buf[1]), ratio,
			digits(u.min, buf[2]), digits(r.min, buf[3]), best, spread(&u, around[0]),
			spread(&r, around[1]));
	fflush(b->out);
	b->rows++;
}

int bench_run(struct bench *b, const struct bench_case *c)
{
	int (*const side[2])(const void *, double *) = { c->umbra, c->reference };
	double warm_up;
	int err = 0;

	if (b->opts.match && !strstr(c->name, b->opts.match))
		return 0;
	for (unsigned i = 0; i < 2 && !err; i++)
		err = side[i](c->arg, &warm_up);
	for (unsigned rep = 0; rep < b->opts.reps && !err; rep++)
		for (unsigned i = 0; i < 2 && !err; i++) {
			unsigned which = (rep + i) % 2;

			err = side[which](c->arg, &b->sample[which][rep]);
		}
	if (err) {
		fprintf(stderr, "bench: %s: %s: %s\n", b->group->name, c->name, strerror(-err));
		show_console(b);
		return err;
	}
	drop_console(b);
	print_row(b, c);
	return 0;
}

static int check_kvm(void)
{
	char text[256] = "";
	struct why w = { .text = text, .size = sizeof(text) };
	int fd = kvmio_open(&w);

	if (fd < 0) {
		fprintf(stderr, "bench: skipped: %s\n", text);
		return -ENODEV;
	}
	close(fd);
	return 0;
}

/* Figures mean nothing without the machine they come from, and what else it had to do. */
static void print_head(struct bench *b)
{
	const char *kvm = !access("/sys/module/kvm_pvm", F_OK)	   ? "kvm-pvm"
			  : !access("/sys/module/kvm_intel", F_OK) ? "kvm-intel"
			  : !access("/sys/module/kvm_amd", F_OK)   ? "kvm-amd"
								   : "none or unknown";
	FILE *out = b->opts.json ? stderr : b->out;
	struct utsname name;
	double load = 0;

	uname(&name);
	getloadavg(&load, 1);
	fprintf(out, "%s: %s\n%s %s, %ld CPUs, load %.1f at the start, KVM module: %s\n",
		b->group->name, b->group->what, name.sysname, name.release,
		sysconf(_SC_NPROCESSORS_ONLN), load, kvm);
	if (b->opts.json)
		return;
	fprintf(out, "%s, less is better; reference: %s; %u runs of each, in turn\n\n",
		b->group->unit, b->group->reference, b->opts.reps);
	fprintf(out, "  %-32s %-24s   %-24s   %s\n", "", "median", "shortest", "quartiles");
	fprintf(out, "  %-32s %7s %7s  %6s   %7s %7s  %6s   %-14s %s\n", "case", "umbra", "ref.",
		"ratio", "umbra", "ref.", "ratio", "umbra", "ref.");
	fflush(out);
}

int bench_group_run(struct bench *b, const struct bench_group *group)
{
	int err = group->needs_kvm ? check_kvm() : 0;

	if (err)
		return err;
	b->group = group;
	print_head(b);
	return group->run(b);
}
