// SPDX-License-Identifier: BSD-2-Clause
/* A view alone, and what it makes of a userfaultfd that does half of what it is asked for. */
#include "mmu/host/view.h"

#include "mmu/host/pool_priv.h"
#include "tests/race/events.h"
#include "tests/race/scenario.h"
#include "tests/race/vm.h"
#include "tests/race/world.h"

#define PAGES 2u

static struct {
	struct pool *pool;
	struct uffd uffd;
	struct view *view;
	fn_t home, shared; /* of PAGES each */
	struct lock lock;
	struct cond changed;
	bool is_shown; /* under lock */
} w;

static void setup(void *ctx)
{
	(void)ctx;
	lock_init(&w.lock);
	cond_init(&w.changed);
	w.is_shown = false;
	must(pool_create(&w.pool, 4 * PAGES, true), "pool_create()");
	must(uffd_open(&w.uffd, 0), "uffd_open()");
	must(pool_reserve(w.pool, PAGES, &w.home), "pool_reserve()");
	must(view_create(&w.view, w.pool, &w.uffd, PAGES, w.home), "view_create()");
	must(pool_alloc_loose_run(w.pool, PAGES, &w.shared), "pool_alloc_loose_run()");
	must(pool_populate(w.pool, w.shared, PAGES), "pool_populate()");
}

static void finish(void *ctx)
{
	(void)ctx;
	view_zap(w.view, 0, PAGES);
	view_destroy(w.view);
	uffd_close(&w.uffd);
	pool_put(w.pool, w.shared, PAGES);
	pool_unreserve(w.pool, w.home, PAGES);
	pool_destroy(w.pool);
	cond_fini(&w.changed);
	lock_fini(&w.lock);
}

static void show(void *ctx)
{
	(void)ctx;
	explore_say(
		"the primary begins to show pages 0 and 1, read-only: others have their frames, too");
	must(view_map(w.view, 0, PAGES, w.shared, false), "view_map()");
	explore_say("the pages are shown, and their VMAs are open");
	lock_acquire(&w.lock);
	w.is_shown = true;
	cond_broadcast(&w.changed);
	lock_release(&w.lock);
}

static bool touch(bool write)
{
	const void *addr = (char *)view_base(w.view) + PAGE_SIZE;

	explore_point(EXPLORE_LOAD, vm_entry(addr), NULL, "the view", "vCPU");
	return vm_access(addr, write);
}

static void use(void *ctx)
{
	(void)ctx;
	explore_say(touch(false) ? "the vCPU reads from page 1" : "the vCPU faults on page 1");
	lock_acquire(&w.lock);
	while (!w.is_shown)
		cond_wait(&w.changed, &w.lock);
	lock_release(&w.lock);
	if (touch(true))
		explore_fail(
			"the vCPU stores to page 1, without a fault: to a frame that others have");
	explore_say("the vCPU faults when it stores to page 1, as it must");
}

static void change_layout(void *ctx)
{
	(void)ctx;
	events_begin(1);
	explore_say(
		"another thread unmaps memory elsewhere: userfaultfd says EAGAIN to everything");
	events_end();
	explore_say("that is over");
}

const struct race_scenario m28_eagain = {
	.name = "m28-eagain",
	.rows = "M28 M29",
	.title = "EAGAIN, and a count that nobody has written",
	.question = "UFFDIO_CONTINUE of two pages says EAGAIN, and in the structure that it has done one. Asked for the other it "
		    "says EAGAIN again, because the layout of memory is changing, and leaves the structure alone. How much has it done?",
	.lesson = "An entry came through the gap, by a read before the VMA was watched, and nobody has protected it: the pages were "
		  "taken for done. A count is what the kernel has written in this call, or none (Linux 95567729173e); and who hears "
		  "that an entry is there has to protect it himself.",
	.variant = {
		{ "safe", RACE_PASS, 0, "The count is cleared before each call. An entry that is there already is protected by hand." },
		{ "M28", RACE_VIOLATION, 28, "The structure is used again as it is: the old count is believed." },
		{ "M29-gap", RACE_VIOLATION, 291, "An entry that is there already is left as it is." },
	},
	.program = {
		.setup = setup,
		.finish = finish,
		.threads = 3,
		.thread = { { "primary: shows two pages read-only", show },
			    { "vCPU: loads, later stores", use },
			    { "another thread", change_layout } },
	},
};
