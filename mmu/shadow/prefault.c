/* SPDX-License-Identifier: BSD-2-Clause */
/* Faults on request, before the guest has them. */
#include <errno.h>

#include "mmu/shadow/shadow_priv.h"

/* The first gfn behind the leaf of @gfn; @gfn itself if it has none that can be used. */
static gfn_t leaf_end(struct shadow *sh, gfn_t gfn)
{
	int level = SPTE_LEVEL_4K;
	uint64_t spte;

	sync_rcu_read_lock();
	spte = ept_peek(&sh->ept, gfn, &level);
	sync_rcu_read_unlock();
	if (!spte_is_present(spte) || spte_is_access_tracked(spte))
		return gfn;
	return spte_level_start(gfn, level) + spte_level_pages(level);
}

int shadow_prefault(struct shadow *sh, gfn_t gfn, uint64_t npages, uint64_t *done)
{
	gfn_t at = gfn, end = gfn + npages;
	int rc = 0;

	*done = 0;
	if (npages > 1UL << SPTE_GFN_BITS || gfn > (1UL << SPTE_GFN_BITS) - npages)
		return -EINVAL;
	while (at < end) {
		gfn_t next = leaf_end(sh, at);

		if (next == at) {
			rc = shadow_fault(sh, at, false);
			if (rc < 0)
				break;
			/* The fault was resolved; that its leaf may be gone again already is no reason to stay. */
			next = max_u64(leaf_end(sh, at), at + 1);
		}
		at = min_u64(next, end);
	}
	*done = at - gfn;
	if (*done || rc >= 0)
		return 0;
	return rc == -ENXIO ? -ENOENT : rc;
}
