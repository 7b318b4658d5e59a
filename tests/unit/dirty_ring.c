// SPDX-License-Identifier: BSD-2-Clause
/* Dirty rings: entries, reset, room, and stores that wait for it. */
#include "mmu/shadow/dirty_ring.h"

#include <errno.h>

#include "mmu/shadow/dirty_range.h"
#include "mmu/shadow/shadow_priv.h"
#include "tests/unit/device.h"

#define ID  1u
#define GFN RIG_GFN

static struct rig r;
static struct device *dev;

static void ring_up(unsigned rings, unsigned size)
{
	rig_up(&r, &(struct rig_opts){ .pages = 200, .around = 1, .canary = true });
	check_eq(shadow_dirty_ring_enable(r.shadow, rings, size), 0);
	check_eq(shadow_set_slot_flags(r.shadow, ID, MEMSLOT_LOG_DIRTY), 0);
}

static void touch(uint64_t page, uint64_t value)
{
	rig_store(rig_word(r.guest, page, 0), value);
}

static unsigned collect(unsigned ring, struct shadow_dirty_gfn *to, unsigned max)
{
	int n = shadow_dirty_ring_collect(r.shadow, ring, to, max);

	check(n >= 0);
	return (unsigned)n;
}

static struct shadow_dirty_ring_stats ring_stats(void)
{
	struct shadow_dirty_ring_stats s;

	shadow_dirty_ring_get_stats(r.shadow, &s);
	return s;
}

static uint64_t in_bitmap(void)
{
	uint64_t b[4];

	check_eq(shadow_get_dirty_log(r.shadow, ID, b), 0);
	return b[0] | b[1] | b[2] | b[3];
}

UTEST(dirty_ring, entries_come_in_order_and_reset_arms_again)
{
	struct shadow_dirty_gfn e[16];

	ring_up(1, 16);
	touch(7, 1);
	touch(3, 1);
	touch(7, 2);
	check_eq(collect(0, e, 1), 1);
	check_eq(e[0].slot, ID);
	check_eq(e[0].offset, 7);
	check_eq(collect(0, e, 16), 1);
	check_eq(e[0].offset, 3);
	touch(7, 3); /* collected, not reset: no new entry */
	check_eq(collect(0, e, 16), 0);
	check_eq(shadow_dirty_ring_reset(r.shadow), 2);
	check_eq(ring_stats().protect_calls, 1);
	touch(7, 4);
	check_eq(collect(0, e, 16), 1);
	check_eq(e[0].offset, 7);
	check_eq(in_bitmap(), 0);
	rig_down(&r);
}

/* A page between two that were collected has an entry of its own, and goes on until that is reset. */
UTEST(dirty_ring, reset_protects_no_page_between)
{
	struct shadow_dirty_gfn e[16];

	ring_up(1, 16);
	touch(0, 1);
	touch(10, 1);
	touch(5, 1);
	check_eq(collect(0, e, 2), 2);
	check_eq(shadow_dirty_ring_reset(r.shadow), 2);
	touch(5, 2);
	check_eq(ring_stats().pushed, 3);
	check_eq(collect(0, e, 16), 1);
	check_eq(e[0].offset, 5);
	rig_down(&r);
}

/* Only what was collected is protected again; groups of pages are, 64 at a time, forwards and backwards. */
UTEST(dirty_ring, reset_protects_the_collected_pages)
{
	struct shadow_dirty_gfn e[256];

	ring_up(1, 256);
	for (uint64_t page = 0; page < 100; page++)
		touch(page, 1);
	for (uint64_t page = 199; page >= 140; page--)
		touch(page, 1);
	check_eq(collect(0, e, 150), 150);
	check_eq(shadow_dirty_ring_reset(r.shadow), 150);
	check_eq(ring_stats().protect_calls, 3);
	check(!spte_is_writable(ept_peek(&r.shadow->ept, GFN + 99, NULL)));
	check(!spte_is_writable(ept_peek(&r.shadow->ept, GFN + 150, NULL)));
	check(spte_is_writable(ept_peek(&r.shadow->ept, GFN + 149, NULL)));
	check_eq(collect(0, e, 256), 10);
	rig_down(&r);
}

UTEST(dirty_ring, what_has_no_producer_is_in_the_bitmap)
{
	struct shadow_dirty_gfn e[4];
	uint64_t b[4];

	ring_up(1, 16);
	check_eq(shadow_write(r.shadow, (GFN + 9) << PAGE_SHIFT, "x", 1), 0);
	check_eq(shadow_fault_ring(r.shadow, GFN + 10, true, 5, true), SHADOW_FIXED);
	check_eq(collect(0, e, 4), 0);
	check_eq(shadow_get_dirty_log(r.shadow, ID, b), 0);
	check_eq(b[0], 3UL << 9);
	rig_down(&r);
}

UTEST(dirty_ring, each_producer_has_its_ring)
{
	struct shadow_dirty_gfn e[4];

	ring_up(2, 16);
	check_eq(shadow_fault_ring(r.shadow, GFN + 10, true, 1, true), SHADOW_FIXED);
	check_eq(collect(0, e, 4), 0);
	check_eq(collect(1, e, 4), 1);
	check_eq(e[0].offset, 10);
	rig_down(&r);
}

static void *store_later(void *arg)
{
	touch((uint64_t)(uintptr_t)arg, 1);
	return NULL;
}

/* A store that finds the ring full waits for a reset, and is neither lost nor hung. Loads go on. */
UTEST(dirty_ring, a_full_ring_holds_stores_up)
{
	struct shadow_dirty_gfn e[4];
	pthread_t t;

	ring_up(1, 4);
	check_eq(shadow_fault(r.shadow, GFN + 0, true), SHADOW_FIXED);
	check_eq(shadow_fault(r.shadow, GFN + 1, true), SHADOW_FIXED);
	check_eq(shadow_fault_ring(r.shadow, GFN + 2, true, 0, false), -EBUSY);
	check(shadow_dirty_ring_wait_full(r.shadow));
	t = rig_thread(store_later, (void *)2);
	while (!ring_stats().waits)
		sched_yield();
	check_eq(shadow_fault(r.shadow, GFN + 3, false), SHADOW_FIXED);
	check_eq(collect(0, e, 4), 2);
	check_eq(ring_stats().pushed, 2);
	check_eq(shadow_dirty_ring_reset(r.shadow), 2);
	rig_join(t);
	check_eq(rig_load(rig_word(r.guest, 2, 0)), 1);
	check_eq(collect(0, e, 4), 1);
	check_eq(e[0].offset, 2);
	check_eq(ring_stats().overflowed, 0);
	rig_down(&r);
}

/* ---- One ring a vCPU, or an engine of a device ---- */

struct producer {
	unsigned ring;
	uint64_t page, end; /* that it stores to */
	atomic_bool done;
};

static void *produce(void *arg)
{
	struct producer *p = arg;

	check_eq(shadow_dirty_ring_bind(r.shadow, p->ring, sync_tid()), 0);
	for (uint64_t page = p->page; page < p->end; page++)
		touch(page, 1);
	atomic_store(&p->done, true);
	return NULL;
}

static void expect_pages(unsigned ring, uint64_t page, uint64_t end)
{
	struct shadow_dirty_gfn e[8];

	check_eq(collect(ring, e, 8), end - page);
	for (unsigned i = 0; page < end; page++, i++)
		check_eq(e[i].offset, page);
}

/* Fault threads store entries for the vCPU that waits, and only the one whose ring is full waits for long. */
UTEST(dirty_ring, a_full_ring_holds_its_own_vcpu_up)
{
	struct producer full = { .ring = 2, .page = 0, .end = 3 };
	struct producer other = { .ring = 1, .page = 10, .end = 12 };
	pthread_t t;

	ring_up(3, 4);
	t = rig_thread(produce, &full);
	while (!ring_stats().waits)
		sched_yield();
	rig_join(rig_thread(produce, &other));
	touch(20, 1);
	check(!atomic_load(&full.done));
	expect_pages(0, 20, 21);
	expect_pages(1, 10, 12);
	expect_pages(2, 0, 2);
	check_eq(shadow_dirty_ring_reset(r.shadow), 5);
	rig_join(t);
	expect_pages(2, 2, 3);
	check_eq(ring_stats().waits, 1);
	check_eq(in_bitmap(), 0);
	rig_down(&r);
}

static void *engine(void *arg)
{
	struct producer *p = arg;

	check_eq(shadow_dirty_ring_bind(device_get_shadow(dev), p->ring, sync_tid()), 0);
	for (uint64_t page = p->page; page < p->end; page++)
		store(&r, dev, page, 1);
	atomic_store(&p->done, true);
	return NULL;
}

UTEST(dirty_ring, a_full_ring_holds_its_own_engine_up)
{
	struct producer full = { .ring = 1, .page = 0, .end = 3 };
	struct shadow_dirty_ring_stats s = { 0 };
	struct shadow_dirty_gfn e[4];
	struct shadow *sh;
	pthread_t t;

	up(&r, &dev, "kvm-no-ad");
	sh = device_get_shadow(dev);
	check_eq(shadow_dirty_ring_enable(sh, 2, 4), 0);
	check_eq(shadow_set_slot_flags(sh, 0, MEMSLOT_LOG_DIRTY), 0);
	t = rig_thread(engine, &full);
	while (!s.waits)
		shadow_dirty_ring_get_stats(sh, &s);
	store(&r, dev, 5, 1);
	check(!atomic_load(&full.done));
	check_eq(shadow_dirty_ring_collect(sh, 0, e, 4), 1);
	check_eq(e[0].offset, 5);
	check_eq(shadow_dirty_ring_collect(sh, 1, e, 4), 2);
	check_eq(shadow_dirty_ring_reset(sh), 3);
	rig_join(t);
	check_eq(shadow_dirty_ring_collect(sh, 1, e, 4), 1);
	check_eq(e[0].offset, 2);
	down(&r, dev);
}

/* Bound before there are rings, moved to another one, and no more. */
UTEST(dirty_ring, a_thread_is_bound_and_unbound)
{
	uint32_t self = sync_tid();

	rig_up(&r, &(struct rig_opts){ .pages = 200, .around = 1 });
	check_eq(shadow_dirty_ring_bind(r.shadow, SHADOW_DIRTY_RINGS_MAX, self), -EINVAL);
	check_eq(shadow_dirty_ring_bind(r.shadow, 1, self), 0);
	check_eq(shadow_dirty_ring_enable(r.shadow, 3, 4), 0);
	check_eq(shadow_set_slot_flags(r.shadow, ID, MEMSLOT_LOG_DIRTY), 0);
	touch(1, 1);
	check_eq(shadow_dirty_ring_bind(r.shadow, 1, 0), 0);
	touch(2, 1);
	check_eq(shadow_dirty_ring_bind(r.shadow, 2, self), 0);
	check_eq(shadow_fault(r.shadow, GFN + 3, true), SHADOW_FIXED);
	check_eq(shadow_dirty_ring_bind(r.shadow, 2, 0), 0);
	check_eq(shadow_dirty_ring_bind(r.shadow, 3, self), 0); /* beyond the rings */
	touch(4, 1);
	expect_pages(0, 2, 3);
	expect_pages(1, 1, 2);
	expect_pages(2, 3, 4);
	check_eq(in_bitmap(), 1UL << 4);
	rig_down(&r);
}

/* Released, nobody waits: what finds no entry is a bit. So a window can stop with a store waiting. */
UTEST(dirty_ring, released_rings_overflow_into_the_bitmap)
{
	struct shadow_dirty_gfn e[8];
	uint64_t b[4];

	ring_up(1, 4);
	shadow_dirty_ring_release(r.shadow);
	check(!shadow_dirty_ring_wait_full(r.shadow));
	for (uint64_t page = 0; page < 6; page++)
		touch(page, 1);
	check_eq(collect(0, e, 8), 4);
	check_eq(ring_stats().overflowed, 2);
	check_eq(shadow_get_dirty_log(r.shadow, ID, b), 0);
	check_eq(b[0], 0x30);
	rig_down(&r);
}

/* Between store and reset the slot may go, or another take its id. */
UTEST(dirty_ring, entries_outlive_their_slot)
{
	struct shadow_dirty_gfn e[4];

	ring_up(1, 16);
	touch(100, 1);
	check_eq(collect(0, e, 4), 1);
	check_eq(shadow_remove_slot(r.shadow, ID), 0);
	check_eq(shadow_dirty_ring_reset(r.shadow), 1);
	check_eq(shadow_add_slot(r.shadow, ID, GFN, 50, r.hva, MEMSLOT_LOG_DIRTY), 0);
	check_eq(shadow_fault(r.shadow, GFN + 49, true), SHADOW_FIXED);
	check_eq(collect(0, e, 4), 1);
	check_eq(shadow_dirty_ring_reset(r.shadow), 1);
	rig_down(&r);
}

UTEST(dirty_ring, refuses_bad_input)
{
	struct shadow_dirty_gfn e[1];

	rig_up(&r, &(struct rig_opts){ .pages = 64 });
	check_eq(shadow_dirty_ring_collect(r.shadow, 0, e, 1), -EINVAL);
	check_eq(shadow_dirty_ring_reset(r.shadow), 0);
	check_eq(shadow_dirty_ring_enable(r.shadow, 0, 16), -EINVAL);
	check_eq(shadow_dirty_ring_enable(r.shadow, 65, 16), -EINVAL);
	check_eq(shadow_dirty_ring_enable(r.shadow, 1, 17), -EINVAL);
	check_eq(shadow_dirty_ring_enable(r.shadow, 1, 2), -EINVAL);
	check_eq(shadow_dirty_ring_enable(r.shadow, 1, 1u << 17), -EINVAL);
	check_eq(shadow_set_slot_flags(r.shadow, ID, MEMSLOT_LOG_DIRTY), 0);
	check_eq(shadow_dirty_ring_enable(r.shadow, 1, 16), -EBUSY);
	check_eq(shadow_set_slot_flags(r.shadow, ID, 0), 0);
	check_eq(shadow_dirty_ring_enable(r.shadow, 1, 16), 0);
	check_eq(shadow_dirty_ring_enable(r.shadow, 1, 16), -EEXIST);
	check_eq(shadow_dirty_ring_collect(r.shadow, 1, e, 1), -EINVAL);
	rig_down(&r);
}

UTEST(dirty_ring, not_on_a_table_with_d_bits)
{
	up(&r, &dev, "kvm");
	check_eq(shadow_dirty_ring_enable(device_get_shadow(dev), 1, 16), -EOPNOTSUPP);
	down(&r, dev);
}

/* ---- Ranges of owned slots: what is refused, and what is left as it was ---- */

static struct lock external;

static int book(void *ctx, gfn_t gfn)
{
	*(uint64_t *)ctx |= 1UL << (gfn - GFN);
	return gfn == GFN + 9 ? -EIO : 0;
}

UTEST(dirty_range, refuses_what_is_not_owned)
{
	uint64_t booked = 0, bitmap[4] = { 0 }, first = 0, last = 0;
	struct shadow_owner owner = { .lock = &external, .mkwrite = book, .ctx = &booked };

	lock_init(&external);
	rig_up(&r, &(struct rig_opts){ .pages = 200, .around = 1 });
	touch(3, 1);
	touch(5, 1);
	check_eq(shadow_wrprotect_range(r.shadow, GFN, 200), -EPERM);
	check_eq(shadow_own_slot(r.shadow, 9, &owner), -ENOENT);
	check_eq(shadow_own_slot(r.shadow, ID, &(struct shadow_owner){ .mkwrite = book }), -EINVAL);
	check_eq(shadow_own_slot(r.shadow, ID, &owner), 0);
	check_eq(shadow_own_slot(r.shadow, ID, &owner), -EEXIST);
	check_eq(shadow_set_slot_flags(r.shadow, ID, MEMSLOT_LOG_DIRTY), -EPERM);
	lock_acquire(&external);
	check_eq(shadow_wrprotect_range(r.shadow, GFN - 1, 2), -ENOENT);
	check_eq(shadow_wrprotect_range(r.shadow, GFN, 201), -EINVAL);
	check_eq(shadow_clean_record_range(r.shadow, GFN, 1, GFN, bitmap, &first, &last),
		 -EOPNOTSUPP);
	check_eq(shadow_wrprotect_range(r.shadow, GFN, 200), 2);
	check_eq(shadow_wrprotect_range(r.shadow, GFN, 200), 0);
	lock_release(&external);
	touch(3, 2);
	touch(4, 2);
	lock_acquire(&external);
	check_eq(booked, 3UL << 3);
	lock_release(&external);
	check_eq(shadow_fault(r.shadow, GFN + 9, true), -EIO);
	check_eq(shadow_disown_slot(r.shadow, ID), 0);
	check_eq(shadow_disown_slot(r.shadow, ID), -ENOENT);
	rig_down(&r);
	lock_fini(&external);
}
