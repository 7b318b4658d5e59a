/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest whose table may have leaves of 2M: device 0 of the world, with a shadow, on one block that is present.
 * Between world_setup() and world_finish(). Owns nothing.
 */
#ifndef UMBRA_TESTS_RACE_SCENARIOS_GUEST_H
#define UMBRA_TESTS_RACE_SCENARIOS_GUEST_H

#include "mmu/shadow/shadow_priv.h"
#include "tests/race/world.h"

#define FAR 300 /* a page in the middle of the block */

static inline struct shadow *shadow(void)
{
	return device_get_shadow(world.device[0]);
}

static inline gfn_t gfn_of(uint64_t page)
{
	return world_page(page) >> PAGE_SHIFT;
}

static inline void guest_setup(const char *profile)
{
	world_setup(WORLD_LARGE, profile, NULL);
	world_populate();
}

static inline void guest_faults(uint64_t page, bool write)
{
	int rc = shadow_fault(shadow(), gfn_of(page), write);

	if (rc < 0)
		explore_fail("shadow_fault() returns %d", rc);
}

#endif
