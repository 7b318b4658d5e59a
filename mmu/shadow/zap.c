/* SPDX-License-Identifier: BSD-2-Clause */
#include "mmu/shadow/zap.h"

#include "mmu/base/mutant.h"
#include "mmu/base/trace.h"
#include "mmu/shadow/shadow_priv.h"

static void zap_lock(struct shadow *sh)
{
	if (mutant(5)) /* as a reader: beside those who install */
		rwlock_read_acquire(&sh->mmu_lock);
	else
		rwlock_write_acquire(&sh->mmu_lock);
}

static void zap_unlock(struct shadow *sh)
{
	if (mutant(5))
		rwlock_read_release(&sh->mmu_lock);
	else
		rwlock_write_release(&sh->mmu_lock);
}

static void flush_zapped(struct zap_batch *z)
{
	struct shadow *sh = z->sh;
	struct ept_span span = z->zapped;
	uint64_t begin = trace_begin();

	if (mutant(21))
		rwlock_write_release(&sh->mmu_lock);
	flush_zap(sh, z->slot, span.start, span.end);
	if (mutant(21))
		rwlock_write_acquire(&sh->mmu_lock);
	count(&sh->zapped, span.count);
	trace_span(umbra_zap, begin, span.start, span.end - span.start, span.count);
}

static void flush_protected(struct zap_batch *z)
{
	struct ept_span span = z->protected;

	flush_wrprotect(z->sh, z->slot, span.start, span.end);
	trace_instant(kvm_tdp_mmu_spte_changed, span.start, span.end - span.start, FN_NONE);
}

/* Before unlock (M21): another bracket over the pages finds no leaf, and lets its caller free them. */
static void flush(struct zap_batch *z)
{
	if (z->zapped.count)
		flush_zapped(z);
	if (z->protected.count && !mutant(1232)) /* 1232: its TLB will ask when it stores */
		flush_protected(z);
	z->zapped = z->protected = (struct ept_span){ .count = 0 };
}

void zap_begin(struct zap_batch *z, struct shadow *sh)
{
	*z = (struct zap_batch){ .sh = sh };
	zap_lock(sh);
}

void zap_end(struct zap_batch *z)
{
	flush(z);
	zap_unlock(z->sh);
	z->sh = NULL;
}

void zap_range(struct zap_batch *z, const struct memslot *slot, gfn_t gfn, gfn_t end)
{
	if (!mutant(5))
		rwlock_assert_held_write(&z->sh->mmu_lock);
	if (z->slot != slot)
		flush(z);
	z->slot = slot;
	ept_span_join(&z->zapped, ept_zap(&z->sh->ept, gfn, end));
}

/* A backend that cannot protect lets go. */
static void wrprotect_range(struct zap_batch *z, const struct memslot *slot, gfn_t gfn, gfn_t end)
{
	struct ept_span span = ept_wrprotect(&z->sh->ept, gfn, end, EPT_WP_HOST | EPT_WP_PART);

	if (!span.count)
		return;
	if (!can_wrprotect(z->sh)) {
		zap_range(z, slot, span.start, span.end);
		return;
	}
	if (z->slot != slot)
		flush(z);
	z->slot = slot;
	ept_span_join(&z->protected, span);
}

static void yield(struct zap_batch *z)
{
	if (mutant(151)) /* whoever goes on begins to count anew */
		z->zapped.count = 0;
	if (mutant(154)) /* and here */
		z->protected.count = 0;
	flush(z);
	zap_unlock(z->sh);
	zap_lock(z->sh);
	count(&z->sh->yields, 1);
}

/* Where the next piece ends: not inside a large leaf, of which a part would have to be split. */
static gfn_t piece_end(struct shadow *sh, gfn_t gfn, gfn_t end)
{
	uint64_t piece = sync_load(&sh->zap_piece);
	int level = SPTE_LEVEL_4K;
	gfn_t next;

	if (end - gfn <= piece)
		return end;
	next = (gfn & ~(piece - 1)) + piece;
	if (spte_is_present(ept_peek(&sh->ept, next, &level)))
		next = spte_level_start(next + spte_level_pages(level) - 1, level);
	return min_u64(next, end);
}

static void by_pieces(struct zap_batch *z, const struct memslot *slot, gfn_t gfn, gfn_t end,
		      zap_fn fn)
{
	for (gfn_t next; (next = piece_end(z->sh, gfn, end)) < end;) {
		fn(z, slot, gfn, next);
		gfn = next;
		if (rwlock_is_contended(&z->sh->mmu_lock))
			yield(z);
	}
	fn(z, slot, gfn, end);
}

void zap_range_yield(struct zap_batch *z, const struct memslot *slot, gfn_t gfn, gfn_t end)
{
	by_pieces(z, slot, gfn, end, zap_range);
}

void wrprotect_range_yield(struct zap_batch *z, const struct memslot *slot, gfn_t gfn, gfn_t end)
{
	by_pieces(z, slot, gfn, end, wrprotect_range);
}
