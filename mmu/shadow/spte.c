/* SPDX-License-Identifier: BSD-2-Clause */
#include "mmu/shadow/spte.h"

#include <stdatomic.h>

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
