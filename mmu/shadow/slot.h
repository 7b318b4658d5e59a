/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memslots: which host VA a guest frame number means.
 * Owns the array of slots, sorted by gfn, replaced as a whole. Readers look inside an RCU section; the writer holds
 * shadow's slots_lock. Knows no table. Kernel: struct kvm_memslots.
 */
#ifndef UMBRA_MMU_SHADOW_SLOT_H
#define UMBRA_MMU_SHADOW_SLOT_H

#include "mmu/base/addr.h"
#include "mmu/base/sync.h"

#define MEMSLOT_READONLY (1u << 0)
#define MEMSLOT_INVALID	 (1u << 1) /* being removed: still invalidated, never faulted in (M17) */

struct memslot {
	unsigned id;
	unsigned flags;
	gfn_t gfn;
	uint64_t npages;
	hva_t hva;
	void *backend; /* of the backend's slot_add */
};

struct memslots {
	unsigned count;
	struct memslot slot[]; /* by gfn, disjoint */
};

struct slots {
	_Atomic(struct memslots *) current;
};

static inline gfn_t memslot_end(const struct memslot *slot)
{
	return slot->gfn + slot->npages;
}

int slots_init(struct slots *slots);
void slots_fini(struct slots *slots);

/*
 * slots_get - the slots of now. Inside an RCU section, under slots_lock, or while shadow's mn_active is not 0: slots are
 * not replaced while a bracket is open (M9).
 */
const struct memslots *slots_get(struct slots *slots);

/* memslots_find - the slot with @gfn, in O(log n), or NULL. */
const struct memslot *memslots_find(const struct memslots *all, gfn_t gfn);

/*
 * slots_with, slots_without - a copy of the current array with @slot added, or without slot @id.
 * slots_invalid - a copy in which slot @id is marked MEMSLOT_INVALID.
 * slots_lock held. 0, -EEXIST for an id in use or an overlap, -ENOENT, -ENOMEM.
 * slots_publish - make @next current. Returns the old array: free() it after sync_rcu_wait().
 */
int slots_with(struct slots *slots, const struct memslot *slot, struct memslots **next);
int slots_without(struct slots *slots, unsigned id, struct memslots **next);
int slots_invalid(struct slots *slots, unsigned id, struct memslots **next);
struct memslots *slots_publish(struct slots *slots, struct memslots *next);

#endif
