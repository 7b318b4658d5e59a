// SPDX-License-Identifier: BSD-2-Clause
/*
 * fork: a child of a host mm that a guest and host threads have touched entirely, beside fork(2) of a process with as many
 * small pages. What the call takes, by size; of 1 GiB, the longest stop of a thread that stores to the memory all the
 * time, in the host view and in the guest's window, from before the fork until it has stored to some pages after it; and
 * the first store to a page. The guest is a thread in the window, as a vCPU without KVM.
 */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mmu/host/hostmm_actors.h"
#include "tests/bench/bench.h"
#include "tests/bench/shadow_rig.h"

#define PAGES (1UL << 18)
#define FIRST 2048u /* pages stored to after the fork */
#define AFTER 64u   /* a thread's stores after it that belong to its stop */

enum who { NOBODY, HOST, GUEST };

struct fork_case {
	const char *name;
	enum who who; /* stores meanwhile */
	bool first;   /* measure stores after it, in us; else the stop or the call, in ms */
};

static uint64_t pages; /* of either side, now */

static double since(uint64_t begin)
{
	return (double)(bench_now_ns() - begin) / 1e6;
}

/* ---- A thread that stores ---- */

static struct storer {
	pthread_t thread;
	char *base;
	sem_t begun;
	_Atomic uint64_t left; /* stores to go, once the fork is over */
	double longest;	       /* ms, from the first store to the last */
} storer;

#define FOR_EVER UINT64_MAX

static void *store(void *arg)
{
	struct storer *s = arg;
	uint64_t page = 0, last, left;

	((volatile char *)s->base)[0] = 1;
	last = bench_now_ns();
	sem_post(&s->begun);
	while ((left = atomic_load(&s->left))) {
		uint64_t now;

		page = (page + 1) % pages;
		((volatile char *)s->base)[page << PAGE_SHIFT] = 1;
		now = bench_now_ns();
		if ((double)(now - last) / 1e6 > s->longest)
			s->longest = (double)(now - last) / 1e6;
		last = now;
		if (left != FOR_EVER)
			atomic_fetch_sub(&s->left, 1);
	}
	return NULL;
}

/* It stores when this returns. */
static int storer_start(char *base)
{
	int rc;

	storer = (struct storer){ .base = base, .left = FOR_EVER };
	sem_init(&storer.begun, 0, 0);
	rc = pthread_create(&storer.thread, NULL, store, &storer);
	if (!rc)
		while (sem_wait(&storer.begun))
			;
	return -rc;
}

static double storer_end(void)
{
	atomic_store(&storer.left, AFTER);
	pthread_join(storer.thread, NULL);
	sem_destroy(&storer.begun);
	return storer.longest;
}

/* Microseconds a store. */
static double store_first(char *base)
{
	uint64_t begin = bench_now_ns();

	for (uint64_t page = 0; page < FIRST; page++)
		((volatile char *)base)[page << PAGE_SHIFT] = 1;
	return since(begin) * 1e3 / FIRST;
}

/* ---- umbra ---- */

static struct shadow_rig rig;

/* mmu/ makes addresses of numbers, as this does. */
static char *host_view(void)
{
	return (char *)(uintptr_t)rig.hva; /* NOLINT(performance-no-int-to-ptr) */
}

static char *guest_view(void)
{
	struct memslot slot;

	return shadow_slot(rig.shadow, 0, &slot) ? window_base(&slot) : NULL;
}

/* Everything is present, shown to host threads and mapped for the guest, at home and writable. */
static int touch_all(void)
{
	int rc = hostmm_migrate(rig.mm, rig.hva, shadow_rig_end(&rig), HOSTMM_MIGRATE_HOME);

	if (!rc)
		rc = hostmm_prefault(rig.mm, rig.hva, shadow_rig_end(&rig), true);
	return rc ? rc : shadow_rig_map(&rig);
}

static int umbra_fork(const void *arg, double *value)
{
	const struct hostmm_opts opts = { .fault_threads = 1 };
	const struct fork_case *c = arg;
	struct hostmm *child;
	uint64_t begin;
	int rc = touch_all();

	if (!rc && c->who)
		rc = storer_start(c->who == HOST ? host_view() : guest_view());
	if (rc)
		return rc;
	begin = bench_now_ns();
	rc = hostmm_fork(rig.mm, &opts, &child);
	*value = since(begin);
	if (c->who)
		*value = storer_end();
	if (rc)
		return rc;
	if (c->first)
		*value = store_first(host_view());
	hostmm_destroy(child);
	return 0;
}

/* ---- fork(2) ---- */

static char *memory;

static int system_fork(const void *arg, double *value)
{
	const struct fork_case *c = arg;
	int rc = 0, hold[2];
	uint64_t begin;
	pid_t pid;

	if (pipe(hold))
		return -errno;
	/* Alone again after the last child, and touched. */
	for (uint64_t page = 0; page < pages; page++)
		((volatile char *)memory)[page << PAGE_SHIFT] = 1;
	if (c->who)
		rc = storer_start(memory);
	if (rc)
		goto out;
	begin = bench_now_ns();
	pid = fork();
	if (!pid) {
		char byte;

		close(hold[1]);
		_exit(read(hold[0], &byte, 1) != 0);
	}
	*value = since(begin);
	if (c->who)
		*value = storer_end();
	if (pid < 0) {
		rc = -errno;
		goto out;
	}
	if (c->first)
		*value = store_first(memory);
out:
	close(hold[0]);
	close(hold[1]);
	if (!rc)
		waitpid(pid, NULL, 0);
	return rc;
}

/* ---- The group ---- */

static const struct fork_case cases[] = {
	{ "call, ms", NOBODY, false },
	{ "stop of a host thread, ms", HOST, false },
	{ "stop of a thread in the window, ms", GUEST, false },
	{ "first store, us", NOBODY, true },
};

static int run_case(struct bench *b, const char *name, const struct fork_case *c)
{
	return bench_run(b, &(struct bench_case){
				    .name = name,
				    .umbra = umbra_fork,
				    .reference = system_fork,
				    .arg = c,
			    });
}

/* Do @run with both sides of @npages. */
static int with_memory(struct bench *b, uint64_t npages, int (*run)(struct bench *b))
{
	int rc;

	pages = npages;
	bench_warm_memory(2 * pages * PAGE_SIZE);
	memory = mmap(NULL, pages * PAGE_SIZE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (memory == MAP_FAILED)
		return -errno;
	madvise(memory, pages * PAGE_SIZE, MADV_NOHUGEPAGE);
	rc = shadow_rig_up(&rig, pages, SHADOW_RIG_WINDOW | SHADOW_RIG_POPULATE);
	if (!rc)
		rc = window_start(rig.window, rig.shadow);
	if (!rc) {
		rc = run(b);
		window_stop(rig.window);
	}
	shadow_rig_down(&rig);
	munmap(memory, pages * PAGE_SIZE);
	return rc;
}

static int run_all(struct bench *b)
{
	int rc = 0;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]) && !rc; i++)
		rc = run_case(b, cases[i].name, &cases[i]);
	return rc;
}

static int run_call(struct bench *b)
{
	char name[32];

	snprintf(name, sizeof(name), "call, %lu MiB, ms", pages >> (20 - PAGE_SHIFT));
	return run_case(b, name, &cases[0]);
}

/* A quarter of memory for each side is as much as others can spare. */
static bool has_memory(uint64_t npages)
{
	return npages < (uint64_t)sysconf(_SC_AVPHYS_PAGES) / 4;
}

static int run(struct bench *b)
{
	int rc = with_memory(b, PAGES, run_all);

	for (uint64_t npages = PAGES / 16; !rc && npages <= PAGES * 4; npages *= 4)
		if (npages != PAGES && has_memory(npages) && !(bench_is_quick(b) && npages > PAGES))
			rc = with_memory(b, npages, run_call);
	return rc;
}

const struct bench_group bench_fork = {
	.name = "fork",
	.what = "fork of 1 GiB that a guest and host threads have touched entirely",
	.reference = "fork(2)",
	.unit = "as named",
	.cases = sizeof(cases) / sizeof(cases[0]) + 3,
	.share = 2,
	.run = run,
};
