/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A device on a rig of a few pages, and short words for what tests do with it.
 * Owns nothing. Included by tests/unit/device*.c alone.
 */
#ifndef UMBRA_TESTS_UNIT_DEVICE_H
#define UMBRA_TESTS_UNIT_DEVICE_H

#include "mmu/shadow/device_priv.h"
#include "tests/rig.h"
#include "tests/test.h"

#define PAGES 8

static inline struct device *device_up(struct rig *r, const char *profile)
{
	struct device *dev;

	check_eq(device_create(&dev, device_profile(profile), r->mm, r->hva, r->pages), 0);
	return dev;
}

static inline void up(struct rig *r, struct device **dev, const char *profile)
{
	rig_up(r, &(struct rig_opts){ .pages = PAGES, .no_slot = true, .canary = true });
	*dev = device_up(r, profile);
}

static inline void report(void *ctx, hva_t addr, fn_t fn, const char *what)
{
	test_note_failure(__FILE__, __LINE__, "device_check", " %s %#lx: %s (%#lx)",
			  (const char *)ctx, addr, what, fn);
}

static inline void down(struct rig *r, struct device *dev)
{
	check_eq(device_check(dev, report, NULL), 0);
	device_destroy(dev);
	rig_down(r);
}

static inline uint64_t load(struct rig *r, struct device *dev, uint64_t page)
{
	uint64_t value;

	check_eq(device_read(dev, rig_hva(r, page), &value, sizeof(value)), 0);
	return value;
}

static inline void store(struct rig *r, struct device *dev, uint64_t page, uint64_t value)
{
	check_eq(device_write(dev, rig_hva(r, page), &value, sizeof(value)), 0);
}

static inline uint64_t host_load(struct rig *r, uint64_t page)
{
	uint64_t value;

	check_eq(hostmm_read(r->mm, rig_hva(r, page), &value, sizeof(value)), 0);
	return value;
}

static inline struct device_stats stats(struct device *dev)
{
	struct device_stats s;

	device_get_stats(dev, &s);
	return s;
}

#endif
