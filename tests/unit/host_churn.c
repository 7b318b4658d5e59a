// SPDX-License-Identifier: BSD-2-Clause
/*
 * All operations of the primary that keep contents, at once, under stores of host threads and of devices: every
 * increment is counted exactly once (A24, A27).
 */
#include <errno.h>
#include <stdlib.h>

#include "mmu/host/hostmm_actors.h"
#include "mmu/host/hostmm_device.h"
#include "mmu/host/hostmm_reclaim.h"
#include "mmu/shadow/device.h"
#include "tests/rig.h"
#include "tests/test.h"

#define PAGES	512UL
#define BUSY	48UL /* pages with counters, spread over the block */
#define DEVICES 3
#define ACTS	9

static const char *const profile[DEVICES] = { "kvm", "hmm", "xpmem" };

static struct rig r;
static struct device *dev[DEVICES];
static atomic_bool stop;
static _Atomic uint64_t added[BUSY], done[ACTS], refused;

static void up(void)
{
	atomic_store(&stop, false);
	rig_up(&r, &(struct rig_opts){ .pages = PAGES,
				       .pool_frames = 16 * PAGES,
				       .canary = true,
				       .no_slot = true });
	check_eq(pool_swapon(r.pool, -1, 2 * PAGES), 0);
	for (unsigned d = 0; d < DEVICES; d++)
		check_eq(device_create(&dev[d], device_profile(profile[d]), r.mm, r.hva, PAGES), 0);
}

static void down(void)
{
	if (!r.pool)
		return;
	for (unsigned d = 0; d < DEVICES && dev[d]; d++)
		device_destroy(dev[d]);
	rig_down(&r);
}

static uint64_t page_of(uint64_t counter)
{
	return counter * PAGES / BUSY;
}

static void *device_adds(void *arg)
{
	uint64_t state = 77 + (uintptr_t)arg;

	while (!atomic_load(&stop)) {
		uint64_t i = rig_random(&state) % BUSY;

		expect(!device_add(arg, rig_hva(&r, page_of(i)), 1, NULL));
		atomic_fetch_add(&added[i], 1);
	}
	return NULL;
}

static void *host_adds(void *arg)
{
	uint64_t state = 99;

	(void)arg;
	while (!atomic_load(&stop)) {
		uint64_t i = rig_random(&state) % BUSY;

		rig_add(rig_word(r.host, page_of(i), 0), 1);
		atomic_fetch_add(&added[i], 1);
	}
	return NULL;
}

static int fork_and_forget(void)
{
	const struct hostmm_opts opts = { .fault_threads = 1 };
	struct hostmm *child;
	int rc = hostmm_fork(r.mm, &opts, &child);

	if (!rc)
		hostmm_destroy(child);
	return rc;
}

static int act(unsigned what, hva_t start, hva_t end)
{
	switch (what) {
	case 0:
		return hostmm_collapse(r.mm, r.hva);
	case 1:
		return hostmm_split_huge(r.mm, r.hva, HOSTMM_SPLIT_LATE);
	case 2:
		return hostmm_migrate_to_device(r.mm, start, end, dev[1 + start / PAGE_SIZE % 2],
						NULL);
	case 3:
		return hostmm_make_exclusive(r.mm, start, end, dev[1 + start / PAGE_SIZE % 2],
					     NULL);
	case 4:
		return hostmm_migrate(r.mm, start, end, HOSTMM_MIGRATE_AWAY);
	case 5:
		return hostmm_migrate(r.mm, start, end, HOSTMM_MIGRATE_HOME);
	case 6:
		return hostmm_protect(r.mm, start, end, HOSTMM_PROT_READ | HOSTMM_PROT_WRITE)
			       ?: hostmm_wrprotect(r.mm, start, end);
	case 7:
		return hostmm_reclaim(r.mm, start, end, NULL);
	default:
		return fork_and_forget();
	}
}

static void *acts(void *arg)
{
	uint64_t state = (uintptr_t)arg;

	while (!atomic_load(&stop)) {
		unsigned what = rig_random(&state) % ACTS;
		uint64_t page = rig_random(&state) % PAGES, n = 1 + rig_random(&state) % 24;
		int rc = act(what, rig_hva(&r, page), rig_hva(&r, min_u64(page + n, PAGES)));

		/* Somebody has a frame, or shares all of them: these say so, and nothing else. */
		if (rc && rc != -EAGAIN && !(what == 2 && rc == -ENOENT))
			test_note_failure(__FILE__, __LINE__, "act", " %u: %d", what, rc);
		atomic_fetch_add(rc ? &refused : &done[what], 1);
	}
	return NULL;
}

/* A busy host may need longer than the time that was given. */
static bool all_done(void)
{
	for (unsigned i = 0; i < 8; i++)
		if (!atomic_load(&done[i]))
			return false;
	return true;
}

UTEST(host_churn, no_increment_is_lost, .init = up, .fini = down)
{
	pthread_t thread[DEVICES + 3];
	double end = rig_now() + rig_seconds(2);
	unsigned n = 0;

	for (unsigned d = 0; d < DEVICES; d++)
		thread[n++] = rig_thread(device_adds, dev[d]);
	thread[n++] = rig_thread(host_adds, NULL);
	thread[n++] = rig_thread(acts, (void *)12345);
	thread[n++] = rig_thread(acts, (void *)54321);
	while (rig_now() < end || !all_done())
		sched_yield();
	atomic_store(&stop, true);
	while (n)
		rig_join(thread[--n]);
	for (unsigned d = 0; d < DEVICES; d++)
		check_eq(device_check(dev[d], NULL, NULL), 0);
	for (uint64_t i = 0; i < BUSY; i++) {
		uint64_t value;

		check_eq(hostmm_read(r.mm, rig_hva(&r, page_of(i)), &value, sizeof(value)), 0);
		check_eq(value, atomic_load(&added[i]));
	}
}
