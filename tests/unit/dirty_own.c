// SPDX-License-Identifier: BSD-2-Clause
/* Owned slots: what may not happen to them, who asks the owner, what his bitmap has. */
#include <errno.h>

#include "mmu/host/hostmm_actors.h"
#include "mmu/shadow/dirty_range.h"
#include "mmu/shadow/shadow_priv.h"
#include "tests/unit/device.h"

#define SLOT 0u /* of a device */

static struct rig r;
static struct device *dev;
static struct shadow *sh;
static gfn_t gfn;

static struct lock external = LOCK_INITIALIZER;
static uint64_t booked; /* external lock */
static int book_error;

static int book(void *ctx, gfn_t at)
{
	(void)ctx;
	lock_assert_held(&external);
	if (book_error)
		return book_error;
	booked |= 1UL << (at - gfn);
	return 0;
}

static void own(bool with_book)
{
	struct shadow_owner owner = { .lock = with_book ? &external : NULL,
				      .mkwrite = with_book ? book : NULL };

	booked = 0;
	book_error = 0;
	check_eq(shadow_own_slot(sh, SLOT, &owner), 0);
}

static void device_of(const char *profile)
{
	dev = device_up(&r, profile);
	sh = device_get_shadow(dev);
	gfn = r.hva >> PAGE_SHIFT;
}

static int64_t clean(uint64_t pages, uint64_t *bitmap)
{
	uint64_t first = 1, last = 0;

	return shadow_clean_record_range(sh, gfn, pages, gfn, bitmap, &first, &last);
}

/* Another slot with the id would be that owner's, and larger than his bits. */
UTEST(dirty_own, the_slot_stays_until_it_is_disowned)
{
	up(&r, &dev, "kvm");
	sh = device_get_shadow(dev);
	gfn = r.hva >> PAGE_SHIFT;
	own(false);
	store(&r, dev, 3, 1);
	check_eq(shadow_remove_slot(sh, SLOT), -EBUSY);
	check_eq(shadow_move_slot(sh, SLOT, gfn + 100), -EBUSY);
	check_eq(shadow_move_slot(sh, SLOT, gfn), 0);
	check_eq(shadow_set_slot_flags(sh, SLOT, MEMSLOT_READONLY), -EPERM);
	check_eq(shadow_set_slot_flags(sh, SLOT, MEMSLOT_LOG_DIRTY), -EPERM);
	check_eq(load(&r, dev, 3), 1);
	check_eq(shadow_disown_slot(sh, SLOT), 0);
	check_eq(shadow_set_slot_flags(sh, SLOT, MEMSLOT_READONLY), 0);
	check_eq(shadow_own_slot(sh, SLOT, &(struct shadow_owner){ .lock = NULL }), -EPERM);
	check_eq(shadow_set_slot_flags(sh, SLOT, 0), 0);
	check_eq(shadow_move_slot(sh, SLOT, gfn + 100), 0);
	check_eq(shadow_remove_slot(sh, SLOT), 0);
	check_eq(shadow_add_slot(sh, SLOT, gfn, PAGES, r.hva, 0), 0);
	down(&r, dev);
}

UTEST(dirty_own, a_write_of_the_vmm_asks_and_is_recorded)
{
	char bytes[2 * PAGE_SIZE] = { 1 };
	uint64_t bits = 0;

	up(&r, &dev, "kvm");
	sh = device_get_shadow(dev);
	gfn = r.hva >> PAGE_SHIFT;
	own(true);
	check_eq(shadow_write(sh, rig_hva(&r, 2) + 4000, bytes, sizeof(bytes)), 0);
	check_eq(shadow_write(sh, rig_hva(&r, 6), bytes, 0), 0);
	check_eq(booked, 7UL << 2);
	lock_acquire(&external);
	check_eq(clean(PAGES, &bits), 3);
	check_eq(bits, 7UL << 2);
	check_eq(clean(PAGES, &bits), 0);
	lock_release(&external);
	book_error = -EIO;
	check_eq(shadow_write(sh, rig_hva(&r, 1), bytes, 8), -EIO);
	check_eq(host_load(&r, 1), 0);
	check_eq(shadow_disown_slot(sh, SLOT), 0);
	check_eq(shadow_write(sh, rig_hva(&r, 1), bytes, 8), 0);
	down(&r, dev);
}

/* Hardware that sets D asks nobody: a leaf that comes after the call must not let the first store pass. */
static void book_misses_nothing(const struct device_profile *p)
{
	dev = device_up(&r, p->name);
	sh = device_get_shadow(dev);
	gfn = r.hva >> PAGE_SHIFT;
	for (uint64_t page = 0; page < PAGES; page++)
		store(&r, dev, page, 1);
	own(true);
	lock_acquire(&external);
	check_of(p, shadow_wrprotect_range(sh, gfn, PAGES), PAGES);
	lock_release(&external);
	check_of(p, hostmm_zap(r.mm, rig_hva(&r, 5), rig_hva(&r, 6)), 0);
	(void)load(&r, dev, 3);
	(void)load(&r, dev, 5);
	check_of(p, booked, 0);
	store(&r, dev, 3, 2);
	store(&r, dev, 5, 2);
	check_of(p, booked, 1UL << 3 | 1UL << 5);
	check_of(p, shadow_disown_slot(sh, SLOT), 0);
	device_destroy(dev);
}

UTEST(dirty_own, pages_that_come_after_the_call_ask)
{
	rig_up(&r, &(struct rig_opts){ .pages = PAGES, .no_slot = true, .canary = true });
	for (const struct device_profile *p = device_profiles; p->name; p++)
		if (p->walk == DEVICE_WALK_SHADOW)
			book_misses_nothing(p);
	rig_down(&r);
}

/* Stored to, taken away, and stored to again before the call: one page, once. */
UTEST(dirty_own, a_page_counts_once)
{
	uint64_t bits = 0;

	up(&r, &dev, "kvm");
	sh = device_get_shadow(dev);
	gfn = r.hva >> PAGE_SHIFT;
	own(false);
	store(&r, dev, 2, 1);
	store(&r, dev, 4, 1);
	check_eq(hostmm_zap(r.mm, rig_hva(&r, 2), rig_hva(&r, 5)), 0);
	store(&r, dev, 4, 2);
	check_eq(clean(PAGES, &bits), 2);
	check_eq(bits, 1UL << 2 | 1UL << 4);
	bits = 0;
	check_eq(clean(PAGES, &bits), 0);
	check_eq(bits, 0);
	check_eq(shadow_disown_slot(sh, SLOT), 0);
	down(&r, dev);
}

/* ---- A large leaf would be dirty as a whole ---- */

UTEST(dirty_own, recover_makes_nothing_large)
{
	static struct gup_page pages[1024];
	static uint64_t bits[1024 / 64];

	rig_up(&r, &(struct rig_opts){ .pages = 1024, .pool_frames = 4096, .no_slot = true });
	check_eq(hostmm_gup(r.mm, r.hva, 1024, 0, 1023, true, pages), 0);
	hostmm_put_pages(r.mm, pages, 1024);
	device_of("kvm");
	own(false);
	for (uint64_t page = 0; page < 1024; page++)
		store(&r, dev, page, 1);
	check_eq(clean(1024, bits), 1024);
	check_eq(shadow_recover(sh, gfn, gfn + 1024), 0);
	store(&r, dev, 700, 2);
	check_eq(clean(1024, bits), 1);
	check_eq(shadow_disown_slot(sh, SLOT), 0);
	check(shadow_recover(sh, gfn, gfn + 1024) >= 1);
	down(&r, dev);
}

/* ---- A fault that found no owner ---- */

static struct gate gate = GATE_INIT;
static atomic_bool is_protected;

/* It goes on when there is an owner, and as late as it can. */
static int fill(void *ctx, uint64_t page, void *dst, uint64_t n)
{
	(void)ctx;
	(void)page;
	(void)dst;
	(void)n;
	gate_pass(&gate);
	while (!dirty_is_owned(sh, SLOT))
		sched_yield();
	for (unsigned i = 0; i < 500 && !atomic_load(&is_protected); i++)
		sched_yield();
	return 0;
}

static void *storer(void *arg)
{
	(void)arg;
	store(&r, dev, 3, 7);
	return NULL;
}

UTEST(dirty_own, owning_waits_for_faults_that_found_no_owner)
{
	static const struct pager_ops pager = { .fill = fill };
	pthread_t thread;

	rig_up(&r, &(struct rig_opts){ .pages = PAGES, .no_slot = true, .pager = &pager });
	device_of("kvm-no-ad");
	atomic_store(&is_protected, false);
	gate_arm(&gate);
	check_eq(pthread_create(&thread, NULL, storer, NULL), 0);
	gate_wait(&gate);
	gate_open(&gate);
	own(true);
	lock_acquire(&external);
	check_eq(shadow_wrprotect_range(sh, gfn, PAGES), 1);
	atomic_store(&is_protected, true);
	lock_release(&external);
	pthread_join(thread, NULL);
	booked = 0;
	lock_acquire(&external);
	(void)shadow_wrprotect_range(sh, gfn, PAGES);
	lock_release(&external);
	store(&r, dev, 3, 8);
	check_eq(booked, 1UL << 3);
	check_eq(shadow_disown_slot(sh, SLOT), 0);
	down(&r, dev);
}

/* ---- An owner who goes while he is asked ---- */

static struct gate asking = GATE_INIT;
static atomic_bool is_gone; /* shadow_disown_slot() has returned */
static bool gone_early;

static int ask(void *ctx, gfn_t at)
{
	(void)ctx;
	(void)at;
	gate_pass(&asking);
	while (dirty_is_owned(sh, SLOT))
		sched_yield();
	for (unsigned i = 0; i < 500 && !atomic_load(&is_gone); i++)
		sched_yield();
	gone_early = atomic_load(&is_gone);
	return 0;
}

UTEST(dirty_own, disowning_waits_for_who_is_asking)
{
	struct shadow_owner owner = { .lock = &external, .mkwrite = ask };
	pthread_t thread;

	up(&r, &dev, "kvm-no-ad");
	sh = device_get_shadow(dev);
	gfn = r.hva >> PAGE_SHIFT;
	atomic_store(&is_gone, false);
	check_eq(shadow_own_slot(sh, SLOT, &owner), 0);
	gate_arm(&asking);
	check_eq(pthread_create(&thread, NULL, storer, NULL), 0);
	gate_wait(&asking);
	gate_open(&asking);
	check_eq(shadow_disown_slot(sh, SLOT), 0);
	atomic_store(&is_gone, true);
	pthread_join(thread, NULL);
	check(!gone_early);
	down(&r, dev);
}
