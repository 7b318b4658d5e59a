// SPDX-License-Identifier: BSD-2-Clause
/* Write-protecting ranges of an owned slot: what to flush (A9), who may still write (A12), whose memory it is (A16). */
#include <errno.h>

#include "mmu/host/hostmm_actors.h"
#include "tests/race/scenario.h"
#include "tests/race/scenarios/owner.h"

static _Atomic uint64_t done; /* pages that a wrprotect which has returned covers */
static uint64_t copy;	      /* of page 0, as its owner has it */

static void begin(uint64_t pages, bool with_book)
{
	sync_store(&done, 0);
	copy = 0;
	owner_begin(pages, "kvm-no-ad", with_book);
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

/* ---- A9: the span ---- */

static void a9_setup(void *ctx)
{
	(void)ctx;
	begin(3, true);
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
	owner_end();
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

/* ---- A12: who may still write ---- */

static bool is_book(void)
{
	return race_variant_is("book") || race_variant_is("lock-dropped");
}

static void a12_setup(void *ctx)
{
	(void)ctx;
	begin(1, is_book());
	device_store(0, "the device", 0, 1);
	if (!is_book())
		return;
	lock_acquire(&external);
	protect(0, 1);
	copy = host_load("the owner", 0);
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
			copy = host_load("the owner", 0);
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
		if (host_load("the CPU", 0) != copy)
			explore_fail("the page is writable, and not in the book");
	}
	owner_end();
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

/* ---- A16: whose memory, whose lock ---- */

static struct hostmm *child;

static void a16_setup(void *ctx)
{
	(void)ctx;
	child = NULL;
	begin(1, true);
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
	owner_end();
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
