/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One profile beside one actor: a device, and words for what it and the host then must see.
 * Owns nothing. Included by tests/unit/device_actors.c and device_age.c.
 */
#ifndef UMBRA_TESTS_UNIT_DEVICE_CELL_H
#define UMBRA_TESTS_UNIT_DEVICE_CELL_H

#include "tests/unit/device.h"

#define P 5UL /* the page that is changed, and the next one, which takes part in some */

struct ksm;

struct cell {
	struct rig r;
	struct device *dev;
	struct hostmm *child;
	struct ksm *ksm;
	const char *wrong; /* the first thing that was */
};

static inline hva_t hva(struct cell *c, uint64_t page)
{
	return rig_hva(&c->r, page);
}

/* A table that a walk goes through, and a notifier that can be asked. */
static inline bool has_marks(const struct device_profile *p)
{
	return p->walk == DEVICE_WALK_SHADOW ||
	       (p->walk == DEVICE_WALK_MIRROR && p->subscription == DEVICE_START_END);
}

static inline void must(struct cell *c, bool holds, const char *what)
{
	if (!holds && !c->wrong)
		c->wrong = what;
}

static inline uint64_t dev_load(struct cell *c, uint64_t page)
{
	uint64_t value = 0;

	must(c, !device_read(c->dev, hva(c, page), &value, sizeof(value)), "a load is refused");
	return value;
}

static inline void dev_store(struct cell *c, uint64_t page, uint64_t value)
{
	must(c, !device_write(c->dev, hva(c, page), &value, sizeof(value)), "a store is refused");
}

static inline void touch(struct cell *c)
{
	dev_store(c, P, 1);
	dev_store(c, P + 1, 1);
}

static inline void host_store(struct cell *c, uint64_t page, uint64_t value)
{
	check_eq(hostmm_write(c->r.mm, hva(c, page), &value, sizeof(value)), 0);
}

/* After a change that keeps contents: whoever stores, the other one sees it. */
static inline void both_ways(struct cell *c, uint64_t page)
{
	dev_store(c, page, 11);
	must(c, host_load(&c->r, page) == 11, "the device's store is lost");
	host_store(c, page, 12);
	must(c, dev_load(c, page) == 12, "the device reads an old version");
}

#endif
