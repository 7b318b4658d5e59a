// SPDX-License-Identifier: BSD-2-Clause
/* The checker: each kind of damage is planted behind the library's back, and named. Less than allowed is no damage. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mmu/shadow/device.h"
#include "mmu/shadow/shadow_priv.h"
#include "tests/rig.h"
#include "tests/test.h"

static struct rig r;

/* What the checker said, of one thing. */
static struct {
	unsigned count;
	gfn_t gfn;
	const char *what;
} said;

static void listen(void *ctx, gfn_t gfn, uint64_t spte, const char *what)
{
	(void)ctx;
	(void)spte;
	said.count++;
	said.gfn = gfn;
	said.what = what;
}

static void up(void)
{
	rig_up(&r, &(struct rig_opts){ .pages = 16, .around = 1 });
	for (uint64_t page = 0; page < 4; page++)
		rig_store(rig_word(r.guest, page, 0), page + 1);
	rig_check(&r);
}

/* One thing is wrong, with page @page, and is called @what. */
static void check_found(uint64_t page, const char *what)
{
	memset(&said, 0, sizeof(said));
	check_eq(shadow_check(r.shadow, listen, NULL), 1);
	check_eq(said.count, 1);
	check_eq(said.gfn, RIG_GFN + page);
	check(strstr(said.what, what), "found: %s", said.what);
}

static char *guest_page(uint64_t page)
{
	return r.guest + (page << PAGE_SHIFT);
}

static void zap_leaf(uint64_t page)
{
	rwlock_write_acquire(&r.shadow->mmu_lock);
	check_eq(ept_zap(&r.shadow->ept, RIG_GFN + page, RIG_GFN + page + 1).count, 1);
	rwlock_write_release(&r.shadow->mmu_lock);
}

static void plant_leaf(gfn_t gfn, fn_t fn, bool writable)
{
	struct ept *ept = &r.shadow->ept;

	check_eq(ept_populate(ept, ept_root(ept), gfn, gfn + 1, 1), 0);
	check(ept_install(ept, ept_root(ept), gfn, 1, SPTE_NONE,
			  ept_make_leaf(ept, fn, writable, 1)));
}

UTEST(check, page_in_the_window_without_a_leaf)
{
	up();
	zap_leaf(2);
	check_found(2, "in the window without a leaf");
	check_eq(madvise(guest_page(2), PAGE_SIZE, MADV_DONTNEED), 0);
	rig_check(&r);
	rig_down(&r);
}

UTEST(check, page_in_the_window_that_lacks_write_protection)
{
	up();
	rwlock_write_acquire(&r.shadow->mmu_lock);
	check_eq(ept_wrprotect(&r.shadow->ept, RIG_GFN + 1, RIG_GFN + 2, EPT_WP_HOST).count, 1);
	rwlock_write_release(&r.shadow->mmu_lock);
	check_found(1, "not write-protected");
	check_eq(madvise(guest_page(1), PAGE_SIZE, MADV_DONTNEED), 0);
	rig_check(&r);
	rig_down(&r);
}

UTEST(check, page_in_the_window_on_another_frame)
{
	fn_t fn;

	up();
	skip_if(window_can_check() == -EPERM, "needs CAP_SYS_ADMIN to see frames");
	fn = rig_frame(&r, 0);
	check(mmap(guest_page(3), PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
		   pool_fd(r.pool), (off_t)(fn << PAGE_SHIFT)) != MAP_FAILED);
	check_eq(rig_load(rig_word(r.guest, 3, 0)), 1);
	check_found(3, "on a frame that is not the leaf's");
	check_eq(madvise(guest_page(3), PAGE_SIZE, MADV_DONTNEED), 0);
	rig_check(&r);
	rig_down(&r);
}

UTEST(check, a_page_missing_from_the_window_is_no_damage)
{
	up();
	check_eq(madvise(guest_page(0), 4 * PAGE_SIZE, MADV_DONTNEED), 0);
	rig_check(&r);
	check_eq(rig_load(rig_word(r.guest, 2, 0)), 3);
	rig_check(&r);
	rig_down(&r);
}

UTEST(check, leaf_without_a_slot)
{
	up();
	plant_leaf(RIG_GFN - 1, rig_frame(&r, 0), false);
	memset(&said, 0, sizeof(said));
	check_eq(shadow_check(r.shadow, listen, NULL), 1);
	check_eq(said.gfn, RIG_GFN - 1);
	check(strstr(said.what, "without a slot"), "found: %s", said.what);
	ept_zap(&r.shadow->ept, RIG_GFN - 1, RIG_GFN);
	rig_down(&r);
}

UTEST(check, leaf_on_another_frame)
{
	up();
	check_eq(hostmm_zap(r.mm, rig_hva(&r, 3), rig_hva(&r, 4)), 0);
	plant_leaf(RIG_GFN + 3, rig_frame(&r, 0), false);
	check_found(3, "not the primary's");
	zap_leaf(3);
	rig_down(&r);
}

UTEST(check, leaf_of_a_page_that_the_primary_does_not_have)
{
	up();
	check_eq(hostmm_discard(r.mm, rig_hva(&r, 3), rig_hva(&r, 4)), 0);
	plant_leaf(RIG_GFN + 3, rig_frame(&r, 0), false);
	check_found(3, "does not have");
	zap_leaf(3);
	rig_down(&r);
}

UTEST(check, leaf_with_more_rights_than_the_primary)
{
	up();
	check_eq(hostmm_wrprotect(r.mm, rig_hva(&r, 3), rig_hva(&r, 4)), 0);
	check_eq(rig_load(rig_word(r.guest, 3, 0)), 4);
	zap_leaf(3);
	check_eq(madvise(guest_page(3), PAGE_SIZE, MADV_DONTNEED), 0);
	plant_leaf(RIG_GFN + 3, rig_frame(&r, 3), true);
	check_found(3, "writable");
	/* The log has taken W, and the fast path would give it back. */
	rwlock_write_acquire(&r.shadow->mmu_lock);
	ept_wrprotect(&r.shadow->ept, RIG_GFN + 3, RIG_GFN + 4, EPT_WP_LOG);
	rwlock_write_release(&r.shadow->mmu_lock);
	check_found(3, "writable");
	zap_leaf(3);
	rig_down(&r);
}

UTEST(check, leaves_miscounted)
{
	up();
	atomic_fetch_add(&r.shadow->ept.leaves[1], 1);
	memset(&said, 0, sizeof(said));
	check_eq(shadow_check(r.shadow, listen, NULL), 1);
	check(strstr(said.what, "counted"), "found: %s", said.what);
	atomic_fetch_sub(&r.shadow->ept.leaves[1], 1);
	rig_check(&r);
	rig_down(&r);
}

UTEST(check, tables_miscounted)
{
	up();
	atomic_fetch_add(&r.shadow->ept.table_pages, 1);
	memset(&said, 0, sizeof(said));
	check_eq(shadow_check(r.shadow, listen, NULL), 1);
	check(strstr(said.what, "tables counted"), "found: %s", said.what);
	atomic_fetch_sub(&r.shadow->ept.table_pages, 1);
	rig_check(&r);
	rig_down(&r);
}

UTEST(check, entry_left_frozen)
{
	struct ept *ept;

	up();
	ept = &r.shadow->ept;
	rwlock_write_acquire(&r.shadow->mmu_lock);
	check_eq(ept_repoint_begin(ept, RIG_GFN + 2), 1);
	rwlock_write_release(&r.shadow->mmu_lock);
	check_eq(madvise(guest_page(2), PAGE_SIZE, MADV_DONTNEED), 0);
	check_found(2, "frozen");
	rwlock_write_acquire(&r.shadow->mmu_lock);
	ept_repoint_end(ept, RIG_GFN + 2, rig_frame(&r, 2));
	rwlock_write_release(&r.shadow->mmu_lock);
	rig_check(&r);
	rig_down(&r);
}

static struct ept_page *swap_root(struct ept *ept)
{
	struct ept_page *old;

	rwlock_write_acquire(&r.shadow->mmu_lock);
	ept_root_swap(ept, ept_root_alloc(ept), &old);
	rwlock_write_release(&r.shadow->mmu_lock);
	return old;
}

/* A root that nothing goes by any more still keeps frames from being freed (M14): it is held to the same. */
UTEST(check, leaf_of_an_invalid_root)
{
	struct ept *ept;
	struct ept_page *old;
	bool dead;

	up();
	ept = &r.shadow->ept;
	check_eq(hostmm_zap(r.mm, r.hva, rig_hva(&r, 4)), 0);
	plant_leaf(RIG_GFN + 3, rig_frame(&r, 0), false);
	old = swap_root(ept);
	check_found(3, "not the primary's");
	rwlock_read_acquire(&r.shadow->mmu_lock);
	sync_rcu_read_lock();
	dead = ept_root_teardown(ept, old, 100);
	sync_rcu_read_unlock();
	rwlock_read_release(&r.shadow->mmu_lock);
	check(dead);
	rig_check(&r);
	ept_reap(ept);
	rig_check(&r);
	rig_down(&r);
}

static void *reap(void *ept)
{
	ept_reap(ept);
	return NULL;
}

/* Tables that nobody has freed yet, since somebody may still walk them, are no damage; others that are counted are. */
UTEST(check, tables_that_are_being_reaped)
{
	struct ept *ept;
	struct ept_page *old;
	pthread_t reaper;

	up();
	ept = &r.shadow->ept;
	check_eq(hostmm_zap(r.mm, r.hva, rig_hva(&r, 4)), 0);
	old = swap_root(ept);
	rwlock_read_acquire(&r.shadow->mmu_lock);
	sync_rcu_read_lock();
	check(ept_root_teardown(ept, old, 100));
	rwlock_read_release(&r.shadow->mmu_lock);
	reaper = rig_thread(reap, ept);
	while (sync_load(&ept->dead))
		sched_yield();
	check_eq(ept_check(ept, listen, NULL), 0);
	atomic_fetch_add(&ept->table_pages, 1);
	memset(&said, 0, sizeof(said));
	check_eq(ept_check(ept, listen, NULL), 1);
	check(strstr(said.what, "tables counted"));
	atomic_fetch_sub(&ept->table_pages, 1);
	sync_rcu_read_unlock();
	rig_join(reaper);
	rig_check(&r);
	rig_down(&r);
}

/* Of page 3, which has been stored to: takes W or D away, and forgets the flush. */
static uint64_t take_w(struct shadow *sh, gfn_t gfn)
{
	return ept_wrprotect(&sh->ept, gfn, gfn + 1, EPT_WP_LOG).count;
}

static uint64_t take_d(struct shadow *sh, gfn_t gfn)
{
	return ept_clear_dirty(&sh->ept, gfn, gfn + 1, NULL, NULL).count;
}

/* The primary allows the store, the TLB, too: without W it comes where nobody may store, without D nobody knows of it. */
static void forget_flush(const char *profile, uint64_t (*take)(struct shadow *sh, gfn_t gfn))
{
	gfn_t gfn;
	struct device *dev;
	struct shadow *sh;
	uint64_t value = 1;

	rig_up(&r, &(struct rig_opts){ .pages = 16, .no_slot = true });
	check_eq(device_create(&dev, device_profile(profile), r.mm, r.hva, 16), 0);
	sh = device_get_shadow(dev);
	gfn = rig_hva(&r, 3) >> PAGE_SHIFT;
	check_eq(device_write(dev, rig_hva(&r, 3), &value, sizeof(value)), 0);
	check_eq(shadow_check(sh, NULL, NULL), 0);
	rwlock_write_acquire(&sh->mmu_lock);
	check_eq(take(sh, gfn), 1);
	rwlock_write_release(&sh->mmu_lock);
	memset(&said, 0, sizeof(said));
	check_eq(shadow_check(sh, listen, NULL), 1);
	check_eq(said.gfn, gfn);
	check(strstr(said.what, "TLB entry"), "found: %s", said.what);
	device_destroy(dev);
	rig_down(&r);
}

UTEST(check, tlb_entry_without_w)
{
	forget_flush("kvm", take_w);
	forget_flush("kvm-no-ad", take_w);
}

UTEST(check, tlb_entry_without_d)
{
	forget_flush("kvm", take_d);
	forget_flush("vmwgfx", take_d);
}

UTEST(check, says_what_it_can_see)
{
	int rc = window_can_check();

	/* Root may lack CAP_SYS_ADMIN, as in a container; nobody else has it. */
	check(rc == -EPERM || (!rc && !geteuid()), "%d", rc);
}
