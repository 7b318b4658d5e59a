// SPDX-License-Identifier: BSD-2-Clause
/* Aging, which takes no lock, beside a slot that moves and engines that store: no store is lost, and marks go on working. */
#include <errno.h>
#include <stdatomic.h>

#include "mmu/host/hostmm_walk.h"
#include "tests/unit/device.h"

#define MOVES 100

static struct rig r;
static struct device *dev;
static struct shadow *shadow;
static gfn_t home;
static atomic_bool stop;
static _Atomic uint64_t adds;

static bool stopped(void)
{
	return atomic_load_explicit(&stop, memory_order_relaxed);
}

static void *move(void *arg)
{
	for (unsigned i = 0; i < MOVES; i++)
		expect(!shadow_move_slot(shadow, 0, home + (i % 2 ? 0 : PAGES)));
	atomic_store(&stop, true);
	return arg;
}

/* As the primary asks, and as who wants a working set does, at both places. */
static void *age(void *arg)
{
	static const enum hostmm_age how[] = { HOSTMM_AGE_TEST, HOSTMM_AGE_CLEAR,
					       HOSTMM_AGE_CLEAR_FLUSH };
	uint64_t used;

	for (unsigned i = 0; !stopped(); i++) {
		(void)hostmm_age(r.mm, r.hva, rig_hva(&r, PAGES), how[i % 3]);
		expect(!shadow_age(shadow, home, 2 * PAGES, NULL, &used));
		expect(used <= 2 * PAGES);
	}
	return arg;
}

/* The slot is at one of the two places, or at none. */
static void *add(void *arg)
{
	for (uint64_t i = 0; !stopped(); i++) {
		int rc = device_add(dev, (home + i % (2 * PAGES)) << PAGE_SHIFT, 1, NULL);

		expect(!rc || rc == -ENXIO, "%d", rc);
		if (!rc)
			atomic_fetch_add_explicit(&adds, 1, memory_order_relaxed);
	}
	return arg;
}

static void beside_a_move(const char *profile)
{
	void *(*const run[])(void *) = { move, age, age, add, add };
	pthread_t thread[5];
	uint64_t sum = 0;

	up(&r, &dev, profile);
	shadow = device_get_shadow(dev);
	home = r.hva >> PAGE_SHIFT;
	atomic_store(&stop, false);
	atomic_store(&adds, 0);
	for (unsigned i = 0; i < 5; i++)
		thread[i] = rig_thread(run[i], NULL);
	for (unsigned i = 0; i < 5; i++)
		rig_join(thread[i]);
	for (uint64_t page = 0; page < PAGES; page++)
		sum += host_load(&r, page);
	check_eq(sum, atomic_load(&adds));

	/* AGE_CLEAR flushes nothing: what a TLB goes on with is not seen to be used, until it is looked up anew. */
	check_eq(hostmm_zap(r.mm, rig_hva(&r, 3), rig_hva(&r, 4)), 0);
	(void)load(&r, dev, 3);
	(void)hostmm_age(r.mm, r.hva, rig_hva(&r, PAGES), HOSTMM_AGE_CLEAR_FLUSH);
	(void)load(&r, dev, 3);
	check_eq(hostmm_age(r.mm, r.hva, rig_hva(&r, PAGES), HOSTMM_AGE_TEST), 1);
	down(&r, dev);
}

UTEST(device_move, beside_aging_by_a_bits)
{
	beside_a_move("kvm");
}

UTEST(device_move, beside_aging_by_tracked_leaves)
{
	beside_a_move("kvm-no-ad");
}
