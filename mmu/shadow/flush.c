/* SPDX-License-Identifier: BSD-2-Clause */
#include "mmu/shadow/flush.h"

#include "mmu/shadow/shadow_priv.h"

void flush_zap(struct shadow *sh, const struct memslot *slot, gfn_t gfn, gfn_t end)
{
	sh->ops->zap(slot->backend, gfn - slot->gfn, end - gfn);
	count(&sh->flushes, 1);
}

bool can_wrprotect(const struct shadow *sh)
{
	return sh->ops->wrprotect;
}

void flush_wrprotect(struct shadow *sh, const struct memslot *slot, gfn_t gfn, gfn_t end)
{
	sh->ops->wrprotect(slot->backend, gfn - slot->gfn, end - gfn);
	count(&sh->flushes, 1);
}

void flush_age(struct shadow *sh, const struct memslot *slot, gfn_t gfn, gfn_t end)
{
	if (!sh->ops->age)
		return;
	sh->ops->age(slot->backend, gfn - slot->gfn, end - gfn);
	count(&sh->flushes, 1);
}

void flush_all(struct shadow *sh)
{
	const struct memslots *all = slots_get(&sh->slots);
	const struct memslot *slot;

	if (sh->ops->zap_all) {
		sh->ops->zap_all(sh->backend_ctx);
		count(&sh->flushes, 1);
		return;
	}
	memslots_for_each_gfn(slot, all, 0, 1UL << SPTE_GFN_BITS)
		flush_zap(sh, slot, slot->gfn, memslot_end(slot));
}
