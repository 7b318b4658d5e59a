// SPDX-License-Identifier: BSD-2-Clause
#include "tests/bench/shadow_devices.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <unistd.h>

#include "mmu/shadow/device.h"
#include "tests/bench/bench.h"
#include "tests/bench/crew.h"
#include "tests/bench/stats.h"

#define MOST   2u
#define ROUNDS 24u

/* In lines of their own: what a thread writes of its engine must not cost the other. */
struct engine {
	_Alignas(128) struct shadow_rig *rig;
	struct device *dev;
	hva_t hva;
	uint64_t pages;
	atomic_bool *stop;
	atomic_uint *faulting; /* engines at work */
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

/* A load from every page: each misses the TLB, the first of each block faults. */
static int load_all(void *ctx, unsigned thread)
{
	const struct engine *e = (const struct engine *)ctx + thread;
	uint64_t word;
	int rc = 0;

	for (uint64_t page = 0; page < e->pages && !rc; page++)
		rc = device_read(e->dev, e->hva + (page << PAGE_SHIFT), &word, sizeof(word));
	return rc;
}

/* The tables stay: to allocate them is the system's time. */
static int forget_all(void *ctx, unsigned thread)
{
	const struct engine *e = (const struct engine *)ctx + thread;

	return hostmm_zap(e->rig->mm, e->hva, e->hva + (e->pages << PAGE_SHIFT));
}

int devices_fault_ns(struct shadow_rig *r, unsigned n, unsigned around, double *value)
{
	struct engine engine[MOST] = { 0 };
	const struct crew_work w = { .work = load_all, .after = forget_all, .ctx = engine };
	uint64_t ns = 0;
	int rc = engines_up(engine, r, n, around);

	if (!rc)
		rc = crew_time(&w, n, ROUNDS, &ns);
	*value = (double)ns / (double)r->pages;
	engines_down(engine, n);
	return rc;
}

/* ---- The invalidator beside faults ---- */

enum { ZAPS = 20000 };

/* A fault for every page, again and again: each 2 MiB that are mapped are zapped. */
static void *run_on(void *arg)
{
	struct engine *e = arg;
	uint64_t word;

	atomic_fetch_add(e->faulting, 1);
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

/* One device's page after the other's, each mapped before it is zapped. */
static int zap_pages(struct engine *engine, unsigned n, struct devices_latency *latency)
{
	static double took[ZAPS];

	for (unsigned i = 0; i < ZAPS; i++) {
		const struct engine *e = &engine[i % n];
		hva_t hva = e->hva + ((i * 37UL % e->pages) << PAGE_SHIFT);
		uint64_t begin;
		int rc = shadow_fault(device_get_shadow(e->dev), hva >> PAGE_SHIFT, false);

		if (rc < 0)
			return rc;
		begin = bench_now_ns();
		rc = hostmm_zap(e->rig->mm, hva, hva + PAGE_SIZE);
		took[i] = (double)(bench_now_ns() - begin);
		if (rc)
			return rc;
	}
	stats_sort(took, ZAPS);
	latency->p50 = stats_quantile(took, ZAPS, 0.5);
	latency->p99 = stats_quantile(took, ZAPS, 0.99);
	latency->max = took[ZAPS - 1];
	return 0;
}

int devices_zap_latency(struct shadow_rig *r, bool crowded, struct devices_latency *latency)
{
	/* Else it is the scheduler's time that is measured. */
	unsigned n = sysconf(_SC_NPROCESSORS_ONLN) > 2 ? MOST : 1, started = 0;
	struct engine engine[MOST] = { 0 };
	pthread_t thread[MOST] = { 0 };
	atomic_uint faulting = 0;
	atomic_bool stop = false;
	int rc = engines_up(engine, r, n, 1);

	for (; started < n && !rc && crowded; started += !rc) {
		engine[started].stop = &stop;
		engine[started].faulting = &faulting;
		rc = -pthread_create(&thread[started], NULL, run_on, &engine[started]);
	}
	while (!rc && atomic_load(&faulting) < started)
		sched_yield();
	if (!rc)
		rc = zap_pages(engine, n, latency);
	atomic_store(&stop, true);
	for (unsigned i = 0; i < started; i++) {
		pthread_join(thread[i], NULL);
		rc = engine[i].rc ? engine[i].rc : rc;
	}
	engines_down(engine, n);
	return rc;
}
