// SPDX-License-Identifier: BSD-2-Clause
/*
 * demand: the first touch of guest memory. Who touches loads one word of every page; the memory is umbra's, or a plain memslot
 * that the kernel pages in by itself, or one that a bare loop over userfaultfd serves. All start empty, so all allocate and
 * clear each page. Who touches is a guest; or, as the names of cases say, threads in the window, which need no KVM.
 *
 * The bare loop knows the pattern: it maps as many pages a fault as suit that, where umbra has to find out. "Mapped ahead" knows
 * even when: nobody faults, what is left is the floor of all that map pages before they are touched.
 */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/mman.h>

#include "tests/bench/bare_loop.h"
#include "tests/bench/bench.h"
#include "tests/bench/guest.h"
#include "tests/bench/shadow_rig.h"
#include "tests/bench/touch.h"

#define MIB_PAGES  256u
#define LONG_PAGES (512 * MIB_PAGES) /* takes a second and more */

struct demand {
	const char *name;
	enum touch_pattern pattern;
	uint64_t pages;
	unsigned cpus;
	unsigned fault_around; /* 0: as umbra finds best */
	unsigned bare_around;
	bool quick;    /* also with --quick */
	double target; /* beside the plain memslot; 0: none */
};

static const struct demand cases[] = {
	{ "sequential, 4 KiB", TOUCH_SEQ, 1, 1, 0, 1, false, 0 },
	{ "sequential, 4 MiB", TOUCH_SEQ, 4 * MIB_PAGES, 1, 0, 512, true, 0 },
	{ "sequential, 64 MiB", TOUCH_SEQ, 64 * MIB_PAGES, 1, 0, 512, true, 0.25 },
	{ "sequential, 64 MiB, x2", TOUCH_SEQ, 64 * MIB_PAGES, 2, 0, 512, false, 0.25 },
	{ "random pages, 16 MiB", TOUCH_RANDOM, 16 * MIB_PAGES, 1, 0, 1, true, 3 },
	{ "random pages, 16 MiB, x2", TOUCH_RANDOM, 16 * MIB_PAGES, 2, 0, 1, false, 3 },
	{ "every 16th page, 16 MiB", TOUCH_STRIDE, 16 * MIB_PAGES, 1, 0, 1, false, 0 },
	{ "sequential, 16 MiB, around 1", TOUCH_SEQ, 16 * MIB_PAGES, 1, 1, 1, false, 0 },
	{ "sequential, 16 MiB, around 8", TOUCH_SEQ, 16 * MIB_PAGES, 1, 8, 8, false, 0 },
	{ "sequential, 16 MiB, around 64", TOUCH_SEQ, 16 * MIB_PAGES, 1, 64, 64, false, 0 },
	{ "sequential, 16 MiB, around 512", TOUCH_SEQ, 16 * MIB_PAGES, 1, 512, 512, false, 0 },
	{ "sequential, 1 GiB", TOUCH_SEQ, 1024 * MIB_PAGES, 1, 0, 512, false, 0.25 },
};

#define BARE_TARGET 1.15

/* ---- A guest ---- */

static const char *const bootargs[] = {
	[TOUCH_SEQ] = "workload=touch pattern=seq op=read",
	[TOUCH_RANDOM] = "workload=touch pattern=random op=read",
	[TOUCH_STRIDE] = "workload=touch pattern=stride stride=16 op=read",
};

static int guest_ns(const struct demand *d, void *plain, double *value)
{
	struct guest_run run = {
		.bootargs = bootargs[d->pattern],
		.work_pages = d->pages,
		.cpus = d->cpus,
		.fault_around = d->fault_around,
		.plain = plain,
	};
	struct guest_time time;
	int err = guest_run(&run, &time);

	if (!err)
		*value = (double)time.ns / (double)run.work_pages;
	return err;
}

static int guest_umbra(const void *arg, double *value)
{
	return guest_ns(arg, NULL, value);
}

static int guest_plain(const void *arg, double *value)
{
	const struct demand *d = arg;
	void *plain = bare_plain(d->pages << PAGE_SHIFT);
	int err;

	if (plain == MAP_FAILED)
		return -errno;
	err = guest_ns(d, plain, value);
	munmap(plain, d->pages << PAGE_SHIFT);
	return err;
}

static int guest_bare(const void *arg, double *value)
{
	const struct demand *d = arg;
	struct bare_loop *loop;
	int err = bare_loop_start(&loop, d->pages << PAGE_SHIFT, d->bare_around, d->cpus);

	if (err)
		return err;
	err = guest_ns(d, bare_loop_base(loop), value);
	bare_loop_stop(loop);
	return err;
}

/* ---- Threads in the window ---- */

static int threads_ns(const struct demand *d, const void *base, double *value)
{
	uint64_t ns;
	int err = touch_all(base, d->pages, d->pattern, d->cpus, &ns);

	*value = (double)ns / (double)d->pages;
	return err;
}

static int threads_umbra(const void *arg, double *value)
{
	const struct demand *d = arg;
	struct shadow_rig rig;
	int err = shadow_rig_up_around(&rig, d->pages, SHADOW_RIG_WINDOW | SHADOW_RIG_LARGE,
				       d->fault_around, d->cpus);

	if (!err)
		err = window_start(rig.window, rig.shadow);
	if (!err) {
		err = threads_ns(d, shadow_rig_window(&rig), value);
		window_stop(rig.window);
	}
	shadow_rig_down(&rig);
	return err;
}

static int threads_plain(const void *arg, double *value)
{
	const struct demand *d = arg;
	void *plain = bare_plain(d->pages << PAGE_SHIFT);
	int err;

	if (plain == MAP_FAILED)
		return -errno;
	err = threads_ns(d, plain, value);
	munmap(plain, d->pages << PAGE_SHIFT);
	return err;
}

static int threads_bare(const void *arg, double *value)
{
	const struct demand *d = arg;
	struct bare_loop *loop;
	int err = bare_loop_start(&loop, d->pages << PAGE_SHIFT, d->bare_around, d->cpus);

	if (err)
		return err;
	err = threads_ns(d, bare_loop_base(loop), value);
	bare_loop_stop(loop);
	return err;
}

static int threads_ahead(const void *arg, double *value)
{
	const struct demand *d = arg;
	uint64_t ns = 0;
	int err = bare_ahead(d->pages << PAGE_SHIFT, d->bare_around, &ns);

	*value = (double)ns / (double)d->pages;
	return err;
}

/* ---- Cases ---- */

static const struct way {
	const char *who, *against;
	int (*umbra)(const void *arg, double *value);
	int (*reference)(const void *arg, double *value);
	bool is_bare, is_guest, is_ahead;
} ways[] = {
	{ "", "plain", guest_umbra, guest_plain, .is_guest = true },
	{ "", "bare loop", guest_umbra, guest_bare, .is_bare = true, .is_guest = true },
	{ "threads: ", "plain", threads_umbra, threads_plain, .is_bare = false },
	{ "threads: ", "bare loop", threads_umbra, threads_bare, .is_bare = true },
	{ "threads: ", "mapped ahead", threads_umbra, threads_ahead, .is_ahead = true },
};

/* Only who knows what comes next can map it ahead. */
static bool has_case(const struct way *w, const struct demand *d)
{
	return !w->is_ahead ||
	       (d->pattern == TOUCH_SEQ && d->pages > 1 && d->cpus == 1 && !d->fault_around);
}

/* What one side has left is of use to the other only in part: single pages do not make the blocks of huge ones. */
static void warm(const void *arg)
{
	const struct demand *d = arg;

	if (d->pages >= LONG_PAGES)
		bench_settle_memory();
	bench_warm_memory(d->pages << PAGE_SHIFT);
}

static int run_way(struct bench *b, const struct way *w)
{
	int err = 0;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]) && !err; i++) {
		const struct demand *d = &cases[i];
		char name[96];
		const struct bench_case c = {
			.name = name,
			.umbra = w->umbra,
			.reference = w->reference,
			.before = warm,
			.arg = d,
			.target = w->is_bare	? BARE_TARGET
				  : w->is_guest ? d->target
						: 0,
		};

		snprintf(name, sizeof(name), "%s%s: %s", w->who, d->name, w->against);
		if (has_case(w, d) && (d->quick || !bench_is_quick(b)))
			err = bench_run(b, &c);
	}
	return err;
}

static int run_demand(struct bench *b)
{
	const char *why;
	int err = 0;

	if (!bench_has_kvm(b, &why))
		bench_skip(b, "first touch by vCPUs", why);
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]) && !err; i++)
		if (!ways[i].is_guest || bench_has_kvm(b, &why))
			err = run_way(b, &ways[i]);
	return err;
}

const struct bench_group bench_demand = {
	.name = "demand",
	.what = "first touch of guest memory, by vCPUs or by threads in the window",
	.reference = "plain memslot (mapping), a bare userfaultfd loop, or pages mapped ahead",
	.unit = "ns/page",
	.cases = 4 * sizeof(cases) / sizeof(cases[0]) + 3,
	.share = 4,
	.run = run_demand,
};
