// SPDX-License-Identifier: BSD-2-Clause
/* Cleaning ranges of an owned slot, and a consumer who copies what was dirty (A10, A11, A13, A14). */
#include "tests/race/scenario.h"
#include "tests/race/scenarios/owner.h"

#define PAGES 4u

static uint64_t copy[PAGES]; /* what the owner's consumer has copied, page by page */
static uint64_t bits;	     /* the bitmap, from page 0 on */
static uint64_t first, last;

/* No page is dirty, though leaves are born so. */
static void begin_clean(uint64_t pages)
{
	owner_begin(pages, "kvm", false);
	for (uint64_t page = 0; page < PAGES; page++)
		copy[page] = 0;
	bits = first = last = 0;
	if (shadow_clean_record_range(shadow(), gfn_of(0), pages, gfn_of(0), &bits, &first,
				      &last) != (int64_t)pages)
		explore_fail("shadow_clean_record_range() failed");
	bits = first = last = 0;
}

static void clean(uint64_t from, uint64_t n)
{
	int64_t rc = shadow_clean_record_range(shadow(), gfn_of(from), n, gfn_of(0), &bits, &first,
					       &last);

	if (rc < 0)
		explore_fail("shadow_clean_record_range() returns %lld", (long long)rc);
	explore_say("%lld pages were dirty; the bitmap is 0x%llx", (long long)rc,
		    (unsigned long long)bits);
}

/* Copy what is marked, and forget the marks. */
static void consume(void)
{
	for (uint64_t page = 0; page < world.pages; page++)
		if (bits >> page & 1)
			copy[page] = host_load("the consumer", page);
	bits = first = last = 0;
}

/* The consumer's copy after a last round must be what is there. */
static void check_copy(void)
{
	clean(0, world.pages);
	consume();
	for (uint64_t page = 0; page < world.pages; page++)
		if (host_load("the CPU", page) != copy[page])
			explore_fail(
				"page %llu was stored to, and neither bitmap nor dirty bit says so",
				(unsigned long long)page);
}

/* ---- A10: the bitmap ---- */

static void a10_setup(void *ctx)
{
	(void)ctx;
	begin_clean(PAGES);
}

static void a10_owner(void *ctx)
{
	(void)ctx;
	clean(0, 2);
	clean(2, 2);
}

static void a10_device(void *ctx)
{
	(void)ctx;
	device_store(0, "the device", 1, 1);
	device_store(0, "the device", 3, 1);
}

static void a10_finish(void *ctx)
{
	(void)ctx;
	clean(0, 2);
	clean(2, 2);
	if (bits != 0xa || first != 1 || last != 4)
		explore_fail(
			"pages 1 and 3 were stored to; the bitmap is 0x%llx, from %llu to %llu",
			(unsigned long long)bits, (unsigned long long)first,
			(unsigned long long)last);
	owner_end();
}

const struct race_scenario a10_bitmap = {
	.name = "a10-bitmap",
	.rows = "A10",
	.title = "Several calls fill one bitmap",
	.question = "A buffer's bitmap begins at its page 0. A call cleans pages 2 and 3 of it and is given the whole bitmap. Which "
		    "bits does it set, and what becomes of first and last that an earlier call has set?",
	.lesson = "The bits of the second call lie over those of the first: each call took its own first page for bit 0.",
	.variant = {
		{ "offset", RACE_PASS, 0,
		  "The caller names the page of bit 0; first and last are widened, and never narrowed." },
		{ "no-offset", RACE_VIOLATION, 110, "Bit 0 is the first page of the range." },
	},
	.program = {
		.setup = a10_setup,
		.finish = a10_finish,
		.threads = 2,
		.thread = { { "owner: cleans the buffer in two calls", a10_owner },
			    { "device: stores to pages 1 and 3", a10_device } },
	},
};

/* ---- A11: four timings ---- */

static void a11_setup(void *ctx)
{
	(void)ctx;
	begin_clean(2);
	device_store(0, "the device", 0, 1);
}

static void a11_owner(void *ctx)
{
	(void)ctx;
	clean(0, world.pages);
	consume();
}

static void a11_device(void *ctx)
{
	(void)ctx;
	device_store(0, "the device", 0, 2);
	device_store(0, "the device", 1, 2);
}

static void copy_finish(void *ctx)
{
	(void)ctx;
	check_copy();
	owner_end();
}

const struct race_scenario a11_timings = {
	.name = "a11-timings",
	.rows = "A11 A14",
	.title = "A store before the scan, after it, between clear and flush, or after the flush",
	.question = "The call clears the dirty bit of page 0 and records it. The device, which has page 0 dirty in its TLB, stores "
		    "again: before the scan has come there; between clear and flush; after the flush. And to page 1, which "
		    "the scan found clean. Which of the four can get lost?",
	.lesson = "The TLB still says dirty, so hardware does not set the bit in the table again: the store is in no book. The flush "
		  "must come after the clear. Between the two a store may pass unseen, and that is no loss: the page is in "
		  "the bitmap and is copied after the flush.",
	.variant = {
		{ "clear-flush", RACE_PASS, 0, "Clear, record, flush, return." },
		{ "flush-clear", RACE_VIOLATION, 111, "Flush, then clear." },
	},
	.program = {
		.setup = a11_setup,
		.finish = copy_finish,
		.threads = 2,
		.thread = { { "owner: cleans, copies what is marked", a11_owner },
			    { "device: stores to pages 0 and 1", a11_device } },
	},
};

/* ---- A13: the consumer ---- */

static void a13_device(void *ctx)
{
	(void)ctx;
	device_store(0, "the device", 0, 2);
}

const struct race_scenario a13_consumer = {
	.name = "a13-consumer",
	.rows = "A13",
	.title = "Recorded pages are copied before the flush",
	.question = "The dirty bit is cleared and the page recorded. May the pages be copied already, and the flush be left for "
		    "later, when there is more to flush?",
	.lesson = "The copy is older than a store that passed through the TLB's dirty entry, which set no bit. Nobody copies the "
		  "page again.",
	.variant = {
		{ "after", RACE_PASS, 0, "The call returns when it has flushed; the copy comes after that." },
		{ "before", RACE_VIOLATION, 113, "The call returns, pages are copied, and nothing is flushed yet." },
	},
	.program = {
		.setup = a11_setup,
		.finish = copy_finish,
		.threads = 2,
		.thread = { { "owner: cleans, copies what is marked", a11_owner },
			    { "device: stores to page 0", a13_device } },
	},
};

/* ---- A14: the union ---- */

static void a14_setup(void *ctx)
{
	(void)ctx;
	begin_clean(1);
}

static void a14_kernel(void *ctx)
{
	(void)ctx;
	explore_say("the kernel moves page 0 to another frame");
	world_move(0);
}

const struct race_scenario a14_union = {
	.name = "a14-union",
	.rows = "A14 A15",
	.title = "A store in neither bitmap nor page table",
	.question = "The device stores, the dirty bit is in the page table. Before the owner has scanned it the kernel takes the page "
		    "away to move it. Where is the dirty bit now?",
	.lesson = "It went with the entry: the page is zapped, and with it the only trace of the store.",
	.variant = {
		{ "kept", RACE_PASS, 0, "A zap that finds a dirty bit keeps it for the next call." },
		{ "dropped", RACE_VIOLATION, 1141, "A zap drops the entry as it is." },
	},
	.program = {
		.setup = a14_setup,
		.finish = copy_finish,
		.threads = 3,
		.thread = { { "owner: cleans, copies what is marked", a11_owner },
			    { "kernel: moves page 0", a14_kernel },
			    { "device: stores to page 0", a13_device } },
	},
	.bound = 2,
};
