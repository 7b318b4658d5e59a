// SPDX-License-Identifier: BSD-2-Clause
/*
 * The huge zero page: 512 shared, read-only pages of zeros under one entry of a device. When it is split, may the device
 * be told late, and is that still right for a device with a bug?
 */
#include "mmu/host/hostmm.h"
#include "tests/race/scenario.h"
#include "tests/race/world.h"

static void must(int rc, const char *what)
{
	if (rc)
		explore_fail("%s returns %d", what, rc);
}

static void setup(const char *profile)
{
	world_setup(WORLD_LARGE, profile, NULL);
	must(hostmm_map_zero(world.mm, world.hva, world_page(WORLD_LARGE)), "hostmm_map_zero()");
	device_load(0, "the device, which so has one entry of 2M,", 0);
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
	explore_say("the kernel splits the huge zero page, and tells %s",
		    is_late() ? "after that" : "before that");
	must(hostmm_split_huge(world.mm, world.hva,
			       is_late() ? HOSTMM_SPLIT_LATE : HOSTMM_SPLIT_LOCKED),
	     "hostmm_split_huge()");
	explore_say("the pages are small ones");
}

/* ---- A2 ---- */

static void a2_setup(void *ctx)
{
	(void)ctx;
	setup("ats-mixed");
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

static void a8_setup(void *ctx)
{
	(void)ctx;
	setup(race_variant_is("late") ? "ats-mixed" : "ats-mixed-buggy");
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
		explore_say("another CPU finds that the page is huge still, and leaves it");
		return;
	}
	explore_say("another CPU finds small pages, and stores to one: 4K are told");
	write_version(0, 1);
	check_version(0, "the device", 0);
}

static void a8_finish(void *ctx)
{
	(void)ctx;
	check_version(0, "later, the device", 0);
	world_finish();
}

const struct race_scenario a8_split_switch = {
	.name = "a8-split-switch",
	.rows = "A2 A3 A4 A6 A8 M30",
	.title = "Correct first: is telling late worth it?",
	.question = "Telling late of a split (A2) is right, since a store to one of the 512 pages has its own invalidation (A3). But that "
		    "is of 4K, and a device that ignores what is smaller than its entry (A4) was safe as long as the split was told "
		    "first. \"I'd really like to see if it can be tested\"; \"hard to test\".",
	.lesson = "Between the split and its late invalidation another CPU replaces a page. A good device drops its larger entry for "
		  "that; the buggy one reads the zeros until the split is over. So the optimisation is a switch, and off.",
	.variant = {
		{ "locked-buggy", RACE_PASS, 0,
		  "HOSTMM_SPLIT_LOCKED, the default: right even for the buggy device." },
		{ "late", RACE_PASS, 0, "HOSTMM_SPLIT_LATE, and a device that drops a larger entry for 4K." },
		{ "late-buggy", RACE_VIOLATION, 0, "HOSTMM_SPLIT_LATE, and one that does not." },
	},
	.program = {
		.setup = a8_setup,
		.finish = a8_finish,
		.threads = 2,
		.thread = { { "kernel: splits", a8_kernel }, { "CPU: stores, and a device loads", a8_cpu } },
	},
};
