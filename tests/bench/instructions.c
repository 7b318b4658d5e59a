/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/bench/instructions.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mmu/base/bug.h"
#include "mmu/host/hostmm_actors.h"
#include "mmu/host/ksm.h"
#include "mmu/notify/interval.h"
#include "mmu/shadow/device.h"
#include "mmu/shadow/dirty.h"
#include "tests/bench/shadow_rig.h"

#define PAGES	  (16UL << 8) /* 16 MiB: eight tables of leaves */
#define SLOTS	  1000u
#define INTERVALS 1000u
#define SOME	  256u /* operations where one costs much */

/* A function that callgrind finds by its name, and whose body is all that is counted. */
#ifdef __clang__ /* clones nothing */
#define COUNTED __attribute__((noinline)) void
#else
#define COUNTED __attribute__((noinline, noclone)) void
#endif

static struct shadow_rig r;
static struct device *dev;
static struct ksm *ksm;
static struct mmu_notifier_subscriptions *mm;

/* Steps that are known to succeed here, and count only if they do. */
#define must(expr) bug_on((expr) < 0)

COUNTED count_map(void);
COUNTED count_zap(void);
COUNTED count_wrprotect(void);
COUNTED count_fault(void);
COUNTED count_fault_spurious(void);
COUNTED count_fault_write_again(void);
COUNTED count_gup(void);
COUNTED count_migrate(void);
COUNTED count_migrate_home(void);
COUNTED count_merge(void);
COUNTED count_unmerge(void);
COUNTED count_ksm_pass(void);
COUNTED count_age(void);
COUNTED count_dirty_get(void);
COUNTED count_zap_all(void);
COUNTED count_slot_add(void);
COUNTED count_slot_lookup(void);
COUNTED count_bracket(void);
COUNTED count_bracket_intervals(void);
COUNTED count_read_lock(void);
COUNTED count_write_lock(void);
COUNTED count_device_read(void);

COUNTED count_map(void)
{
	must(shadow_rig_map(&r));
}

COUNTED count_zap(void)
{
	must(hostmm_zap(r.mm, r.hva, shadow_rig_end(&r)));
}

COUNTED count_wrprotect(void)
{
	must(hostmm_wrprotect(r.mm, r.hva, shadow_rig_end(&r)));
}

/* A page each: nothing is mapped, the host has them all. */
COUNTED count_fault(void)
{
	for (gfn_t gfn = 0; gfn < PAGES; gfn += PAGES / SOME)
		must(shadow_fault(r.shadow, gfn, false));
}

COUNTED count_fault_spurious(void)
{
	for (gfn_t gfn = 0; gfn < SOME; gfn++)
		must(shadow_fault(r.shadow, gfn, true));
}

/* After a write-protection: the leaf is there, without W. */
COUNTED count_fault_write_again(void)
{
	for (gfn_t gfn = 0; gfn < SOME; gfn++)
		must(shadow_fault(r.shadow, gfn, true));
}

COUNTED count_gup(void)
{
	static struct gup_page page[512];

	for (hva_t hva = r.hva; hva < shadow_rig_end(&r);
	     hva += sizeof(page) / sizeof(*page) * PAGE_SIZE) {
		must(hostmm_gup(r.mm, hva, 512, 0, 0, false, page));
		hostmm_put_pages(r.mm, page, 512);
	}
}

COUNTED count_migrate(void)
{
	must(hostmm_migrate(r.mm, r.hva, r.hva + SOME * PAGE_SIZE, HOSTMM_MIGRATE_AWAY));
}

COUNTED count_migrate_home(void)
{
	must(hostmm_migrate(r.mm, r.hva, r.hva + SOME * PAGE_SIZE, HOSTMM_MIGRATE_HOME));
}

/* Pages of zeros: equal. The reverse map gets a link each, and loses it below. */
COUNTED count_merge(void)
{
	for (uint64_t page = 1; page < SOME; page++)
		must(hostmm_merge(r.mm, r.hva, r.mm, r.hva + page * PAGE_SIZE));
}

COUNTED count_unmerge(void)
{
	for (uint64_t page = 1; page < SOME; page++)
		must(hostmm_unmerge(r.mm, r.hva + page * PAGE_SIZE));
}

COUNTED count_ksm_pass(void)
{
	must((int64_t)ksm_pass(ksm));
}

COUNTED count_age(void)
{
	static uint64_t used[PAGES / 64];
	uint64_t n;

	must(shadow_age(r.shadow, 0, PAGES, used, &n));
}

COUNTED count_dirty_get(void)
{
	static uint64_t bitmap[PAGES / 64];

	must(shadow_get_dirty_log(r.shadow, 0, bitmap));
}

COUNTED count_zap_all(void)
{
	must(shadow_zap_all(r.shadow));
}

/* A page each, two apart, beyond the first slot. */
COUNTED count_slot_add(void)
{
	for (unsigned id = 1; id <= SLOTS; id++)
		must(shadow_add_slot(r.shadow, id, PAGES + 2UL * id, 1, r.hva + (id << PAGE_SHIFT),
				     0));
}

COUNTED count_slot_lookup(void)
{
	struct memslot slot;

	for (unsigned id = 1; id <= SLOTS; id++)
		bug_on(!shadow_slot(r.shadow, PAGES + 2UL * id, &slot));
}

static void bracket(hva_t start)
{
	struct mmu_notifier_range range;

	mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, mm, start, start + PAGE_SIZE);
	must(mmu_notifier_invalidate_range_start(&range));
	mmu_notifier_invalidate_range_end(&range);
}

COUNTED count_bracket(void)
{
	for (unsigned i = 0; i < SOME; i++)
		bracket((i + 1UL) << PAGE_SHIFT);
}

COUNTED count_bracket_intervals(void)
{
	for (unsigned i = 0; i < SOME; i++)
		bracket((i + 1UL) << PAGE_SHIFT);
}

static struct rwlock rwlock;

COUNTED count_read_lock(void)
{
	for (unsigned i = 0; i < SOME; i++) {
		rwlock_read_acquire(&rwlock);
		rwlock_read_release(&rwlock);
	}
}

COUNTED count_write_lock(void)
{
	for (unsigned i = 0; i < SOME; i++) {
		rwlock_write_acquire(&rwlock);
		rwlock_write_release(&rwlock);
	}
}

/* A load from every page: each misses the TLB, one in 16 faults. */
COUNTED count_device_read(void)
{
	uint64_t word;

	for (hva_t hva = r.hva; hva < shadow_rig_end(&r); hva += PAGE_SIZE)
		must(device_read(dev, hva, &word, sizeof(word)));
}

/* ---- The order, and what stands between ---- */

static void run_shadow(void)
{
	count_map();
	count_wrprotect();
	count_fault_write_again();
	count_fault_spurious();
	count_zap();
	must(hostmm_zap(r.mm, r.hva, shadow_rig_end(&r)));
	count_gup();
	must(shadow_rig_map(&r));
	count_age();
	count_migrate();
	count_migrate_home();
	must(shadow_rig_map(&r));
	count_merge();
	count_unmerge();
	must(hostmm_migrate(r.mm, r.hva, shadow_rig_end(&r), HOSTMM_MIGRATE_AWAY));
	must(hostmm_migrate(r.mm, r.hva, shadow_rig_end(&r), HOSTMM_MIGRATE_HOME));
	must(shadow_set_slot_flags(r.shadow, 0, MEMSLOT_LOG_DIRTY));
	for (gfn_t gfn = 0; gfn < PAGES; gfn += 2)
		must(shadow_fault(r.shadow, gfn, true));
	count_dirty_get();
	must(shadow_set_slot_flags(r.shadow, 0, 0));
	count_zap_all();
	count_slot_add();
	count_slot_lookup();
}

static void run_single(void)
{
	struct shadow_rig whole = r;

	must(shadow_rig_up_around(&r, PAGES, SHADOW_RIG_POPULATE | SHADOW_RIG_TRAP, 1, 1));
	count_fault();
	shadow_rig_down(&r);
	r = whole;
}

/* Two passes: to look, to merge. */
static void run_ksm(void)
{
	must(ksm_create(&ksm, r.pool, &(struct ksm_opts){ 0 }));
	must(ksm_register(ksm, r.mm, r.hva, r.hva + SOME * PAGE_SIZE));
	ksm_pass(ksm);
	count_ksm_pass();
	ksm_destroy(ksm);
}

static void run_device(void)
{
	static struct device_profile profile;

	profile = *device_profile("kvm");
	profile.fault_around = 16;
	profile.max_level = 1;
	must(device_create(&dev, &profile, r.mm, r.hva, r.pages));
	count_device_read();
	device_destroy(dev);
}

static bool accept(struct mmu_interval_notifier *sub, const struct mmu_notifier_range *range,
		   uint64_t cur_seq)
{
	(void)range;
	mmu_interval_set_seq(sub, cur_seq);
	return true;
}

static void run_notify(void)
{
	static const struct mmu_interval_notifier_ops ops = { .invalidate = accept };
	static struct mmu_notifier_subscriptions subscriptions;
	static struct mmu_interval_notifier sub[INTERVALS];

	mm = &subscriptions;
	mmu_notifier_subscriptions_init(mm);
	count_bracket();
	/* In no order, but in the same one each time: the tree balances by keys. */
	for (uint64_t i = 0; i < INTERVALS; i++)
		must(mmu_interval_notifier_insert(
			&sub[i], mm, (i * 389 % INTERVALS + 1) << PAGE_SHIFT, PAGE_SIZE, &ops));
	count_bracket_intervals();
	for (unsigned i = 0; i < INTERVALS; i++)
		mmu_interval_notifier_remove(&sub[i]);
	mmu_notifier_subscriptions_fini(mm);
}

static void run_lock(void)
{
	rwlock_init_read_mostly(&rwlock);
	count_read_lock();
	count_write_lock();
	rwlock_fini(&rwlock);
}

int instructions_run(void)
{
	/* Nothing below the shadow, and no userfaultfd: what is left is the library. */
	int rc = shadow_rig_up_around(&r, PAGES, SHADOW_RIG_POPULATE | SHADOW_RIG_TRAP, 512, 1);

	if (rc) {
		fprintf(stderr, "bench: instructions: %s\n", strerror(-rc));
		shadow_rig_down(&r);
		return rc;
	}
	run_shadow();
	run_single();
	run_ksm();
	run_device();
	run_notify();
	run_lock();
	shadow_rig_down(&r);
	return 0;
}
