// SPDX-License-Identifier: BSD-2-Clause
/* Dirty bits in a tree that has been dropped and is not taken apart yet: whoever asks meanwhile is told. */
#include "mmu/shadow/dirty.h"
#include "mmu/shadow/dirty_range.h"
#include "mmu/shadow/shadow_priv.h"
#include "tests/unit/device.h"

#define SLOT 0u

static struct rig r;
static struct device *dev;
static struct shadow *sh;
static gfn_t gfn;

/* As shadow_drop_root() up to the first step of the teardown. */
static struct ept_page *drop(void)
{
	struct ept_page *fresh = ept_root_alloc(&sh->ept), *old;

	check(fresh);
	rwlock_write_acquire(&sh->mmu_lock);
	ept_root_swap(&sh->ept, fresh, &old);
	sh->ops->zap(slots_find_id(&sh->slots, SLOT)->backend, 0, PAGES);
	rwlock_write_release(&sh->mmu_lock);
	return old;
}

static void tear_down(struct ept_page *old)
{
	sync_rcu_read_lock();
	rwlock_read_acquire(&sh->mmu_lock);
	check(ept_root_teardown(&sh->ept, old, 64));
	rwlock_read_release(&sh->mmu_lock);
	sync_rcu_read_unlock();
	ept_reap(&sh->ept);
}

static void device_of(unsigned how, bool logs)
{
	up(&r, &dev, "kvm");
	sh = device_get_shadow(dev);
	gfn = r.hva >> PAGE_SHIFT;
	check_eq(shadow_dirty_configure(sh, how), 0);
	/* Else the stores fault, and the faults tell the log. */
	for (uint64_t page = 0; page < PAGES; page++)
		check_eq(load(&r, dev, page), host_load(&r, page));
	if (logs)
		check_eq(shadow_set_slot_flags(sh, SLOT, MEMSLOT_LOG_DIRTY), 0);
}

static uint64_t get(void)
{
	uint64_t bits = ~0UL;

	check_eq(shadow_get_dirty_log(sh, SLOT, &bits), 0);
	return bits;
}

UTEST(dirty_root, get_tells_of_a_dropped_tree)
{
	struct ept_page *old;

	device_of(0, true);
	store(&r, dev, 3, 1);
	store(&r, dev, 5, 1);
	old = drop();
	store(&r, dev, 5, 2);
	check_eq(get(), 1UL << 3 | 1UL << 5);
	check_eq(get(), 0);
	tear_down(old);
	check_eq(get(), 0);
	store(&r, dev, 3, 2);
	check_eq(get(), 1UL << 3);
	down(&r, dev);
}

UTEST(dirty_root, manual_get_and_clear)
{
	uint64_t mask = 1UL << 3;
	struct ept_page *old;

	device_of(SHADOW_DIRTY_MANUAL, true);
	store(&r, dev, 3, 1);
	store(&r, dev, 5, 1);
	old = drop();
	check_eq(get(), 1UL << 3 | 1UL << 5);
	check_eq(shadow_clear_dirty_log(sh, SLOT, 0, PAGES, &mask), 0);
	check_eq(get(), 1UL << 5);
	tear_down(old);
	check_eq(get(), 1UL << 5);
	down(&r, dev);
}

UTEST(dirty_root, the_owner_is_told)
{
	uint64_t bits = 0, first = 1, last = 0;
	struct ept_page *old;

	device_of(0, false);
	check_eq(shadow_own_slot(sh, SLOT, &(struct shadow_owner){ .lock = NULL }), 0);
	check_eq(shadow_clean_record_range(sh, gfn, PAGES, gfn, &bits, &first, &last), PAGES);
	bits = 0;
	store(&r, dev, 3, 1);
	old = drop();
	check_eq(shadow_clean_record_range(sh, gfn, PAGES, gfn, &bits, &first, &last), 1);
	check_eq(bits, 1UL << 3);
	tear_down(old);
	check_eq(shadow_clean_record_range(sh, gfn, PAGES, gfn, &bits, &first, &last), 0);
	check_eq(shadow_disown_slot(sh, SLOT), 0);
	down(&r, dev);
}
