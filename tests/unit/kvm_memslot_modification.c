// SPDX-License-Identifier: BSD-2-Clause
/*
 * After KVM's memslot_modification_stress_test: a dummy slot is added and removed while vCPUs fault elsewhere. There the
 * memory of the vCPUs is touched once; here it is zapped meanwhile, so that they fault all the time.
 */
#include "mmu/shadow/device.h"
#include "mmu/shadow/shadow_priv.h"
#include "tests/rig.h"
#include "tests/test.h"

#define PAGES	  64
#define VCPUS	  2
#define DUMMY_GFN 0x100000UL
#define DUMMY_ID  7

static struct rig r;
static struct device *device;
static atomic_bool stop;
static _Atomic uint64_t expected[PAGES];

static void up(void)
{
	rig_up(&r, &(struct rig_opts){ .pages = PAGES, .canary = true });
	check_eq(device_create(&device, device_profile("kvm"), r.mm, r.hva, PAGES), 0);
	atomic_store(&stop, false);
	for (uint64_t page = 0; page < PAGES; page++) {
		atomic_store(&expected[page], 0);
		rig_store(rig_word(r.host, page, 8), page);
	}
}

static void down(void)
{
	if (device)
		device_destroy(device);
	device = NULL;
	rig_down(&r);
}

static bool stopped(void)
{
	return atomic_load_explicit(&stop, memory_order_relaxed);
}

/* Reads what nobody writes, and counts in a word of its own and one for all. */
static void *vcpu(void *arg)
{
	uint64_t seed = (uint64_t)(uintptr_t)arg + 1;

	while (!stopped()) {
		uint64_t page = rig_random(&seed) % PAGES;

		if (rig_load(rig_word(r.guest, page, 8)) != page)
			expect(!"the page has its number");
		rig_add(rig_word(r.guest, page, 0), 1);
		atomic_fetch_add(&expected[page], 1);
	}
	return NULL;
}

static void *engine(void *arg)
{
	uint64_t seed = 77;

	while (!stopped()) {
		uint64_t page = rig_random(&seed) % PAGES;

		expect(!device_add(device, rig_hva(&r, page), 1, NULL));
		atomic_fetch_add(&expected[page], 1);
	}
	return arg;
}

static void *zapper(void *arg)
{
	uint64_t seed = 99;

	while (!stopped()) {
		uint64_t page = rig_random(&seed) % PAGES;

		expect(!hostmm_zap(r.mm, rig_hva(&r, page), rig_hva(&r, page + 1)));
	}
	return arg;
}

/* A busy host may need longer than the time that was given. */
static bool have_faulted(void)
{
	struct shadow_stats stats;

	shadow_get_stats(r.shadow, &stats);
	return stats.faults > 5;
}

static void run(void (*modify)(unsigned n))
{
	pthread_t t[VCPUS + 2];
	double until = rig_now() + rig_seconds(0.7);

	for (uint64_t i = 0; i < VCPUS; i++)
		t[i] = rig_thread(vcpu, (void *)(uintptr_t)i);
	t[VCPUS] = rig_thread(engine, NULL);
	t[VCPUS + 1] = rig_thread(zapper, NULL);
	for (unsigned n = 0; rig_now() < until || n < 5 || !have_faulted(); n++)
		modify(n);
	atomic_store(&stop, true);
	for (int i = 0; i < VCPUS + 2; i++)
		rig_join(t[i]);
	for (uint64_t page = 0; page < PAGES; page++) {
		uint64_t word;

		check_eq(hostmm_read(r.mm, rig_hva(&r, page), &word, 8), 0);
		check_eq(word, expected[page]);
	}
	check_eq(r.window_fatal, 0);
	rig_check(&r);
	check_eq(device_check(device, NULL, NULL), 0);
}

/* The dummy has memory of its own in the original; here it shares the pages that are being zapped. */
static void add_and_remove(unsigned n)
{
	struct memslot slot;

	check_eq(shadow_add_slot(r.shadow, DUMMY_ID, DUMMY_GFN, 32, rig_hva(&r, 16), 0), 0);
	check(shadow_slot(r.shadow, DUMMY_GFN, &slot));
	if (n % 2)
		check_eq(rig_load(rig_word(window_base(&slot), 3, 8)), 19);
	check_eq(shadow_remove_slot(r.shadow, DUMMY_ID), 0);
	check_eq(shadow_add_slot(device_get_shadow(device), DUMMY_ID, DUMMY_GFN, 1, r.hva, 0), 0);
	check_eq(shadow_remove_slot(device_get_shadow(device), DUMMY_ID), 0);
}

UTEST(kvm_memslot_modification, a_dummy_slot_comes_and_goes, .init = up, .fini = down)
{
	run(add_and_remove);
}

/* Beyond the original: the slot that the vCPUs use moves, and changes its flags. */
static void move_the_active(unsigned n)
{
	check_eq(shadow_move_slot(r.shadow, 1, RIG_GFN + 13UL * (n % 9)), 0);
	check_eq(shadow_set_slot_flags(r.shadow, 1, n % 2 ? MEMSLOT_LOG_DIRTY : 0), 0);
}

UTEST(kvm_memslot_modification, the_active_slot_moves, .init = up, .fini = down)
{
	run(move_the_active);
}
