// SPDX-License-Identifier: BSD-2-Clause
/*
 * After KVM's set_memory_region_test: a slot is moved, or deleted, under a vCPU that reads it; a machine without
 * slots; flags; as many slots as there may be. A device is the vCPU, so that an access without a slot (MMIO there) returns.
 */
#include <errno.h>

#include "mmu/shadow/device.h"
#include "tests/rig.h"
#include "tests/test.h"

#define MAGIC 0xbeefUL

static struct rig r;
static struct device *device;
static struct shadow *shadow;
static atomic_bool stop;
static atomic_uint hits, misses;

/* Page 1 of the region is the other memory, which takes the place of page 0 in the guest. */
static void up(void)
{
	rig_up(&r, &(struct rig_opts){ .pages = 16, .no_slot = true, .canary = true });
	check_eq(device_create(&device, device_profile("kvm"), r.mm, r.hva, 16), 0);
	shadow = device_get_shadow(device);
	check_eq(shadow_remove_slot(shadow, 0), 0);
	for (uint64_t page = 0; page < 16; page++)
		rig_store(rig_word(r.host, page, 0), MAGIC + page);
	atomic_store(&stop, false);
	atomic_store(&hits, 0);
	atomic_store(&misses, 0);
}

static void down(void)
{
	if (device)
		device_destroy(device);
	device = NULL;
	rig_down(&r);
}

static gfn_t gfn(uint64_t page)
{
	return rig_hva(&r, page) >> PAGE_SHIFT;
}

/* Reads gfn 4 until it is told to stop. 0: no memory there, MMIO. */
static void *reader(void *arg)
{
	while (!atomic_load(&stop)) {
		uint64_t value;
		int rc = device_read(device, rig_hva(&r, 4), &value, sizeof(value));

		if (rc == -ENXIO)
			atomic_fetch_add(&misses, 1);
		else if (!rc && value == MAGIC)
			atomic_fetch_add(&hits, 1);
		else
			expect(!"nothing, or page 0");
	}
	return arg;
}

static void wait_for(atomic_uint *counter)
{
	unsigned seen = atomic_load(counter);

	while (atomic_load(counter) == seen)
		sched_yield();
}

/* test_move_memory_region */
UTEST(kvm_set_memory_region, move, .init = up, .fini = down)
{
	pthread_t t;

	check_eq(shadow_add_slot(shadow, 0, gfn(4), 1, rig_hva(&r, 0), 0), 0);
	t = rig_thread(reader, NULL);
	for (int round = 0; round < 50; round++) {
		wait_for(&hits);
		check_eq(shadow_move_slot(shadow, 0, gfn(5)), 0);
		wait_for(&misses);
		check_eq(shadow_move_slot(shadow, 0, gfn(4)), 0);
	}
	atomic_store(&stop, true);
	rig_join(t);
	check_eq(device_check(device, NULL, NULL), 0);
}

/* The moved slot never shows the frames of what takes its place, nor the other way round. */
static void *judge(void *arg)
{
	while (!atomic_load(&stop)) {
		uint64_t a = 0, b = 0;
		int rc = device_read(device, rig_hva(&r, 4), &a, sizeof(a));
		int rc2 = device_read(device, rig_hva(&r, 8), &b, sizeof(b));

		expect(rc == -ENXIO || (!rc && (a == MAGIC || a == MAGIC + 1)));
		expect(rc2 == -ENXIO || (!rc2 && b == MAGIC));
	}
	return arg;
}

UTEST(kvm_set_memory_region, move_and_take_the_place, .init = up, .fini = down)
{
	pthread_t t;

	check_eq(shadow_add_slot(shadow, 0, gfn(4), 1, rig_hva(&r, 0), 0), 0);
	t = rig_thread(judge, NULL);
	for (int round = 0; round < 50; round++) {
		uint64_t value;

		check_eq(shadow_move_slot(shadow, 0, gfn(8)), 0);
		check_eq(shadow_add_slot(shadow, 1, gfn(4), 1, rig_hva(&r, 1), 0), 0);
		check_eq(device_read(device, rig_hva(&r, 4), &value, 8), 0);
		check_eq(value, MAGIC + 1);
		check_eq(device_read(device, rig_hva(&r, 8), &value, 8), 0);
		check_eq(value, MAGIC);
		check_eq(shadow_move_slot(shadow, 0, gfn(4)), -EEXIST);
		check_eq(shadow_remove_slot(shadow, 1), 0);
		check_eq(shadow_move_slot(shadow, 0, gfn(4)), 0);
	}
	atomic_store(&stop, true);
	rig_join(t);
	check_eq(device_check(device, NULL, NULL), 0);
}

/* test_delete_memory_region */
UTEST(kvm_set_memory_region, delete, .init = up, .fini = down)
{
	pthread_t t;

	check_eq(shadow_add_slot(shadow, 0, gfn(4), 1, rig_hva(&r, 0), 0), 0);
	t = rig_thread(reader, NULL);
	for (int round = 0; round < 50; round++) {
		wait_for(&hits);
		check_eq(shadow_remove_slot(shadow, 0), 0);
		wait_for(&misses);
		check_eq(shadow_add_slot(shadow, 0, gfn(4), 1, rig_hva(&r, 0), 0), 0);
	}
	atomic_store(&stop, true);
	rig_join(t);
	check_eq(device_check(device, NULL, NULL), 0);
}

/* test_zero_memory_regions */
UTEST(kvm_set_memory_region, zero, .init = up, .fini = down)
{
	struct shadow_stats stats;
	uint64_t word = 0;

	check_eq(device_read(device, rig_hva(&r, 4), &word, 8), -ENXIO);
	check_eq(shadow_read(shadow, 0, &word, 8), -EFAULT);
	check_eq(shadow_write(shadow, 0, &word, 8), -EFAULT);
	check_eq(shadow_remove_slot(shadow, 0), -ENOENT);
	check_eq(hostmm_zap(r.mm, r.hva, rig_hva(&r, 16)), 0);
	shadow_get_stats(shadow, &stats);
	check_eq(stats.leaves, 0);
}

/* test_invalid_memory_region_flags */
UTEST(kvm_set_memory_region, flags, .init = up, .fini = down)
{
	uint64_t word = 1;

	check_eq(shadow_add_slot(shadow, 0, gfn(0), 16, r.hva, 0), 0);
	for (unsigned bit = 0; bit < 32; bit++) {
		unsigned flag = 1u << bit;
		int want = flag & MEMSLOT_FLAGS ? 0 : -EINVAL;

		check_eq(shadow_set_slot_flags(shadow, 0, flag), want);
		check_eq(shadow_add_slot(shadow, 1, bit, 1, r.hva, flag), want);
		if (!want)
			check_eq(shadow_remove_slot(shadow, 1), 0);
	}
	check_eq(shadow_set_slot_flags(shadow, 0, MEMSLOT_READONLY), 0);
	check_eq(device_write(device, rig_hva(&r, 4), &word, 8), -EACCES);
	check_eq(device_read(device, rig_hva(&r, 4), &word, 8), 0);
	check_eq(word, MAGIC + 4);
	check_eq(shadow_set_slot_flags(shadow, 0, 0), 0);
	check_eq(device_write(device, rig_hva(&r, 4), &word, 8), 0);
}

/* test_add_max_memory_regions: KVM has 32,764; here ids and memory are all that there is. One more in the last place. */
UTEST(kvm_set_memory_region, max, .init = up, .fini = down)
{
	const unsigned max = 32764;

	for (unsigned id = 0; id < max; id++)
		check_eq(shadow_add_slot(shadow, id, id, 1, rig_hva(&r, id % 16), 0), 0);
	check_eq(shadow_add_slot(shadow, 0, max, 1, r.hva, 0), -EEXIST);
	check_eq(shadow_add_slot(shadow, max, 0, 1, r.hva, 0), -EEXIST);
	check_eq(shadow_add_slot(shadow, UINT32_MAX, max, 1, r.hva, 0), 0);
	check_eq(hostmm_discard(r.mm, r.hva, rig_hva(&r, 1)), 0); /* met by 2,048 of them */
}
