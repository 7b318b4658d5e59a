// SPDX-License-Identifier: BSD-2-Clause
/* A backend that has a copy of the table, as a window: agers, roots that go, and dirty logging beside its faults. */
#include "mmu/shadow/dirty.h"
#include "mmu/shadow/shadow_priv.h"
#include "tests/race/scenario.h"
#include "tests/race/world.h"

/* What stands for a window: the page table of a guest whose hardware sets no A bits. The lock is what a zap's IPI is. */
static struct {
	struct shadow *shadow;
	struct lock lock;
	struct backend_page page; /* [lock] */
} window;

#define GFN 0x100UL

static void set_page(fn_t fn, bool writable)
{
	lock_acquire(&window.lock);
	window.page = (struct backend_page){ .fn = fn, .writable = writable };
	lock_release(&window.lock);
}

static int slot_add(void *ctx, struct memslot *slot, fn_t home)
{
	(void)ctx, (void)slot, (void)home;
	return 0;
}

static void slot_gone(void *ctx, struct memslot *slot)
{
	(void)ctx, (void)slot;
}

static int map(void *slot_backend, uint64_t page, uint64_t n, fn_t fn, bool writable)
{
	(void)slot_backend, (void)page, (void)n;
	set_page(fn, writable);
	explore_trace("the window maps page 0%s", writable ? ", writable" : "");
	return 0;
}

static int restore(void *slot_backend, uint64_t page, uint64_t n, fn_t fn, bool writable)
{
	return map(slot_backend, page, n, fn, writable) ?: 1;
}

static int make_writable(void *slot_backend, uint64_t page, uint64_t n)
{
	(void)slot_backend, (void)page, (void)n;
	lock_acquire(&window.lock);
	window.page.writable = true;
	lock_release(&window.lock);
	return 0;
}

static void wrprotect(void *slot_backend, uint64_t page, uint64_t n)
{
	(void)slot_backend, (void)page, (void)n;
	lock_acquire(&window.lock);
	window.page.writable = false;
	lock_release(&window.lock);
	explore_trace("the window protects page 0");
}

static void zap(void *slot_backend, uint64_t page, uint64_t n)
{
	(void)slot_backend, (void)page, (void)n;
	set_page(FN_NONE, false);
	explore_trace("the window lets go of page 0");
}

static void wake(void *slot_backend, uint64_t page, uint64_t n)
{
	(void)slot_backend, (void)page, (void)n;
}

static uint64_t compare(void *slot_backend, uint64_t page, uint64_t n,
			const struct backend_page *allowed,
			void (*wrong)(void *ctx, uint64_t page, const char *what), void *ctx)
{
	(void)slot_backend, (void)n;
	if (window.page.fn == FN_NONE ||
	    (window.page.fn == allowed->fn && (allowed->writable || !window.page.writable)))
		return 0;
	wrong(ctx, page,
	      allowed->fn == FN_NONE ? "the guest reaches it, and no leaf allows that"
				     : "the guest may do more than the leaf allows");
	return 1;
}

static const struct backend_ops window_model = {
	.slot_add = slot_add,
	.slot_remove = slot_gone,
	.slot_move = slot_gone,
	.map = map,
	.restore = restore,
	.make_writable = make_writable,
	.wrprotect = wrprotect,
	.zap = zap,
	.age = zap,
	.compare = compare,
	.wake = wake,
};

/* The guest's instruction: by what the window has, else a fault. */
static uint64_t guest_access(bool write, uint64_t value)
{
	for (;;) {
		bool done = false;
		int rc;

		lock_acquire(&window.lock);
		if (window.page.fn != FN_NONE && (window.page.writable || !write)) {
			uint64_t *word = pool_direct(world.pool, window.page.fn);

			if (write)
				*word = value;
			else
				value = *word;
			done = true;
		}
		lock_release(&window.lock);
		if (done)
			return value;
		rc = shadow_fault(window.shadow, GFN, write);
		if (rc < 0)
			explore_fail("a fault ends with %d", rc);
	}
}

static void guest_check(const char *who)
{
	uint64_t at_least = version_of(0), got = guest_access(false, 0);

	explore_say("%s reads %llu from page 0", who, (unsigned long long)got);
	if (got == POOL_CANARY)
		explore_fail("%s reads a frame that has been freed", who);
	if (got < at_least)
		explore_fail("%s reads %llu, after the CPU has written %llu", who,
			     (unsigned long long)got, (unsigned long long)at_least);
}

static uint64_t age(void)
{
	uint64_t used = 0;

	if (shadow_age(window.shadow, GFN, 1, NULL, &used))
		explore_fail("shadow_age() failed");
	return used;
}

static void window_up(unsigned slot_flags)
{
	const struct shadow_opts opts = { .fault_around = 1 };

	world_setup(1, NULL, NULL);
	write_version(0, 1);
	lock_init(&window.lock);
	window.page.fn = FN_NONE;
	if (shadow_create(&window.shadow, world.mm, &window_model, NULL, &opts) ||
	    shadow_add_slot(window.shadow, 0, GFN, 1, world.hva, slot_flags))
		explore_fail("no shadow");
}

static void window_down(void)
{
	shadow_destroy(window.shadow);
	lock_fini(&window.lock);
	world_finish();
}

static void window_setup(void *ctx)
{
	(void)ctx;
	window_up(0);
	if (race_variant_is("restored") || race_variant_is("M15-restored")) {
		guest_check("before, the guest");
		age();
	}
}

static void window_guest(void *ctx)
{
	(void)ctx;
	guest_check("the guest");
}

static void window_ager(void *ctx)
{
	(void)ctx;
	explore_say(age() ? "the ager found page 0 used" : "the ager found page 0 unused");
}

static void window_kernel(void *ctx)
{
	(void)ctx;
	world_move(0);
	write_version(0, 2);
}

static void window_wrong(void *ctx, gfn_t gfn, uint64_t spte, const char *what)
{
	(void)ctx, (void)gfn, (void)spte;
	explore_fail("page 0: %s", what);
}

static void window_finish(void *ctx)
{
	(void)ctx;
	shadow_check(window.shadow, window_wrong, NULL);
	age();
	guest_check("later, the guest");
	if (!age())
		explore_fail("the guest has used page 0, and nobody has seen it");
	window_down();
}

const struct race_scenario m15_age_window = {
	.name = "m15-age-window",
	.rows = "M15",
	.title = "Aging without a lock, beside a fault that maps",
	.question = "Where hardware sets no A bits, an aged page loses its rights in the table, and then its place in the "
		    "guest's page table, so that the next use is a fault. Faults map pages under mmu_lock, aging "
		    "takes none. Can the two leave a page in the guest's reach that the table says is not?",
	.lesson = "The fault has put the leaf into the table, the ager takes its rights and finds nothing to take from the guest "
		  "yet, and then the fault maps the page: it is used and stored to, and nobody sees it again. Who "
		  "maps looks at his leaves once more before he drops the lock, if an ager was under way.",
	.variant = {
		{ "installed", RACE_PASS, 0, "The fault installs the leaf, maps the page, and looks again." },
		{ "restored", RACE_PASS, 0, "The same for a page that was aged before: the fault gives its rights back." },
		{ "M15-installed", RACE_VIOLATION, 152, "The fault does not look again." },
		{ "M15-restored", RACE_VIOLATION, 152, "The same for a page that was aged before." },
	},
	.bound = 2,
	.program = {
		.setup = window_setup,
		.finish = window_finish,
		.threads = 3,
		.thread = { { "guest: loads page 0", window_guest },
			    { "ager", window_ager },
			    { "kernel: moves page 0", window_kernel } },
	},
};

/* ---- The fast path, beside a root that is dropped ---- */

static void root_setup(void *ctx)
{
	(void)ctx;
	window_up(0);
	guest_check("before, the guest");
	age();
}

static void root_drop(void *ctx)
{
	(void)ctx;
	if (shadow_zap_all(window.shadow))
		explore_fail("shadow_zap_all() failed");
	explore_say("the table is dropped");
}

static void root_finish(void *ctx)
{
	(void)ctx;
	shadow_check(window.shadow, window_wrong, NULL);
	world_move(0);
	write_version(0, 2);
	guest_check("later, the guest");
	window_down();
}

const struct race_scenario m14_fast_root = {
	.name = "m14-fast-root",
	.rows = "M14",
	.title = "An aged page gets its rights back in a tree that is dropped",
	.question = "An aged page is used again: its leaf is there, so the fault gives its rights back, maps it in the window, and asks "
		    "neither the primary nor the sequence. Meanwhile the whole table is dropped. The compare-and-swap of the "
		    "leaf succeeds. Is that check enough?",
	.lesson = "The leaf was in the old tree, which is taken apart without another flush: the guest reaches a page of which the "
		  "table knows nothing, and no zap will take it away. A window has a copy of the table, so the fast path looks "
		  "under mmu_lock whether its root is still the current one.",
	.variant = {
		{ "root", RACE_PASS, 0, "Under the lock: is the root still that of the snapshot?" },
		{ "cas-only", RACE_VIOLATION, 146, "The compare-and-swap of the leaf alone." },
	},
	.program = {
		.setup = root_setup,
		.finish = root_finish,
		.threads = 2,
		.thread = { { "guest: uses page 0", window_guest }, { "VMM: drops the table", root_drop } },
	},
	.bound = 2,
};

/* ---- Beside dirty logging ---- */

static uint64_t copy; /* of page 0, by the collector alone */

static void log_setup(void *ctx)
{
	(void)ctx;
	window_up(MEMSLOT_LOG_DIRTY);
	copy = 1;
	guest_access(true, 2);
}

static void log_guest(void *ctx)
{
	(void)ctx;
	guest_access(true, 3);
	explore_say("the guest writes 3 to page 0");
}

static void log_collector(void *ctx)
{
	uint64_t bitmap = 0;

	(void)ctx;
	if (shadow_get_dirty_log(window.shadow, 0, &bitmap))
		explore_fail("no log");
	if (bitmap)
		copy = host_load("the collector", 0);
}

static void log_finish(void *ctx)
{
	uint64_t value;

	log_collector(ctx);
	value = host_load("the CPU", 0);
	if (copy != value)
		explore_fail("the copy has %llu, page 0 %llu: the log has missed a store",
			     (unsigned long long)copy, (unsigned long long)value);
	shadow_check(window.shadow, window_wrong, NULL);
	window_down();
}

const struct race_scenario m15_age_log = {
	.name = "m15-age-log",
	.rows = "M15 A12",
	.title = "Aging without a lock, beside a dirty log that protects pages",
	.question = "A get of the dirty log takes W from the leaves it finds writable, and flushes those. A page that has just been "
		    "aged has no rights left, so there is nothing to take. Is there nothing to flush?",
	.lesson = "The ager has taken W, and has not told the guest's page table yet: the guest stores there without a fault, "
		  "after the log was read, and the log never shows it. While another flush is pending, flush the whole "
		  "range (mm_tlb_flush_nested()).",
	.variant = {
		{ "pending", RACE_PASS, 0, "Who protects flushes all that was asked for while an ager is under way." },
		{ "M15-pending", RACE_VIOLATION, 153, "Only what had W." },
	},
	.bound = 2,
	.program = {
		.setup = log_setup,
		.finish = log_finish,
		.threads = 3,
		.thread = { { "guest: stores to page 0", log_guest },
			    { "ager", window_ager },
			    { "collector: gets the log", log_collector } },
	},
};
