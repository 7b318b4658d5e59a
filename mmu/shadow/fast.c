/* SPDX-License-Identifier: BSD-2-Clause */
/* Faults on a leaf that is there: rights given back, or nothing to do. */
#include "mmu/base/trace.h"
#include "mmu/shadow/fault_priv.h"

/* As in the kernel: whoever loses so often has others to thank for a leaf that has come further meanwhile. */
#define FAST_TRIES 4

/*
 * What the leaf should say for the fault to be over: its saved rights if it was access-tracked, and W if MW says that the
 * primary allows it. SPTE_NONE: only the primary can tell.
 */
static uint64_t repaired(struct shadow *sh, const struct fault *f, uint64_t spte)
{
	uint64_t new = spte_is_access_tracked(spte) ? spte_restore_access(spte) : spte;

	if (!f->write || spte_is_writable(new))
		return new;
	if (!(new &SPTE_MMU_WRITABLE))
		return SPTE_NONE;
	/* Not all pages of it for the sake of one: install.c splits it (M20). */
	if (f->level > SPTE_LEVEL_4K && !slot_allows_large(sh, f->slot))
		return SPTE_NONE;
	return new | SPTE_WRITE;
}

/* The whole leaf, and so the backend's whole part of it: all its pages have the same rights. */
static int tell_backend(struct shadow *sh, const struct fault *f, uint64_t old, uint64_t new)
{
	uint64_t page = f->block.start - f->slot->gfn, n = f->block.end - f->block.start;

	if (spte_is_access_tracked(old))
		return sh->ops->map(f->slot->backend, page, n, spte_fn(new), spte_is_writable(new));
	return sh->ops->make_writable(f->slot->backend, page, n);
}

static int repair(struct shadow *sh, const struct fault *f, uint64_t old, uint64_t new)
{
	int rc = 0;

	if (!ept_install(&sh->ept, f->root, f->gfn, f->level, old, new))
		return FAULT_AGAIN;
	if (spte_is_writable(new) && !spte_is_writable(old))
		shadow_mark_dirty_ring(sh, f->slot, f->gfn, f->ring);
	trace_instant(fast_page_fault, f->gfn, f->write, new);
	if (!sh->ops->walks_table)
		rc = tell_backend(sh, f, old, new);
	return rc < 0 ? rc : SHADOW_FIXED;
}

/* A window has a copy of the table, which must be gone when a zap returns: the lock orders the two. */
static int repair_locked(struct shadow *sh, struct fault *f, uint64_t old, uint64_t new)
{
	int rc;

	rwlock_read_acquire(&sh->mmu_lock);
	/* Of a tree that was dropped nothing comes back (M14): who takes it apart flushes no more. */
	rc = f->root == ept_root(&sh->ept) || mutant(146) ? repair(sh, f, old, new) : FAULT_AGAIN;
	fault_recheck(sh, f);
	rwlock_read_release(&sh->mmu_lock);
	if (rc < 0)
		fault_take_back(sh, f);
	return rc;
}

/*
 *	fault_fast()				bracket, dirty logging, aging
 *	old = leaf with MW, without W
 *						zap; or MW goes; or the leaf gets its rights from another fault
 *	cas old -> old with W: fails
 *	look again
 *
 * The cas is check enough, without sequence or lock: whoever takes the leaf away, or a right from it, changes it, and
 * one that came back the same is as good. That holds for who walks the table and nothing else.
 */
int fault_fast(struct shadow *sh, struct fault *f)
{
	int rc = FAULT_AGAIN;

	for (int tries = 0; rc == FAULT_AGAIN && tries < FAST_TRIES; tries++) {
		int level = SPTE_LEVEL_4K;
		uint64_t old = ept_peek(&sh->ept, f->gfn, &level), new;

		if (!spte_is_present(old))
			return FAULT_GO_ON;
		fault_set_leaf(f, level);
		new = repaired(sh, f, old);
		if (new == SPTE_NONE)
			return FAULT_GO_ON;
		if (new == old)
			return fault_restore(sh, f);
		rc = sh->ops->walks_table ? repair(sh, f, old, new)
					  : repair_locked(sh, f, old, new);
	}
	if (rc == SHADOW_FIXED)
		count(&sh->fast, 1);
	return rc;
}
