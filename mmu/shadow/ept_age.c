/* SPDX-License-Identifier: BSD-2-Clause */
/* Use: who walks sets A and D, aging takes A. No lock: each entry changes at once. Kernel: lockless aging. */
#include "mmu/shadow/ept_priv.h"

static uint64_t make_old(uint64_t spte)
{
	return spte_has_ad(spte) ? spte & ~SPTE_ACCESSED : spte_track_access(spte);
}

/* M16: whoever has written since @it looked is overwritten. */
static bool store_old(struct ept_tally *tally, const struct ept_iter *it)
{
	sync_store(iter_entry(it), make_old(it->spte));
	handle_changed_spte(tally, it->gfn, it->spte, make_old(it->spte), it->level);
	return true;
}

static bool set_old(struct ept_tally *tally, const struct ept_iter *it)
{
	if (mutant(164))
		return store_old(tally, it);
	return spte_cas(tally, iter_entry(it), it->gfn, it->spte, make_old(it->spte), it->level);
}

static void age_root(struct ept_tally *tally, struct ept_page *root, gfn_t gfn, gfn_t end,
		     struct ept_span *span)
{
	struct ept_iter it;

	iter_start(&it, root, gfn, end, SPTE_LEVEL_4K);
	for (;;) {
		while (iter_down(&it))
			;
		if (iter_on_leaf(&it) && spte_is_young(it.spte)) {
			if (!set_old(tally, &it))
				continue;
			span_add(span, &it);
		}
		if (!iter_next(&it))
			break;
	}
}

struct ept_span ept_age(struct ept *ept, gfn_t gfn, gfn_t end)
{
	struct ept_span span = { .start = 0 };
	struct ept_tally tally;

	sync_rcu_assert_held();
	if (gfn >= end)
		return span;
	tally_start(&tally, ept);
	for_each_root(ept, root, invalid)
		age_root(&tally, root, gfn, end, &span);
	tally_end(&tally);
	return span;
}

static bool is_young_root(struct ept_page *root, gfn_t gfn, gfn_t end)
{
	struct ept_iter it;

	iter_start(&it, root, gfn, end, SPTE_LEVEL_4K);
	do {
		while (iter_down(&it))
			;
		if (iter_on_leaf(&it) && spte_is_young(it.spte))
			return true;
	} while (iter_next(&it));
	return false;
}

bool ept_test_young(struct ept *ept, gfn_t gfn, gfn_t end)
{
	bool young = false;

	sync_rcu_assert_held();
	if (gfn >= end)
		return false;
	for_each_root(ept, root, invalid)
		young |= !young && is_young_root(root, gfn, end);
	return young;
}

uint64_t ept_walk(struct ept *ept, gfn_t gfn, bool write, int *level)
{
	const uint64_t right = write ? SPTE_WRITE : SPTE_READ;
	const uint64_t use = SPTE_ACCESSED | (write ? SPTE_DIRTY : 0);
	struct ept_iter it;

	sync_rcu_assert_held();
	iter_start(&it, root_current(ept), gfn, gfn + 1, SPTE_LEVEL_4K);
	for (;;) {
		while (iter_down(&it))
			;
		if (!iter_on_leaf(&it) || !(it.spte & right))
			return SPTE_NONE;
		if (level)
			*level = it.level;
		if (!spte_has_ad(it.spte) || (it.spte & use) == use)
			return it.spte;
		/* Hardware checks and sets in one step. It asks no spte_check_change(); the leaf only gains A and D. */
		if (sync_cas(iter_entry(&it), &it.spte, it.spte | use))
			return it.spte | use;
	}
}
