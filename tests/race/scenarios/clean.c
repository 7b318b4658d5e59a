// SPDX-License-Identifier: BSD-2-Clause
/* Write-protecting and cleaning ranges of an owned slot, as a graphics driver does. */
#include "mmu/shadow/dirty_range.h"

#include <errno.h>

#include "mmu/host/hostmm_actors.h"
#include "mmu/shadow/shadow_priv.h"
#include "tests/race/scenario.h"
#include "tests/race/world.h"

#define SLOT  0u
#define PAGES 4u

static struct lock external;
static uint64_t book;	      /* external lock: pages that mkwrite() was told of */
static _Atomic uint64_t done; /* pages that a wrprotect which has returned covers */
static uint64_t copy[PAGES];  /* what the owner's consumer has copied, page by page */
static uint64_t bits;	      /* the bitmap, from page 0 on */
static uint64_t first, last;

static struct shadow *shadow(void)
{
	return device_get_shadow(world.device[0]);
}

static gfn_t gfn_of(uint64_t page)
{
	return world_page(page) >> PAGE_SHIFT;
}

static int mkwrite(void *ctx, gfn_t gfn)
{
	(void)ctx;
	lock_assert_held(&external);
	book |= 1UL << (gfn - gfn_of(0));
	explore_say("mkwrite(page %llu): it is in the book", (unsigned long long)(gfn - gfn_of(0)));
	return 0;
}

static void own(bool with_book)
{
	struct shadow_owner owner = { .lock = with_book ? &external : NULL,
				      .mkwrite = with_book ? mkwrite : NULL };

	if (shadow_own_slot(shadow(), SLOT, &owner))
		explore_fail("shadow_own_slot() failed");
}

static void begin(uint64_t pages, const char *profile, bool with_book)
{
	lock_init(&external);
	book = 0;
	sync_store(&done, 0);
	world_setup(pages, profile, NULL);
	for (uint64_t page = 0; page < PAGES; page++)
		copy[page] = 0;
	for (uint64_t page = 0; page < pages; page++)
		device_load(0, "the device", page);
	own(with_book);
	bits = first = last = 0;
}

/* As begin(), and no page is dirty: leaves are born so. */
static void begin_clean(uint64_t pages)
{
	begin(pages, "kvm", false);
	if (shadow_clean_record_range(shadow(), gfn_of(0), pages, gfn_of(0), &bits, &first,
				      &last) != (int64_t)pages)
		explore_fail("shadow_clean_record_range() failed");
	bits = first = last = 0;
}

static void end(void)
{
	if (shadow_disown_slot(shadow(), SLOT))
		explore_fail("shadow_disown_slot() failed");
	world_finish();
	lock_fini(&external);
}

static int64_t protect(uint64_t from, uint64_t n)
{
	int64_t rc = shadow_wrprotect_range(shadow(), gfn_of(from), n);

	if (rc < 0)
		explore_fail("shadow_wrprotect_range() returns %lld", (long long)rc);
	explore_say("%lld pages of %llu..%llu were writable, and are not any more", (long long)rc,
		    (unsigned long long)from, (unsigned long long)(from + n - 1));
	return rc;
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

/* ---- A9: the span ---- */

static void a9_setup(void *ctx)
{
	(void)ctx;
	begin(3, "kvm-no-ad", true);
	device_store(0, "the device", 0, 1);
	device_store(0, "the device", 2, 1);
	book = 0;
	/* The page between is read-only, as if it had been protected before. */
	lock_acquire(&external);
	protect(1, 1);
	lock_release(&external);
}

static void a9_owner(void *ctx)
{
	(void)ctx;
	lock_acquire(&external);
	explore_say("the owner protects pages 0..2, two of which are writable");
	if (protect(0, 3) != 2)
		explore_fail("the count is not that of the pages that were writable");
	book = 0;
	sync_store(&done, 7);
	lock_release(&external);
}

/* A store that begins when a page is protected must ask. */
static void store_asks(uint64_t page)
{
	uint64_t was = sync_load(&done);
	struct device_stats before, after;

	device_get_stats(world.device[0], &before);
	device_store(0, "the device", page, 2);
	device_get_stats(world.device[0], &after);
	if ((was >> page & 1) && before.faults == after.faults)
		explore_fail("page %llu is protected, and a store passes without asking",
			     (unsigned long long)page);
}

static void a9_device(void *ctx)
{
	(void)ctx;
	store_asks(0);
}

static void just_end(void *ctx)
{
	(void)ctx;
	end();
}

const struct race_scenario a9_span = {
	.name = "a9-span",
	.rows = "A9 A12",
	.title = "What has to be flushed after some pages of a range were protected",
	.question = "Of a range of pages two are writable, the first and the last. The call protects them and counts two. What must "
		    "it flush?",
	.lesson = "The TLB goes on with the first page: the flush began at the page that was changed last. The span is kept from "
		  "the first change to the last.",
	.variant = {
		{ "span", RACE_PASS, 0,
		  "From the first to the last page that was writable; what was read-only already is neither counted nor "
		  "looked for." },
		{ "last-page", RACE_VIOLATION, 109, "Only the page that was changed last." },
	},
	.program = {
		.setup = a9_setup,
		.finish = just_end,
		.threads = 2,
		.thread = { { "owner: protects pages 0..2", a9_owner }, { "device: stores to page 0", a9_device } },
	},
};

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
	end();
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
	end();
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

/* ---- A12: who may still write ---- */

static bool is_book(void)
{
	return race_variant_is("book") || race_variant_is("lock-dropped");
}

static void a12_setup(void *ctx)
{
	(void)ctx;
	begin(1, "kvm-no-ad", is_book());
	device_store(0, "the device", 0, 1);
	if (!is_book())
		return;
	lock_acquire(&external);
	protect(0, 1);
	copy[0] = host_load("the owner", 0);
	lock_release(&external);
}

static void a12_owner(void *ctx)
{
	(void)ctx;
	if (is_book())
		lock_acquire(&external);
	protect(0, 1);
	if (is_book()) {
		explore_say("the owner takes the book, which says 0x%llx",
			    (unsigned long long)book);
		if (book)
			copy[0] = host_load("the owner", 0);
		book = 0;
		lock_release(&external);
	} else {
		sync_store(&done, 1);
	}
}

static void a12_device(void *ctx)
{
	(void)ctx;
	if (is_book()) { /* not cached: it faults, and waits for the lock */
		device_store(0, "the device", 0, 2);
		device_store(0, "the device", 0, 3);
	} else { /* cached: it runs on until the flush */
		store_asks(0);
	}
}

static void a12_other(void *ctx)
{
	if (!is_book())
		a12_owner(ctx);
}

static void a12_finish(void *ctx)
{
	if (is_book()) {
		a12_owner(ctx);
		if (host_load("the CPU", 0) != copy[0])
			explore_fail("the page is writable, and not in the book");
	}
	end();
}

const struct race_scenario a12_cached = {
	.name = "a12-cached",
	.rows = "A12 A9",
	.title = "The page is to be protected, and the writer has it cached, or is just asking",
	.question = "A writer that has the page in its TLB runs on until the flush. One that has not faults, and the owner writes "
		    "the page into his book before it becomes writable. Two calls may protect the same page at a time. When "
		    "may each take for granted that nobody writes?",
	.lesson = "With two calls: the second finds the page read-only already and returns, and the first has not flushed yet. With a "
		  "fault: the page is in the book, the owner takes the book and protects the page, and only then does it become "
		  "writable.",
	.variant = {
		{ "pending", RACE_PASS, 0,
		  "Cached, two calls: who finds another flush pending flushes his whole range." },
		{ "not-nested", RACE_VIOLATION, 112,
		  "Cached, two calls: each flushes what it has changed itself." },
		{ "book", RACE_PASS, 0,
		  "Not cached: the fault holds the external lock from the book to the writable entry." },
		{ "lock-dropped", RACE_VIOLATION, 1122,
		  "Not cached: the lock is dropped when the page is in the book." },
	},
	.program = {
		.setup = a12_setup,
		.finish = a12_finish,
		.threads = 3,
		.thread = { { "owner: protects page 0", a12_owner },
			    { "owner's other thread: protects it, too", a12_other },
			    { "device: stores to page 0", a12_device } },
	},
	.bound = 2,
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

/* ---- A16: whose memory, whose lock ---- */

static struct hostmm *child;

static void a16_setup(void *ctx)
{
	(void)ctx;
	child = NULL;
	begin(1, "kvm-no-ad", true);
	device_store(0, "the device", 0, 1);
}

static void a16_owner(void *ctx)
{
	bool shared = sync_load(&done);
	int64_t rc;

	(void)ctx;
	if (!race_variant_is("no-lock") && !race_variant_is("unasserted"))
		lock_acquire(&external);
	rc = shadow_wrprotect_range(shadow(), gfn_of(0), 1);
	explore_say("shadow_wrprotect_range() returns %lld", (long long)rc);
	if (shared && rc != -EPERM)
		explore_fail(
			"the page is shared with another process, and the call takes it for its own");
	if (race_variant_is("unasserted"))
		explore_fail("a call without the external lock goes unnoticed");
	if (lock_is_held(&external))
		lock_release(&external);
}

static void a16_kernel(void *ctx)
{
	(void)ctx;
	if (!race_variant_is("owned") && !race_variant_is("any"))
		return;
	if (hostmm_fork(world.mm, &(struct hostmm_opts){ .fault_threads = 1 }, &child))
		explore_fail("hostmm_fork() failed");
	explore_say("the process has forked: its pages are shared now");
	/* The device reads it again: the page is in its table, and shared. */
	device_load(0, "the device", 0);
	sync_store(&done, 1);
}

static void a16_finish(void *ctx)
{
	(void)ctx;
	if (child)
		hostmm_destroy(child);
	end();
}

const struct race_scenario a16_owner_lock = {
	.name = "a16-owner-lock",
	.rows = "A16",
	.title = "Does the caller own the memory completely, and hold his lock?",
	.question = "The call is for memory that its owner \"completely owns\", and \"some external lock\" is to be held. What do these "
		    "words mean, and who notices if they are not true?",
	.lesson = "After a fork the page is the child's as well: protecting it and keeping a book of one of its users says nothing of "
		  "the other. The call must refuse. And a call without the lock runs beside the faults that the lock is to "
		  "hold off.",
	.variant = {
		{ "owned", RACE_PASS, 0,
		  "Owned: declared, not logged, no page of the range shared or forbidden. Else -EPERM, and nothing is changed." },
		{ "any", RACE_VIOLATION, 116, "Whatever is in the range is protected." },
		{ "no-lock", RACE_VIOLATION, 0, "The caller has forgotten his lock: the assertion says so." },
		{ "unasserted", RACE_VIOLATION, 1164, "The same, and nobody asserts it." },
	},
	.program = {
		.setup = a16_setup,
		.finish = a16_finish,
		.threads = 2,
		.thread = { { "owner: protects page 0", a16_owner }, { "kernel: forks the process", a16_kernel } },
	},
};
