/* SPDX-License-Identifier: BSD-2-Clause */
/* The bitmap of a slot: who marks it, get, clear. */
#include "mmu/shadow/dirty.h"

#include <errno.h>
#include <string.h>

#include "mmu/base/mutant.h"
#include "mmu/shadow/dirty_priv.h"
#include "mmu/shadow/shadow_priv.h"

/* Of two pages to protect, closer than this: one call of the backend takes less time than two. */
#define PROTECT_GAP 16u

/* ---- Marking ---- */

void shadow_mark_dirty(const struct memslot *slot, gfn_t gfn)
{
	uint64_t page = gfn - slot->gfn;

	if (!slot->dirty)
		return;
	/*
	 * An exchange even where the bit is set: it comes before get's, and then get finds the W that was set before this,
	 * or after it, and then the bit stays.
	 */
	sync_fetch_or(&slot->dirty->word[page / 64], 1UL << page % 64);
}

void shadow_mark_dirty_range(const struct memslot *slot, gpa_t gpa, uint64_t len)
{
	gfn_t last = (gpa + len - 1) >> PAGE_SHIFT;

	for (gfn_t gfn = gpa >> PAGE_SHIFT; slot->dirty && gfn <= last; gfn++)
		shadow_mark_dirty(slot, gfn);
}

static void dirty_leaf_of(struct shadow *sh, const struct memslot *slot, gfn_t gfn, gfn_t end)
{
	for (; gfn < end; gfn++) {
		shadow_mark_dirty(slot, gfn);
		dirty_spill(sh, slot, gfn);
	}
}

/* Without D bits a leaf with W is in the log already: since it got W. */
void shadow_dirty_leaf(void *ctx, gfn_t gfn, uint64_t npages)
{
	struct shadow *sh = ctx;
	const struct memslots *all;
	gfn_t end = gfn + npages;

	if (!dirty_by_d_bit(sh) || mutant(1141))
		return;
	sync_rcu_read_lock();
	all = slots_get(&sh->slots);
	for (const struct memslot *slot = memslots_first_gfn(all, gfn, end); slot;
	     slot = memslots_next_gfn(all, slot, gfn, end))
		dirty_leaf_of(sh, slot, max_u64(gfn, slot->gfn), min_u64(end, memslot_end(slot)));
	sync_rcu_read_unlock();
}

void dirty_fini(struct shadow *sh)
{
	dirty_rings_fini(sh);
	dirty_owners_fini(sh);
}

/* ---- Protecting ---- */

void dirty_flush_begin(struct shadow *sh)
{
	sync_fetch_add(&sh->dirty.flushes_pending, 1);
}

/* A backend that cannot protect lets go; what the table loses beyond the span, for want of memory to split, as well. */
static void flush(struct shadow *sh, const struct memslot *slot, struct ept_span span)
{
	if (can_wrprotect(sh)) {
		flush_wrprotect(sh, slot, span.start, span.end);
		return;
	}
	ept_span_join(&span, ept_zap(&sh->ept, span.start, span.end));
	flush_zap(sh, slot, span.start, span.end);
}

/*
 *	A: takes W from page 0			B: is to take W from page 0, too
 *	flushes_pending = 1
 *	page 0: W is gone
 *						flushes_pending = 2
 *						page 0: nothing to change
 *						pending > 1: flushes page 0 all the same
 *	flushes page 0
 *
 * Else B would return while a TLB still lets stores to page 0 pass. If B finds 1, A has flushed.
 */
void dirty_flush_end(struct shadow *sh, const struct memslot *slot, struct ept_span span, gfn_t gfn,
		     gfn_t end)
{
	/* Pairs with dirty_flush_begin() of the other, which comes before its first change of an entry. */
	if ((sync_load_acquire(&sh->dirty.flushes_pending) > 1 && !mutant(112)) ||
	    shadow_must_flush_aged(sh))
		ept_span_join(&span, (struct ept_span){ gfn, end, end - gfn });
	if (span.count && mutant(109))
		span.start = span.end - 1;
	if (span.count && !mutant(113))
		flush(sh, slot, span);
	sync_fetch_sub(&sh->dirty.flushes_pending, 1);
}

/* Logging is by pages: a large leaf is split, so that what is not stored to stays clean. */
int dirty_split(struct shadow *sh, gfn_t gfn, gfn_t end)
{
	int rc = 0;

	for (; !rc && gfn < end; gfn = (gfn | (SPTE_PER_TABLE - 1)) + 1)
		rc = shadow_split_leaf(sh, gfn);
	return rc;
}

bool dirty_by_d_bit(struct shadow *sh)
{
	return sh->ept.opts.ad;
}

/* Pages whose D is taken back, and where what lies outside of them goes. */
struct taken {
	const struct memslot *slot;
	gfn_t gfn, end;
	uint64_t *bitmap; /* of the slot; NULL: they are known to be dirty, or to be clean */
};

static void take(void *ctx, gfn_t gfn, uint64_t npages)
{
	const struct taken *t = ctx;
	gfn_t from = max_u64(gfn, t->slot->gfn);
	gfn_t to = min_u64(gfn + npages, memslot_end(t->slot));

	for (gfn = from; gfn < to; gfn++) {
		uint64_t page = gfn - t->slot->gfn;

		if (t->bitmap)
			t->bitmap[page / 64] |= 1UL << page % 64;
		else if (gfn < t->gfn || gfn >= t->end)
			shadow_mark_dirty(t->slot, gfn);
	}
}

/* D of pages [gfn, end) is taken back, into @bitmap if there is one. */
static void clean(struct shadow *sh, const struct memslot *slot, gfn_t gfn, gfn_t end,
		  uint64_t *bitmap)
{
	struct taken t = { .slot = slot, .gfn = gfn, .end = end, .bitmap = bitmap };
	struct ept_span span;

	dirty_flush_begin(sh);
	span = ept_clear_dirty(&sh->ept, gfn, end, take, &t);
	dirty_flush_end(sh, slot, span, gfn, end);
}

void dirty_protect(struct shadow *sh, const struct memslot *slot, gfn_t gfn, gfn_t end)
{
	/* Without memory the large leaf loses its right, or D, as a whole. */
	(void)dirty_split(sh, gfn, end);
	if (dirty_by_d_bit(sh)) {
		clean(sh, slot, gfn, end, NULL);
		return;
	}
	dirty_flush_begin(sh);
	dirty_flush_end(sh, slot, ept_wrprotect(&sh->ept, gfn, end, EPT_WP_LOG), gfn, end);
}

/* In a table with D bits a page between two would be cleaned and be nobody's. */
static uint64_t protect_gap(struct shadow *sh)
{
	return dirty_by_d_bit(sh) ? 1 : PROTECT_GAP;
}

/* Protect the pages of @word, 64 a word, the first of which is @page, and others between two that are less than @gap apart. */
static void protect_words(struct shadow *sh, const struct memslot *slot, uint64_t page,
			  const uint64_t *word, uint64_t words, uint64_t gap)
{
	uint64_t start = 0, end = 0;

	for (uint64_t i = 0; i < words; i++)
		for (uint64_t left = word[i]; left; left &= left - 1) {
			uint64_t at = i * 64 + (unsigned)__builtin_ctzl(left);

			if (end && at >= end + gap) {
				dirty_protect(sh, slot, slot->gfn + page + start,
					      slot->gfn + page + end);
				end = 0;
			}
			if (!end)
				start = at;
			end = at + 1;
		}
	if (end)
		dirty_protect(sh, slot, slot->gfn + page + start, slot->gfn + page + end);
}

void dirty_protect_mask(struct shadow *sh, const struct memslot *slot, uint64_t page, uint64_t mask)
{
	protect_words(sh, slot, page, &mask, 1, 1);
}

/* ---- Get and clear ---- */

const struct memslot *dirty_slot(struct shadow *sh, unsigned id)
{
	lock_assert_held(&sh->slots_lock);
	return slots_find_id(&sh->slots, id);
}

/* Take the bits of pages [page, page + n), then the right to store without asking, or D. Under dirty_lock(). */
static void take_batch(struct shadow *sh, const struct memslot *slot, uint64_t page, uint64_t n,
		       uint64_t *bitmap)
{
	_Atomic uint64_t *word = &slot->dirty->word[page / 64];
	uint64_t *to = &bitmap[page / 64], words = shadow_dirty_words(n);

	if (dirty_by_d_bit(sh) && !slot->dirty->by_backend) {
		clean(sh, slot, slot->gfn + page, slot->gfn + page + n, bitmap);
		for (uint64_t i = 0; i < words; i++)
			to[i] |= sync_load(&word[i]) ? sync_exchange(&word[i], 0) : 0;
		return;
	}
	if (mutant(114) && !slot->dirty->by_backend) /* the other way round */
		dirty_protect(sh, slot, slot->gfn + page, slot->gfn + page + n);
	/* The bits first: a store that passes between the two has its bit in the next get. */
	for (uint64_t i = 0; i < words; i++)
		to[i] |= sync_load(&word[i]) ? sync_exchange(&word[i], 0) : 0;
	if (!slot->dirty->by_backend && !mutant(114))
		protect_words(sh, slot, page, to, words, protect_gap(sh));
}

static void see_dirty(void *ctx, gfn_t gfn, uint64_t spte, int level)
{
	struct taken *t = ctx;
	gfn_t at = max_u64(gfn, t->gfn);

	for (; (spte & SPTE_DIRTY) && at < min_u64(gfn + spte_level_pages(level), t->end); at++)
		shadow_mark_dirty(t->slot, at);
}

/* Manual: tell, and change nothing. What D bits say goes into the log, from which clear takes it. Under dirty_lock(). */
static void show_batch(struct shadow *sh, const struct memslot *slot, uint64_t page, uint64_t n,
		       uint64_t *bitmap)
{
	_Atomic uint64_t *word = &slot->dirty->word[page / 64];
	struct taken t = {
		.slot = slot,
		.gfn = slot->gfn + page,
		.end = slot->gfn + page + n,
	};

	/* D first: a zap moves it from the table to the log. */
	if (dirty_by_d_bit(sh) && !slot->dirty->by_backend)
		ept_for_each(&sh->ept, t.gfn, t.end, see_dirty, &t);
	for (uint64_t i = 0; i < shadow_dirty_words(n); i++)
		bitmap[page / 64 + i] = sync_load(&word[i]);
}

/*
 * What the backend knows goes into the log: it has been taken from there, and must not be lost if the rest fails. A backend that
 * fails may have forgotten what it knew (KVM clears its log, then copies it): any page may have been stored to.
 */
static int collect(struct shadow *sh, const struct memslot *slot, uint64_t *bitmap)
{
	uint64_t words = shadow_dirty_words(slot->npages);
	int rc;

	memset(bitmap, 0, words * sizeof(*bitmap));
	if (!slot->dirty->by_backend)
		return 0;
	rc = sh->ops->collect_dirty(slot->backend, bitmap);
	for (uint64_t i = 0; i < words; i++) {
		uint64_t bits = rc ? dirty_word_all(slot->npages, i) : bitmap[i];

		if (bits)
			sync_fetch_or(&slot->dirty->word[i], bits);
		bitmap[i] = 0;
	}
	return rc;
}

static int get_locked(struct shadow *sh, const struct memslot *slot, uint64_t *bitmap)
{
	int rc = collect(sh, slot, bitmap);

	for (uint64_t page = 0; !rc && page < slot->npages; page += DIRTY_BATCH) {
		uint64_t n = min_u64(DIRTY_BATCH, slot->npages - page);
		bool exclusive = dirty_lock(sh, slot->gfn + page, slot->gfn + page + n);

		if (sh->dirty.how & SHADOW_DIRTY_MANUAL)
			show_batch(sh, slot, page, n, bitmap);
		else
			take_batch(sh, slot, page, n, bitmap);
		dirty_unlock(sh, exclusive);
	}
	return rc;
}

int shadow_get_dirty_log(struct shadow *sh, unsigned id, uint64_t *bitmap)
{
	const struct memslot *slot;
	int rc = -ENOENT;

	lock_acquire(&sh->slots_lock);
	slot = dirty_slot(sh, id);
	if (slot && slot->dirty)
		rc = get_locked(sh, slot, bitmap);
	lock_release(&sh->slots_lock);
	return rc;
}

static void clear_batch(struct shadow *sh, const struct memslot *slot, uint64_t page, uint64_t n,
			const uint64_t *bitmap)
{
	_Atomic uint64_t *word = &slot->dirty->word[page / 64];
	uint64_t words = shadow_dirty_words(n), mask[(DIRTY_BATCH / 64)];

	for (uint64_t i = 0; i < words; i++) {
		mask[i] = bitmap[i];
		if (mask[i])
			mask[i] &= sync_fetch_and(&word[i], ~mask[i]);
	}
	if (!slot->dirty->by_backend)
		protect_words(sh, slot, page, mask, words, protect_gap(sh));
}

static int clear_locked(struct shadow *sh, const struct memslot *slot, uint64_t first,
			uint64_t npages, const uint64_t *bitmap)
{
	if (!slot || !slot->dirty)
		return -ENOENT;
	if (first > slot->npages || npages > slot->npages - first ||
	    (npages < slot->npages - first && npages % 64))
		return -EINVAL;
	for (uint64_t done = 0; done < npages; done += DIRTY_BATCH) {
		uint64_t page = first + done, n = min_u64(DIRTY_BATCH, npages - done);
		bool exclusive = dirty_lock(sh, slot->gfn + page, slot->gfn + page + n);

		clear_batch(sh, slot, page, n, bitmap + done / 64);
		dirty_unlock(sh, exclusive);
	}
	return 0;
}

int shadow_clear_dirty_log(struct shadow *sh, unsigned id, uint64_t first, uint64_t npages,
			   const uint64_t *bitmap)
{
	int rc;

	if (first % 64)
		return -EINVAL;
	lock_acquire(&sh->slots_lock);
	rc = clear_locked(sh, dirty_slot(sh, id), first, npages, bitmap);
	lock_release(&sh->slots_lock);
	return rc;
}
