/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The table has what a fault asks for. Either another fault has just been faster, or the backend lost its side of it: a window
 * does when the system swaps out a page of the pool, or splits a huge one because a part of it is freed, which costs all 512.
 */
#include "mmu/shadow/fault_priv.h"

/* Does the leaf of @gfn go on where @spte of the faulting page, of @level, left off? */
static bool is_same_run(struct shadow *sh, const struct fault *f, gfn_t gfn, fn_t fn, bool writable)
{
	int level = SPTE_LEVEL_4K;
	uint64_t other = ept_peek(&sh->ept, gfn, &level);

	return spte_is_present(other) && leaf_fn(other, gfn, level) == fn + (gfn - f->gfn) &&
	       spte_is_writable(other) == writable && !spte_is_access_tracked(other);
}

/* The faulting page was lost, so those around it may be, too: restore its run, best effort. */
static void restore_around(struct shadow *sh, struct fault *f, fn_t fn, bool writable)
{
	gfn_t start = f->gfn, end = f->gfn + 1, table = spte_level_start(f->gfn, SPTE_LEVEL_2M);
	gfn_t first = max_u64(table, f->slot->gfn);
	gfn_t last = min_u64(table + SPTE_PER_TABLE, memslot_end(f->slot));
	uint64_t page = f->gfn - f->slot->gfn;

	while (start > first && is_same_run(sh, f, start - 1, fn, writable))
		start--;
	while (end < last && is_same_run(sh, f, end, fn, writable))
		end++;
	if (start < f->gfn)
		(void)sh->ops->restore(f->slot->backend, start - f->slot->gfn, f->gfn - start,
				       fn - (f->gfn - start), writable);
	if (f->gfn + 1 < end)
		(void)sh->ops->restore(f->slot->backend, page + 1, end - f->gfn - 1, fn + 1,
				       writable);
	f->block = (struct around_block){ .start = start, .end = end };
}

int fault_restore(struct shadow *sh, struct fault *f)
{
	int level = SPTE_LEVEL_4K, rc = 0;
	struct zap_batch z;
	uint64_t spte;

	f->block = (struct around_block){ .start = f->gfn, .end = f->gfn + 1 };
	if (!sh->ops->restore)
		return SHADOW_SPURIOUS;
	/* For writing: nobody else is mapping the pages meanwhile, which may take several system calls. */
	zap_begin(&z, sh);
	spte = ept_peek(&sh->ept, f->gfn, &level);
	if (spte_is_present(spte) && !spte_is_access_tracked(spte)) {
		fn_t fn = leaf_fn(spte, f->gfn, level);

		rc = sh->ops->restore(f->slot->backend, f->gfn - f->slot->gfn, 1, fn,
				      spte_is_writable(spte));
		if (rc > 0)
			restore_around(sh, f, fn, spte_is_writable(spte));
	}
	fault_recheck(sh, f);
	if (rc < 0)
		zap_range(&z, f->slot, f->gfn, f->gfn + 1);
	zap_end(&z);
	return rc < 0 ? rc : SHADOW_SPURIOUS;
}
