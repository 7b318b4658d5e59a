// SPDX-License-Identifier: BSD-2-Clause
/*
 * KVM's selftest dirty_log_page_splitting_test: memory in large leaves; none is left once its slot logs (with manual protect
 * and all pages set: once they were cleared); and as many as before when logging has ended and memory was touched again.
 */
#include "mmu/shadow/dirty.h"
#include "tests/unit/device.h"

static struct rig r;
static struct device *dev;

static uint64_t large(struct shadow *sh)
{
	struct shadow_stats s;

	shadow_get_stats(sh, &s);
	return s.leaves_2m;
}

static void touch_all(void)
{
	for (uint64_t page = 0; page < 2 * LARGE; page += 64)
		store(&r, dev, page, page);
}

static void run(const char *profile, unsigned how)
{
	static uint64_t bitmap[2 * LARGE / 64];
	struct shadow *sh;

	large_up(&r, &dev, device_profile(profile));
	sh = device_get_shadow(dev);
	touch_all();
	check_eq(large(sh), 2);
	check_eq(shadow_dirty_configure(sh, how), 0);
	check_eq(shadow_set_slot_flags(sh, 0, MEMSLOT_LOG_DIRTY), 0);
	check_eq(large(sh), how & SHADOW_DIRTY_INITIALLY_SET ? 2 : 0);
	touch_all();
	check_eq(shadow_get_dirty_log(sh, 0, bitmap), 0);
	if (how & SHADOW_DIRTY_MANUAL)
		check_eq(shadow_clear_dirty_log(sh, 0, 0, 2 * LARGE, bitmap), 0);
	check_eq(large(sh), 0);
	check_eq(bitmap[3] & 1, 1);
	touch_all();
	check_eq(shadow_get_dirty_log(sh, 0, bitmap), 0);
	for (unsigned i = 0; i < 2 * LARGE / 64; i++)
		check_eq(bitmap[i], 1);
	check_eq(shadow_set_slot_flags(sh, 0, 0), 0);
	check_eq(large(sh), 2);
	touch_all();
	check_eq(large(sh), 2);
	down(&r, dev);
}

UTEST(kvm_dirty_log_page_splitting, d_bits)
{
	run("kvm", 0);
}

UTEST(kvm_dirty_log_page_splitting, d_bits_initially_set)
{
	run("kvm", SHADOW_DIRTY_MANUAL | SHADOW_DIRTY_INITIALLY_SET);
}

UTEST(kvm_dirty_log_page_splitting, write_protect)
{
	run("kvm-no-ad", 0);
}

UTEST(kvm_dirty_log_page_splitting, write_protect_initially_set)
{
	run("kvm-no-ad", SHADOW_DIRTY_MANUAL | SHADOW_DIRTY_INITIALLY_SET);
}
