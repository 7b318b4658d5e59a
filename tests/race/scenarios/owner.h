/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A slot that its owner has for himself, as a graphics driver has a buffer: device 0 uses it through a shadow.
 * From owner_begin() to owner_end(), which set the world up and take it down. Owns the external lock and the book.
 */
#ifndef UMBRA_TESTS_RACE_SCENARIOS_OWNER_H
#define UMBRA_TESTS_RACE_SCENARIOS_OWNER_H

#include "mmu/shadow/dirty_range.h"
#include "mmu/shadow/shadow_priv.h"
#include "tests/race/world.h"

#define SLOT 0u

static struct lock external;
static uint64_t book; /* external lock: pages that mkwrite() was told of */

static inline struct shadow *shadow(void)
{
	return device_get_shadow(world.device[0]);
}

static inline gfn_t gfn_of(uint64_t page)
{
	return world_page(page) >> PAGE_SHIFT;
}

static int mkwrite(void *ctx, gfn_t gfn)
{
	(void)ctx;
	lock_assert_held(&external);
	book |= 1UL << (gfn - gfn_of(0));
	explore_say("mkwrite(page %llu): it is in the book", (unsigned long long)(gfn - gfn_of(0)));
	return 0;
}

static inline void own(bool with_book)
{
	struct shadow_owner owner = { .lock = with_book ? &external : NULL,
				      .mkwrite = with_book ? mkwrite : NULL };

	must(shadow_own_slot(shadow(), SLOT, &owner), "shadow_own_slot()");
}

static inline void owner_begin(uint64_t pages, const char *profile, bool with_book)
{
	lock_init(&external);
	book = 0;
	world_setup(pages, profile, NULL);
	for (uint64_t page = 0; page < pages; page++)
		device_load(0, "the device", page);
	own(with_book);
}

static inline void owner_end(void)
{
	must(shadow_disown_slot(shadow(), SLOT), "shadow_disown_slot()");
	world_finish();
	lock_fini(&external);
}

#endif
