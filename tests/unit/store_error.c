// SPDX-License-Identifier: BSD-2-Clause
/* Errors of a store behind a region, and of an owner: answers, whatever the errno. Nobody waits for a slot, nobody spins. */
#include <errno.h>

#include "mmu/shadow/dirty_range.h"
#include "tests/rig.h"
#include "tests/test.h"

static struct rig r;
static _Atomic int error;
static atomic_uint fills;

static int fill(void *ctx, uint64_t page, void *dst, uint64_t npages)
{
	(void)ctx;
	(void)page;
	(void)dst;
	(void)npages;
	atomic_fetch_add(&fills, 1);
	return atomic_load(&error);
}

static const struct pager_ops pager = { .fill = fill };

static void up(void)
{
	atomic_store(&error, 0);
	atomic_store(&fills, 0);
	rig_up(&r, &(struct rig_opts){ .pages = 8, .pager = &pager, .around = 1 });
}

static void down(void)
{
	rig_down(&r);
}

static const struct {
	int store, fault;
} seen_as[] = { { -EIO, -EIO }, { -ENXIO, -EIO }, { -EAGAIN, -EIO }, { -EPROTO, -EPROTO } };

UTEST(store_error, pager, .init = up, .fini = down)
{
	uint64_t value;

	for (unsigned i = 0; i < sizeof(seen_as) / sizeof(*seen_as); i++) {
		atomic_store(&error, seen_as[i].store);
		atomic_store(&fills, 0);
		check_eq(shadow_fault(r.shadow, RIG_GFN + i, false), seen_as[i].fault);
		check_eq(hostmm_read(r.mm, rig_hva(&r, i), &value, 8), seen_as[i].fault);
		check_eq(atomic_load(&fills), 2);
	}
	atomic_store(&error, 0);
	check_eq(shadow_fault(r.shadow, RIG_GFN, false), SHADOW_FIXED);
}

/* A guest that waits for such a page learns of it: the window is shut, with the reason. */
UTEST(store_error, a_guest_does_not_wait_for_ever, .init = up, .fini = down)
{
	uint64_t value;

	atomic_store(&error, -ENXIO);
	check(!rig_try_load(rig_word(r.guest, 3, 0), &value));
	rig_wait(&r.window_fatal);
	check_eq(r.window_error, -EIO);
}

static int refuse(void *ctx, gfn_t gfn)
{
	(void)ctx;
	(void)gfn;
	return atomic_load(&error);
}

UTEST(store_error, owner, .init = up, .fini = down)
{
	struct lock external = LOCK_INITIALIZER;
	struct shadow_owner owner = { .lock = &external, .mkwrite = refuse };

	check_eq(shadow_own_slot(r.shadow, 1, &owner), 0);
	for (unsigned i = 0; i < sizeof(seen_as) / sizeof(*seen_as); i++) {
		atomic_store(&error, seen_as[i].store);
		check_eq(shadow_fault(r.shadow, RIG_GFN + i, true), seen_as[i].fault);
	}
	atomic_store(&error, 0);
	check_eq(shadow_fault(r.shadow, RIG_GFN, true), SHADOW_FIXED);
	check_eq(shadow_disown_slot(r.shadow, 1), 0);
	lock_fini(&external);
}
