/* SPDX-License-Identifier: BSD-2-Clause */
#include "mmu/shadow/spte.h"

#include <stdatomic.h>
#include <stddef.h>

#define SPTE_LEAF_BITS                                                                    \
	(SPTE_RIGHTS | SPTE_MT_WB | SPTE_IPAT | SPTE_LARGE | SPTE_ACCESSED | SPTE_DIRTY | \
	 SPTE_MMU_PRESENT | SPTE_ADDR_MASK | SPTE_AD_DISABLED | SPTE_SAVED | SPTE_MAY_WRITE)

bool spte_check_leaf(uint64_t spte, int level)
{
	const uint64_t type = SPTE_MT_WB | SPTE_IPAT | SPTE_MMU_PRESENT;

	if (level > SPTE_LEVEL_1G || !(spte & SPTE_LARGE) != (level == SPTE_LEVEL_4K))
		return false;
	if ((spte & type) != type || (spte & ~SPTE_LEAF_BITS))
		return false;
	if (spte_fn(spte) & (spte_level_pages(level) - 1))
		return false;
	if ((spte & SPTE_WRITE && !(spte & SPTE_MMU_WRITABLE)) ||
	    (spte & SPTE_MMU_WRITABLE && !(spte & SPTE_HOST_WRITABLE)))
		return false;
	if (!spte_has_ad(spte) && (spte & (SPTE_ACCESSED | SPTE_DIRTY)))
		return false;
	if (spte_is_access_tracked(spte))
		return spte & (SPTE_READ << SPTE_SAVED_SHIFT);
	return (spte & SPTE_READ) && !(spte & SPTE_SAVED);
}

static bool check_table(uint64_t spte, int level)
{
	return level > SPTE_LEVEL_4K && (spte & SPTE_ADDR_MASK) &&
	       (spte & ~SPTE_ADDR_MASK) == spte_make_table(NULL);
}

bool spte_check_change(uint64_t old, uint64_t new, int level)
{
	if (new == SPTE_FROZEN)
		return spte_is_present(old);
	if (new == SPTE_NONE)
		return old == SPTE_FROZEN || spte_is_leaf(old, level);
	if (!spte_is_present(new) || spte_is_frozen(old))
		return false;
	if (!spte_is_leaf(new, level))
		return old == SPTE_NONE && check_table(new, level);
	if (!spte_check_leaf(new, level))
		return false;
	return old == SPTE_NONE || (spte_is_leaf(old, level) && spte_fn(old) == spte_fn(new) &&
				    spte_has_ad(old) == spte_has_ad(new));
}

bool spte_check_split(uint64_t old, const _Atomic uint64_t child[SPTE_PER_TABLE], int level)
{
	if (level <= SPTE_LEVEL_4K || !spte_is_leaf(old, level))
		return false;
	for (unsigned i = 0; i < SPTE_PER_TABLE; i++)
		if (atomic_load_explicit(&child[i], memory_order_relaxed) !=
		    spte_make_small(old, level, i))
			return false;
	return true;
}

bool spte_check_collapse(uint64_t first, uint64_t new, int level)
{
	return level > SPTE_LEVEL_4K && spte_check_leaf(first, level - 1) &&
	       spte_check_leaf(new, level) && spte_fn(first) == spte_fn(new) &&
	       spte_has_ad(first) == spte_has_ad(new);
}
