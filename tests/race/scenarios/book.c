// SPDX-License-Identifier: BSD-2-Clause
/* An owner's book of stores, on a device whose hardware sets D and asks nobody. */
#include "tests/race/scenario.h"
#include "tests/race/scenarios/owner.h"

static uint64_t copy; /* the owner's, of page 0 */

/* Protect the page, and copy it if the book has it. */
static void round_of_owner(void)
{
	int64_t rc;

	lock_acquire(&external);
	rc = shadow_wrprotect_range(shadow(), gfn_of(0), 1);
	if (rc < 0)
		explore_fail("shadow_wrprotect_range() returns %lld", (long long)rc);
	explore_say("the owner has protected page 0, and takes the book: %s",
		    book ? "page 0" : "empty");
	if (book)
		copy = host_load("the owner", 0);
	book = 0;
	lock_release(&external);
}

static void a12_setup(void *ctx)
{
	(void)ctx;
	copy = 0;
	owner_begin(1, race_variant_is("kvm") ? "kvm" : "vmwgfx", true);
	device_store(0, "the device", 0, 0);
	round_of_owner();
}

static void a12_owner(void *ctx)
{
	(void)ctx;
	round_of_owner();
}

static void a12_kernel(void *ctx)
{
	(void)ctx;
	world_move(0);
}

static void a12_device(void *ctx)
{
	(void)ctx;
	(void)device_load(0, "the device", 0);
	device_store(0, "the device", 0, 1);
}

static void a12_finish(void *ctx)
{
	(void)ctx;
	round_of_owner();
	if (host_load("the CPU", 0) != copy)
		explore_fail("page 0 was stored to, and was never in the book");
	owner_end();
}

const struct race_scenario a12_born = {
	.name = "a12-born",
	.rows = "A12",
	.title = "A protected page is taken away, and comes back by a load",
	.question = "The owner has protected the page; a store to it is to ask mkwrite(). The kernel moves the page, and a load brings "
		    "it back. The device's hardware sets dirty bits in the table. May the new entry be writable, and clean?",
	.lesson = "The store sets the dirty bit, and asks nobody: the page is not in the book, and the owner's copy stays old. A "
		  "page comes back read-only, as the kernel maps it, until a store has asked.",
	.variant = {
		{ "vmwgfx", RACE_PASS, 0, "Where mkwrite() is to be asked an entry is born without the right to store." },
		{ "kvm", RACE_PASS, 0, "The same with entries of 2M in its TLB." },
		{ "clean-only", RACE_VIOLATION, 1123, "Born writable, without D." },
	},
	.program = {
		.setup = a12_setup,
		.finish = a12_finish,
		.threads = 3,
		.thread = { { "owner: protects page 0, takes the book", a12_owner },
			    { "kernel: moves page 0", a12_kernel },
			    { "device: loads page 0, stores to it", a12_device } },
	},
	.bound = 1,
};
