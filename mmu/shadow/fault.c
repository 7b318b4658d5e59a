/* SPDX-License-Identifier: BSD-2-Clause */
/* The fault path: snapshot, slot, frames from the primary, lock, check, install. */
#include <errno.h>

#include "mmu/base/mutant.h"
#include "mmu/base/trace.h"
#include "mmu/shadow/shadow_priv.h"

/* One try. Not in enum shadow_result: only shadow_fault() sees it. */
#define TRY_AGAIN 2

struct fault {
	gfn_t gfn;
	bool write;
	bool alone; /* no pages around: neighbours that are being invalidated must not hold this one up */
	uint64_t seq; /* the sequence before anything was looked at */
	struct ept_page *root;
	const struct memslot *slot;
	struct around_block block;
	struct gup_page page[SHADOW_AROUND_MAX]; /* of the block */
};

/* The check that admits an install, over all that is to be installed (M7). mmu_lock held for reading. */
static bool is_stale(struct shadow *sh, const struct fault *f)
{
	rwlock_assert_held(&sh->mmu_lock);
	if (mutant(41))
		return false;
	return is_invalidating(sh, mutant(7) ? f->gfn : f->block.start,
			       mutant(7) ? f->gfn + 1 : f->block.end) ||
	       sync_load(&sh->invalidate_seq) != f->seq;
}

/* Pages installed one after another that the backend can map in one call. */
struct run {
	gfn_t gfn;
	uint64_t n;
	fn_t fn;
	bool writable;
};

static int flush_run(struct shadow *sh, const struct fault *f, struct run *run)
{
	int rc = 0;

	if (run->n) {
		rc = sh->ops->map(f->slot->backend, run->gfn - f->slot->gfn, run->n, run->fn,
				  run->writable);
		trace_instant(kvm_mmu_set_spte, run->gfn, run->n, run->fn);
		count(&sh->pages, run->n);
		count(&sh->batches, 1);
	}
	run->n = 0;
	return rc;
}

static int extend_run(struct shadow *sh, const struct fault *f, struct run *run, gfn_t gfn, fn_t fn,
		      bool writable)
{
	int rc = 0;

	if (run->n &&
	    (run->gfn + run->n != gfn || run->fn + run->n != fn || run->writable != writable))
		rc = flush_run(sh, f, run);
	if (!run->n)
		*run = (struct run){ .gfn = gfn, .fn = fn, .writable = writable };
	run->n++;
	return rc;
}

/* The leaf of the faulting page is there but read-only, and the fault is a store: same frame, more rights. */
static int upgrade(struct shadow *sh, const struct fault *f, uint64_t old,
		   const struct gup_page *page)
{
	bug_on(spte_fn(old) != page->fn || !page->writable);
	if (!ept_install(&sh->ept, f->root, f->gfn, SPTE_LEVEL_4K, old,
			 ept_make_leaf(&sh->ept, page->fn, true, SPTE_LEVEL_4K)))
		return SHADOW_SPURIOUS;
	count(&sh->upgrades, 1);
	trace_instant(kvm_tdp_mmu_spte_changed, f->gfn, 1, page->fn);
	return sh->ops->make_writable(f->slot->backend, f->gfn - f->slot->gfn, 1);
}

/* mmu_lock held for reading, the check passed, tables exist. */
static int install(struct shadow *sh, const struct fault *f)
{
	struct run run = { .n = 0 };
	int result = SHADOW_SPURIOUS, rc = 0;

	sync_use(f->slot); /* the grace period of whoever changes slots waits for this section */
	for (gfn_t gfn = f->block.start; gfn < f->block.end && rc >= 0; gfn++) {
		const struct gup_page *page = &f->page[gfn - f->block.start];
		bool writable = page->writable && !(f->slot->flags & MEMSLOT_READONLY);
		uint64_t old;

		if (page->fn == FN_NONE)
			continue;
		old = ept_peek(&sh->ept, gfn, NULL);
		if (spte_is_present(old)) {
			if (gfn == f->gfn && f->write && !spte_is_writable(old))
				result = rc = upgrade(sh, f, old, page);
			continue;
		}
		if (!ept_install(&sh->ept, f->root, gfn, SPTE_LEVEL_4K, SPTE_NONE,
				 ept_make_leaf(&sh->ept, page->fn, writable, SPTE_LEVEL_4K)))
			continue; /* the other installer maps it */
		rc = extend_run(sh, f, &run, gfn, page->fn, writable);
		if (gfn == f->gfn)
			result = SHADOW_FIXED;
	}
	if (rc >= 0)
		rc = flush_run(sh, f, &run);
	return rc < 0 ? rc : result;
}

/* The backend could not carry out what the table says: take the block back. */
static void take_back(struct shadow *sh, const struct fault *f)
{
	struct zap_batch z;

	zap_begin(&z, sh);
	zap_range(&z, f->slot, f->block.start, f->block.end);
	zap_end(&z);
}

static int lookup(struct shadow *sh, struct fault *f)
{
	hva_t hva;

	sync_use(f->slot);
	f->block = (struct around_block){ .start = f->gfn, .end = f->gfn + 1 };
	if (!f->alone)
		f->block = around_block(&sh->around, f->gfn, f->slot->gfn, memslot_end(f->slot));
	hva = f->slot->hva + ((f->block.start - f->slot->gfn) << PAGE_SHIFT);
	return hostmm_gup(sh->mm, hva, f->block.end - f->block.start, f->gfn - f->block.start,
			  f->block.ahead, f->write, f->page);
}

/* Does the leaf of @gfn go on where @spte, @distance pages away, left off? */
static bool is_same_run(struct shadow *sh, gfn_t gfn, uint64_t spte, int64_t distance)
{
	uint64_t other = ept_peek(&sh->ept, gfn, NULL);

	return spte_is_present(other) && spte_fn(other) == spte_fn(spte) + (fn_t)distance &&
	       spte_is_writable(other) == spte_is_writable(spte);
}

/* Page f->gfn was lost, so those around it may be, too: restore its run, best effort. */
static void restore_around(struct shadow *sh, struct fault *f, uint64_t spte)
{
	gfn_t start = f->gfn, end = f->gfn + 1, block = f->gfn & ~(SPTE_PER_TABLE - 1);
	gfn_t first = max_u64(block, f->slot->gfn);
	gfn_t last = min_u64(block + SPTE_PER_TABLE, memslot_end(f->slot));
	bool writable = spte_is_writable(spte);
	uint64_t page = f->gfn - f->slot->gfn;

	while (start > first && is_same_run(sh, start - 1, spte, (int64_t)(start - 1 - f->gfn)))
		start--;
	while (end < last && is_same_run(sh, end, spte, (int64_t)(end - f->gfn)))
		end++;
	if (start < f->gfn)
		(void)sh->ops->restore(f->slot->backend, start - f->slot->gfn, f->gfn - start,
				       spte_fn(spte) - (f->gfn - start), writable);
	if (f->gfn + 1 < end)
		(void)sh->ops->restore(f->slot->backend, page + 1, end - f->gfn - 1,
				       spte_fn(spte) + 1, writable);
	f->block = (struct around_block){ .start = start, .end = end };
}

/*
 * The table has what the fault asks for. Either another fault has just been faster, or the backend lost its side of it:
 * a window does when the system swaps out a page of the pool, or splits a huge one because a part of it is freed, which
 * costs all 512. Have it map the page again, and those around it if it was lost.
 */
static int refresh(struct shadow *sh, struct fault *f)
{
	struct zap_batch z;
	uint64_t spte;
	int rc = 0;

	f->block = (struct around_block){ .start = f->gfn, .end = f->gfn + 1 };
	if (!sh->ops->restore)
		return SHADOW_SPURIOUS;
	/* For writing: nobody else is mapping the pages meanwhile, which may take several system calls. */
	zap_begin(&z, sh);
	spte = ept_peek(&sh->ept, f->gfn, NULL);
	if (spte_is_present(spte))
		rc = sh->ops->restore(f->slot->backend, f->gfn - f->slot->gfn, 1, spte_fn(spte),
				      spte_is_writable(spte));
	if (rc > 0)
		restore_around(sh, f, spte);
	else if (rc < 0)
		zap_range(&z, f->slot, f->gfn, f->gfn + 1);
	zap_end(&z);
	return rc < 0 ? rc : SHADOW_SPURIOUS;
}

/* RCU section held. */
static int try_fault(struct shadow *sh, struct fault *f)
{
	uint64_t spte;
	int rc;

	/* Acquire: nothing below may be looked at before the snapshot. Pairs with shadow_range_end(). */
	f->seq = sync_load_acquire(&sh->invalidate_seq);
	if (mutant(6))
		f->seq = (uint64_t)(int32_t)f->seq;

	f->root = ept_root(&sh->ept);
	f->slot = memslots_find(slots_get(&sh->slots), f->gfn);
	if (!f->slot || (mutant(171) && (f->slot->flags & MEMSLOT_INVALID)))
		return -ENXIO;
	if (f->write && (f->slot->flags & MEMSLOT_READONLY))
		return -EACCES;
	/* Before the lock is contended: an invalidation under way would refuse anyhow (M8). */
	if (((f->slot->flags & MEMSLOT_INVALID) && !mutant(17)) ||
	    (is_invalidating(sh, f->gfn, f->gfn + 1) && !mutant(8)))
		return TRY_AGAIN;

	spte = ept_peek(&sh->ept, f->gfn, NULL);
	if (spte_is_present(spte) && (!f->write || spte_is_writable(spte)))
		return refresh(sh, f);
	rc = lookup(sh, f);
	if (rc)
		return rc;
	if (mutant(4))
		f->seq = sync_load_acquire(&sh->invalidate_seq);

	rc = ept_populate(&sh->ept, f->root, f->block.start, f->block.end, SPTE_LEVEL_4K);
	if (!rc) {
		rwlock_read_acquire(&sh->mmu_lock);
		rc = is_stale(sh, f) ? TRY_AGAIN : install(sh, f);
		rwlock_read_release(&sh->mmu_lock);
		if (rc < 0)
			take_back(sh, f);
	}
	/* The table does not hold references: what it shows is the primary's, and is zapped before that drops its own. */
	hostmm_put_pages(sh->mm, f->page, f->block.end - f->block.start);
	return rc;
}

int shadow_fault(struct shadow *sh, gfn_t gfn, bool write)
{
	uint64_t begin = trace_begin();
	struct fault f;
	int rc;

	f.gfn = gfn;
	f.write = write;
	f.alone = false;
	count(&sh->faults, 1);
	for (;;) {
		sync_rcu_read_lock();
		rc = try_fault(sh, &f);
		if (rc == SHADOW_FIXED || rc == SHADOW_SPURIOUS) {
			sync_use(f.slot);
			sh->ops->wake(f.slot->backend, f.block.start - f.slot->gfn,
				      f.block.end - f.block.start);
		}
		sync_rcu_read_unlock();
		if (rc != TRY_AGAIN && rc != -EAGAIN)
			break;
		count(&sh->retries, 1);
		trace_instant(umbra_retry, gfn, 1, f.seq);
		f.alone = true;
		shadow_wait_retry(sh, gfn);
	}
	if (rc >= 0)
		count(rc == SHADOW_FIXED ? &sh->fixed : &sh->spurious, 1);
	trace_span(kvm_page_fault, begin, gfn << PAGE_SHIFT, write, rc);
	return rc;
}
