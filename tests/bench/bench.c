// SPDX-License-Identifier: BSD-2-Clause
/*
 * The loop. A run of several groups has so many seconds; each group has its share of what is left, each case its part of that: the
 * fewer repetitions, but one at least.
 */
#include "tests/bench/bench.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "hv/kvmio.h"
#include "mmu/host/uffd.h"
#include "tests/bench/report.h"
#include "tests/bench/watchdog.h"

#define REPS	   9u
#define REPS_QUICK 3u
#define REPS_MAX   1000u
#define SECONDS	   480u	 /* and a case that has begun is finished */
#define LATE	   5u	 /* beyond that by a part of so many, no case begins */
#define MATCHED	   4u	 /* how many cases --match is taken to choose */
#define WARM_S	   5u	 /* to touch memory beforehand, and no longer */
#define TOLD_MS	   2500u /* PAGE_REPORTING_DELAY of Linux, and some */
#define NS_PER_S   1000000000ull

struct bench {
	struct bench_opts opts;
	FILE *out;   /* what stdout was; fd 1 is the guests' now */
	int console; /* what guests print, kept for the case that one fails */
	bool has_kvm;
	char no_kvm[256], no_uffd[256]; /* why not */
	struct result *results;		/* [opts.ngroups] */
	struct result *at;		/* the group that runs */
	unsigned nresults;
	unsigned slow; /* SLOW_HOST: times longer to wait */
	uint64_t begin;
	uint64_t group_end;	/* when the group's time is over */
	unsigned shares, cases; /* of the groups to come; of the group that runs, to come */
	double *sample[2];	/* [umbra, reference], opts.reps each */
	double *scratch;	/* as many */
};

uint64_t bench_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

bool bench_is_quick(const struct bench *b)
{
	return b->opts.quick;
}

bool bench_is_long(const struct bench *b)
{
	return b->opts.is_long;
}

bool bench_has_kvm(const struct bench *b, const char **why)
{
	*why = b->no_kvm;
	return b->has_kvm;
}

void bench_warm_memory(uint64_t bytes)
{
	/*
	 * In huge pages where the system gives them: these are blocks of 2 MiB, and single pages, which others leave in lists
	 * of each processor, do not make one. Who wants single pages has these blocks split.
	 */
	char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	uint64_t end = bench_now_ns() + WARM_S * NS_PER_S;

	if (p == MAP_FAILED)
		return;
	madvise(p, bytes, MADV_HUGEPAGE);
	for (uint64_t at = 0; at < bytes && bench_now_ns() < end; at += 4096)
		((volatile char *)p)[at] = 1;
	munmap(p, bytes);
}

void bench_settle_memory(void)
{
	const struct timespec told = { .tv_sec = TOLD_MS / 1000,
				       .tv_nsec = TOLD_MS % 1000 * 1000000 };

	if (!access("/sys/module/page_reporting/parameters/page_reporting_order", F_OK))
		nanosleep(&told, NULL);
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

/* ---- What there is ---- */

static void look_for_kvm(struct bench *b)
{
	struct why w = { .text = b->no_kvm, .size = sizeof(b->no_kvm) };
	int fd = kvmio_open(&w);

	b->has_kvm = fd >= 0;
	if (fd >= 0)
		close(fd);
}

static void look_for_uffd(struct bench *b)
{
	struct uffd u;
	int rc = uffd_open(&u, 0);

	if (rc)
		snprintf(b->no_uffd, sizeof(b->no_uffd), "userfaultfd: %s", strerror(-rc));
	else
		uffd_close(&u);
}

struct bench *bench_create(const struct bench_opts *opts)
{
	struct bench *b = calloc(1, sizeof(*b));
	const char *slow = getenv("SLOW_HOST");

	if (!b)
		return NULL;
	b->opts = *opts;
	b->console = -1;
	b->begin = bench_now_ns();
	b->slow = slow && strtoul(slow, NULL, 10) > 1 ? (unsigned)strtoul(slow, NULL, 10) : 1;
	if (!b->opts.reps)
		b->opts.reps = opts->quick ? REPS_QUICK : REPS;
	if (b->opts.reps > REPS_MAX)
		b->opts.reps = REPS_MAX;
	if (!b->opts.seconds)
		b->opts.seconds = SECONDS;
	for (unsigned i = 0; i < 2; i++)
		b->sample[i] = calloc(b->opts.reps, sizeof(double));
	b->scratch = calloc(b->opts.reps, sizeof(double));
	b->results = calloc(opts->ngroups, sizeof(*b->results));
	if (!b->sample[0] || !b->sample[1] || !b->scratch || !b->results || take_stdout(b) ||
	    watchdog_start()) {
		bench_destroy(b);
		return NULL;
	}
	look_for_kvm(b);
	look_for_uffd(b);
	return b;
}

/* ---- What is written ---- */

static int close_file(FILE *f)
{
	int err = ferror(f) ? -EIO : 0;

	errno = 0;
	if (fclose(f))
		err = errno ? -errno : -EIO;
	return err;
}

/* A file of the output directory. NULL: errno. */
static FILE *open_out(const struct bench *b, const char *name, const char *suffix)
{
	char path[4096];

	if (snprintf(path, sizeof(path), "%s/%s%s", b->opts.out, name, suffix) >=
	    (int)sizeof(path)) {
		errno = ENAMETOOLONG;
		return NULL;
	}
	return fopen(path, "we");
}

static int write_files(const struct bench *b)
{
	int err = 0;
	FILE *f;

	if (mkdir(b->opts.out, 0777) && errno != EEXIST)
		return -errno;
	f = open_out(b, "bench", ".json");
	if (!f)
		return -errno;
	report_json(f, b->results, b->nresults);
	err = close_file(f);
	for (unsigned i = 0; i < b->nresults && !err; i++) {
		if (!b->results[i].nrows)
			continue;
		f = open_out(b, b->results[i].group->name, ".svg");
		if (!f)
			return -errno;
		report_svg(f, &b->results[i]);
		err = close_file(f);
	}
	return err;
}

int bench_destroy(struct bench *b)
{
	int err = 0, rc;

	if (b->out) {
		if (b->opts.json)
			report_json(b->out, b->results, b->nresults);
		err = close_file(b->out);
		rc = b->opts.out ? write_files(b) : 0;
		err = err ? err : rc;
	}
	if (b->console >= 0)
		close(b->console);
	for (unsigned i = 0; b->results && i < b->nresults; i++) {
		free(b->results[i].rows);
		free(b->results[i].skips);
	}
	free(b->results);
	free(b->sample[0]);
	free(b->sample[1]);
	free(b->scratch);
	free(b);
	return err;
}

void bench_skip(struct bench *b, const char *what, const char *why)
{
	struct result *r = b->at;
	struct skip *more = realloc(r->skips, (r->nskips + 1) * sizeof(*more));

	if (!more)
		return;
	r->skips = more;
	snprintf(more[r->nskips].what, sizeof(more->what), "%s", what);
	snprintf(more[r->nskips].why, sizeof(more->why), "%s", why);
	report_skip(b->opts.json ? stderr : b->out, &more[r->nskips++]);
}

static int add_row(struct bench *b, const struct bench_case *c, unsigned n)
{
	struct result *r = b->at;
	struct row *row, *more = realloc(r->rows, (r->nrows + 1) * sizeof(*more));

	if (!more)
		return -ENOMEM;
	r->rows = more;
	row = &more[r->nrows++];
	*row = (struct row){ .unit = c->unit ? c->unit : r->group->unit,
			     .target = c->target,
			     .reps = n };
	snprintf(row->name, sizeof(row->name), "%s", c->name);
	/* Pairs first: the other two sort. */
	row->ratio = stats_ratios(b->sample[0], b->sample[1], n, b->scratch);
	row->umbra = stats_of(b->sample[0], n);
	row->reference = stats_of(b->sample[1], n);
	row->shortest = row->reference.min > 0 ? row->umbra.min / row->reference.min : 0;
	if (!b->opts.json) {
		report_row(b->out, row);
		fflush(b->out);
	}
	return 0;
}

/* ---- The loop ---- */

static int measure(struct bench *b, const struct bench_case *c, unsigned side, double *value)
{
	int err;

	if (c->before)
		c->before(c->arg);
	watchdog_arm(b->opts.patience * b->slow, "%s: %s: %s", b->at->group->name, c->name,
		     side ? "reference" : "umbra");
	err = (side ? c->reference : c->umbra)(c->arg, value);
	watchdog_disarm();
	return err;
}

/* Has the case, which began at @begin and has until @end, had enough after @n pairs? Not, if there is time for another. */
static bool is_enough(const struct bench *b, uint64_t begin, uint64_t end, unsigned n)
{
	uint64_t now = bench_now_ns();

	return n >= b->opts.reps || now + (now - begin) / n > end;
}

static uint64_t end_of_all(const struct bench *b)
{
	return b->begin + b->opts.seconds * NS_PER_S;
}

/* Until when the case that begins now may go on. */
static uint64_t case_end(struct bench *b, uint64_t now)
{
	unsigned left = b->opts.match ? MATCHED : b->cases ? b->cases-- : 1;

	return now < b->group_end ? now + (b->group_end - now) / left : now;
}

bool bench_wants(const struct bench *b, const char *name)
{
	return !b->opts.match || strstr(name, b->opts.match);
}

int bench_run(struct bench *b, const struct bench_case *c)
{
	uint64_t begin = bench_now_ns(), end, first;
	double warm_up;
	unsigned n = 0;
	int err = 0;

	if (!bench_wants(b, c->name))
		return 0;
	if (begin > end_of_all(b) + b->opts.seconds * NS_PER_S / LATE) {
		bench_skip(b, c->name, "no time left; --seconds gives more");
		return 0;
	}
	fprintf(stderr, "[%3u s] %s: %s\n", (unsigned)((begin - b->begin) / NS_PER_S),
		b->at->group->name, c->name);
	end = case_end(b, begin);
	/* Who is late does without a run that does not count. */
	for (unsigned i = 0; i < 2 && !err && begin < b->group_end; i++)
		err = measure(b, c, i, &warm_up);
	first = bench_now_ns();
	do {
		for (unsigned i = 0; i < 2 && !err; i++) {
			unsigned side = (n + i) % 2;

			err = measure(b, c, side, &b->sample[side][n]);
		}
		n++;
	} while (!err && !is_enough(b, first, end, n));
	if (err) {
		fprintf(stderr, "bench: %s: %s: %s\n", b->at->group->name, c->name, strerror(-err));
		show_console(b);
		return err;
	}
	drop_console(b);
	return add_row(b, c, n);
}

/* What the group cannot do without, and is not there; or NULL. */
static const char *missing(const struct bench *b, const struct bench_group *group)
{
	if (group->needs_kvm && !b->has_kvm)
		return b->no_kvm;
	return !group->without_uffd && *b->no_uffd ? b->no_uffd : NULL;
}

static unsigned share_of(const struct bench *b, const struct bench_group *group)
{
	return missing(b, group) ? 0 : group->share ? group->share : 1;
}

void bench_plan(struct bench *b, const struct bench_group *group)
{
	b->shares += share_of(b, group);
}

int bench_group_run(struct bench *b, const struct bench_group *group)
{
	FILE *head = b->opts.json ? stderr : b->out;
	uint64_t now = bench_now_ns(), end = end_of_all(b);
	const char *why = missing(b, group);
	unsigned share = share_of(b, group);

	b->at = &b->results[b->nresults];
	*b->at = (struct result){ .group = group };
	host_get(&b->at->host);
	b->group_end = now < end && share ? now + (end - now) * share / b->shares : now;
	b->shares -= share;
	b->cases = group->cases;
	b->nresults++;
	report_head(head, b->at, b->opts.reps);
	fflush(head);
	if (why) {
		bench_skip(b, "the whole group", why);
		b->at->error = -ENODEV;
	} else {
		b->at->error = group->run(b);
	}
	fputc('\n', head);
	fflush(head);
	return b->at->error;
}
