// SPDX-License-Identifier: BSD-2-Clause
/* The scanner merges a page into a stable frame, beside a store to that page and the end of another page's sharing. */
#include "mmu/host/hostmm_actors.h"
#include "mmu/host/ksm.h"
#include "tests/race/scenario.h"
#include "tests/race/world.h"

static struct ksm *ksm;

static void setup(void *ctx)
{
	(void)ctx;
	world_setup(3, race_variant_is("tlb-only") ? "ats-4k" : "kvm", NULL);
	for (uint64_t page = 0; page < 3; page++)
		host_store("process", page, page < 2);
	if (ksm_create(&ksm, world.pool, &(struct ksm_opts){ 0 }) ||
	    ksm_register(ksm, world.mm, world_page(0), world_page(3)))
		explore_fail("there is no service");
	ksm_pass(ksm);
	ksm_pass(ksm);
	device_store(0, "guest", 2, 1);
	ksm_pass(ksm);
	explore_say("pages 0 and 1 share a stable frame, page 2 has the same contents");
}

static bool shares(uint64_t page)
{
	struct gup_page p;

	return hostmm_peek(world.mm, world_page(page), &p) && pool_is_stable(world.pool, p.fn);
}

static void scan(void *ctx)
{
	(void)ctx;
	ksm_pass(ksm);
	explore_say(shares(2) ? "ksmd lets page 2 have the stable frame"
			      : "ksmd finds page 2 changed");
}

static void store(void *ctx)
{
	(void)ctx;
	device_store(0, "guest", 2, 2);
}

static void unmerge(void *ctx)
{
	(void)ctx;
	if (hostmm_unmerge(world.mm, world_page(0)))
		explore_fail("page 0 cannot be unmerged");
}

static void finish(void *ctx)
{
	(void)ctx;
	host_store("process, at the end,", 0, 3);
	if (host_load("process, at the end,", 1) != 1)
		explore_fail(
			"nobody has stored to page 1: a store to another page has come through");
	if (host_load("process, at the end,", 2) != 2)
		explore_fail("the store of the guest is lost");
	if (host_load("process, at the end,", 0) != 3)
		explore_fail("the store of the process is lost, or another one has come through");
	ksm_destroy(ksm);
	world_finish();
}

const struct race_scenario m29_stable_merge = {
	.name = "m29-stable-merge",
	.rows = "A23 M29",
	.title = "Merging into a stable frame beside a store and an unmerge",
	.question =
		"The scanner has found a page equal to a frame that others share already. It write-protects the "
		"page, compares, and lets it have the frame; change_pte spares the page's readers a fault. Meanwhile "
		"the guest stores to the page, and another sharer leaves.",
	.lesson =
		"What protected the page must protect it after the merge as well: an entry that is made anew without "
		"write protection lets a store to one page through to all that share the frame.",
	.variant = {
		{ "safe", RACE_PASS, 0,
		  "Write-protect, compare, replace, in one bracket and under the chunk lock." },
		{ "tlb-only", RACE_PASS, 0, "The same with a device that has nothing but a TLB (ats-4k)." },
		{ "compare-first", RACE_VIOLATION, 1231, "The page is compared before it is write-protected." },
		{ "M29", RACE_VIOLATION, 29,
		  "The entry that change_pte makes has lost its write protection, as userfaultfd's mark is lost in a "
		  "page that the kernel's KSM has merged." },
	},
	.program = {
		.setup = setup,
		.finish = finish,
		.threads = 3,
		.thread = { { "ksmd: scan", scan }, { "guest: store", store }, { "process: unmerge", unmerge } },
	},
	.bound = 1,
};
