// SPDX-License-Identifier: BSD-2-Clause
/* Merging equal pages, beside a device that lets go late (A23) and one that stores at the wrong moment. */
#include "mmu/host/hostmm_actors.h"
#include "tests/race/scenario.h"
#include "tests/race/scenarios/narrator.h"
#include "tests/race/world.h"

static void a23_setup(void *ctx)
{
	(void)ctx;
	world_setup(2,
		    race_variant_is("async") ? "xpmem-async"
		    : race_variant_is("hmm") ? "hmm"
					     : "xpmem",
		    NULL);
	host_store("process", 0, 1);
	host_store("process", 1, 1);
	device_store(0, "remote node, which so has page 0 mapped writable,", 0, 1);
	narrator_on();
}

static void a23_ksmd(void *ctx)
{
	int rc;

	(void)ctx;
	explore_say("ksmd begins to merge pages 0 and 1");
	rc = hostmm_merge(world.mm, world_page(0), world.mm, world_page(1));
	explore_say(rc ? "pages 0 and 1 are not merged: they differ"
		       : "pages 0 and 1 are equal, and now share one frame");
}

static void a23_remote(void *ctx)
{
	(void)ctx;
	device_store(0, "remote node", 0, 2);
	if (race_variant_is("async") && device_run_deferred(world.device[0]))
		explore_say("remote node drops its mapping now: what the notifier has scheduled");
}

static void a23_finish(void *ctx)
{
	(void)ctx;
	if (host_load("process, at the end,", 1) != 1)
		explore_fail(
			"nobody has stored to page 1, it must read 1: a store to page 0 has come through");
	if (host_load("process, at the end,", 0) != 2)
		explore_fail("the store of the remote node is lost");
	narrator_off();
	world_finish();
}

const struct race_scenario a23_async_merge = {
	.name = "a23-async-merge",
	.rows = "A23 A24 A30 M30",
	.title = "Merging equal pages beside a device that lets go later",
	.question = "KSM write-protects two pages, compares them, and lets both addresses have one frame. May a "
		    "device that has one of them mapped writable note the invalidation and let go a little later?",
	.lesson = "The pages were equal when they were compared. The device then writes through its old mapping to "
		  "a frame that two addresses share: a store to one page appears in the other, which may belong to "
		  "another process. No race is needed: the schedule interrupts nobody, the device is just late.",
	.variant = {
		{ "safe", RACE_PASS, 0,
		  "The device lets go inside invalidate_range_start, sleeping if it must (xpmem)." },
		{ "hmm", RACE_PASS, 0, "The same, by an interval subscription (hmm)." },
		{ "async", RACE_VIOLATION, 0,
		  "invalidate_range_start notes the range and returns; the device lets go later (xpmem-async)." },
	},
	.program = {
		.setup = a23_setup,
		.finish = a23_finish,
		.threads = 2,
		.thread = { { "ksmd: merge", a23_ksmd }, { "remote node (device)", a23_remote } },
	},
};
