// SPDX-License-Identifier: BSD-2-Clause
/*
 * Fork and copy-on-write: what a device that lets go late does to parent and child (A23, A24, A25), and in what order a
 * device sees two stores of a CPU (A1).
 */
#include "mmu/host/hostmm_actors.h"
#include "tests/race/scenario.h"
#include "tests/race/scenarios/linter.h"
#include "tests/race/scenarios/narrator.h"
#include "tests/race/world.h"

static struct hostmm *child;
static hva_t child_hva;

static void fork_child(void)
{
	struct hostmm_opts opts = { .fault_threads = 1 };

	if (hostmm_fork(world.mm, &opts, &child) ||
	    hostmm_fork_hva(child, world_page(0), &child_hva))
		explore_fail("fork failed");
}

static uint64_t child_load(const char *when)
{
	uint64_t value = 0;

	if (hostmm_read(child, child_hva, &value, sizeof(value)))
		explore_fail("the child cannot read page 0");
	explore_say("child%s reads %llu from page 0", when, (unsigned long long)value);
	return value;
}

static void destroy_child(void)
{
	hostmm_destroy(child);
}

/* ---- A23: asynchronous invalidation in fork ---- */

static uint64_t at_fork;

static void a23_setup(void *ctx)
{
	(void)ctx;
	world_setup(1,
		    race_variant_is("async")				      ? "xpmem-async"
		    : race_variant_is("kvm") || race_variant_is("entry-kept") ? "kvm"
									      : "xpmem",
		    NULL);
	if (race_variant_is("untold"))
		linter_off();
	host_store("parent", 0, 1);
	device_store(0, "remote node, which so has the page mapped writable,", 0, 1);
	narrator_on();
}

static void a23_fork(void *ctx)
{
	(void)ctx;
	explore_say("process begins to fork");
	fork_child();
	explore_say("fork returns: the child's memory is a picture of this moment");
	at_fork = child_load("");
}

static void a23_remote(void *ctx)
{
	(void)ctx;
	device_store(0, "remote node, working for the parent,", 0, 2);
	if (race_variant_is("async") && device_run_deferred(world.device[0]))
		explore_say(
			"remote node drops its mapping now: what fork's notifier has scheduled");
}

static void a23_finish(void *ctx)
{
	uint64_t later = child_load(", at the end,");

	(void)ctx;
	if (later != at_fork)
		explore_fail(
			"the child, which has stored nothing, must read %llu: a store to its parent's "
			"memory has come through",
			(unsigned long long)at_fork);
	if (host_load("parent, at the end,", 0) != 2)
		explore_fail("the store of the remote node is lost");
	narrator_off();
	destroy_child();
	linter_on();
	world_finish();
}

const struct race_scenario a23_async_fork = {
	.name = "a23-async-fork",
	.rows = "A23 A24 A30 M30 A17",
	.title = "Fork beside a device that lets go later",
	.question =
		"A device on another node (XPMEM) maps a process's memory. To let go takes messages, so its "
		"notifier wants to sleep. If invalidate_range_start may not sleep, can the device note the range, "
		"return at once, and let go a little later? It holds a reference: the page cannot be freed.",
	.lesson = "Fork has write-protected the parent's page so that parent and child can share it. The device "
		  "still writes to it. The page is alive, so no reference count helps: the store "
		  "meant for the parent changes the child as well. start must have let go when it returns; that is "
		  "why it must be allowed to sleep. No race is needed for that: nobody is interrupted here, fork simply comes first "
		  "and the work queue last.",
	.variant = {
		{ "safe", RACE_PASS, 0,
		  "The device lets go inside invalidate_range_start, sleeping if it must (xpmem)." },
		{ "kvm", RACE_PASS, 0,
		  "A KVM guest: start takes W from the table, and flushes; loads go on, stores fault and retry." },
		{ "async", RACE_VIOLATION, 0,
		  "invalidate_range_start notes the range and returns; the device lets go later (xpmem-async)." },
		{ "untold", RACE_VIOLATION, 123, "Fork tells nobody (xpmem)." },
		{ "entry-kept", RACE_VIOLATION, 1232,
		  "A KVM guest whose table loses W, and whose TLB is not flushed: a store goes by the entry that is there." },
	},
	.program = {
		.setup = a23_setup,
		.finish = a23_finish,
		.threads = 2,
		.thread = { { "process: fork", a23_fork }, { "remote node (device)", a23_remote } },
	},
};

/* ---- A24: whatever its reference count ---- */

static void a24_setup(void *ctx)
{
	(void)ctx;
	world_setup(1,
		    race_variant_is("async")					? "xpmem-async"
		    : race_variant_is("kvm") || race_variant_is("readers-stay") ? "kvm"
										: "xpmem",
		    NULL);
	if (race_variant_is("untold"))
		linter_off();
	host_store("parent", 0, 1);
	fork_child();
	device_load(0, "device, which so holds a reference on the page,", 0);
}

static void a24_parent(void *ctx)
{
	(void)ctx;
	explore_say("parent begins to store to page 0, which is shared with the child: copy it");
	host_store("parent", 0, 2);
}

/* Page 0 never goes back from 2 to 1, whoever looks. */
static void a24_reader(void *ctx)
{
	uint64_t cpu = host_load("another thread of the parent", 0);
	uint64_t device = device_load(0, "device, on its behalf,", 0);

	(void)ctx;
	if (device < cpu)
		explore_fail(
			"the device reads %llu after a CPU has read %llu: the old page, alive and "
			"out of date",
			(unsigned long long)device, (unsigned long long)cpu);
}

static void a24_finish(void *ctx)
{
	(void)ctx;
	if (child_load(", at the end,") != 1)
		explore_fail("the child's memory has changed");
	destroy_child();
	linter_on();
	world_finish();
}

const struct race_scenario a24_stale_but_alive = {
	.name = "a24-stale-but-alive",
	.rows = "A24 A23 A25",
	.title = "A page that is referenced, and wrong",
	.question = "The device pins every page that it maps. Is that enough to let go late after "
		    "copy-on-write: can anything bad happen to a page that cannot be freed?",
	.lesson = "The CPU works on the copy, the device on the original. Its reference keeps the memory "
		  "from being reused, not from being out of date.",
	.variant = {
		{ "safe", RACE_PASS, 0, "The device lets go, and drops its reference, inside start." },
		{ "kvm", RACE_PASS, 0,
		  "A KVM guest: fork has left it its entry, for loads; the start of copy-on-write takes it away." },
		{ "async", RACE_VIOLATION, 0,
		  "The device keeps reference and mapping for a while after start has returned." },
		{ "untold", RACE_VIOLATION, 124,
		  "Copy-on-write tells nobody: the old page stays in use by the child, so who still reads "
		  "it does no harm." },
		{ "readers-stay", RACE_VIOLATION, 1241,
		  "A KVM guest that takes every bracket for one that only takes W, as fork's does." },
	},
	.program = {
		.setup = a24_setup,
		.finish = a24_finish,
		.threads = 2,
		.thread = { { "parent", a24_parent }, { "parent's other thread, device", a24_reader } },
	},
};

/* ---- A25: swap works by accident ---- */

static bool is_swap(void)
{
	return race_variant_is("swap-async") || race_variant_is("swap");
}

static void a25_setup(void *ctx)
{
	(void)ctx;
	world_setup(1, race_variant_is("swap") ? "xpmem" : "xpmem-async", NULL);
	host_store("CPU", 0, 1);
	device_load(0, "device, which so holds a reference on the page,", 0);
}

static void a25_change(void *ctx)
{
	hva_t page = world_page(0);
	int rc;

	(void)ctx;
	explore_say("CPU begins to %s page 0", is_swap()			  ? "swap out"
					       : race_variant_is("migrate-async") ? "migrate"
										  : "discard");
	if (is_swap())
		rc = hostmm_zap(world.mm, page, page + PAGE_SIZE);
	else if (race_variant_is("migrate-async"))
		rc = hostmm_migrate(world.mm, page, page + PAGE_SIZE, HOSTMM_MIGRATE_AWAY);
	else
		rc = hostmm_discard(world.mm, page, page + PAGE_SIZE);
	if (rc)
		explore_fail("the change failed: %d", rc);
	explore_say(
		is_swap() ? "the page is unmapped for swap; referenced, it stays in the swap cache"
			  : "the page has another frame, or none");
	host_store("CPU, touching the page again,", 0, 2);
}

static void a25_reader(void *ctx)
{
	uint64_t cpu = host_load("another thread", 0);
	uint64_t device = device_load(0, "device, on its behalf,", 0);

	(void)ctx;
	if (cpu == 2 && device != 2)
		explore_fail("a CPU has read 2, then the device reads %#llx",
			     (unsigned long long)device);
}

static void a25_finish(void *ctx)
{
	(void)ctx;
	if (race_variant_is("swap"))
		world_finish();
	else
		world_finish_unchecked();
}

const struct race_scenario a25_swap_by_accident = {
	.name = "a25-swap-by-accident",
	.rows = "A25 A21 A23",
	.title = "Swap forgives a device that lets go late; nothing else does",
	.question = "Asynchronous invalidation has been used with swap for years without harm. Does that "
		    "show that it is right?",
	.lesson = "In swap a referenced page stays in the swap cache, and the next touch finds the same frame "
		  "again: the stale mapping happens to be right. Where the page gets another frame, it is not.",
	.variant = {
		{ "swap", RACE_PASS, 0, "Swap, and a device that lets go inside start (xpmem)." },
		{ "swap-async", RACE_PASS, 0,
		  "Swap, and a device that lets go later: harmless, since the frame stays the same." },
		{ "migrate-async", RACE_VIOLATION, 0, "The same device, and the page is migrated." },
		{ "discard-async", RACE_VIOLATION, 0, "The same device, and the page is discarded." },
	},
	.program = {
		.setup = a25_setup,
		.finish = a25_finish,
		.threads = 2,
		.thread = { { "CPU", a25_change }, { "another thread, device", a25_reader } },
	},
};

/* ---- A1: the order of two stores ---- */

static void a1_setup(void *ctx)
{
	bool huge = race_variant_is("huge-fallback");

	(void)ctx;
	world_setup(huge ? WORLD_LARGE : 2,
		    race_variant_is("async") ? "xpmem-async"
		    : race_variant_is("tlb") ? "ats-4k"
		    : huge		     ? "ats-mixed"
					     : "kvm",
		    NULL);
	if (huge)
		world_populate();
	host_store("CPU", 0, 1);
	host_store("CPU", 1, 1);
	fork_child();
	device_load(0, "device, which so has page 0 mapped,", 0);
}

static void a1_cpu(void *ctx)
{
	(void)ctx;
	host_store("CPU, by a copy,", 0, 2);
	host_store("CPU, by a copy,", 1, 2);
}

static void a1_device(void *ctx)
{
	uint64_t b = device_load(0, "device", 1), a = device_load(0, "device", 0);

	(void)ctx;
	if (b == 2 && a == 1)
		explore_fail(
			"the device sees the second store and not the first: new page 1, old page 0");
}

static void a1_finish(void *ctx)
{
	(void)ctx;
	destroy_child();
	if (race_variant_is("async"))
		world_finish_unchecked();
	else
		world_finish();
}

const struct race_scenario a1_store_order = {
	.name = "a1-store-order",
	.rows = "A1",
	.title = "Two stores, each to a page that must be copied first",
	.question = "A write fault copies a page and points the entry at the copy. May the device hear of "
		    "that after the fault is over, or must it let go before the new page can be seen?",
	.lesson = "The CPU stored to page 0 first. The device, still on the old page 0, has the new page 1: "
		  "it sees the stores in the wrong order.",
	.variant = {
		{ "safe", RACE_PASS, 0, "Between clear and set the device has let go (kvm)." },
		{ "tlb", RACE_PASS, 0, "A device TLB, flushed between clear and set (ats-4k)." },
		{ "async", RACE_VIOLATION, 0, "The device lets go some time later (xpmem-async)." },
		{ "huge-fallback", RACE_PASS, 0,
		  "A 2M page that falls back to 4K at the write fault, and an entry of 2M for it (ats-mixed)." },
	},
	.program = {
		.setup = a1_setup,
		.finish = a1_finish,
		.threads = 2,
		.thread = { { "CPU", a1_cpu }, { "device", a1_device } },
	},
};
