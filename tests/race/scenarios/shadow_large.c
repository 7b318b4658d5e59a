// SPDX-License-Identifier: BSD-2-Clause
/* A guest's table with leaves of 2M: install beside a change of one page, store beside logging, change_pte; and a new root. */
#include "mmu/host/hostmm_actors.h"
#include "mmu/shadow/dirty.h"
#include "tests/race/scenario.h"
#include "tests/race/scenarios/guest.h"

static void say_leaf(const char *who)
{
	struct shadow_stats s;

	shadow_get_stats(shadow(), &s);
	explore_say("%s has %s", who,
		    s.leaves_2m ? "one leaf of 2M for pages 0 to 511" : "leaves of 4K");
}

/* ---- Install beside a change of one of the 512 pages ---- */

static void m3_setup(void *ctx)
{
	(void)ctx;
	guest_setup("kvm");
	write_version(0, 1);
}

static void m3_kernel(void *ctx)
{
	(void)ctx;
	explore_say("the kernel begins to move page 0, of which no leaf is there yet");
	world_move(0);
	write_version(0, 2);
}

static void m3_guest(void *ctx)
{
	(void)ctx;
	explore_say("the guest faults on page 300; all 512 pages around it would make one leaf");
	guest_faults(FAR, false);
	say_leaf("the table");
}

static void m3_finish(void *ctx)
{
	(void)ctx;
	check_version(0, "later, the guest", 0);
	world_finish();
}

const struct race_scenario m3_large_install = {
	.name = "m3-large-install",
	.rows = "A7 A32 M3 M7",
	.title = "A fault installs 2M while one page of it moves",
	.question = "A fault on page 300 finds that the primary has all 512 pages in one run and installs one leaf. Page 0 is being "
		    "moved. Which range must the retry check ask about?",
	.lesson = "The leaf begins 300 pages before the address that faulted. A check of that page, or of 2M from there on, "
		  "misses the bracket over page 0, whose frame is freed under the new leaf.",
	.variant = {
		{ "whole-leaf", RACE_PASS, 0, "All of the leaf, from where it begins." },
		{ "M3-unaligned", RACE_VIOLATION, 34, "2M from the faulting page on." },
		{ "M7", RACE_VIOLATION, 7, "The faulting page." },
	},
	.program = {
		.setup = m3_setup,
		.finish = m3_finish,
		.threads = 2,
		.thread = { { "kernel: moves page 0", m3_kernel }, { "guest: faults on page 300", m3_guest } },
	},
	.bound = 2,
};

/* ---- A fault beside a new root ---- */

/* A backend with a copy of the table, as a window has: whether page 0 can be reached. */
static struct {
	struct shadow *shadow;
	_Atomic bool shown;
} copy;

static int copy_slot_add(void *ctx, struct memslot *slot, fn_t home)
{
	(void)home;
	slot->backend = ctx;
	return 0;
}

static void copy_slot_remove(void *ctx, struct memslot *slot)
{
	(void)ctx, (void)slot;
}

static int copy_map(void *slot_backend, uint64_t page, uint64_t n, fn_t fn, bool writable)
{
	(void)slot_backend, (void)page, (void)n, (void)fn, (void)writable;
	sync_store(&copy.shown, true);
	explore_say("the window shows page 0");
	return 0;
}

static int copy_make_writable(void *slot_backend, uint64_t page, uint64_t n)
{
	(void)slot_backend, (void)page, (void)n;
	return 0;
}

static void copy_zap(void *slot_backend, uint64_t page, uint64_t n)
{
	(void)slot_backend, (void)page, (void)n;
	sync_store(&copy.shown, false);
}

static void copy_wake(void *slot_backend, uint64_t page, uint64_t n)
{
	(void)slot_backend, (void)page, (void)n;
}

static const struct backend_ops copy_ops = {
	.slot_add = copy_slot_add,
	.slot_remove = copy_slot_remove,
	.map = copy_map,
	.make_writable = copy_make_writable,
	.zap = copy_zap,
	.wake = copy_wake,
};

static void root_setup(void *ctx)
{
	struct shadow_opts opts = { .fault_around = 1 };

	(void)ctx;
	world_setup(1, NULL, NULL);
	host_store("the CPU", 0, 1);
	sync_store(&copy.shown, false);
	must(shadow_create(&copy.shadow, world.mm, &copy_ops, &copy, &opts), "shadow_create()");
	must(shadow_add_slot(copy.shadow, 0, 0, 1, world.hva, 0), "shadow_add_slot()");
}

static void root_vmm(void *ctx)
{
	(void)ctx;
	explore_say("the VMM begins to zap all");
	must(shadow_zap_all(copy.shadow), "shadow_zap_all()");
	explore_say("the old tree is taken apart");
}

static void root_guest(void *ctx)
{
	(void)ctx;
	explore_say("the guest faults on page 0");
	if (shadow_fault(copy.shadow, 0, false) < 0)
		explore_fail("shadow_fault() failed");
}

static void root_finish(void *ctx)
{
	struct shadow_stats s;

	(void)ctx;
	shadow_get_stats(copy.shadow, &s);
	if (sync_load(&copy.shown) && !s.leaves)
		explore_fail(
			"the window shows page 0, and the table knows nothing of it: no bracket will take it back");
	shadow_destroy(copy.shadow);
	world_finish();
}

const struct race_scenario m14_stale_root = {
	.name = "m14-stale-root",
	.rows = "M14",
	.title = "A fault installs in a tree that is being taken apart",
	.question = "Zap all swaps an empty root in, and takes the old tree apart afterwards, without keeping faults out. A fault "
		    "looked its page up before the swap, and no bracket has touched the page: sequence and range say that it may "
		    "install. In which tree?",
	.lesson = "In the old one, where the teardown finds the leaf, or refuses it, without a flush: everything was flushed with the "
		  "swap. The window shows the page ever after. A fault compares its root under the lock as it does "
		  "the sequence (a955cad84cda).",
	.variant = {
		{ "compare", RACE_PASS, 0, "A fault whose root is not current any more tries again." },
		{ "no-root", RACE_VIOLATION, 145, "Sequence and range are all that is compared." },
	},
	.program = {
		.setup = root_setup,
		.finish = root_finish,
		.threads = 2,
		.thread = { { "VMM: zaps all", root_vmm }, { "guest: faults on page 0", root_guest } },
	},
	.bound = 2,
};

/* ---- Dirty logging ---- */

static _Atomic bool is_logging;
static bool promised; /* the store to page 300 began when logging was on */

static void m20_setup(void *ctx)
{
	(void)ctx;
	guest_setup("kvm-no-ad");
	sync_store(&is_logging, false);
	promised = false;
}

static void m20_vmm(void *ctx)
{
	(void)ctx;
	must(shadow_set_slot_flags(shadow(), 0, MEMSLOT_LOG_DIRTY), "shadow_set_slot_flags()");
	explore_say("the VMM has turned dirty logging on");
	sync_store_release(&is_logging, true);
}

static void m20_guest(void *ctx)
{
	(void)ctx;
	device_store(0, "the guest", 0, 1);
	say_leaf("the table");
	promised = sync_load_acquire(&is_logging);
	device_store(0, "the guest", FAR, 1);
}

static void m20_finish(void *ctx)
{
	uint64_t bitmap[WORLD_LARGE / 64];

	(void)ctx;
	must(shadow_get_dirty_log(shadow(), 0, bitmap), "shadow_get_dirty_log()");
	if (promised && !(bitmap[FAR / 64] >> FAR % 64 & 1))
		explore_fail(
			"page 300 was stored to while its slot logs, and the log does not have it");
	world_finish();
}

const struct race_scenario m20_large_logging = {
	.name = "m20-large-logging",
	.rows = "M20 A14",
	.title = "A 2M leaf becomes writable while stores are logged",
	.question = "Logging counts on the fault of the first store to each page. A store faults on page 0, and a leaf of 2M would "
		    "answer it. Why not?",
	.lesson = "The log has page 0. The stores to the other 511 pages fault no more, and nobody copies them "
		  "(reported in revert 6b73a9606).",
	.variant = {
		{ "4K-only", RACE_PASS, 0, "Under a slot that logs, nothing larger than 4K is made writable." },
		{ "M20", RACE_VIOLATION, 20, "2M wherever it fits." },
	},
	.program = {
		.setup = m20_setup,
		.finish = m20_finish,
		.threads = 2,
		.thread = { { "VMM: turns logging on", m20_vmm }, { "guest: stores to pages 0 and 300", m20_guest } },
	},
	.bound = 2,
};

/* ---- change_pte under a large leaf ---- */

static void change_setup(void *ctx)
{
	(void)ctx;
	guest_setup("kvm");
	/* change_pte tells of pages that nobody may write. */
	must(hostmm_wrprotect(world.mm, world_page(0), world_page(WORLD_LARGE)),
	     "hostmm_wrprotect()");
	guest_faults(FAR, false);
	say_leaf("the table");
}

static void change_move(void *ctx)
{
	(void)ctx;
	explore_say("the kernel begins to move page 0 to another frame");
	world_move(0);
}

static void change_discard(void *ctx)
{
	(void)ctx;
	must(hostmm_discard(world.mm, world_page(0), world_page(1)), "hostmm_discard()");
	explore_say("the CPU has discarded page 0");
}

static void change_guest(void *ctx)
{
	(void)ctx;
	if (device_load(0, "the guest", 0))
		explore_fail("page 0 reads 0 all the time");
}

static void change_finish(void *ctx)
{
	struct shadow_stats s;

	(void)ctx;
	shadow_get_stats(shadow(), &s);
	if (s.leaves_2m || s.leaves_4k < WORLD_LARGE - 1)
		explore_fail("the other 511 pages should have stayed, as leaves of 4K");
	world_finish();
}

const struct race_scenario a22_change_large = {
	.name = "a22-change-large",
	.rows = "A22 M2 A7",
	.title = "change_pte of one page under a 2M leaf",
	.question = "A page under a leaf of 2M gets another frame, while the guest reads through the leaf, and another CPU "
		    "discards the page. May the leaf follow?",
	.lesson = "The leaf is split off-line and swapped in; one small leaf is frozen, flushed and repointed, 511 stay. A "
		  "device that is not told before change_pte returns reads the old frame, which is free.",
	.variant = {
		{ "split", RACE_PASS, 0, "Split, freeze, flush, repoint; zap where a second bracket is open." },
		{ "late", RACE_VIOLATION, 122, "change_pte leaves the large leaf as it is." },
	},
	.program = {
		.setup = change_setup,
		.finish = change_finish,
		.threads = 3,
		.thread = { { "kernel: moves page 0", change_move },
			    { "CPU: discards page 0", change_discard },
			    { "guest: loads page 0", change_guest } },
	},
	.bound = 2,
};
