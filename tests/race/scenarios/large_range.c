// SPDX-License-Identifier: BSD-2-Clause
/*
 * Large pages that go: how far the bracket must reach (A18), and what becomes of a store meanwhile (A21). There is no hugetlb
 * here; a block of 512 pages that hostmm_move() takes from one place to another is what goes as a whole, and is told as one.
 */
#include "mmu/host/hostmm.h"
#include "tests/race/scenario.h"
#include "tests/race/scenarios/linter.h"
#include "tests/race/world.h"

#define LAST (WORLD_LARGE - 1)
#define FAR  300UL
#define REST 88UL /* pages of a region behind its last whole block */

static uint64_t large_fills(void)
{
	struct device_stats stats;

	device_get_stats(world.device[0], &stats);
	return stats.large_fills;
}

/* A block, and a device with one entry for it; then @more pages. All are present. */
static void setup(uint64_t more, const char *profile)
{
	world_setup(WORLD_LARGE + more, NULL, NULL);
	world_populate();
	world_add_device(0, profile, world.hva, world.pages);
	device_store(0, "the device", FAR, 1);
	device_store(0, "the device", LAST, 1);
	if (large_fills() != 1)
		explore_fail("the device should have one entry of 2M");
	explore_say("the device has one entry of 2M for pages 0 to 511");
}

static void move_block(void)
{
	must(hostmm_move(world.mm, world_page(0), world_page(WORLD_LARGE), world_page(WORLD_LARGE)),
	     "hostmm_move()");
}

/* ---- A18: to the end of the large page ---- */

static bool is_region(void)
{
	return race_variant_is("region-end") || race_variant_is("region-page");
}

static bool is_whole(void)
{
	return race_variant_is("whole") || race_variant_is("whole-page");
}

/* The page that goes last. */
static uint64_t last_page(void)
{
	return is_region() ? world.pages - 1 : LAST;
}

static bool is_short(void)
{
	return race_variant_is("2M-page") || race_variant_is("region-page") ||
	       race_variant_is("whole-page");
}

static void end_setup(void *ctx)
{
	(void)ctx;
	setup(is_region() ? REST : is_whole() ? WORLD_LARGE : 0, "gru");
	if (is_region())
		device_store(0, "the device", last_page(), 1);
	if (is_short())
		linter_off();
}

static void end_kernel(void *ctx)
{
	uint64_t first = is_region() ? LAST : 0;

	(void)ctx;
	explore_say("the kernel begins to take pages %llu to %llu away", (unsigned long long)first,
		    (unsigned long long)last_page());
	if (is_whole())
		move_block();
	else
		must(hostmm_discard(world.mm, world_page(first), world_page(last_page() + 1)),
		     "hostmm_discard()");
	explore_say("they are %s", is_whole() ? "elsewhere now" : "gone");
	if (device_load(0, "the device, asked by the kernel,", last_page()))
		explore_fail("the device still reaches the last of the pages that are gone");
}

static void end_device(void *ctx)
{
	uint64_t value = device_load(0, "the device", last_page());

	(void)ctx;
	if (value > 1)
		explore_fail("the device reads a frame that is free");
}

static void end_finish(void *ctx)
{
	(void)ctx;
	linter_on();
	world_finish();
}

const struct race_scenario a18_large_end = {
	.name = "a18-large-end",
	.rows = "A18",
	.title = "A bracket reaches to the end of a large page",
	.question = "What goes is mapped by one entry of 2M, or part of it is. A walk looks at the first page, and may find the rest "
		    "to be one large page or many small ones. How far must start reach, before that is known?",
	.lesson = "One page was named, as if pages were always small. The device drops what it is told, and goes on with the "
		  "rest of its entry of 2M. Start reaches to the end of the large page, or of the region if that comes first.",
	.variant = {
		{ "2M-end", RACE_PASS, 0, "All of a block goes: to its end." },
		{ "region-end", RACE_PASS, 0, "From the last page of a block to the end of the region, where no whole block is." },
		{ "whole", RACE_PASS, 0, "A block that only goes as a whole, as hugetlb pages do: it moves, with its frames." },
		{ "2M-page", RACE_VIOLATION, 118, "A block goes; its first page stands for all." },
		{ "region-page", RACE_VIOLATION, 118, "The same at the end of the region." },
		{ "whole-page", RACE_VIOLATION, 118, "The same for a block that moves." },
	},
	.program = {
		.setup = end_setup,
		.finish = end_finish,
		.threads = 2,
		.thread = { { "kernel: takes pages away", end_kernel }, { "device: loads the last of them", end_device } },
	},
	.bound = 1, /* 512 pages are many steps */
};

/* ---- A21: a large page is moved ---- */

static bool is_by_page(void)
{
	return race_variant_is("by-page") || race_variant_is("by-page-buggy");
}

static void move_setup(void *ctx)
{
	(void)ctx;
	setup(is_by_page() ? 0 : WORLD_LARGE, race_variant_is("by-page") ? "ats-mixed"
					      : race_variant_is("gru")	 ? "gru"
									 : "ats-mixed-buggy");
}

static void move_kernel(void *ctx)
{
	(void)ctx;
	explore_say("the kernel begins to move %s",
		    is_by_page() ? "pages 296 to 303, one by one" : "pages 0 to 511");
	if (is_by_page())
		must(hostmm_migrate(world.mm, world_page(FAR - 4), world_page(FAR + 4),
				    HOSTMM_MIGRATE_AWAY),
		     "hostmm_migrate()");
	else
		move_block();
	explore_say("they have moved");
}

static void move_device(void *ctx)
{
	(void)ctx;
	device_store(0, "the device", FAR, 2);
}

/* A store comes before its page has moved, and goes along; or after, and is to what is there then. */
static void move_finish(void *ctx)
{
	uint64_t here = host_load("the CPU, at the end,", FAR), there = 0;

	(void)ctx;
	if (!is_by_page())
		there = host_load("the CPU, from where it was moved to,", WORLD_LARGE + FAR);
	if (!(here == 2 && there == 1) && !(here == 0 && there == 2) &&
	    !(is_by_page() && here == 2))
		explore_fail("the device's store of 2 is lost, or is in both places");
	world_finish();
}

const struct race_scenario a21_large = {
	.name = "a21-large",
	.rows = "A21 A18 A4",
	.title = "A large page is moved under a device's entry of 2M",
	.question = "A page of 2M moves, while a device stores to it by one entry. Is it enough to tell the device page by page?",
	.lesson = "Each page was told before it was copied. The device ignores what is smaller than its entry, and "
		  "stored to the old frame of one that had been copied.",
	.variant = {
		{ "whole", RACE_PASS, 0,
		  "A block that goes as a whole, as hugetlb pages do, is told as a whole: right even for a device that ignores "
		  "what is smaller than its entry (ats-mixed-buggy)." },
		{ "gru", RACE_PASS, 0, "The same, with a device that lets go in start (gru)." },
		{ "by-page", RACE_PASS, 0, "Some of the pages, each told before its copy (ats-mixed)." },
		{ "by-page-buggy", RACE_VIOLATION, 0, "The same (ats-mixed-buggy)." },
	},
	.program = {
		.setup = move_setup,
		.finish = move_finish,
		.threads = 2,
		.thread = { { "kernel: moves pages", move_kernel }, { "device: stores to page 300", move_device } },
	},
	.bound = 1, /* 512 pages are many steps */
};
