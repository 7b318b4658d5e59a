// SPDX-License-Identifier: BSD-2-Clause
/* Aging, which takes no lock, beside all who write entries. */
#include "mmu/shadow/shadow_priv.h"
#include "tests/race/scenario.h"
#include "tests/race/world.h"

/* The table alone: what hardware, an ager and a zap do to one leaf. */
static struct {
	struct ept ept;
	_Atomic bool stored; /* a store has gone through the leaf */
	_Atomic bool told;   /* somebody has heard of it */
} entry;

static void dirtied(void *ctx, gfn_t gfn, uint64_t npages)
{
	(void)ctx;
	(void)npages;
	explore_say("page %llu is said to be dirty", (unsigned long long)gfn);
	sync_store(&entry.told, true);
}

static void entry_setup(void *ctx)
{
	const struct ept_opts opts = { .ad = true, .dirtied = dirtied };
	struct ept *ept = &entry.ept;

	(void)ctx;
	sync_store(&entry.stored, false);
	sync_store(&entry.told, false);
	if (ept_init(ept, &opts) || ept_populate(ept, ept_root(ept), 0, 1, SPTE_LEVEL_4K) ||
	    !ept_install(ept, ept_root(ept), 0, SPTE_LEVEL_4K, SPTE_NONE,
			 ept_make_leaf(ept, 1, true, SPTE_LEVEL_4K) & ~SPTE_DIRTY))
		explore_fail("no table");
}

static void entry_guest(void *ctx)
{
	(void)ctx;
	sync_rcu_read_lock();
	if (ept_walk(&entry.ept, 0, true, NULL) != SPTE_NONE) {
		explore_say("the guest stores to page 0");
		sync_store(&entry.stored, true);
	}
	sync_rcu_read_unlock();
}

static void entry_ager(void *ctx)
{
	(void)ctx;
	sync_rcu_read_lock();
	if (ept_age(&entry.ept, 0, 1).count)
		explore_say("the ager found page 0 used");
	sync_rcu_read_unlock();
}

static void entry_zap(void *ctx)
{
	(void)ctx;
	if (race_variant_is("M16-lost-D"))
		return;
	ept_zap(&entry.ept, 0, 1);
	explore_say("page 0 is zapped, and its frame freed");
}

static void entry_finish(void *ctx)
{
	bool zapped = !race_variant_is("M16-lost-D");

	(void)ctx;
	if (zapped && ept_peek(&entry.ept, 0, NULL) != SPTE_NONE)
		explore_fail("the entry is back, and its frame is somebody else's");
	ept_zap(&entry.ept, 0, 1);
	if (sync_load(&entry.stored) && !sync_load(&entry.told))
		explore_fail("nobody has heard that the page is dirty: the store is lost");
	ept_fini(&entry.ept);
}

const struct race_scenario m16_age = {
	.name = "m16-age",
	.rows = "M16 A15",
	.title = "Aging without a lock, beside a zap and a store",
	.question = "Aging only clears the A bit, and it is asked for all the time: it should not take mmu_lock. But a zap "
		    "may take the entry away meanwhile, and hardware sets D in it. Is it enough to load, clear and store?",
	.lesson = "Between the load and the store the entry has become another one: a zap is undone, and the guest reaches a "
		  "frame that was freed; or the D bit of a store is overwritten, and the page is dropped as clean. Each "
		  "writer changes an entry by one atomic operation, and a zap looks at what that says was there.",
	.variant = {
		{ "atomic", RACE_PASS, 0, "Aging by compare-and-swap, zap by exchange." },
		{ "M16-resurrected", RACE_VIOLATION, 164, "Aging loads and stores: the zapped entry comes back." },
		{ "M16-lost-D", RACE_VIOLATION, 164, "The same, without a zap: hardware's D is lost." },
		{ "M16-zap", RACE_VIOLATION, 16, "The zap loads and stores: D, set in between, is lost with the entry." },
	},
	.program = {
		.setup = entry_setup,
		.finish = entry_finish,
		.threads = 3,
		.thread = { { "guest: stores to page 0", entry_guest },
			    { "ager", entry_ager },
			    { "kernel: zaps page 0", entry_zap } },
	},
};
