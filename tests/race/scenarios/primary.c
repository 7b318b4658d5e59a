// SPDX-License-Identifier: BSD-2-Clause
/* Operations of the primary on whole ranges: collapse (A27), truncate and extend (A28), move (M22), devices' pages (A21). */
#include "mmu/host/hostmm_device.h"
#include "tests/race/scenario.h"
#include "tests/race/scenarios/linter.h"
#include "tests/race/world.h"

#define SHOWN(value) ((unsigned long long)(value))

/* ---- A27: khugepaged ---- */

static void collapse_setup(void *ctx)
{
	(void)ctx;
	world_setup(HOSTMM_LARGE,
		    race_variant_is("async")   ? "xpmem-async"
		    : race_variant_is("tlb")   ? "ats-4k"
		    : race_variant_is("xpmem") ? "xpmem"
					       : "kvm",
		    NULL);
	if (race_variant_is("first-page"))
		linter_off();
	host_store("CPU", 1, 1);
	world_move(1);
	device_store(0, "device, which so has the page mapped, small,", 1, 1);
}

static void collapse(void *ctx)
{
	(void)ctx;
	explore_say("khugepaged begins to collapse pages 0 to 511, of which page 1 is elsewhere");
	if (hostmm_collapse(world.mm, world.hva))
		explore_fail("collapse failed");
	explore_say("all pages lie in a row: page 1 was copied to its place");
}

static void store_2(void *ctx)
{
	(void)ctx;
	device_store(0, "device", 1, 2);
}

static void collapse_finish(void *ctx)
{
	uint64_t now = host_load("CPU, at the end,", 1);
	struct gup_page first;

	(void)ctx;
	if (now != 2)
		explore_fail(
			"the device's store of 2 is lost: it went to the frame that was copied");
	if (!hostmm_huge(world.mm, world.hva, HOSTMM_LARGE, &first))
		explore_fail("the pages are no large page");
	linter_on();
	if (race_variant_is("async"))
		world_finish_unchecked();
	else
		world_finish();
}

const struct race_scenario a27_collapse = {
	.name = "a27-collapse",
	.rows = "A27 A18 A24",
	.title = "Collapsing small pages into a large one",
	.question = "khugepaged copies 512 pages to one large page while a device stores to them, and may not fail half-way. The "
		    "device may have mapped any of them as 4K. What must it be told, and when?",
	.lesson = "The device was told of one page only, and stored to another after that had been copied.",
	.variant = {
		{ "safe", RACE_PASS, 0, "One bracket over the whole 2M, around the copies; all that can fail comes before (kvm)." },
		{ "xpmem", RACE_PASS, 0, "The same, with a device that pins (xpmem)." },
		{ "tlb", RACE_PASS, 0, "TLBs are flushed before the copies, and before the pages are set (ats-4k)." },
		{ "first-page", RACE_VIOLATION, 127, "A bracket over the first page: \"it stands for the large one\" (kvm)." },
		{ "async", RACE_VIOLATION, 0, "The device lets go later (xpmem-async)." },
	},
	.program = {
		.setup = collapse_setup,
		.finish = collapse_finish,
		.threads = 2,
		.thread = { { "khugepaged", collapse }, { "device", store_2 } },
	},
	.bound = 1, /* 512 pages are many steps */
};

/* ---- A28: shrink and extend too quickly ---- */

static void truncate_setup(void *ctx)
{
	(void)ctx;
	world_setup(2,
		    race_variant_is("async")   ? "xpmem-async"
		    : race_variant_is("tlb")   ? "ats-4k"
		    : race_variant_is("xpmem") ? "xpmem"
		    : race_variant_is("hmm")   ? "hmm"
					       : "kvm",
		    NULL);
	if (race_variant_is("untold"))
		linter_off();
	device_store(0, "device", 1, 7);
}

static void resize(uint64_t npages)
{
	explore_say("CPU begins to set the size to %llu", SHOWN(npages));
	if (hostmm_truncate(world.mm, world.hva, npages))
		explore_fail("truncate failed");
	explore_say("the size is %llu", SHOWN(npages));
}

static void shrink_and_extend(void *ctx)
{
	(void)ctx;
	resize(1);
	resize(2);
	if (host_load("CPU", 1) != 0)
		explore_fail("the page that came back has old contents");
	host_store("CPU", 1, 8);
	if (host_load("CPU", 1) != 8)
		explore_fail("somebody else stores to the new page");
}

/* Before the page goes, while it is gone, or after it came back. */
static void look(void *ctx)
{
	bool came_back = false;

	(void)ctx;
	for (int i = 0; i < 2; i++) {
		uint64_t value = 0;
		int rc = device_read(world.device[0], world_page(1), &value, sizeof(value));

		if (rc) {
			explore_say("device is refused: the page is beyond the end");
			came_back = true;
			continue;
		}
		explore_say("device reads %llu from page 1", SHOWN(value));
		if (came_back && value == 7)
			explore_fail("the device reads what was cut off before it looked");
		if (value != 7 && value != 0 && value != 8)
			explore_fail("the device reads from a frame that was freed");
		came_back |= value != 7;
	}
}

static void truncate_finish(void *ctx)
{
	uint64_t value = device_load(0, "device, at the end,", 1);

	(void)ctx;
	if (value != 8)
		explore_fail("the device must read 8 from the new page, not %#llx", SHOWN(value));
	linter_on();
	if (race_variant_is("async"))
		world_finish_unchecked();
	else
		world_finish();
}

const struct race_scenario a28_truncate = {
	.name = "a28-truncate",
	.rows = "A28 A19 A24",
	.title = "Shrink and extend too quickly",
	.question = "A file is truncated and extended again, so that a page is gone and back before a device has noticed "
		    "that it was gone. May it see the old contents, or the freed frame?",
	.lesson = "The device kept the frame of the page that was cut off. The new page has another one, or the same with "
		  "new contents: the device reads what nobody else does.",
	.variant = {
		{ "safe", RACE_PASS, 0,
		  "Sizes change one after the other; a bracket around the loss, before frames are freed (kvm)." },
		{ "hmm", RACE_PASS, 0, "The same (hmm)." },
		{ "xpmem", RACE_PASS, 0, "The same, with a pin on the old frame (xpmem)." },
		{ "tlb", RACE_PASS, 0, "TLBs are flushed before frames are freed (ats-4k)." },
		{ "untold", RACE_VIOLATION, 128, "No bracket: \"nobody can fault beyond the end any more\" (kvm)." },
		{ "async", RACE_VIOLATION, 0, "The device lets go later (xpmem-async)." },
	},
	.program = {
		.setup = truncate_setup,
		.finish = truncate_finish,
		.threads = 2,
		.thread = { { "CPU: truncate, extend", shrink_and_extend }, { "device", look } },
	},
};

/* ---- M22: mremap ---- */

static void move_setup(void *ctx)
{
	(void)ctx;
	world_setup(2, race_variant_is("kvm") ? "kvm" : "ats-4k", NULL);
	if (race_variant_is("M22"))
		linter_off();
	host_store("CPU", 0, 1);
	device_load(0, "device, which so has the page in its TLB,", 0);
}

static void move(void *ctx)
{
	(void)ctx;
	explore_say("CPU 0 begins to move page 0 to the place of page 1");
	if (hostmm_move(world.mm, world_page(0), world_page(1), world_page(1)))
		explore_fail("move failed");
	explore_say("CPU 0 has moved the page");
}

static void discard_and_look(void *ctx)
{
	uint64_t value;

	(void)ctx;
	if (hostmm_discard(world.mm, world_page(1), world_page(2)))
		explore_fail("discard failed");
	explore_say("CPU 1 has discarded page 1");
	value = device_load(0, "device", 0);
	if (value > 1)
		explore_fail("the device reads from a frame that was freed at its new place");
}

static void move_finish(void *ctx)
{
	uint64_t value = device_load(0, "device, at the end,", 0);

	(void)ctx;
	if (value)
		explore_fail(
			"the device must read 0 from page 0, whose contents have moved, not %llu",
			SHOWN(value));
	linter_on();
	world_finish();
}

const struct race_scenario m22_move_flush = {
	.name = "m22-move-flush",
	.rows = "M22 M26 A19 A24",
	.title = "mremap: flush before the lock is dropped",
	.question = "mremap moves a page to another address. May it flush the TLBs of the old address after it has given up the "
		    "lock, before it returns?",
	.lesson = "The page could be reached, and freed, at its new address while the device still had the old one in its "
		  "TLB: it reads a frame that is free (CVE-2018-18281).",
	.variant = {
		{ "safe", RACE_PASS, 0, "The flush comes before the lock is dropped (ats-4k)." },
		{ "kvm", RACE_PASS, 0, "The same, with a device that lets go in start (kvm)." },
		{ "M26", RACE_PASS, 0,
		  "A write-protect mark cannot survive: a mark is of the view's entries, and the new place is filled anew "
		  "as its own entry says." },
		{ "M22", RACE_VIOLATION, 22, "The flush comes after the lock was dropped (ats-4k)." },
	},
	.program = {
		.setup = move_setup,
		.finish = move_finish,
		.threads = 2,
		.thread = { { "CPU 0: mremap", move }, { "CPU 1: discard, device", discard_and_look } },
	},
};

/* ---- A21: a page in a device's memory ---- */

static void private_setup(void *ctx)
{
	(void)ctx;
	world_setup(1,
		    race_variant_is("async")   ? "xpmem-async"
		    : race_variant_is("tlb")   ? "ats-4k"
		    : race_variant_is("xpmem") ? "xpmem"
					       : "hmm",
		    NULL);
	if (race_variant_is("exclusive")
		    ? hostmm_make_exclusive(world.mm, world_page(0), world_page(1), world.device[0],
					    NULL)
		    : hostmm_migrate_to_device(world.mm, world_page(0), world_page(1),
					       world.device[0], NULL))
		explore_fail("the page does not go");
	device_store(0, "device, which has the page for itself,", 0, 1);
}

/* Brings it back; then the CPU has it for itself, until the device asks. */
static void touch(void *ctx)
{
	struct gup_page page;

	(void)ctx;
	explore_say("CPU begins to load from page 0");
	host_load("CPU", 0);
	if (!hostmm_peek(world.mm, world_page(0), &page))
		explore_fail("the page is not the CPU's");
}

static void private_store(void *ctx)
{
	(void)ctx;
	device_store(0, "device", 0, 2);
}

static void private_finish(void *ctx)
{
	(void)ctx;
	if (host_load("CPU, at the end,", 0) != 2)
		explore_fail(
			"the device's store of 2 is lost: it went to memory of its own that is given up");
	if (race_variant_is("async"))
		world_finish_unchecked();
	else
		world_finish();
}

const struct race_scenario a21_private = {
	.name = "a21-private",
	.rows = "A21 A24",
	.title = "A page comes back from a device's own memory",
	.question = "A device has moved a page to memory of its own, and stores to it. The CPU touches the page, so it is copied "
		    "back. When must the device have let go?",
	.lesson = "The device stored to its own memory after that had been copied.",
	.variant = {
		{ "safe", RACE_PASS, 0, "Before the copy, in a MIGRATE bracket that the owner hears like all (hmm)." },
		{ "xpmem", RACE_PASS, 0, "The same (xpmem)." },
		{ "tlb", RACE_PASS, 0, "The TLB is flushed before the copy, and once more before the page is set (ats-4k)." },
		{ "exclusive", RACE_PASS, 0, "The page has stayed where it is, for the device alone: nothing is copied (hmm)." },
		{ "async", RACE_VIOLATION, 0, "The device lets go later (xpmem-async)." },
	},
	.program = {
		.setup = private_setup,
		.finish = private_finish,
		.threads = 2,
		.thread = { { "CPU", touch }, { "device", private_store } },
	},
};
