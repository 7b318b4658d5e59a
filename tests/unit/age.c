// SPDX-License-Identifier: BSD-2-Clause
/*
 * Aging: of a window, whose hardware sets no A bits, and of devices, whose walk sets them. Beside faults, in schedules that
 * leave nothing to chance.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mmu/host/hostmm_walk.h"
#include "mmu/shadow/device_priv.h"
#include "mmu/shadow/shadow_priv.h"
#include "mmu/shadow/snapshot.h"
#include "tests/rig.h"
#include "tests/test.h"

static struct rig r;

static void up(void)
{
	rig_up(&r, &(struct rig_opts){ .pages = 128, .around = 1 });
}

static void touch(uint64_t from, uint64_t to)
{
	for (uint64_t page = from; page < to; page++)
		rig_store(rig_word(r.guest, page, 0), page + 1);
}

static uint64_t used_of(struct shadow *sh, gfn_t gfn, uint64_t n, uint64_t *used)
{
	uint64_t count = 0;

	check_eq(shadow_age(sh, gfn, n, used, &count), 0);
	return count;
}

static uint64_t used(uint64_t *bits)
{
	return used_of(r.shadow, RIG_GFN, 128, bits);
}

static uint64_t faults(void)
{
	struct shadow_stats stats;

	shadow_get_stats(r.shadow, &stats);
	return stats.faults;
}

static bool young(enum hostmm_age how, uint64_t page)
{
	return hostmm_age(r.mm, rig_hva(&r, page), rig_hva(&r, page + 1), how);
}

/* ---- A window ---- */

UTEST(age, window_tells_what_was_used_since)
{
	uint64_t bits[2];

	up();
	check_eq(used(bits), 0);
	touch(0, 4);
	touch(70, 72);
	check_eq(used(bits), 6);
	check_eq(bits[0], 0xf);
	check_eq(bits[1], 0x3 << 6);
	check_eq(used(bits), 0);
	check_eq(bits[0] | bits[1], 0);
	rig_check(&r);
	check_eq(rig_load(rig_word(r.guest, 70, 0)), 71);
	rig_store(rig_word(r.guest, 2, 8), 5);
	check_eq(used(bits), 2);
	check_eq(bits[0], 1 << 2);
	check_eq(bits[1], 1 << 6);
	rig_check(&r);
	rig_down(&r);
}

/* An aged page faults once, and what comes back is what was there: contents, and the right to store. */
UTEST(age, a_use_costs_one_fault_and_no_more)
{
	uint64_t before;

	up();
	touch(0, 2);
	check_eq(used(NULL), 2);
	before = faults();
	check_eq(rig_load(rig_word(r.guest, 0, 0)), 1);
	check_eq(faults(), before + 1);
	check_eq(rig_load(rig_word(r.guest, 0, 0)), 1);
	check_eq(faults(), before + 1);
	rig_store(rig_word(r.guest, 1, 0), 7);
	rig_store(rig_word(r.guest, 1, 0), 8);
	check_eq(faults(), before + 2);
	check_eq(rig_load(rig_word(r.host, 1, 0)), 8);
	rig_check(&r);
	rig_down(&r);
}

UTEST(age, the_primary_asks_page_by_page)
{
	up();
	touch(0, 2);
	check_eq(hostmm_age(r.mm, r.hva, rig_hva(&r, 128), HOSTMM_AGE_TEST), 2);
	check_eq(hostmm_age(r.mm, r.hva, rig_hva(&r, 128), HOSTMM_AGE_TEST), 2);
	check(young(HOSTMM_AGE_CLEAR, 0));
	check(!young(HOSTMM_AGE_TEST, 0));
	check(!young(HOSTMM_AGE_CLEAR, 0));
	check(young(HOSTMM_AGE_CLEAR_FLUSH, 1));
	check(!young(HOSTMM_AGE_CLEAR_FLUSH, 1));
	check_eq(rig_load(rig_word(r.guest, 0, 0)), 1);
	check(young(HOSTMM_AGE_TEST, 0));
	check(!young(HOSTMM_AGE_TEST, 1));
	rig_check(&r);
	rig_down(&r);
}

/* ---- Samples ---- */

static uint64_t sampled(uint64_t stride)
{
	uint64_t count = 0;

	check_eq(shadow_age_sample(r.shadow, RIG_GFN, 128, stride, &count), 0);
	return count;
}

/* The multiples of @stride among the first @n pages. */
static uint64_t multiples(uint64_t n, uint64_t stride)
{
	uint64_t count = 0;

	for (uint64_t page = 0; page < n; page++)
		count += (RIG_GFN + page) % stride == 0;
	return count;
}

/* Others keep their marks, and what the window has of them: their use costs no fault. */
UTEST(age, a_sample_asks_and_forgets_its_pages_alone)
{
	static const uint64_t strides[] = { 1, 3, 9, 27, 64, 81, 127, 128, 1000003 };

	for (unsigned i = 0; i < sizeof(strides) / sizeof(strides[0]); i++) {
		uint64_t n = multiples(100, strides[i]), before;

		up();
		touch(0, 100);
		check_eq(sampled(strides[i]), n);
		check_eq(sampled(strides[i]), 0);
		rig_check(&r);
		before = faults();
		touch(0, 100);
		check_eq(faults(), before + n);
		check_eq(sampled(strides[i]), n);
		check_eq(used(NULL), 100 - n);
		rig_down(&r);
	}
}

/* From one stride to its multiple: nothing is counted that was used before the last call. */
UTEST(age, a_sample_may_become_sparser)
{
	up();
	touch(0, 128);
	check_eq(sampled(3), multiples(128, 3));
	check_eq(sampled(9), 0);
	touch(0, 64);
	check_eq(sampled(27), multiples(64, 27));
	rig_down(&r);
}

/* A large leaf is young as a whole, so all of its samples are, and what it costs is one fault. */
UTEST(age, samples_of_a_large_leaf)
{
	uint64_t count, want, before;
	struct shadow_stats stats;

	rig_up(&r, &(struct rig_opts){ .pages = 1024, .gfn = 512, .around = 512 });
	touch(0, 1024);
	shadow_get_stats(r.shadow, &stats);
	check_eq(stats.leaves_2m, 2);
	want = (1536 + 26) / 27 - (512 + 26) / 27;
	check_eq(shadow_age_sample(r.shadow, 512, 1024, 27, &count), 0);
	check_eq(count, want);
	check_eq(shadow_age_sample(r.shadow, 512, 1024, 27, &count), 0);
	check_eq(count, 0);
	rig_check(&r);
	before = faults();
	touch(512, 1024);
	check_eq(faults(), before + 1);
	check_eq(shadow_age_sample(r.shadow, 512, 1024, 27, &count), 0);
	check_eq(count, (1536 + 26) / 27 - (1024 + 26) / 27);
	rig_check(&r);
	rig_down(&r);
}

/* Nothing that a bracket takes away survives as an access-tracked leaf. */
UTEST(age, aged_pages_are_zapped_like_others)
{
	uint8_t state;

	up();
	touch(0, 3);
	check_eq(used(NULL), 3);
	check_eq(hostmm_discard(r.mm, r.hva, rig_hva(&r, 1)), 0);
	check_eq(hostmm_migrate(r.mm, rig_hva(&r, 1), rig_hva(&r, 2), HOSTMM_MIGRATE_AWAY), 0);
	rig_check(&r);
	check_eq(ept_peek(&r.shadow->ept, RIG_GFN, NULL), SPTE_NONE);
	check_eq(shadow_snapshot(r.shadow, RIG_GFN + 2, 1, &state), 0);
	check_eq(state, SNAPSHOT_NONE);
	check_eq(rig_load(rig_word(r.guest, 0, 0)), 0);
	check_eq(rig_load(rig_word(r.guest, 1, 0)), 2);
	check_eq(rig_load(rig_word(r.guest, 2, 0)), 3);
	rig_check(&r);
	rig_down(&r);
}

/* The right to store that a page lost meanwhile does not come back with its use. */
UTEST(age, an_aged_page_can_lose_its_right_to_store)
{
	up();
	touch(0, 1);
	check_eq(used(NULL), 1);
	check_eq(hostmm_wrprotect(r.mm, r.hva, rig_hva(&r, 1)), 0);
	check_eq(rig_load(rig_word(r.guest, 0, 0)), 1);
	check(!spte_is_writable(ept_peek(&r.shadow->ept, RIG_GFN, NULL)));
	rig_check(&r);
	rig_store(rig_word(r.guest, 0, 0), 2);
	check_eq(rig_load(rig_word(r.host, 0, 0)), 2);
	rig_check(&r);
	rig_down(&r);
}

UTEST(age, refuses_bad_ranges)
{
	const gfn_t limit = 1UL << SPTE_GFN_BITS;
	uint64_t bits = 0x55, count = 0x55;

	up();
	touch(0, 1);
	check_eq(shadow_age(r.shadow, RIG_GFN, 0, &bits, &count), -EINVAL);
	check_eq(shadow_age(r.shadow, limit, 1, &bits, &count), -EINVAL);
	check_eq(shadow_age(r.shadow, limit - 1, 2, &bits, &count), -EINVAL);
	check_eq(shadow_age(r.shadow, 1, UINT64_MAX, &bits, &count), -EINVAL);
	check_eq(shadow_age_sample(r.shadow, RIG_GFN, 1, 0, &count), -EINVAL);
	check_eq(shadow_age_sample(r.shadow, RIG_GFN, 1, limit + 1, &count), -EINVAL);
	check_eq(shadow_age_sample(r.shadow, RIG_GFN, 1, UINT64_MAX, &count), -EINVAL);
	check_eq(shadow_age_sample(r.shadow, limit - 1, 2, 3, &count), -EINVAL);
	check_eq(hostmm_age(r.mm, r.hva + 1, rig_hva(&r, 1), HOSTMM_AGE_CLEAR), -EINVAL);
	check_eq(hostmm_age(r.mm, r.hva, r.hva, HOSTMM_AGE_CLEAR), -EINVAL);
	check_eq(hostmm_age(r.mm, r.hva, rig_hva(&r, 129), HOSTMM_AGE_CLEAR), -EINVAL);
	check_eq(hostmm_age(r.mm, PAGE_SIZE, 2 * PAGE_SIZE, HOSTMM_AGE_CLEAR), -EINVAL);
	check_eq(bits, 0x55);
	check_eq(count, 0x55);
	/* Outside all slots is no error, and all of the address space takes no time. */
	check_eq(used_of(r.shadow, 0, RIG_GFN, NULL), 0);
	check_eq(used_of(r.shadow, 0, limit, NULL), 1);
	rig_down(&r);
}

/* ---- Beside a fault ---- */

static struct gate mapping;

static void stop_mapping(struct rig *rig, uint64_t page, uint64_t n)
{
	(void)rig;
	(void)page;
	(void)n;
	gate_pass(&mapping);
}

static void *store_one(void *arg)
{
	rig_store(rig_word(r.guest, *(uint64_t *)arg, 0), 42);
	return NULL;
}

/*
 * The leaf is in the table, the window about to map it: aging tracks it, and has nothing to take away from the window yet.
 * What is mapped then must not stay, or the page would be used unseen.
 */
static void age_in_a_fault(bool aged_before)
{
	uint64_t page = 5, value;
	pthread_t t;

	mapping = (struct gate)GATE_INIT;
	up();
	if (aged_before) {
		touch(page, page + 1);
		check_eq(used(NULL), 1);
	}
	gate_arm(&mapping);
	atomic_store(&r.before_map, stop_mapping);
	t = rig_thread(store_one, &page);
	gate_wait(&mapping);
	check_eq(used(NULL), 1);
	check(spte_is_access_tracked(ept_peek(&r.shadow->ept, RIG_GFN + page, NULL)));
	gate_open(&mapping);
	rig_join(t);
	atomic_store(&r.before_map, NULL);
	/* The thread has faulted again, or its store would have been unseen. */
	check(!spte_is_access_tracked(ept_peek(&r.shadow->ept, RIG_GFN + page, NULL)));
	rig_check(&r);
	value = rig_load(rig_word(r.host, page, 0));
	check_eq(value, 42);
	check_eq(used(NULL), 1);
	rig_check(&r);
	rig_down(&r);
}

UTEST(age, beside_an_install)
{
	age_in_a_fault(false);
}

UTEST(age, beside_a_fault_that_restores)
{
	age_in_a_fault(true);
}

static void *age_all(void *arg)
{
	*(uint64_t *)arg = used(NULL);
	return NULL;
}

static struct gate aging;

static void stop_aging(struct rig *rig, uint64_t page, uint64_t n)
{
	(void)rig;
	(void)page;
	(void)n;
	gate_pass(&aging);
}

/* Late in the window: what was zapped, moved and mapped again meanwhile is lost there, and comes back by a fault. */
UTEST(age, late_beside_zap_and_map)
{
	uint64_t count = 0;
	pthread_t t;

	aging = (struct gate)GATE_INIT;
	up();
	touch(0, 4);
	gate_arm(&aging);
	atomic_store(&r.before_age, stop_aging);
	t = rig_thread(age_all, &count);
	gate_wait(&aging);
	check(shadow_is_aging(r.shadow));
	check_eq(hostmm_migrate(r.mm, r.hva, rig_hva(&r, 2), HOSTMM_MIGRATE_AWAY), 0);
	check_eq(hostmm_wrprotect(r.mm, rig_hva(&r, 2), rig_hva(&r, 4)), 0);
	for (uint64_t page = 0; page < 4; page++)
		check_eq(rig_load(rig_word(r.guest, page, 0)), page + 1);
	gate_open(&aging);
	rig_join(t);
	atomic_store(&r.before_age, NULL);
	check(!shadow_is_aging(r.shadow));
	check_eq(count, 4);
	rig_check(&r);
	touch(0, 4);
	for (uint64_t page = 0; page < 4; page++)
		check_eq(rig_load(rig_word(r.host, page, 0)), page + 1);
	rig_check(&r);
	rig_down(&r);
}

struct removal {
	struct gate about;
	atomic_bool done;
};

static void *remove_slot(void *arg)
{
	struct removal *removal = arg;

	gate_pass(&removal->about);
	check_eq(shadow_remove_slot(r.shadow, 1), 0);
	atomic_store(&removal->done, true);
	return NULL;
}

/* The window of a slot is not taken apart under an ager. */
UTEST(age, a_slot_removal_waits_for_an_ager)
{
	struct removal removal = { .about = GATE_INIT };
	uint64_t count = 0;
	pthread_t ager, remover;

	aging = (struct gate)GATE_INIT;
	up();
	touch(0, 4);
	gate_arm(&aging);
	atomic_store(&r.before_age, stop_aging);
	ager = rig_thread(age_all, &count);
	gate_wait(&aging);
	remover = rig_thread(remove_slot, &removal);
	gate_wait(&removal.about);
	check(!atomic_load(&removal.done));
	gate_open(&aging);
	rig_join(ager);
	rig_join(remover);
	check_eq(count, 4);
	check_eq(used(NULL), 0);
	rig_check(&r);
	rig_down(&r);
}

/* ---- A device, whose walk sets A ---- */

static uint64_t device_flushes(struct device *dev)
{
	struct device_stats stats;

	device_get_stats(dev, &stats);
	return stats.flushes;
}

static void load_by(struct device *dev, uint64_t page)
{
	uint64_t value;

	check_eq(device_read(dev, rig_hva(&r, page), &value, sizeof(value)), 0);
}

static struct device *device_up(void)
{
	struct device *dev;

	rig_up(&r, &(struct rig_opts){ .pages = 16, .no_slot = true });
	check_eq(device_create(&dev, device_profile("kvm"), r.mm, r.hva, 16), 0);
	return dev;
}

/* clear_young() is tolerant: uses that a TLB answers stay unseen. With flush they are seen; when nothing was young it is spared. */
UTEST(age, device_flushes_what_was_young_if_asked)
{
	struct device *dev = device_up();
	uint64_t flushes;

	load_by(dev, 3);
	flushes = device_flushes(dev);
	check(young(HOSTMM_AGE_CLEAR, 3));
	check_eq(device_flushes(dev), flushes);
	load_by(dev, 3);
	check(!young(HOSTMM_AGE_TEST, 3));
	check(!young(HOSTMM_AGE_CLEAR_FLUSH, 3));
	check_eq(device_flushes(dev), flushes);
	device_destroy(dev);
	rig_down(&r);
}

UTEST(age, device_uses_are_seen_after_a_flush)
{
	struct device *dev = device_up();
	uint64_t flushes;

	for (uint64_t page = 0; page < 16; page++)
		load_by(dev, page);
	check_eq(used_of(device_get_shadow(dev), r.hva >> PAGE_SHIFT, 16, NULL), 16);
	load_by(dev, 3);
	flushes = device_flushes(dev);
	check(young(HOSTMM_AGE_CLEAR_FLUSH, 3));
	check_eq(device_flushes(dev), flushes + 1);
	check(!young(HOSTMM_AGE_TEST, 3));
	load_by(dev, 3);
	check(young(HOSTMM_AGE_TEST, 3));
	check_eq(used_of(device_get_shadow(dev), r.hva >> PAGE_SHIFT, 16, NULL), 1);
	load_by(dev, 3);
	load_by(dev, 4);
	check_eq(used_of(device_get_shadow(dev), r.hva >> PAGE_SHIFT, 16, NULL), 2);
	check_eq(device_check(dev, NULL, NULL), 0);
	device_destroy(dev);
	rig_down(&r);
}
