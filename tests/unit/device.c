// SPDX-License-Identifier: BSD-2-Clause
/* Devices one step at a time: what each profile reads and writes, and drops. */
#include "tests/unit/device.h"

#include <errno.h>

#include "mmu/host/hostmm_actors.h"

UTEST(device, profiles_are_found_by_name)
{
	check(device_profile("nothing") == NULL);
	for (const struct device_profile *p = device_profiles; p->name; p++) {
		check(device_profile(p->name) == p);
		check(p->walk != DEVICE_WALK_SHADOW || p->subscription == DEVICE_START_END);
	}
}

UTEST(device, create_refuses_what_it_cannot_reach)
{
	const struct device_profile *hmm = device_profile("hmm");
	struct device *dev;
	struct rig r;

	rig_up(&r, &(struct rig_opts){ .pages = PAGES, .no_slot = true });
	check_eq(device_create(&dev, hmm, r.mm, r.hva, 0), -EINVAL);
	check_eq(device_create(&dev, hmm, r.mm, r.hva + 1, 1), -EINVAL);
	check_eq(device_create(&dev, hmm, r.mm, r.hva, PAGES + 1), -EFAULT);
	rig_down(&r);
}

/* Every profile: what it loads and stores is what the host has, across a page and at any alignment. */
UTEST(device, reads_and_writes_the_host)
{
	for (const struct device_profile *p = device_profiles; p->name; p++) {
		char in[40], out[40];
		struct device *dev;
		uint64_t old;
		struct rig r;

		up(&r, &dev, p->name);
		check_eq(load(&r, dev, 3), 0);
		for (unsigned i = 0; i < sizeof(out); i++)
			out[i] = (char)(i + 1);
		check_eq(device_write(dev, rig_hva(&r, 1) - 13, out, sizeof(out)), 0);
		check_eq(hostmm_read(r.mm, rig_hva(&r, 1) - 13, in, sizeof(in)), 0);
		check(!memcmp(in, out, sizeof(in)), "%s", p->name);
		check_eq(hostmm_write(r.mm, rig_hva(&r, 3) - 7, out, sizeof(out)), 0);
		check_eq(device_read(dev, rig_hva(&r, 3) - 7, in, sizeof(in)), 0);
		check(!memcmp(in, out, sizeof(in)), "%s", p->name);
		store(&r, dev, 5, 40);
		check_eq(device_add(dev, rig_hva(&r, 5), 2, &old), 0);
		check_eq(old, 40);
		check_eq(host_load(&r, 5), 42);
		check_eq(device_add(dev, rig_hva(&r, 5) + 4, 2, NULL), -EINVAL);
		down(&r, dev);
	}
}

UTEST(device, counts_hits_misses_and_drops)
{
	for (const struct device_profile *p = device_profiles; p->name; p++) {
		struct device_stats before, after;
		struct device *dev;
		struct rig r;

		up(&r, &dev, p->name);
		store(&r, dev, 0, 1);
		check_eq(stats(dev).misses, 1);
		check_eq(load(&r, dev, 0), 1);
		store(&r, dev, 0, 2);
		check_eq(stats(dev).hits, 2);
		before = stats(dev);
		check_eq(hostmm_zap(r.mm, rig_hva(&r, 0), rig_hva(&r, 1)), 0);
		check_eq(load(&r, dev, 0), 2);
		after = stats(dev);
		if (!p->defers) {
			check_eq(after.flushes - before.flushes, 1);
			check_eq(after.dropped - before.dropped, 1);
			check_eq(after.misses - before.misses, 1);
			check_eq(after.unmapped, p->walk == DEVICE_WALK_MIRROR);
		} else {
			check_eq(after.hits - before.hits, 1);
		}
		check_eq(after.pinned, p->pins);
		down(&r, dev);
	}
}

/* An entry that may only be read is looked up anew for a store, and a store never goes to a page that forbids it. */
UTEST(device, upgrades_and_respects_rights)
{
	for (const struct device_profile *p = device_profiles; p->name; p++) {
		uint64_t value = 1;
		struct device *dev;
		struct rig r;
		int rc;

		up(&r, &dev, p->name);
		store(&r, dev, 0, 1);
		check_eq(hostmm_wrprotect(r.mm, rig_hva(&r, 0), rig_hva(&r, 1)), 0);
		device_run_deferred(dev);
		check_eq(load(&r, dev, 0), 1);
		store(&r, dev, 0, 2);
		check_eq(host_load(&r, 0), 2);
		check(device_read(dev, rig_hva(&r, PAGES), &value, 8) < 0);
		check(device_read(dev, rig_hva(&r, 0) - 8, &value, 8) < 0);
		check(device_read(dev, 0, &value, 8) < 0);
		check(device_read(dev, ~(hva_t)7, &value, 8) < 0);
		check_eq(value, 1);
		down(&r, dev);

		rig_up(&r,
		       &(struct rig_opts){ .pages = 1, .prot = HOSTMM_PROT_READ, .no_slot = true });
		dev = device_up(&r, p->name);
		check_eq(load(&r, dev, 0), 0);
		rc = device_write(dev, rig_hva(&r, 0), &value, 8);
		check_eq(rc, p->walk == DEVICE_WALK_SHADOW ? -EACCES : -EFAULT);
		check_eq(load(&r, dev, 0), 0);
		down(&r, dev);
	}
}

/* A TLB holds fewer pages than a table: what it forgets it finds again. */
UTEST(device, tlb_forgets_and_finds_again)
{
	for (const struct device_profile *p = device_profiles; p->name; p++) {
		const uint64_t pages = DEVICE_TLB_ENTRIES + 5;
		struct device *dev;
		struct rig r;

		rig_up(&r, &(struct rig_opts){ .pages = pages, .no_slot = true });
		dev = device_up(&r, p->name);
		for (uint64_t page = 0; page < pages; page++)
			store(&r, dev, page, page + 1);
		for (uint64_t page = 0; page < pages; page++)
			check_eq(load(&r, dev, page), page + 1);
		check(stats(dev).misses > pages);
		down(&r, dev);
	}
}

/* A29, A30: the coarse answer drops what lies around, too. */
UTEST(device, coarse_and_expanding_profiles_drop_more)
{
	for (const struct device_profile *p = device_profiles; p->name; p++) {
		struct device *dev;
		struct rig r;

		if (p->defers)
			continue;
		up(&r, &dev, p->name);
		/* Two pages of one block: the region may begin anywhere in one. */
		uint64_t page = (rig_hva(&r, 1) & (DEVICE_EXPAND - 1)) ? 0 : 1;

		store(&r, dev, page, 1);
		store(&r, dev, page + 1, 1);
		check_eq(hostmm_zap(r.mm, rig_hva(&r, page), rig_hva(&r, page + 1)), 0);
		check_eq(stats(dev).dropped, p->expands ? 2 : 1);
		check_eq(load(&r, dev, page + 1), 1);
		down(&r, dev);
	}
}

/* pfn-cache: after a merge it has the new frame, read-only, without asking the host; a store asks. */
UTEST(device, pfn_cache_takes_up_the_frame_it_is_told)
{
	struct device_stats before;
	struct device *dev;
	struct rig r;

	up(&r, &dev, "pfn-cache");
	store(&r, dev, 1, 7);
	store(&r, dev, 2, 7);
	check_eq(hostmm_merge(r.mm, rig_hva(&r, 1), r.mm, rig_hva(&r, 2)), 0);
	before = stats(dev);
	check_eq(load(&r, dev, 2), 7);
	check_eq(stats(dev).misses - before.misses, 1);
	check_eq(stats(dev).faults, before.faults);
	store(&r, dev, 2, 8);
	check(stats(dev).faults > before.faults);
	check_eq(host_load(&r, 1), 7);
	check_eq(host_load(&r, 2), 8);
	down(&r, dev);
}

/* kvm: more slots on the same device, read-only ones and aliases included. */
UTEST(device, kvm_takes_more_slots)
{
	const gpa_t gpa = 0x40000000;
	uint64_t value = 7;
	struct device *dev;
	struct rig r;

	up(&r, &dev, "kvm");
	check(device_get_shadow(dev) != NULL);
	check_eq(shadow_add_slot(device_get_shadow(dev), 1, gpa >> PAGE_SHIFT, 2, r.hva,
				 MEMSLOT_READONLY),
		 0);
	store(&r, dev, 1, 5);
	check_eq(device_read(dev, gpa + PAGE_SIZE, &value, 8), 0);
	check_eq(value, 5);
	check_eq(device_write(dev, gpa + PAGE_SIZE, &value, 8), -EACCES);
	check_eq(device_check(dev, report, NULL), 0);
	check_eq(shadow_remove_slot(device_get_shadow(dev), 1), 0);
	check_eq(device_read(dev, gpa + PAGE_SIZE, &value, 8), -ENXIO);
	down(&r, dev);
}

/* kvm: a page that nobody may write moves under its readers, by change_pte and not by a fault. */
UTEST(device, kvm_is_repointed_without_a_fault)
{
	struct shadow_stats before, after;
	struct device *dev;
	struct rig r;

	up(&r, &dev, "kvm");
	store(&r, dev, 0, 5);
	check_eq(hostmm_wrprotect(r.mm, rig_hva(&r, 0), rig_hva(&r, 1)), 0);
	check_eq(load(&r, dev, 0), 5);
	shadow_get_stats(device_get_shadow(dev), &before);
	check_eq(hostmm_migrate(r.mm, rig_hva(&r, 0), rig_hva(&r, 1), HOSTMM_MIGRATE_AWAY), 0);
	check_eq(load(&r, dev, 0), 5);
	shadow_get_stats(device_get_shadow(dev), &after);
	check_eq(after.repointed - before.repointed, 1);
	check_eq(after.faults, before.faults);
	check_eq(device_check(dev, report, NULL), 0);
	store(&r, dev, 0, 6);
	check_eq(host_load(&r, 0), 6);
	down(&r, dev);
}

/* ---- Known bad ---- */

/* A23, A24, M30: start returns, the primary goes on, and the device still reaches the old frame, pinned as it is. */
UTEST(device, deferring_reads_stale_and_loses_stores)
{
	struct device *dev;
	struct rig r;

	up(&r, &dev, "xpmem-async");
	store(&r, dev, 0, 1);
	store(&r, dev, 1, 1);
	check_eq(hostmm_discard(r.mm, rig_hva(&r, 0), rig_hva(&r, 1)), 0);
	check_eq(host_load(&r, 0), 0);
	check_eq(load(&r, dev, 0), 1); /* stale */
	check_eq(hostmm_migrate(r.mm, rig_hva(&r, 1), rig_hva(&r, 2), HOSTMM_MIGRATE_AWAY), 0);
	store(&r, dev, 1, 2);
	check_eq(host_load(&r, 1), 1); /* lost */
	check(device_check(dev, NULL, NULL) > 0);
	check_eq(stats(dev).deferred, 2);
	check_eq(stats(dev).flushes, 0);

	check(device_run_deferred(dev) > 0);
	check_eq(device_run_deferred(dev), 0);
	check_eq(load(&r, dev, 0), 0);
	check_eq(load(&r, dev, 1), 1);
	down(&r, dev);

	up(&r, &dev, "xpmem");
	store(&r, dev, 0, 1);
	check_eq(hostmm_discard(r.mm, rig_hva(&r, 0), rig_hva(&r, 1)), 0);
	check_eq(load(&r, dev, 0), 0);
	check_eq(device_run_deferred(dev), 0);
	down(&r, dev);
}

/* The host tells after clear and before set, and the range may lie anywhere. */
UTEST(device, secondary_tlb_op_flushes)
{
	struct mmu_notifier_subscriptions *mm;
	struct device *dev;
	struct rig r;

	up(&r, &dev, "ats-4k");
	mm = hostmm_subscriptions(r.mm);
	store(&r, dev, 0, 1);
	mmu_notifier_arch_invalidate_secondary_tlbs(mm, rig_hva(&r, 0), rig_hva(&r, 1));
	check_eq(stats(dev).dropped, 1);
	mmu_notifier_arch_invalidate_secondary_tlbs(mm, 0, PAGE_SIZE);
	check_eq(stats(dev).flushes, 1);
	check_eq(load(&r, dev, 0), 1);
	check_eq(hostmm_discard(r.mm, rig_hva(&r, 0), rig_hva(&r, 1)), 0);
	check_eq(load(&r, dev, 0), 0);
	down(&r, dev);
}
