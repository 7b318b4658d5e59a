// SPDX-License-Identifier: BSD-2-Clause
/*
 * shadow: what the secondary costs by itself. Below the shadow is nothing, so its map, zap and write-protect are all
 * but the system call; the reference is UFFDIO_CONTINUE of the same frames in bulk, 512 pages a call.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "mmu/host/uffd.h"
#include "mmu/shadow/device.h"
#include "tests/bench/bench.h"
#include "tests/bench/shadow_rig.h"

#define OWN_PAGES  (64UL << 8)	 /* 64 MiB */
#define LONG_PAGES (1024UL << 8) /* 1 GiB */

/* The frames of a rig once more, in a mapping that userfaultfd watches and nobody else knows. */
struct bare {
	struct uffd uffd;
	char *base; /* NULL: not mapped */
	size_t len;
};

static int bare_up(struct bare *bare, struct shadow_rig *r)
{
	unsigned prot;
	fn_t home;
	int rc = hostmm_home(r->mm, r->hva, r->pages, &home, &prot);

	*bare = (struct bare){ .len = r->pages << PAGE_SHIFT };
	if (rc)
		return rc;
	rc = uffd_open(&bare->uffd);
	if (rc)
		return rc;
	bare->base = mmap(NULL, bare->len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
			  pool_fd(r->pool), (off_t)(home << PAGE_SHIFT));
	if (bare->base == MAP_FAILED) {
		rc = -errno;
		bare->base = NULL;
		uffd_close(&bare->uffd);
		return rc;
	}
	return uffd_register(&bare->uffd, bare->base, bare->len);
}

static void bare_down(struct bare *bare)
{
	if (!bare->base)
		return;
	munmap(bare->base, bare->len);
	uffd_close(&bare->uffd);
}

static int bare_map(struct bare *bare)
{
	const size_t step = SHADOW_AROUND_MAX << PAGE_SHIFT;

	for (size_t at = 0; at < bare->len; at += step) {
		int64_t done = uffd_continue(&bare->uffd, bare->base + at, step, false);

		if (done != (int64_t)step)
			return done < 0 ? (int)done : -EIO;
	}
	return 0;
}

static int bare_zap(struct bare *bare)
{
	return madvise(bare->base, bare->len, MADV_DONTNEED) ? -errno : 0;
}

struct sides {
	struct shadow_rig rig;
	struct bare bare;
};

static double per_page(const struct sides *s, uint64_t begin)
{
	return (double)(bench_now_ns() - begin) / (double)s->rig.pages;
}

static int bare_map_ns(const void *arg, double *value)
{
	struct sides *s = (struct sides *)(uintptr_t)arg;
	uint64_t begin = bench_now_ns();
	int rc = bare_map(&s->bare);

	*value = per_page(s, begin);
	return rc ? rc : bare_zap(&s->bare);
}

static int bare_zap_ns(const void *arg, double *value)
{
	struct sides *s = (struct sides *)(uintptr_t)arg;
	int rc = bare_map(&s->bare);
	uint64_t begin = bench_now_ns();

	if (!rc)
		rc = bare_zap(&s->bare);
	*value = per_page(s, begin);
	return rc;
}

/* ---- The library: map, zap, write-protect ---- */

static int zap_all(struct shadow_rig *r)
{
	return hostmm_zap(r->mm, r->hva, shadow_rig_end(r));
}

static int own_map_ns(const void *arg, double *value)
{
	struct sides *s = (struct sides *)(uintptr_t)arg;
	uint64_t begin = bench_now_ns();
	int rc = shadow_rig_map(&s->rig);

	*value = per_page(s, begin);
	return rc ? rc : zap_all(&s->rig);
}

static int own_zap_ns(const void *arg, double *value)
{
	struct sides *s = (struct sides *)(uintptr_t)arg;
	int rc = shadow_rig_map(&s->rig);
	uint64_t begin = bench_now_ns();

	if (!rc)
		rc = zap_all(&s->rig);
	*value = per_page(s, begin);
	return rc;
}

static int own_wrprotect_ns(const void *arg, double *value)
{
	struct sides *s = (struct sides *)(uintptr_t)arg;
	int rc = shadow_rig_map(&s->rig);
	uint64_t begin = bench_now_ns();

	if (!rc)
		rc = hostmm_wrprotect(s->rig.mm, s->rig.hva, shadow_rig_end(&s->rig));
	*value = per_page(s, begin);
	return rc ? rc : zap_all(&s->rig);
}

/* ---- Two threads on devices, each its own range ---- */

struct engine {
	struct shadow_rig *rig;
	pthread_barrier_t *end_all;
	atomic_uint *running; /* threads that are not ready yet */
	uint64_t first, pages;
	uint64_t begin, end; /* ns */
	int rc;
};

/* A load from every page: each misses the TLB, most fault. */
static void *run_engine(void *arg)
{
	struct engine *e = arg;
	hva_t hva = e->rig->hva + (e->first << PAGE_SHIFT);
	struct device *dev;
	uint64_t word;

	e->rc = device_create(&dev, device_profile("kvm"), e->rig->mm, hva, e->pages);
	/* Awake already: being woken takes as long as thousands of pages. */
	atomic_fetch_sub(e->running, 1);
	while (atomic_load(e->running))
		;
	e->begin = bench_now_ns();
	for (uint64_t page = 0; page < e->pages && !e->rc; page++)
		e->rc = device_read(dev, hva + (page << PAGE_SHIFT), &word, sizeof(word));
	e->end = bench_now_ns();
	pthread_barrier_wait(e->end_all);
	if (!e->rc)
		device_destroy(dev);
	return NULL;
}

/* Nanoseconds a page when @threads share the pages. */
static int engines_ns(struct shadow_rig *r, unsigned threads, double *value)
{
	struct engine engine[2];
	pthread_t thread[2];
	pthread_barrier_t end_all;
	atomic_uint running = threads;
	uint64_t begin = UINT64_MAX, end = 0;
	int rc = 0;

	pthread_barrier_init(&end_all, NULL, threads);
	for (unsigned i = 0; i < threads; i++) {
		engine[i] = (struct engine){ .rig = r,
					     .end_all = &end_all,
					     .running = &running,
					     .first = r->pages / threads * i,
					     .pages = r->pages / threads };
		if (pthread_create(&thread[i], NULL, run_engine, &engine[i]))
			abort();
	}
	for (unsigned i = 0; i < threads; i++) {
		pthread_join(thread[i], NULL);
		begin = min_u64(begin, engine[i].begin);
		end = max_u64(end, engine[i].end);
		rc = engine[i].rc ? engine[i].rc : rc;
	}
	pthread_barrier_destroy(&end_all);
	*value = (double)(end - begin) / (double)r->pages;
	return rc;
}

static int two_engines_ns(const void *arg, double *value)
{
	struct sides *s = (struct sides *)(uintptr_t)arg;

	return engines_ns(&s->rig, 2, value);
}

static int one_engine_ns(const void *arg, double *value)
{
	struct sides *s = (struct sides *)(uintptr_t)arg;

	return engines_ns(&s->rig, 1, value);
}

/* ---- The invalidator beside faults ---- */

struct faulter {
	struct shadow_rig *rig;
	atomic_bool stop;
};

/* Everything but page 0, again and again: each round begins with a zap of it all. */
static void *run_faulter(void *arg)
{
	struct faulter *f = arg;
	struct shadow_rig *r = f->rig;

	while (!atomic_load_explicit(&f->stop, memory_order_relaxed)) {
		for (gfn_t gfn = SHADOW_AROUND_MAX; gfn < r->pages; gfn += SHADOW_AROUND_MAX)
			if (shadow_fault(r->shadow, gfn, true) < 0)
				abort();
		if (hostmm_zap(r->mm, r->hva + (SHADOW_AROUND_MAX << PAGE_SHIFT),
			       shadow_rig_end(r)))
			abort();
	}
	return NULL;
}

enum { BRACKETS = 2000 };

static int by_time(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* The 99th percentile of a zap of page 0, in nanoseconds. */
static int zap_p99(struct shadow_rig *r, double *value)
{
	static uint64_t took[BRACKETS];

	for (unsigned i = 0; i < BRACKETS; i++) {
		uint64_t begin = bench_now_ns();
		int rc = hostmm_zap(r->mm, r->hva, r->hva + PAGE_SIZE);

		if (rc)
			return rc;
		took[i] = bench_now_ns() - begin;
	}
	qsort(took, BRACKETS, sizeof(took[0]), by_time);
	*value = (double)took[BRACKETS * 99 / 100];
	return 0;
}

static int crowded_p99(const void *arg, double *value)
{
	struct sides *s = (struct sides *)(uintptr_t)arg;
	struct faulter f = { .rig = &s->rig };
	pthread_t thread;
	int rc = -pthread_create(&thread, NULL, run_faulter, &f);

	if (rc)
		return rc;
	rc = zap_p99(&s->rig, value);
	atomic_store(&f.stop, true);
	pthread_join(thread, NULL);
	return rc;
}

static int lonely_p99(const void *arg, double *value)
{
	struct sides *s = (struct sides *)(uintptr_t)arg;

	return zap_p99(&s->rig, value);
}

/* ---- Cases ---- */

struct shadow_case {
	const char *name;
	uint64_t pages;
	unsigned flags;
	bool quick;
	int (*umbra)(const void *arg, double *value);
	int (*reference)(const void *arg, double *value);
};

static const struct shadow_case cases[] = {
	{ "map, against CONTINUE", OWN_PAGES, 0, true, own_map_ns, bare_map_ns },
	{ "zap, against CONTINUE", OWN_PAGES, 0, true, own_zap_ns, bare_map_ns },
	{ "write-protect, against CONTINUE", OWN_PAGES, 0, true, own_wrprotect_ns, bare_map_ns },
	{ "map large, against CONTINUE", OWN_PAGES, SHADOW_RIG_LARGE, true, own_map_ns,
	  bare_map_ns },
	{ "zap large, against CONTINUE", OWN_PAGES, SHADOW_RIG_LARGE, true, own_zap_ns,
	  bare_map_ns },
	{ "zap 1 GiB, against MADV_DONTNEED", LONG_PAGES, SHADOW_RIG_WINDOW, false, own_zap_ns,
	  bare_zap_ns },
	{ "2 devices' faults, against 1", OWN_PAGES, 0, true, two_engines_ns, one_engine_ns },
	{ "p99 zap beside faults, against alone", OWN_PAGES, 0, true, crowded_p99, lonely_p99 },
};

static int run_case(struct bench *b, const struct shadow_case *c)
{
	struct sides s = { 0 };
	struct bench_case bc = { .name = c->name,
				 .umbra = c->umbra,
				 .reference = c->reference,
				 .arg = &s };
	int rc = shadow_rig_up(&s.rig, c->pages, c->flags | SHADOW_RIG_POPULATE);

	if (!rc)
		rc = bare_up(&s.bare, &s.rig);
	if (!rc)
		rc = bench_run(b, &bc);
	bare_down(&s.bare);
	shadow_rig_down(&s.rig);
	return rc;
}

static int run(struct bench *b)
{
	int rc = 0;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]) && !rc; i++)
		if (cases[i].quick || !bench_is_quick(b))
			rc = run_case(b, &cases[i]);
	return rc;
}

const struct bench_group bench_shadow = {
	.name = "shadow",
	.what = "the secondary's own cost a page",
	.reference = "what the case names",
	.unit = "ns/page (p99: ns)",
	.run = run,
};
