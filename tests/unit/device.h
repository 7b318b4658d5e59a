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

/* As check_eq(), and says for which profile. */
#define check_of(p, a, b)                                                                       \
	check((uint64_t)(a) == (uint64_t)(b), "%s: %#lx is not %#lx", (p)->name, (uint64_t)(a), \
	      (uint64_t)(b))

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

/* Two blocks that may be one entry each: 2M of present pages at home. */
#define LARGE 512UL

static inline void large_up(struct rig *r, struct device **dev, const struct device_profile *p)
{
	static struct gup_page pages[2 * LARGE];

	rig_up(r, &(struct rig_opts){ .pages = 2 * LARGE, .no_slot = true, .canary = true });
	check_eq(hostmm_gup(r->mm, r->hva, 2 * LARGE, 0, 2 * LARGE - 1, true, pages), 0);
	hostmm_put_pages(r->mm, pages, 2 * LARGE);
	check_eq(device_create(dev, p, r->mm, r->hva, r->pages), 0);
}

static inline struct device_stats stats(struct device *dev)
{
	struct device_stats s;

	device_get_stats(dev, &s);
	return s;
}

#endif
