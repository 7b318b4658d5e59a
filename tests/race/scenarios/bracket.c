// SPDX-License-Identifier: BSD-2-Clause
/*
 * Brackets of the primary: which changes are reported (A17), over what range (A18), how long pages live inside (A19),
 * in what order with the entries (A20), and how many flushes that costs (A26).
 */
#include "mmu/host/hostmm_actors.h"
#include "tests/race/scenario.h"
#include "tests/race/scenarios/linter.h"
#include "tests/race/world.h"

#define SHOWN(value) ((unsigned long long)(value))

/* When all is quiet, CPU and device read the same. */
static void check_coherent(uint64_t page)
{
	uint64_t device = device_load(0, "device, at the end,", page);
	uint64_t host = host_load("CPU, at the end,", page);

	if (device != host)
		explore_fail("the device reads %#llx from page %llu, the CPU %#llx", SHOWN(device),
			     SHOWN(page), SHOWN(host));
}

static void discard(uint64_t first, uint64_t end)
{
	explore_say("CPU begins to discard %s", end - first > 1 ? "the pages" : "the page");
	if (hostmm_discard(world.mm, world_page(first), world_page(end)))
		explore_fail("the discard failed");
}

static void finish_coherent(void *ctx)
{
	(void)ctx;
	for (uint64_t page = 0; page < world.pages; page++)
		check_coherent(page);
	linter_on();
	world_finish();
}

/* ---- A17: report, also when there seems to be nothing to do ---- */

static void a17_setup(void *ctx)
{
	(void)ctx;
	world_setup(1, "kvm", NULL);
	if (race_variant_is("look-first"))
		linter_off();
}

static void a17_host(void *ctx)
{
	(void)ctx;
	discard(0, 1);
	explore_say("CPU has discarded page 0: it reads as zero, or what was stored since");
}

static void a17_device(void *ctx)
{
	(void)ctx;
	device_store(0, "device", 0, 5);
}

const struct race_scenario a17_report_always = {
	.name = "a17-report-always",
	.rows = "A17",
	.title = "Report every change, also one that finds nothing",
	.question = "A site that changes entries looks at them first. If no page is there, may it leave the "
		    "notification out?",
	.lesson = "The page came in after the look and before the change, and the device with it: it keeps "
		  "a frame that is free.",
	.variant = {
		{ "safe", RACE_PASS, 0, "Every site opens its bracket before it looks, unconditionally." },
		{ "look-first", RACE_VIOLATION, 117,
		  "The site looks first, and opens no bracket where it finds no page." },
	},
	.program = {
		.setup = a17_setup,
		.finish = finish_coherent,
		.threads = 2,
		.thread = { { "CPU: discard", a17_host }, { "device", a17_device } },
	},
};

/* ---- A18: the range covers whatever may be touched ---- */

static void a18_setup(void *ctx)
{
	(void)ctx;
	world_setup(2, "hmm", NULL);
	if (!race_variant_is("safe") && !race_variant_is("linter"))
		linter_off();
	device_store(0, "device", 1, 5);
}

static void a18_host(void *ctx)
{
	uint64_t value;

	(void)ctx;
	discard(0, 2);
	explore_say("CPU has discarded pages 0 and 1");
	value = device_load(0, "device, asked by the CPU,", 1);
	if (value)
		explore_fail("the device must read 0 from a discarded page, not %#llx",
			     SHOWN(value));
}

static void a18_device(void *ctx)
{
	(void)ctx;
	device_load(0, "device", 0);
}

const struct race_scenario a18_whole_range = {
	.name = "a18-whole-range",
	.rows = "A18 A17 M3",
	.title = "A bracket covers all that may be touched",
	.question = "How far must the range reach that start announces: over what is likely to change, or over all "
		    "that the walk may touch? And may start be left out for those who only have the other callback?",
	.lesson = "The device was told of less than what changed, and still reaches a page that is free: it "
		  "reads what whoever has the frame next puts there (here a pattern).",
	.variant = {
		{ "safe", RACE_PASS, 0, "From the first byte that may be touched to the last, in bytes." },
		{ "first-page", RACE_VIOLATION, 118, "The first page stands for all." },
		{ "M3-pages", RACE_VIOLATION, 31, "The length is given in pages instead of bytes." },
		{ "M3-other-op", RACE_VIOLATION, 32,
		  "Only the callback for TLBs without tables is called, which this device does not have." },
		{ "linter", RACE_VIOLATION, 31, "The same, seen by the linter at the first entry outside." },
	},
	.program = {
		.setup = a18_setup,
		.finish = finish_coherent,
		.threads = 2,
		.thread = { { "CPU: discard", a18_host }, { "device", a18_device } },
	},
};

/* ---- A19: pages live from start to end ---- */

static fn_t watched;

static int watch_start(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	(void)mn;
	(void)range;
	if (!pool_refs(world.pool, watched))
		explore_fail("start is called, and the page is free already");
	return 0;
}

static const struct mmu_notifier_ops watch_ops = { .invalidate_range_start = watch_start };
static struct mmu_notifier watch;

static bool is_view(void)
{
	return race_variant_is("view") || race_variant_is("M24-view");
}

static void a19_setup(void *ctx)
{
	struct gup_page page;

	(void)ctx;
	world_setup(1,
		    is_view()					       ? NULL
		    : race_variant_is("M24") || race_variant_is("tlb") ? "ats-4k"
								       : "hmm",
		    NULL);
	if (race_variant_is("changed-first"))
		linter_off();
	if (is_view())
		view_store("host thread", 0, 5);
	else
		device_store(0, "device", 0, 5);
	hostmm_peek(world.mm, world_page(0), &page);
	watched = page.fn;
	if (!race_variant_is("changed-first")) {
		watch = (struct mmu_notifier){ .ops = &watch_ops };
		hostmm_subscribe(world.mm, &watch);
	}
}

static void a19_host(void *ctx)
{
	(void)ctx;
	discard(0, 1);
	explore_say("CPU has discarded page 0, its frame is free");
}

static void a19_reader(void *ctx)
{
	uint64_t value = is_view() ? view_load("host thread", 0) : device_load(0, "device", 0);

	(void)ctx;
	if (value && value != 5)
		explore_fail("%#llx is read: the frame is free, and no longer the page",
			     SHOWN(value));
}

static void a19_finish(void *ctx)
{
	if (!race_variant_is("changed-first"))
		mmu_notifier_unregister(&watch);
	if (is_view())
		world_finish();
	else
		finish_coherent(ctx);
}

const struct race_scenario a19_page_lifetime = {
	.name = "a19-page-lifetime",
	.rows = "A19 A20 M24 M25",
	.title = "A page cannot be freed before its readers have let go",
	.question = "When may the primary drop its reference on the page: before it tells others, or after? And "
		    "does a look-up need a reference of its own?",
	.lesson = "For a moment the frame belongs to nobody, and it is still read (here the reader finds the "
		  "pattern of free frames).",
	.variant = {
		{ "safe", RACE_PASS, 0, "start, clear, free, end; a look-up holds a reference (hmm)." },
		{ "tlb", RACE_PASS, 0, "Clear, flush the device's TLB, free (ats-4k)." },
		{ "view", RACE_PASS, 0, "Clear, take the page out of the host view, free." },
		{ "changed-first", RACE_VIOLATION, 119, "Clear and free, then start and end." },
		{ "M24", RACE_VIOLATION, 24, "Clear, free, flush the device's TLB (i915, CVE-2022-0330)." },
		{ "M24-view", RACE_VIOLATION, 241, "Clear, free, take the page out of the host view." },
		{ "M25", RACE_VIOLATION, 25,
		  "The look-up takes no reference, and its user drops one all the same (CVE-2021-22543)." },
	},
	.program = {
		.setup = a19_setup,
		.finish = a19_finish,
		.threads = 2,
		.thread = { { "CPU: discards", a19_host }, { "device, or host thread", a19_reader } },
	},
};

/* ---- A20: after clear, before set ---- */

static struct hostmm *child;

static void a20_setup(void *ctx)
{
	struct hostmm_opts opts = { .fault_threads = 1 };

	(void)ctx;
	world_setup(1, race_variant_is("tlb") || race_variant_is("M1") ? "ats-4k" : "xpmem", NULL);
	host_store("CPU 0", 0, 1);
	if (hostmm_fork(world.mm, &opts, &child))
		explore_fail("fork failed");
	device_load(0, "device", 0);
	/* M1 is for the linter: see its line below. */
	if (race_variant_is("set-first"))
		linter_off();
}

static void a20_cpu0(void *ctx)
{
	(void)ctx;
	explore_say("CPU 0 begins to store 2 to page 0, which is shared with a child");
	host_store("CPU 0", 0, 2);
}

static void a20_cpu1(void *ctx)
{
	uint64_t value;

	(void)ctx;
	host_store("CPU 1", 0, 3);
	value = device_load(0, "device, asked by CPU 1,", 0);
	if (value != 2 && value != 3)
		explore_fail(
			"CPU 1 has stored 3 to the new page; the device, still on the old one, reads %llu",
			SHOWN(value));
}

static void a20_finish(void *ctx)
{
	hostmm_destroy(child);
	finish_coherent(ctx);
}

const struct race_scenario a20_after_clear = {
	.name = "a20-after-clear",
	.rows = "A20 A24 M1",
	.title = "Tell after the entry is cleared, never after the new one is set",
	.question = "Copy-on-write points an entry at a copy. Does it matter whether the device hears of it before or "
		    "after the new entry stands, if it hears of it at once in any case?",
	.lesson = "As soon as the new entry stands, another CPU uses it, without a fault. The device is still on the "
		  "old page and misses that CPU's store. (M1 keeps the page's lock from the set to the flush. A CPU of this library "
		  "reaches a frame by its view, which a fault fills under that lock, or by hostmm_read() and hostmm_write(), which "
		  "take it; so no thread can store to the new page in between, as a CPU does that walks page tables in hardware. What "
		  "is left is the order itself, and that the linter checks.)",
	.variant = {
		{ "safe", RACE_PASS, 0, "Let go, clear, set (xpmem)." },
		{ "tlb", RACE_PASS, 0, "Clear, flush the device's TLB, set (ats-4k)." },
		{ "set-first", RACE_VIOLATION, 120, "Clear and set, then start and end (xpmem)." },
		{ "M1", RACE_VIOLATION, 1,
		  "Clear, set, flush the device's TLB (as change_pte was until Linux 3.6). Only the linter can see it here: both "
		  "happen under one lock, and a CPU gets at the new entry by that lock alone." },
	},
	.program = {
		.setup = a20_setup,
		.finish = a20_finish,
		.threads = 2,
		.thread = { { "CPU 0", a20_cpu0 }, { "CPU 1, device", a20_cpu1 } },
	},
};

/* ---- A26: one flush for many pages ---- */

#define A26_PAGES 3

static uint64_t flushes_before;

static uint64_t flushes(void)
{
	struct device_stats stats;

	device_get_stats(world.device[0], &stats);
	return stats.flushes;
}

static void a26_setup(void *ctx)
{
	(void)ctx;
	world_setup(A26_PAGES, "xpmem", NULL);
	for (uint64_t page = 0; page < A26_PAGES; page++)
		device_store(0, "device", page, 5);
	flushes_before = flushes();
}

static void a26_host(void *ctx)
{
	uint64_t n;

	(void)ctx;
	explore_say("CPU begins to write-protect %d pages", A26_PAGES);
	if (hostmm_wrprotect(world.mm, world.hva, world_page(A26_PAGES)))
		explore_fail("wrprotect failed");
	n = flushes() - flushes_before;
	explore_say("CPU has done so; the device has flushed its TLB %llu times", SHOWN(n));
	if (n != 1)
		explore_fail("%llu flushes for one range", SHOWN(n));
}

static void a26_device(void *ctx)
{
	(void)ctx;
	device_store(0, "device", 1, 6);
}

const struct race_scenario a26_one_flush = {
	.name = "a26-one-flush",
	.rows = "A26",
	.title = "One flush for many entries",
	.question = "What is a range with a start and an end good for, if single pages can be invalidated as well?",
	.lesson = "Every page costs the device a flush of its own, which for a device on another node is a "
		  "message and a wait.",
	.variant = {
		{ "safe", RACE_PASS, 0, "One bracket around the whole change." },
		{ "each-page", RACE_VIOLATION, 126, "A bracket for each page." },
	},
	.program = {
		.setup = a26_setup,
		.finish = finish_coherent,
		.threads = 2,
		.thread = { { "CPU: write-protect", a26_host }, { "device", a26_device } },
	},
};
