// SPDX-License-Identifier: BSD-2-Clause
#include "tests/bench/shadow_devices.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "mmu/shadow/device.h"
#include "tests/bench/bench.h"

#define MOST 2u

struct engine {
	struct shadow_rig *rig;
	struct device *dev;
	hva_t hva;
	uint64_t pages;
	atomic_uint *starting; /* threads that are not ready yet */
	atomic_bool *stop;
	uint64_t begin, end; /* ns */
	int rc;
};

/* @n of them, each with its part of the pages. */
static int engines_up(struct engine *engine, struct shadow_rig *r, unsigned n, unsigned around)
{
	static struct device_profile profile;
	int rc = 0;

	profile = *device_profile("kvm");
	profile.fault_around = around;
	profile.max_level = 1;
	for (unsigned i = 0; i < n; i++) {
		engine[i] = (struct engine){ .rig = r, .pages = r->pages / n };
		engine[i].hva = r->hva + (i * engine[i].pages << PAGE_SHIFT);
	}
	for (unsigned i = 0; i < n && !rc; i++)
		rc = device_create(&engine[i].dev, &profile, r->mm, engine[i].hva, engine[i].pages);
	return rc;
}

static void engines_down(struct engine *engine, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (engine[i].dev)
			device_destroy(engine[i].dev);
}

static void start(struct engine *engine, unsigned n, atomic_uint *starting, void *(*fn)(void *),
		  pthread_t *thread)
{
	atomic_store(starting, n);
	for (unsigned i = 0; i < n; i++) {
		engine[i].starting = starting;
		if (pthread_create(&thread[i], NULL, fn, &engine[i]))
			abort();
	}
}

/* Awake already: being woken takes as long as thousands of pages. */
static void await_others(const struct engine *e)
{
	atomic_fetch_sub(e->starting, 1);
	while (atomic_load(e->starting))
		;
}

/* A load from every page: each misses the TLB, one of 16 faults. */
static void *run_once(void *arg)
{
	struct engine *e = arg;
	uint64_t word;

	await_others(e);
	e->begin = bench_now_ns();
	for (uint64_t page = 0; page < e->pages && !e->rc; page++)
		e->rc = device_read(e->dev, e->hva + (page << PAGE_SHIFT), &word, sizeof(word));
	e->end = bench_now_ns();
	return NULL;
}

int devices_fault_ns(struct shadow_rig *r, unsigned n, double *value)
{
	struct engine engine[MOST] = { 0 };
	pthread_t thread[MOST] = { 0 };
	atomic_uint starting;
	uint64_t begin = UINT64_MAX, end = 0;
	int rc = engines_up(engine, r, n, 16);

	if (!rc) {
		start(engine, n, &starting, run_once, thread);
		for (unsigned i = 0; i < n; i++) {
			pthread_join(thread[i], NULL);
			begin = min_u64(begin, engine[i].begin);
			end = max_u64(end, engine[i].end);
			rc = engine[i].rc ? engine[i].rc : rc;
		}
	}
	engines_down(engine, n);
	*value = (double)(end - begin) / (double)r->pages;
	return rc;
}

/* ---- The invalidator beside faults ---- */

enum { ZAPS = 20000 };

/* A fault for every page, again and again: each 2 MiB that are mapped are zapped. */
static void *run_on(void *arg)
{
	struct engine *e = arg;
	uint64_t word;

	await_others(e);
	for (uint64_t n = 0; !e->rc && !atomic_load_explicit(e->stop, memory_order_relaxed); n++) {
		uint64_t page = n % e->pages;
		hva_t hva = e->hva + (page << PAGE_SHIFT);

		e->rc = device_read(e->dev, hva, &word, sizeof(word));
		if (!e->rc && page % 512 == 511)
			e->rc = hostmm_zap(e->rig->mm, hva - (511UL << PAGE_SHIFT),
					   hva + PAGE_SIZE);
	}
	return NULL;
}

static int by_time(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* One device's page after the other's, each mapped before it is zapped. */
static int zap_pages(struct engine *engine, unsigned n, double *value)
{
	static uint64_t took[ZAPS];
	size_t at;

	for (unsigned i = 0; i < ZAPS; i++) {
		const struct engine *e = &engine[i % n];
		hva_t hva = e->hva + ((i * 37UL % e->pages) << PAGE_SHIFT);
		uint64_t begin;
		int rc = shadow_fault(device_get_shadow(e->dev), hva >> PAGE_SHIFT, false);

		if (rc < 0)
			return rc;
		begin = bench_now_ns();
		rc = hostmm_zap(e->rig->mm, hva, hva + PAGE_SIZE);
		took[i] = bench_now_ns() - begin;
		if (rc)
			return rc;
	}
	qsort(took, ZAPS, sizeof(took[0]), by_time);
	at = ZAPS * 99 / 100;
	*value = (double)took[at];
	return 0;
}

int devices_zap_p99(struct shadow_rig *r, bool crowded, double *value)
{
	/* Else it is the scheduler's time that is measured. */
	unsigned n = sysconf(_SC_NPROCESSORS_ONLN) > 2 ? MOST : 1;
	struct engine engine[MOST] = { 0 };
	pthread_t thread[MOST] = { 0 };
	atomic_uint starting;
	atomic_bool stop = false;
	int rc = engines_up(engine, r, n, 1);

	for (unsigned i = 0; i < n; i++)
		engine[i].stop = &stop;
	if (!rc && crowded) {
		start(engine, n, &starting, run_on, thread);
		while (atomic_load(&starting))
			;
	}
	if (!rc)
		rc = zap_pages(engine, n, value);
	atomic_store(&stop, true);
	for (unsigned i = 0; i < n && thread[i]; i++) {
		pthread_join(thread[i], NULL);
		rc = engine[i].rc ? engine[i].rc : rc;
	}
	engines_down(engine, n);
	return rc;
}
