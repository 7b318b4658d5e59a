// SPDX-License-Identifier: BSD-2-Clause
/*
 * scale: many guests in one process, and much memory for one. A guest here is a host mm, a window with its threads and a shadow with
 * one slot, all on one pool; it has touched 1 MiB. What it costs to have it, in time and in private memory (RssAnon), which is
 * metadata: frames are shared memory.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "tests/bench/bench.h"
#include "tests/bench/private.h"
#include "tests/bench/shadow_rig.h"

#define GUESTS_MAX    64u
#define GUEST_PAGES   (64UL << 8) /* 64 MiB */
#define TOUCHED_PAGES 256u
#define MIB_PAGES     256UL

/* @guests of them, @pages each, of which some are touched. */
struct world {
	unsigned guests;
	uint64_t pages;
};

struct cost {
	double us;    /* to create and touch, a guest */
	double bytes; /* private, a guest */
};

/* A page of each stretch of the memory, at the same distance. */
static int touch(struct shadow_rig *r)
{
	uint64_t step = max_u64(r->pages / TOUCHED_PAGES, 1);
	int rc = 0;

	for (gfn_t gfn = 0; gfn < r->pages && rc >= 0; gfn += step)
		rc = shadow_fault(r->shadow, gfn, true);
	return rc < 0 ? rc : 0;
}

static int measure(const struct world *w, struct cost *cost)
{
	static struct shadow_rig rig[GUESTS_MAX];
	uint64_t begin, ns = 0;
	struct pool *pool;
	double before = 0, after = 0;
	unsigned n = 0;
	int rc = pool_create(&pool, w->guests * (3 * w->pages + 2048), false);

	if (rc)
		return rc;
	rc = private_bytes(&before);
	begin = bench_now_ns();
	for (; n < w->guests && !rc; n++) {
		rc = shadow_rig_up_on(&rig[n], pool, w->pages, SHADOW_RIG_WINDOW, 1, 1);
		if (!rc)
			rc = touch(&rig[n]);
	}
	ns = bench_now_ns() - begin;
	if (!rc)
		rc = private_bytes(&after);
	while (n-- > 0)
		shadow_rig_down(&rig[n]);
	pool_destroy(pool);
	*cost = (struct cost){ (double)ns / 1e3 / w->guests, (after - before) / w->guests };
	return rc;
}

/* What a VMM pays without umbra: memory of its own, watched by a userfaultfd, and as many pages touched. */
static int bare_us(const struct world *w, double *us)
{
	uint64_t begin = bench_now_ns(), step = max_u64(w->pages / TOUCHED_PAGES, 1);
	size_t len = w->pages << PAGE_SHIFT;
	char *p[GUESTS_MAX];
	unsigned n = 0;
	int rc = 0;

	for (; n < w->guests && !rc; n++) {
		p[n] = mmap(NULL, len, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (p[n] == MAP_FAILED) {
			rc = -errno;
			break;
		}
		for (uint64_t page = 0; page < w->pages; page += step)
			((volatile char *)p[n])[page << PAGE_SHIFT] = 1;
	}
	*us = (double)(bench_now_ns() - begin) / 1e3 / w->guests;
	while (n-- > 0)
		munmap(p[n], len);
	return rc;
}

struct scale_case {
	const char *name;
	struct world umbra, reference;
	enum { TIME, TIME_BARE, BYTES } what;
	bool is_long;
	double target;
};

#define ONE                    \
	{                      \
		1, GUEST_PAGES \
	}
#define MIB(n)                   \
	{                        \
		1, (n)*MIB_PAGES \
	}

static const struct scale_case cases[] = {
	{ "1 guest, against plain mappings", ONE, ONE, TIME_BARE, false, 0 },
	{ "4 guests, against 1", { 4, GUEST_PAGES }, ONE, TIME, false, 1.25 },
	{ "16 guests, against 1", { 16, GUEST_PAGES }, ONE, TIME, false, 1.25 },
	{ "64 guests, against 1", { 64, GUEST_PAGES }, ONE, TIME, false, 1.25 },
	{ "64 MiB, against 1 MiB", MIB(64), MIB(1), TIME, false, 0 },
	{ "1 GiB, against 1 MiB", MIB(1024), MIB(1), TIME, false, 0 },
	{ "64 GiB, against 1 MiB", MIB(65536), MIB(1), TIME, false, 0 },
	{ "private memory, 4 guests, against 1", { 4, GUEST_PAGES }, ONE, BYTES, false, 1.25 },
	{ "private memory, 64 guests, against 1", { 64, GUEST_PAGES }, ONE, BYTES, false, 1.25 },
	{ "private memory, 64 MiB, against 1 MiB", MIB(64), MIB(1), BYTES, false, 0 },
	{ "private memory, 1 GiB, against 1 MiB", MIB(1024), MIB(1), BYTES, false, 0 },
	{ "private memory, 64 GiB, against 1 MiB", MIB(65536), MIB(1), BYTES, false, 0 },
};

static int figure(const struct scale_case *c, const struct world *w, double *value)
{
	struct cost cost = { 0, 0 };
	int rc = measure(w, &cost);

	*value = c->what == BYTES ? cost.bytes / 1024 : cost.us;
	return rc;
}

static int run_umbra(const void *arg, double *value)
{
	const struct scale_case *c = arg;

	return figure(c, &c->umbra, value);
}

static int run_reference(const void *arg, double *value)
{
	const struct scale_case *c = arg;

	return c->what == TIME_BARE ? bare_us(&c->reference, value)
				    : figure(c, &c->reference, value);
}

static int run(struct bench *b)
{
	int rc = 0;

	bench_warm_memory(GUESTS_MAX * TOUCHED_PAGES << PAGE_SHIFT);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]) && !rc; i++) {
		const struct scale_case *c = &cases[i];
		const struct bench_case bc = {
			.name = c->name,
			.umbra = run_umbra,
			.reference = run_reference,
			.arg = c,
			.unit = c->what == BYTES ? "KiB/guest" : "us/guest",
			.target = c->target,
		};

		rc = bench_run(b, &bc);
	}
	return rc;
}

const struct bench_group bench_scale = {
	.name = "scale",
	.what = "1 to 64 guests in a process, 1 MiB to 64 GiB (sparse) each; 256 pages touched",
	.reference = "what the case names",
	.unit = "us/guest",
	.cases = sizeof(cases) / sizeof(cases[0]),
	.run = run,
};
