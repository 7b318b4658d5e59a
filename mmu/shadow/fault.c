/* SPDX-License-Identifier: BSD-2-Clause */
/* The fault path: snapshot, slot, frames from the primary, lock, check, install. */
#include <errno.h>

#include "mmu/base/trace.h"
#include "mmu/shadow/fault_priv.h"

/* The gfns that the check covers: all that is to be installed (M7), from where a leaf begins and not where the fault was. */
static struct around_block to_check(const struct fault *f)
{
	struct around_block b = f->block;

	if (mutant(7))
		b = (struct around_block){ .start = f->gfn, .end = f->gfn + 1 };
	if (mutant(34) && f->level > SPTE_LEVEL_4K)
		b = (struct around_block){ .start = f->gfn,
					   .end = f->gfn + spte_level_pages(f->level) };
	return b;
}

/*
 * The check that admits an install. mmu_lock held for reading.
 *
 *	fault					shadow_zap_all()
 *	root = the current one
 *	lookup
 *						swap the root, flush all	mmu_lock write
 *	lock for reading
 *	root is no longer current: RETRY
 *						take the old tree apart		mmu_lock read
 *
 * An entry installed in the old tree may come behind the one who takes it apart: nobody would zap it again (M14).
 * Kernel: is_page_fault_stale().
 */
static bool is_stale(struct shadow *sh, const struct fault *f)
{
	struct around_block b = to_check(f);

	rwlock_assert_held(&sh->mmu_lock);
	if (mutant(41))
		return false;
	return is_invalidating(sh, b.start, b.end) || sync_load(&sh->invalidate_seq) != f->seq ||
	       (f->root != ept_root(&sh->ept) && !mutant(145));
}

/*
 * A guest that has touched a quarter of a block one by one is likely to want the rest. At worst, memory in reach is
 * four times what was touched, and only in blocks of that kind.
 */
#define DENSE_SHARE 4u

static bool is_dense(struct shadow *sh, const struct around_block *block)
{
	uint64_t leaves = 0;
	int level;

	for (gfn_t gfn = block->start; gfn < block->end; gfn++)
		leaves += spte_is_present(ept_peek(&sh->ept, gfn, &level));
	return leaves * DENSE_SHARE >= block->end - block->start;
}

static int lookup(struct shadow *sh, struct fault *f)
{
	hva_t hva;

	sync_use(f->slot); /* the grace period of whoever changes slots waits for this section */
	f->got = (struct around_block){ .start = f->gfn, .end = f->gfn + 1 };
	if (!f->alone)
		f->got = around_block(&sh->around, f->gfn, f->slot->gfn, memslot_end(f->slot));
	if (!f->alone && !sh->around.fixed && !f->got.ahead && is_dense(sh, &f->got))
		f->got.ahead = HOSTMM_GUP_FILL;
	hva = f->slot->hva + ((f->got.start - f->slot->gfn) << PAGE_SHIFT);
	return hostmm_gup_guarded(sh->mm, hva, f->got.end - f->got.start, f->gfn - f->got.start,
				  f->got.ahead, f->write, f->page);
}

static int check_and_install(struct shadow *sh, struct fault *f)
{
	int rc;

	fault_choose_level(sh, f);
	rc = ept_populate(&sh->ept, f->root, f->block.start, f->block.end, f->level);
	if (rc)
		return rc;
	rwlock_read_acquire(&sh->mmu_lock);
	rc = is_stale(sh, f) ? FAULT_AGAIN : fault_install(sh, f);
	fault_recheck(sh, f);
	rwlock_read_release(&sh->mmu_lock);
	if (rc >= 0)
		return rc;
	fault_take_back(sh, f);
	/* A neighbour's mapping may be what failed (a backend at its limit): the page itself, alone, comes first. */
	return !f->alone && f->block.end - f->block.start > 1 ? FAULT_AGAIN : rc;
}

/* The slot is there, and nothing is known against the access yet. RCU section held. */
static int resolve(struct shadow *sh, struct fault *f)
{
	int rc;

	rc = fault_fast(sh, f);
	if (rc != FAULT_GO_ON)
		return rc;
	rc = lookup(sh, f);
	if (rc)
		return rc;
	if (mutant(4))
		f->seq = sync_load_acquire(&sh->invalidate_seq);
	rc = check_and_install(sh, f);
	/* The table does not hold references: what it shows is the primary's, and is zapped before that drops its own. */
	hostmm_put_pages(sh->mm, fault_page(f, f->gfn), 1);
	return rc;
}

/* RCU section held. */
static int try_fault(struct shadow *sh, struct fault *f)
{
	struct lock *held = NULL;
	int rc;

	/* Acquire: nothing below may be looked at before the snapshot. Pairs with shadow_range_end(). */
	f->seq = sync_load_acquire(&sh->invalidate_seq);
	if (mutant(6))
		f->seq = (uint64_t)(int32_t)f->seq;
	f->root = ept_root(&sh->ept);
	f->age_seq = shadow_age_seq(sh);

	f->slot = memslots_find(slots_get(&sh->slots), f->gfn);
	if (!f->slot || (mutant(171) && (f->slot->flags & MEMSLOT_INVALID)))
		return -ENXIO;
	if (f->write && (f->slot->flags & MEMSLOT_READONLY))
		return -EACCES;
	/* Before the lock is contended: an invalidation under way would refuse anyhow (M8). */
	if (((f->slot->flags & MEMSLOT_INVALID) && !mutant(17)) ||
	    (is_invalidating(sh, f->gfn, f->gfn + 1) && !mutant(8)))
		return FAULT_AGAIN;

	rc = f->write ? shadow_dirty_store_begin(sh, f->slot, f->gfn, &held) : 0;
	if (rc)
		return rc;
	rc = resolve(sh, f);
	shadow_dirty_store_end(held);
	return rc;
}

/*
 * The backend, or the table, is out of memory: for a window that means VMAs, of which a page at home needs none. Unshared, if it
 * must be. False: that has been tried.
 */
static bool bring_home(struct shadow *sh, struct fault *f)
{
	const struct memslot *slot;
	hva_t hva = 0;

	if (f->at_home)
		return false;
	f->at_home = f->alone = true;
	sync_rcu_read_lock();
	slot = memslots_find(slots_get(&sh->slots), f->gfn);
	if (slot)
		hva = slot->hva + ((f->gfn - slot->gfn) << PAGE_SHIFT);
	sync_rcu_read_unlock();
	return slot && !hostmm_bring_home(sh->mm, hva);
}

int shadow_fault_ring(struct shadow *sh, gfn_t gfn, bool write, unsigned ring, bool may_wait)
{
	uint64_t begin = trace_begin();
	struct fault f;
	int rc;

	f.slot = NULL;
	f.gfn = gfn;
	f.block = (struct around_block){ .start = gfn, .end = gfn + 1 };
	f.write = write;
	f.ring = ring;
	f.alone = f.at_home = false;
	count(&sh->faults, 1);
	for (;;) {
		/* Outside of the section: room comes by a reset, which slot changes hold up, which wait for sections. */
		rc = write ? shadow_dirty_wait_room(sh, ring, may_wait) : 0;
		if (rc)
			break;
		sync_rcu_read_lock();
		rc = try_fault(sh, &f);
		if (rc == SHADOW_FIXED || rc == SHADOW_SPURIOUS) {
			sync_use(f.slot);
			sh->ops->wake(f.slot->backend, f.block.start - f.slot->gfn,
				      f.block.end - f.block.start);
		}
		sync_rcu_read_unlock();
		if (rc == -ENOMEM && bring_home(sh, &f))
			continue;
		if (rc != FAULT_AGAIN && rc != -EAGAIN)
			break;
		count(&sh->retries, 1);
		trace_instant(umbra_retry, gfn, 1, f.seq);
		f.alone = true;
		shadow_wait_retry(sh, gfn);
	}
	if (rc >= 0)
		count(rc == SHADOW_FIXED ? &sh->fixed : &sh->spurious, 1);
	/* What fault_choose_level() took out of its way. Not each time: it takes a grace period. */
	if (sync_load(&sh->ept.dead_pages) >= sync_load(&sh->reap_batch))
		ept_reap(&sh->ept);
	trace_span(kvm_page_fault, begin, gfn << PAGE_SHIFT, write, rc);
	return rc;
}

int shadow_fault(struct shadow *sh, gfn_t gfn, bool write)
{
	bool has_rings = write && sync_load(&sh->dirty.rings);

	return shadow_fault_ring(sh, gfn, write,
				 has_rings ? shadow_dirty_ring_of(sh, sync_tid()) : 0, true);
}
