// SPDX-License-Identifier: BSD-2-Clause
/* Dirty rings: reset beside stores, stores that wait for room, and entries that find none. */
#include "mmu/shadow/dirty_ring.h"

#include "tests/race/scenario.h"
#include "tests/race/world.h"

#define SLOT 0u
#define SIZE \
	SHADOW_DIRTY_RING_MIN /* half of it is for those who passed the test for room side by side */
#define PAGES (SIZE + 1UL)

static uint64_t copy[PAGES];

static struct shadow *shadow(void)
{
	return device_get_shadow(world.device[0]);
}

static void begin(uint64_t pages)
{
	for (uint64_t page = 0; page < PAGES; page++)
		copy[page] = 0;
	world_setup(pages, "kvm-no-ad", NULL);
	for (uint64_t page = 0; page < pages; page++)
		device_load(0, "the device", page);
	if (shadow_dirty_ring_enable(shadow(), 2, SIZE) ||
	    shadow_set_slot_flags(shadow(), SLOT, MEMSLOT_LOG_DIRTY))
		explore_fail("no ring");
}

static void copy_entries(const struct shadow_dirty_gfn *e, int n)
{
	for (int i = 0; i < n; i++)
		copy[e[i].offset] = host_load("the VMM", e[i].offset);
}

/* Collect, reset, copy. */
static void harvest(void)
{
	struct shadow_dirty_gfn e[2 * SIZE];
	int n = shadow_dirty_ring_collect(shadow(), 0, e, 2 * SIZE);

	explore_say("the VMM collects %d entries", n);
	if (race_variant_is("copy-first"))
		copy_entries(e, n);
	explore_say("reset frees %u entries, and their pages are protected",
		    shadow_dirty_ring_reset(shadow()));
	if (!race_variant_is("copy-first"))
		copy_entries(e, n);
}

static void copy_bitmap(void)
{
	uint64_t bitmap = 0;

	if (shadow_get_dirty_log(shadow(), SLOT, &bitmap))
		explore_fail("shadow_get_dirty_log() failed");
	explore_say("the bitmap is 0x%llx", (unsigned long long)bitmap);
	for (uint64_t page = 0; page < world.pages; page++)
		if (bitmap >> page & 1)
			copy[page] = host_load("the VMM", page);
}

static void store_to_all(void)
{
	for (uint64_t page = 0; page < world.pages; page++)
		device_store(0, "the device", page, 1);
}

static void check_copies(void)
{
	for (uint64_t page = 0; page < world.pages; page++)
		if (host_load("the CPU", page) != copy[page])
			explore_fail("a store to page %llu is missing in the copy",
				     (unsigned long long)page);
	world_finish();
}

/* ---- Reset beside stores ---- */

static void reset_setup(void *ctx)
{
	(void)ctx;
	begin(1);
}

static void reset_vmm(void *ctx)
{
	(void)ctx;
	harvest();
}

static void reset_device(void *ctx)
{
	(void)ctx;
	device_store(0, "the device", 0, 1);
	device_store(0, "the device", 0, 2);
}

static void reset_finish(void *ctx)
{
	(void)ctx;
	explore_say("the device is stopped; the last round");
	harvest();
	check_copies();
}

const struct race_scenario a14_ring = {
	.name = "a14-ring",
	.rows = "A14",
	.title = "Entries of a dirty ring are collected and reset beside stores",
	.question = "A store makes an entry in a ring, and the page writable. The VMM collects the entry and resets the ring: the entry "
		    "is free, the page protected. When may it copy the page, so that no store is missing?",
	.lesson = "Until reset has protected it, the page is stored to without a new entry: a copy made between collect and reset "
		  "is too old, and one of a page that reset has not protected is, too.",
	.variant = {
		{ "reset", RACE_PASS, 0, "Collect, reset, copy." },
		{ "copy-first", RACE_VIOLATION, 0, "Collect, copy, reset." },
		{ "unprotected", RACE_VIOLATION, 1163, "Reset frees the entries, and leaves the pages as they are." },
	},
	.program = {
		.setup = reset_setup,
		.finish = reset_finish,
		.threads = 2,
		.thread = { { "VMM: collects, resets, copies", reset_vmm },
			    { "device: stores twice", reset_device } },
	},
};

/* ---- A full ring ---- */

static void all_setup(void *ctx)
{
	(void)ctx;
	begin(PAGES);
}

static void wait_vmm(void *ctx)
{
	(void)ctx;
	while (shadow_dirty_ring_wait_full(shadow()))
		harvest();
}

static void wait_device(void *ctx)
{
	(void)ctx;
	store_to_all();
	explore_say("the device is done, and releases the ring");
	shadow_dirty_ring_release(shadow());
}

static void wait_finish(void *ctx)
{
	struct shadow_dirty_ring_stats stats;

	(void)ctx;
	shadow_dirty_ring_get_stats(shadow(), &stats);
	if (stats.overflowed)
		explore_fail("a store found the ring full to the last entry, and had not waited");
	harvest();
	check_copies();
}

const struct race_scenario a14_ring_wait = {
	.name = "a14-ring-wait",
	.rows = "A14",
	.title = "A store waits for room in a dirty ring, and a reset makes it",
	.question = "The ring has room for four entries, two of them kept for faults that look for room side by side. The device "
		    "stores to five pages. Who may go on when the ring is half full, and who wakes those who wait?",
	.lesson = "Nobody holds the device up, and its stores use the ring up to the last entry: what comes then is no entry. And "
		  "where reset makes room and tells nobody, the device waits for the VMM, and the VMM for a full ring.",
	.variant = {
		{ "wait", RACE_PASS, 0,
		  "A store's fault waits before it takes any lock, and looks again whenever a reset is over." },
		{ "no-wait", RACE_VIOLATION, 1161, "It goes on, full or not." },
		{ "no-wake", RACE_DEADLOCK, 1165, "Reset makes room, and wakes nobody." },
	},
	.program = {
		.setup = all_setup,
		.finish = wait_finish,
		.threads = 2,
		.thread = { { "VMM: waits for a full ring, empties it", wait_vmm },
			    { "device: stores to five pages", wait_device } },
	},
	.bound = 2,
};

static void full_setup(void *ctx)
{
	(void)ctx;
	begin(PAGES);
	shadow_dirty_ring_release(shadow()); /* as at the end of a VM: no store may wait */
}

static void full_vmm(void *ctx)
{
	(void)ctx;
	harvest();
	copy_bitmap();
}

static void full_device(void *ctx)
{
	(void)ctx;
	store_to_all();
}

static void full_finish(void *ctx)
{
	(void)ctx;
	explore_say("the device is stopped; the last round");
	harvest();
	copy_bitmap();
	check_copies();
}

const struct race_scenario a14_ring_full = {
	.name = "a14-ring-full",
	.rows = "A14",
	.title = "A store that may not wait finds the dirty ring full to the last entry",
	.question = "Five pages are stored to, the ring has four entries, and nobody may wait. The VMM collects and resets beside it. "
		    "Where is the fifth store?",
	.lesson = "The fifth entry has overwritten the first, which nobody had collected.",
	.variant = {
		{ "bitmap", RACE_PASS, 0, "What cannot be an entry is a bit of the slot's bitmap, which the VMM reads, too." },
		{ "overwritten", RACE_VIOLATION, 1162, "The next entry is used, whatever it holds." },
	},
	.program = {
		.setup = full_setup,
		.finish = full_finish,
		.threads = 2,
		.thread = { { "VMM: collects, resets, takes the bitmap", full_vmm },
			    { "device: stores to five pages", full_device } },
	},
	.bound = 2,
};

/* ---- A ring for each engine ---- */

#define LIMIT (SIZE / 2UL) /* entries with which a ring is full for who may wait */

static void bind(unsigned ring)
{
	must(shadow_dirty_ring_bind(shadow(), ring, sync_tid()), "binding a thread to its ring");
}

static void own_full(void *ctx)
{
	(void)ctx;
	bind(0);
	for (uint64_t page = 0; page <= LIMIT; page++)
		device_store(0, "engine 0", page, 1);
}

/* Room is made by who has stored, and by nobody else. */
static void own_other(void *ctx)
{
	(void)ctx;
	if (!race_variant_is("shared"))
		bind(1);
	device_store(0, "engine 1", LIMIT + 1, 1);
	if (shadow_dirty_ring_wait_full(shadow()))
		harvest();
}

static void own_finish(void *ctx)
{
	struct shadow_dirty_gfn e[2];

	(void)ctx;
	if (shadow_dirty_ring_collect(shadow(), 1, e, 2) != 1 || e[0].offset != LIMIT + 1)
		explore_fail("the ring of engine 1 has not just its page");
	copy_entries(e, 1);
	harvest();
	check_copies();
}

const struct race_scenario a14_ring_own = {
	.name = "a14-ring-own",
	.rows = "A14",
	.title = "A dirty ring is full, and another engine stores",
	.question = "Engine 0 fills its ring, and waits for room. Engine 1 stores to one page, then waits until a ring is full, and makes "
		    "room. Whom may a full ring hold up?",
	.lesson = "Engine 1 waits for room that only it would make.",
	.variant = {
		{ "own", RACE_PASS, 0, "Each thread is bound to a ring of its own, and waits for room there alone." },
		{ "shared", RACE_DEADLOCK, 0, "Both are producers of one ring." },
		{ "any", RACE_DEADLOCK, 1166, "Who stores waits while any ring is full." },
	},
	.program = {
		.setup = all_setup,
		.finish = own_finish,
		.threads = 2,
		.thread = { { "engine 0: stores to three pages", own_full },
			    { "engine 1: stores to one page, makes room", own_other } },
	},
	.bound = 2,
};
