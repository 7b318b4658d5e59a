// SPDX-License-Identifier: BSD-2-Clause
/* A process exits beside somebody who protects its pages. */
#include <errno.h>

#include "mmu/host/hostmm_actors.h"
#include "mmu/host/hostmm_reclaim.h"
#include "tests/race/scenario.h"
#include "tests/race/world.h"

static struct hostmm *child;
static hva_t child_page;

static bool is_call(void)
{
	return race_variant_is("get") || race_variant_is("no-get");
}

static void exit_setup(void *ctx)
{
	struct hostmm_opts opts = { .fault_threads = 1 };

	(void)ctx;
	world_setup(1, NULL, NULL);
	host_store("the parent", 0, 5);
	must(hostmm_fork(world.mm, &opts, &child), "hostmm_fork()");
	must(hostmm_fork_hva(child, world_page(0), &child_page), "hostmm_fork_hva()");
	explore_say("the child has the parent's page 0, too");
	if (race_variant_is("get"))
		hostmm_get(child);
}

/* By the reverse map, from a frame to whoever has it. */
static void poison(void *ctx)
{
	(void)ctx;
	explore_say("the frame of page 0 is bad: all who have it must lose it");
	must(hostmm_poison(world.mm, world_page(0)), "hostmm_poison()");
	explore_say("nobody has it any more");
}

static void call(void *ctx)
{
	int rc;

	(void)ctx;
	explore_say("another thread begins to write-protect the child's page");
	rc = hostmm_wrprotect(child, child_page, child_page + PAGE_SIZE);
	if (rc && rc != -EINVAL)
		must(rc, "hostmm_wrprotect()");
	explore_say(rc ? "it finds no memory there any more" : "the page is write-protected");
	if (race_variant_is("get"))
		hostmm_put(child);
}

static void protect(void *ctx)
{
	if (is_call())
		call(ctx);
	else
		poison(ctx);
}

static void exit_child(void *ctx)
{
	(void)ctx;
	explore_say("the child exits");
	hostmm_destroy(child);
	explore_say("it is gone, and the memory that described it is free");
}

static void exit_finish(void *ctx)
{
	uint64_t value;
	int rc = hostmm_read(world.mm, world_page(0), &value, sizeof(value));

	(void)ctx;
	if (is_call() ? rc || value != 5 : rc != -EHWPOISON)
		explore_fail("the parent reads page 0: %d", rc);
	must(hostmm_discard(world.mm, world_page(0), world_page(1)), "hostmm_discard()");
	world_finish();
}

const struct race_scenario m27_exit = {
	.name = "m27-exit",
	.rows = "M27",
	.title = "Pages are protected beside the exit of their process",
	.question = "Somebody has found a process by a page of it, or knows it anyway, and is about to write-protect or take that page. "
		    "The process exits. What keeps its address space there?",
	.lesson = "Nothing does: what described the process is freed between the look-up and the use (CVE-2021-47461). A reference, taken "
		  "while the process is known to live, makes the exit wait; its pages are gone by then, and whoever comes finds none.",
	.variant = {
		{ "pinned", RACE_PASS, 0,
		  "The reverse map takes a reference on each address space that it finds, under the lock that an exit needs, too." },
		{ "get", RACE_PASS, 0, "The embedder does so: hostmm_get()." },
		{ "M27", RACE_VIOLATION, 27, "The reverse map takes none (as userfaultfd did until cb185d5f1ebf)." },
		{ "no-get", RACE_VIOLATION, 0, "Nor does the embedder, which his contract forbids." },
	},
	.program = {
		.setup = exit_setup,
		.finish = exit_finish,
		.threads = 2,
		.thread = { { "CPU: protects the page", protect }, { "child: exits", exit_child } },
	},
};
