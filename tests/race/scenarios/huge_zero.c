// SPDX-License-Identifier: BSD-2-Clause
/*
 * The huge zero page: 512 shared, read-only pages of zeros under one entry of a device. When it is split, may the device
 * be told late, and is that still right for a device with a bug?
 */
#include "mmu/host/hostmm.h"
#include "tests/race/scenario.h"
#include "tests/race/world.h"

static void give_entry(const char *profile)
{
	world_add_device(0, profile, world.hva, WORLD_LARGE);
	must(hostmm_map_zero(world.mm, world.hva, world_page(WORLD_LARGE)), "hostmm_map_zero()");
	device_load(0, "the device, which so has one TLB entry of 2M,", 0);
}

static uint64_t large_hits(void)
{
	struct device_stats stats;

	device_get_stats(world.device[0], &stats);
	return stats.large_hits;
}

static bool is_late(void)
{
	return race_variant_is("late") || race_variant_is("late-buggy");
}

static void split(void)
{
	explore_say("the kernel begins to split the huge zero page, and will tell the device %s",
		    is_late() ? "at the end" : "before the pages are small");
	must(hostmm_split_huge(world.mm, world.hva,
			       is_late() ? HOSTMM_SPLIT_LATE : HOSTMM_SPLIT_LOCKED),
	     "hostmm_split_huge()");
	explore_say("the split is over");
}

/* ---- A2 ---- */

static void a2_setup(void *ctx)
{
	(void)ctx;
	world_setup(WORLD_LARGE, NULL, NULL);
	give_entry("ats-mixed");
}

static void a2_kernel(void *ctx)
{
	uint64_t hits;

	(void)ctx;
	split();
	hits = large_hits();
	if (device_load(0, "the device", 2) || large_hits() != hits)
		explore_fail("the entry of 2M outlives the split");
}

/* Zeros before, during and after; a store gets a frame of its own. */
static void a2_device(void *ctx)
{
	(void)ctx;
	if (device_load(0, "the device", 0))
		explore_fail("the zero page is not zero");
	device_store(0, "the device", 1, 1);
}

static void a2_finish(void *ctx)
{
	(void)ctx;
	if (host_load("the CPU", 1) != 1)
		explore_fail("the device's store is lost");
	must(hostmm_discard(world.mm, world_page(1), world_page(2)), "hostmm_discard()");
	must(hostmm_map_zero(world.mm, world_page(1), world_page(2)), "hostmm_map_zero()");
	if (host_load("the CPU", 1))
		explore_fail("the device has stored into the page of zeros that all share");
	world_finish();
}

const struct race_scenario a2_zero_split = {
	.name = "a2-zero-split",
	.rows = "A2 A8",
	.title = "The huge zero page is split, and a device hears of it at the end",
	.question = "A split of the huge zero page changes no frame and no right. May the device be told when it is over, instead "
		    "of under the lock, so that it is told once and not twice?",
	.lesson = "Late is right: what the entry of 2M reaches is the same, zeros that may only be read, and it is gone when the split "
		  "is over. Never is wrong: the entry stays, and whoever splits relies on there being none.",
	.variant = {
		{ "locked", RACE_PASS, 0, "Told under the lock, before the pages count as small." },
		{ "late", RACE_PASS, 0, "Told at the end." },
		{ "never", RACE_VIOLATION, 102, "Not told: nothing has changed that a device could see." },
	},
	.program = {
		.setup = a2_setup,
		.finish = a2_finish,
		.threads = 2,
		.thread = { { "kernel: splits", a2_kernel }, { "device: loads and stores", a2_device } },
	},
};

/* ---- A8, with A3 and A4: a store to one of the pages, as soon as they are small ---- */

/* Says what the device was told, and what it has made of that: it comes later in the list, so it subscribes first. */
static struct mmu_notifier told_mn;
static bool told_small; /* a store tells twice, before its copy and before the new frame is set */

static void told(struct mmu_notifier *mn, hva_t start, hva_t end)
{
	struct device_stats stats;

	(void)mn;
	device_get_stats(world.device[0], &stats);
	if (end - start > PAGE_SIZE)
		explore_say("the device is told of the 2M: its entry is gone");
	else if (!told_small)
		explore_say("the device is told of these 4K: its entry of 2M %s",
			    stats.dropped ? "goes, too" : "stays, since that is larger");
	told_small |= end - start == PAGE_SIZE;
}

static const struct mmu_notifier_ops told_ops = { .arch_invalidate_secondary_tlbs = told };

static void a8_setup(void *ctx)
{
	(void)ctx;
	world_setup(WORLD_LARGE, NULL, NULL);
	told_small = false;
	told_mn = (struct mmu_notifier){ .ops = &told_ops };
	must(hostmm_subscribe(world.mm, &told_mn), "hostmm_subscribe()");
	give_entry(race_variant_is("late") ? "ats-mixed" : "ats-mixed-buggy");
}

static void a8_kernel(void *ctx)
{
	(void)ctx;
	split();
}

/* A write fault splits the huge page first. Here somebody else does, and this CPU goes on when it sees that. */
static void a8_cpu(void *ctx)
{
	struct gup_page first;

	(void)ctx;
	if (hostmm_huge(world.mm, world.hva, WORLD_LARGE, &first)) {
		explore_say("the CPU finds that the page is huge still, and leaves it");
		return;
	}
	explore_say("the CPU finds small pages, and stores to page 0: it needs a frame of its own");
	write_version(0, 1);
}

static void a8_device(void *ctx)
{
	(void)ctx;
	check_version(0, "the device", 0);
}

static void a8_finish(void *ctx)
{
	(void)ctx;
	check_version(0, "later, the device", 0);
	mmu_notifier_unregister(&told_mn);
	world_finish();
}

const struct race_scenario a8_split_switch = {
	.name = "a8-split-switch",
	.rows = "A2 A3 A4 A6 A8 M30",
	.title = "A store beside the split of the huge zero page",
	.question = "A device has one TLB entry of 2M for the huge zero page. The kernel splits that into 512 small pages. No frame and "
		    "no right changes, so (Glisse, 2017) the device need not be told under the lock; once, at the end, will do. But "
		    "(Singh) what if another CPU stores to one of the 512 in between, which gets a frame of its own? That store has "
		    "an invalidation of its own, of 4K, and the device's entry is larger. \"I'd really like to see if it can be "
		    "tested\"; \"hard to test\".",
	.lesson = "Both were right. A device that drops any entry around the 4K never reads the old zeros, told late or not. One that "
		  "looks for entries of 4K only reads them until the split is over, and was safe as long as splits were told "
		  "first. So telling late is a switch, HOSTMM_SPLIT_LATE, and off.",
	.variant = {
		{ "locked-buggy", RACE_PASS, 0,
		  "Told first, the default: the entry of 2M is gone before a page counts as small. Right even for a device "
		  "that ignores what is smaller than its entry.",
		  .immune = 30 },
		{ "late", RACE_PASS, 0, "Told at the end; the device drops a larger entry around 4K." },
		{ "late-buggy", RACE_VIOLATION, 0, "Told at the end; the device ignores what is smaller than its entry." },
	},
	.program = {
		.setup = a8_setup,
		.finish = a8_finish,
		.threads = 3,
		.thread = { { "kernel: splits the huge zero page", a8_kernel },
			    { "CPU: stores to page 0", a8_cpu },
			    { "device: loads page 0", a8_device } },
	},
	.bound = 2,
};
