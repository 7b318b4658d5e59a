// SPDX-License-Identifier: BSD-2-Clause
/*
 * ksm: merging equal pages, beside the kernel's ksmd at full speed on the same data; and what change_pte spares the readers
 * of merged pages.
 */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "mmu/host/ksm.h"
#include "tests/bench/bench.h"
#include "tests/bench/ksm_kernel.h"
#include "tests/bench/shadow_rig.h"

#define DISTINCT 1000u
#define PAIRS	 1000u
#define REPS	 64u

/* What a repetition has measured, all at once; the cases report a figure of it each. */
struct measured {
	struct ksm_cost cost[REPS];
	unsigned n;
};

struct merge_case {
	const char *name;
	size_t figure; /* its place in struct ksm_cost */
	uint64_t bytes;
	unsigned told_umbra, told_kernel;
};

static struct measured by_umbra, by_kernel;

/* A page's contents: one of DISTINCT, in no order. */
static void fill(uint64_t *word, uint64_t page)
{
	uint64_t kind = (page * 0x9e3779b97f4a7c15u >> 20) % DISTINCT;

	for (unsigned i = 0; i < PAGE_SIZE / sizeof(*word); i++)
		word[i] = (kind + 1) * 0x9e3779b97f4a7c15u + i;
}

static uint64_t process_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Until nothing more is to be saved: as ksmd, one pass to look, one to merge. */
static int merge_all(struct ksm *ksm, struct pool *pool, struct ksm_cost *cost)
{
	uint64_t begin = bench_now_ns(), cpu = process_ns();

	for (int pass = 0; pass < 2; pass++)
		ksm_pass(ksm);
	*cost = (struct ksm_cost){
		.wall_ms = (double)(bench_now_ns() - begin) / 1e6,
		.cpu_ms = (double)(process_ns() - cpu) / 1e6,
		.left_mib = (double)pool_used(pool) / 256,
	};
	return 0;
}

/* Memory of a guest that has touched it all: every page is in the table and in the window. */
static int umbra_merge(uint64_t bytes, struct ksm_cost *cost)
{
	static uint64_t page[PAGE_SIZE / sizeof(uint64_t)];
	uint64_t pages = bytes / PAGE_SIZE;
	struct ksm *ksm = NULL;
	struct shadow_rig r = { .pages = 0 };
	int rc = shadow_rig_up(&r, pages, SHADOW_RIG_WINDOW | SHADOW_RIG_POPULATE);

	for (uint64_t i = 0; !rc && i < pages; i++) {
		fill(page, i);
		rc = hostmm_write(r.mm, r.hva + i * PAGE_SIZE, page, sizeof(page));
	}
	if (!rc)
		rc = shadow_rig_map(&r);
	if (!rc)
		rc = ksm_create(&ksm, r.pool, &(struct ksm_opts){ 0 });
	if (!rc)
		rc = ksm_register(ksm, r.mm, r.hva, shadow_rig_end(&r));
	if (!rc)
		rc = merge_all(ksm, r.pool, cost);
	if (ksm)
		ksm_destroy(ksm);
	shadow_rig_down(&r);
	return rc;
}

static int kernel_merge(uint64_t bytes, struct ksm_cost *cost)
{
	uint64_t *data = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			      0);
	int rc;

	if (data == MAP_FAILED)
		return -errno;
	for (uint64_t i = 0; i < bytes / PAGE_SIZE; i++)
		fill(data + i * (PAGE_SIZE / sizeof(*data)), i);
	rc = ksm_kernel_merge(data, bytes, DISTINCT, cost);
	munmap(data, bytes);
	ksm_kernel_forget();
	return rc;
}

static int report(struct measured *m, unsigned *told, size_t figure, double *value)
{
	struct ksm_cost cost = m->cost[*told % REPS];

	++*told;
	memcpy(value, (char *)&cost + figure, sizeof(*value));
	return 0;
}

static int umbra_figure(const void *arg, double *value)
{
	struct merge_case *c = (struct merge_case *)(uintptr_t)arg;
	int rc = 0;

	if (c->told_umbra == by_umbra.n)
		rc = umbra_merge(c->bytes, &by_umbra.cost[by_umbra.n++ % REPS]);
	return rc ? rc : report(&by_umbra, &c->told_umbra, c->figure, value);
}

static int kernel_figure(const void *arg, double *value)
{
	struct merge_case *c = (struct merge_case *)(uintptr_t)arg;
	int rc = 0;

	if (c->told_kernel == by_kernel.n)
		rc = kernel_merge(c->bytes, &by_kernel.cost[by_kernel.n++ % REPS]);
	return rc ? rc : report(&by_kernel, &c->told_kernel, c->figure, value);
}

/* ---- Readers of young pages ---- */

struct readers {
	struct pool *pool;
	struct hostmm *mm;
	struct window *window;
	struct shadow *shadow;
	struct ksm *ksm;
	hva_t hva;
	volatile uint64_t *word; /* in the window: this thread is the guest */
};

static int readers_up(struct readers *r, bool no_change_pte)
{
	const struct hostmm_opts host = { .fault_threads = 1 };
	const struct window_opts window = { .fault_threads = 1 };
	const struct shadow_opts opts = { .fault_around = 1, .no_change_pte = no_change_pte };
	uint64_t pages = 2 * PAIRS;
	struct memslot slot;
	int rc;

	memset(r, 0, sizeof(*r));
	rc = pool_create(&r->pool, 2 * pages + 2048, false);
	if (!rc)
		rc = hostmm_create(&r->mm, r->pool, &host);
	if (!rc)
		rc = hostmm_map(r->mm, pages, HOSTMM_PROT_READ | HOSTMM_PROT_WRITE, NULL, NULL,
				&r->hva);
	if (!rc)
		rc = window_create(&r->window, r->pool, &window);
	if (!rc)
		rc = shadow_create(&r->shadow, r->mm, &window_ops, r->window, &opts);
	if (!rc)
		rc = shadow_add_slot(r->shadow, 0, 0, pages, r->hva, 0);
	if (!rc)
		rc = window_start(r->window, r->shadow);
	if (!rc)
		rc = ksm_create(&r->ksm, r->pool, &(struct ksm_opts){ 0 });
	if (!rc)
		rc = ksm_register(r->ksm, r->mm, r->hva, r->hva + (pages << PAGE_SHIFT));
	if (!rc && !shadow_slot(r->shadow, 0, &slot))
		rc = -ENXIO;
	if (!rc)
		r->word = window_base(&slot);
	return rc;
}

static void readers_down(struct readers *r)
{
	if (r->ksm)
		ksm_destroy(r->ksm);
	if (r->window)
		window_stop(r->window);
	if (r->shadow)
		shadow_destroy(r->shadow);
	if (r->window)
		window_destroy(r->window);
	if (r->mm)
		hostmm_destroy(r->mm);
	if (r->pool)
		pool_destroy(r->pool);
}

static int read_all(const struct readers *r)
{
	for (uint64_t page = 0; page < 2 * PAIRS; page++)
		if (r->word[page * (PAGE_SIZE / 8)] != page / 2)
			return -EIO;
	return 0;
}

static int refaults(bool no_change_pte, double *value)
{
	struct shadow_stats before, after;
	struct ksm_stats stats;
	struct readers r;
	int rc = readers_up(&r, no_change_pte);

	for (uint64_t page = 0; !rc && page < 2 * PAIRS; page++)
		r.word[page * (PAGE_SIZE / 8)] = page / 2;
	if (!rc) {
		ksm_pass(r.ksm);
		rc = read_all(&r); /* they are young again */
	}
	if (!rc) {
		shadow_get_stats(r.shadow, &before);
		ksm_pass(r.ksm);
		rc = read_all(&r);
		shadow_get_stats(r.shadow, &after);
		ksm_get_stats(r.ksm, &stats);
		if (!rc && stats.merged != PAIRS)
			rc = -EPROTO;
		*value = (double)(after.faults - before.faults) * 1000 / (double)stats.merged;
	}
	readers_down(&r);
	return rc;
}

static int refaults_told(const void *arg, double *value)
{
	(void)arg;
	return refaults(false, value);
}

static int refaults_invalidated(const void *arg, double *value)
{
	(void)arg;
	return refaults(true, value);
}

static int run_merges(struct bench *b)
{
	static struct merge_case cases[] = {
		{ .name = "wall, ms", .figure = offsetof(struct ksm_cost, wall_ms) },
		{ .name = "CPU, ms", .figure = offsetof(struct ksm_cost, cpu_ms) },
		{ .name = "memory left, MiB", .figure = offsetof(struct ksm_cost, left_mib) },
	};
	unsigned mib = bench_is_quick(b) ? 64 : 512;
	char name[64];
	int rc = 0;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]) && !rc; i++) {
		const struct bench_case c = {
			.name = name,
			.umbra = umbra_figure,
			.reference = kernel_figure,
			.arg = &cases[i],
		};

		cases[i].bytes = (uint64_t)mib << 20;
		snprintf(name, sizeof(name), "merge %u MiB, %u distinct: %s", mib, DISTINCT,
			 cases[i].name);
		rc = bench_run(b, &c);
	}
	return rc;
}

static int run(struct bench *b)
{
	const struct bench_case young = {
		.name = "refaults per 1,000 merges of young pages",
		.umbra = refaults_told,
		.reference = refaults_invalidated,
	};
	int rc = bench_run(b, &young);

	if (rc)
		return rc;
	rc = ksm_kernel_up();
	if (rc == -ENODEV)
		fprintf(stderr, "bench: /sys/kernel/mm/ksm cannot be set, or is in use already\n");
	if (rc)
		return rc;
	bench_warm_memory((uint64_t)(bench_is_quick(b) ? 64 : 512) << 21);
	rc = run_merges(b);
	ksm_kernel_down();
	return rc;
}

const struct bench_group bench_ksm = {
	.name = "ksm",
	.what = "merging equal pages",
	.reference = "ksmd; invalidate-only",
	.unit = "as named",
	.cases = 4,
	.run = run,
};
