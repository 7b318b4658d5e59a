// SPDX-License-Identifier: BSD-2-Clause
/*
 * Devices with entries of 2M, and changes of one 4K page under such an entry: what Glisse and Singh asked in 2017, and
 * thought hard to test. The regions have 512 pages, present and contiguous before the threads start.
 */
#include "mmu/host/hostmm.h"
#include "tests/race/scenario.h"
#include "tests/race/world.h"

#define LAST (WORLD_LARGE - 1)

static void add_device(const char *other)
{
	for (const struct device_profile *p = device_profiles; p->name; p++)
		if (race_variant_is(p->name))
			other = p->name;
	world_add_profile(0, device_profile(other));
}

static void setup(const char *profile)
{
	world_setup(WORLD_LARGE, NULL, NULL);
	world_populate();
	add_device(profile);
}

static void say_entry(const char *who)
{
	struct device_stats stats;

	device_get_stats(world.device[0], &stats);
	explore_say("%s has %s", who,
		    stats.large_fills ? "one entry of 2M for pages 0 to 511" : "entries of 4K");
}

/* ---- A store replaces one of 512 zero pages (A3, A4, A6) ---- */

/* The device's profile is the variant's name. */
static void a3_setup(void *ctx)
{
	(void)ctx;
	world_setup(WORLD_LARGE, NULL, NULL);
	must(hostmm_map_zero(world.mm, world.hva, world_page(WORLD_LARGE)), "hostmm_map_zero()");
	add_device("ats-mixed");
	device_load(0, "the device", 0);
	say_entry("the device");
}

static void a3_cpu(void *ctx)
{
	(void)ctx;
	explore_say("the CPU stores to page 0, a zero page: it gets a frame of its own");
	write_version(0, 1);
	if (race_variant_is("kvm")) /* one store: its table alone has thousands of schedules */
		return;
	explore_say("the CPU stores to page 1, after that");
	write_version(1, 1);
}

static void a3_device(void *ctx)
{
	uint64_t at_least = version_of(0), later, earlier;

	(void)ctx;
	later = device_load(0, "the device", 1);
	earlier = device_load(0, "the device", 0);
	if (earlier < later)
		explore_fail("the device sees the later store, and not the earlier one");
	if (earlier < at_least)
		explore_fail("the CPU's store to page 0 is done, and the device does not see it");
}

static void a3_finish(void *ctx)
{
	(void)ctx;
	check_version(0, "later, the device", 0);
	check_version(0, "later, the device", 1);
	world_finish();
}

const struct race_scenario a6_huge_entry = {
	.name = "a6-huge-entry",
	.rows = "A3 A4 A6 M30",
	.title = "A store replaces one of 512 zero pages under a device's entry of 2M",
	.question = "A device has one TLB entry for the 512 pages of a huge zero page. A CPU stores to one of them, which gets a frame of "
		    "its own, and then to another. The device is told of 4K. Must the entry of 2M go, and what does a device see "
		    "that does not drop it? (\"I'd really like to see if it can be tested\"; \"hard to test\".)",
	.lesson = "The invalidation names 4K, and the entry that translates them is larger. A device that looks for entries of that "
		  "size only goes on with the old frame, also for what is stored later: it is buggy, whatever the kernel does. All "
		  "others pass, however small or large their entries.",
	.variant = {
		{ "ats-mixed", RACE_PASS, 0, "An invalidation of 4K drops the larger entry." },
		{ "gru", RACE_PASS, 0, "It drops the 4K out of the larger entry." },
		{ "hmm", RACE_PASS, 0, "A mirror of 4K below the TLB, told by an interval subscription." },
		{ "kvm", RACE_PASS, 0, "A shadow's table below the TLB, told by start and end." },
		{ "ats-4k", RACE_PASS, 0, "There are entries of 4K only." },
		{ "ats-mixed-buggy", RACE_VIOLATION, 0,
		  "The device ignores invalidations that are smaller than its entry." },
		{ "M30", RACE_VIOLATION, 30, "A device that should drop the larger entry ignores the invalidation." },
	},
	.program = {
		.setup = a3_setup,
		.finish = a3_finish,
		.threads = 2,
		.thread = { { "CPU: stores to pages 0 and 1", a3_cpu },
			    { "device: loads pages 1 and 0", a3_device } },
	},
};

/* ---- Any page of an entry (A5) ---- */

static uint64_t a5_page(void)
{
	return race_variant_is("first") ? 0 : race_variant_is("middle") ? 255 : LAST;
}

static _Atomic uint64_t a5_floor;

static void a5_setup(void *ctx)
{
	(void)ctx;
	sync_store(&a5_floor, 0);
	setup("ats-mixed");
	device_load(0, "the device", 1);
	say_entry("the device");
}

static void a5_kernel(void *ctx)
{
	(void)ctx;
	explore_say("the kernel moves page %llu, and tells of these 4K",
		    (unsigned long long)a5_page());
	world_move(a5_page());
	host_store("the CPU", a5_page(), 1);
	sync_store_release(&a5_floor, 1);
}

static void a5_check(void *ctx)
{
	uint64_t at_least = sync_load_acquire(&a5_floor);

	(void)ctx;
	if (device_load(0, "the device", a5_page()) < at_least)
		explore_fail("the device reads what was there before the CPU's store");
}

static void a5_finish(void *ctx)
{
	a5_check(ctx);
	world_finish();
}

const struct race_scenario a5_any_range = {
	.name = "a5-any-range",
	.rows = "A5 A3",
	.title = "4K invalidations at any place of an entry of 2M",
	.question = "ATS translates and invalidates 4096 bytes at least. Must a device with larger entries take invalidations of 4K "
		    "wherever they lie in an entry?",
	.lesson = "An entry of 2M is found by all of its 512 pages, not by the address at which it begins.",
	.variant = {
		{ "first", RACE_PASS, 0, "The first page of the entry." },
		{ "middle", RACE_PASS, 0, "One in the middle." },
		{ "last", RACE_PASS, 0, "The last." },
		{ "by-address", RACE_VIOLATION, 105,
		  "The last; the device compares with the first address of the entry." },
	},
	.program = {
		.setup = a5_setup,
		.finish = a5_finish,
		.threads = 2,
		.thread = { { "kernel: moves one page", a5_kernel }, { "device: loads it", a5_check } },
	},
};

/* ---- Equal rights, contiguous frames (A7, M3) ---- */

static _Atomic uint64_t disk;

static void a7_setup(void *ctx)
{
	(void)ctx;
	sync_store(&disk, 0);
	setup(race_variant_is("M3") ? "gru" : "ats-mixed");
	host_store("the CPU", LAST, 0);
}

/* What fsync does: no store to the page is missed from here on; then the page is written. */
static void a7_clean(void *ctx)
{
	(void)ctx;
	explore_say("the kernel takes the right to store from page 511, and will write it to disk");
	must(hostmm_wrprotect(world.mm, world_page(LAST), world_page(LAST + 1)),
	     "hostmm_wrprotect()");
	sync_store(&disk, host_load("the disk", LAST));
}

static void a7_move(void *ctx)
{
	(void)ctx;
	explore_say("the kernel moves page 0");
	world_move(0);
	write_version(0, 1);
}

static void a7_kernel(void *ctx)
{
	if (race_variant_is("M3") || race_variant_is("frames"))
		a7_move(ctx);
	else
		a7_clean(ctx);
}

static void a7_device(void *ctx)
{
	(void)ctx;
	if (race_variant_is("M3") || race_variant_is("frames")) {
		device_load(0, "the device", LAST);
		say_entry("the device");
		check_version(0, "the device", 0);
		return;
	}
	device_store(0, "the device", 0, 1);
	say_entry("the device");
	device_store(0, "the device", LAST, 1);
}

static void a7_finish(void *ctx)
{
	struct gup_page page;

	(void)ctx;
	if (!hostmm_peek(world.mm, world_page(LAST), &page))
		explore_fail("page 511 is gone");
	if (!page.writable && host_load("the CPU", LAST) != sync_load(&disk))
		explore_fail("page 511 is clean, and the disk does not have the device's store");
	check_version(0, "later, the device", 0);
	world_finish();
}

const struct race_scenario a7_contiguous = {
	.name = "a7-contiguous",
	.rows = "A7 M3",
	.title = "When may one entry stand for 512 pages?",
	.question = "Should a device's TLB be told when the size of a mapping changes, or it might reach more than is mapped? One page "
		    "of 2M loses a right, or gets another frame, while the device is about to fill an entry for all of them.",
	.lesson = "It needs no such message. An entry of 2M is filled only after all 512 pages were seen contiguous and of equal "
		  "rights, in one begin and retry over the whole block; a change of any page drops it.",
	.variant = {
		{ "rights", RACE_PASS, 0, "All 512 pages are compared: their rights." },
		{ "frames", RACE_PASS, 0, "And their frames." },
		{ "first-page", RACE_VIOLATION, 107,
		  "The rights of the first page are taken for those of all." },
		{ "M3", RACE_VIOLATION, 33,
		  "The range that is compared begins at the address that missed, not at that of the block." },
	},
	.program = {
		.setup = a7_setup,
		.finish = a7_finish,
		.threads = 2,
		.thread = { { "kernel: changes one page", a7_kernel },
			    { "device: fills an entry of 2M", a7_device } },
	},
};
