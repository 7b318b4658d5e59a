// SPDX-License-Identifier: BSD-2-Clause
/*
 * Chunks of entries that a fork shares are taken apart: by a lender that lets go (M23), by one that stores beside a sharer
 * that looks and another that goes.
 */
#include "mmu/host/hostmm_actors.h"
#include "tests/race/scenario.h"
#include "tests/race/scenarios/linter.h"
#include "tests/race/world.h"

#define SHOWN(value) ((unsigned long long)(value))

static struct child {
	struct hostmm *mm;
	hva_t hva;
} first, second;

static void fork_child(struct child *c)
{
	struct hostmm_opts opts = { .fault_threads = 1 };

	if (hostmm_fork(world.mm, &opts, &c->mm) || hostmm_fork_hva(c->mm, world_page(0), &c->hva))
		explore_fail("fork failed");
}

static uint64_t child_load(const char *who, const struct child *c)
{
	uint64_t value = 0;

	if (hostmm_read(c->mm, c->hva, &value, sizeof(value)))
		explore_fail("%s cannot read page 0", who);
	explore_say("%s reads %llu from page 0", who, SHOWN(value));
	return value;
}

/* ---- M23 ---- */

static void m23_setup(void *ctx)
{
	(void)ctx;
	world_setup(1, race_variant_is("kvm") ? "kvm" : "ats-4k", NULL);
	if (race_variant_is("M23"))
		linter_off();
	host_store("parent", 0, 1);
	fork_child(&first);
	device_load(0, "device, for the parent, which so has the page in its TLB,", 0);
}

static void m23_parent(void *ctx)
{
	uint64_t value = 2;

	(void)ctx;
	explore_say("parent begins to discard page 0, whose chunk of entries the child has, too");
	if (hostmm_discard(world.mm, world_page(0), world_page(1)))
		explore_fail("discard failed");
	explore_say("page 0 of the parent is gone; its frame is the child's alone");
	if (hostmm_write(first.mm, first.hva, &value, sizeof(value)))
		explore_fail("the child cannot store");
	explore_say("child stores 2 to page 0, in place");
}

static void m23_device(void *ctx)
{
	uint64_t value = device_load(0, "device, for the parent,", 0);

	(void)ctx;
	if (value == 2)
		explore_fail("the parent's device reads what the child has stored");
}

static void m23_finish(void *ctx)
{
	(void)ctx;
	m23_device(NULL);
	if (child_load("child, at the end,", &first) != 2)
		explore_fail("the child's store is lost");
	hostmm_destroy(first.mm);
	linter_on();
	if (race_variant_is("M23"))
		world_finish_unchecked();
	else
		world_finish();
}

const struct race_scenario m23_unshare = {
	.name = "m23-unshare",
	.rows = "M23 A20 A23",
	.title = "A shared page table is taken apart",
	.question = "Parent and child share a page table until one of them changes it. The parent discards pages of it. "
		    "No page is freed by that, since the child has all of them: does anybody have to be flushed? Kernel: "
		    "huge_pmd_unshare() without a flush, CVE-2021-4002.",
	.lesson = "The parent's device goes on with a page that is alive, and no longer the parent's: it reads what the child "
		  "stores there. To give up one's part of a shared table is to give up the pages.",
	.variant = {
		{ "safe", RACE_PASS, 0, "The child gets a copy; then the parent clears, and flushes (ats-4k)." },
		{ "kvm", RACE_PASS, 0, "The same; a KVM guest in place of the device." },
		{ "M23", RACE_VIOLATION, 23, "What is shared is not freed: clear, and flush nothing (ats-4k)." },
	},
	.program = {
		.setup = m23_setup,
		.finish = m23_finish,
		.threads = 2,
		.thread = { { "parent, then child", m23_parent }, { "device", m23_device } },
	},
};

/* ---- The copy and the change ---- */

static void heir_setup(void *ctx)
{
	(void)ctx;
	world_setup(1, NULL, NULL);
	host_store("parent", 0, 1);
	fork_child(&first);
	fork_child(&second);
}

static void heir_parent(void *ctx)
{
	(void)ctx;
	host_store("parent", 0, 2);
}

static void heir_look(void *ctx)
{
	(void)ctx;
	if (child_load("child", &first) != 1)
		explore_fail("the child must read 1, as at the fork");
}

static void heir_exit(void *ctx)
{
	(void)ctx;
	hostmm_destroy(second.mm);
	explore_say("the other child is gone");
}

static void heir_finish(void *ctx)
{
	uint64_t value = 3;

	(void)ctx;
	if (child_load("child, at the end,", &first) != 1)
		explore_fail("the child must read 1, as at the fork");
	if (hostmm_write(first.mm, first.hva, &value, sizeof(value)))
		explore_fail("the child cannot store");
	if (host_load("parent, at the end,", 0) != 2)
		explore_fail("a store of the child has come through");
	hostmm_destroy(first.mm);
	if (pool_used(world.pool) != 1)
		explore_fail("%llu frames are in use, not one", SHOWN(pool_used(world.pool)));
	world_finish();
}

const struct race_scenario m23_heir = {
	.name = "m23-heir",
	.rows = "M23 A23",
	.title = "A shared page table changes, is looked at, and is given up",
	.question = "Three mms share a page table. One stores, one reads, one exits, all at once. Who copies it, when, and "
		    "what does the store find shared?",
	.lesson = "Who changes a table that others see gives it to one of them first, and only then finds out whether it is "
		  "alone with the page.",
	.variant = {
		{ "safe", RACE_PASS, 0, "One copy, made before the change, under the lock of the reverse map." },
		{ "no-copy", RACE_VIOLATION, 231,
		  "The others lose the table, and fault on what is missing, as fork leaves it to files." },
		{ "counts-alone", RACE_VIOLATION, 232,
		  "One map of the frame is taken for one page: the parent stores in place." },
	},
	.program = {
		.setup = heir_setup,
		.finish = heir_finish,
		.threads = 3,
		.thread = { { "parent", heir_parent }, { "child", heir_look }, { "another child", heir_exit } },
	},
	.bound = 1,
};
