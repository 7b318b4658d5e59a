/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memslots: which host VA a guest frame number means.
 * Owns two sets of trees over the same slots, by gfn and by hva: one that readers look at, and one that the next change is
 * made in. Readers look inside an RCU section; the writer holds shadow's slots_lock. Knows no table.
 * Kernel: struct kvm_memslots.
 */
#ifndef UMBRA_MMU_SHADOW_SLOT_H
#define UMBRA_MMU_SHADOW_SLOT_H

#include "mmu/base/addr.h"
#include "mmu/base/sync.h"
#include "mmu/notify/interval_tree.h"

#define MEMSLOT_READONLY  (1u << 0)
#define MEMSLOT_INVALID	  (1u << 1) /* goes or moves: still invalidated, never faulted in (M17) */
#define MEMSLOT_LOG_DIRTY (1u << 2) /* stores are logged */
#define MEMSLOT_FLAGS	  (MEMSLOT_READONLY | MEMSLOT_LOG_DIRTY) /* that a caller may give */

/* A slot does not change: another one, with what is to be different, takes its place. */
struct memslot {
	unsigned id;
	unsigned flags;
	gfn_t gfn;
	uint64_t npages;
	hva_t hva;
	void *backend;		 /* of the backend's slot_add */
	struct dirty_log *dirty; /* NULL: stores are not logged (dirty_priv.h) */
};

/*
 * Locks used to protect members:
 *	s	slots_lock for a change, by who finds no reader in the set; readers in an RCU section or a bracket
 *	a	atomic
 */
struct memslots {
	unsigned index;		   /* immutable: of the set in struct slots */
	struct interval_tree gfns; /* [s] disjoint */
	struct interval_tree hvas; /* [s] may overlap: several gfns for one host page */
	_Atomic bool changing; /* [a] a reader that finds it set did not have its grace period */
};

struct slots {
	struct memslots set[2];
	_Atomic(struct memslots *) current; /* [a] */
	struct interval_tree ids;	    /* slots_lock */
	uint64_t count;			    /* slots_lock */
};

static inline gfn_t memslot_end(const struct memslot *slot)
{
	return slot->gfn + slot->npages;
}

static inline hva_t memslot_hva_end(const struct memslot *slot)
{
	return slot->hva + (slot->npages << PAGE_SHIFT);
}

/* memslot_gfns - the gfns of @slot, which meets host addresses [start, end), that lie there, also in part. */
static inline void memslot_gfns(const struct memslot *slot, hva_t start, hva_t end, gfn_t *gfn,
				gfn_t *last)
{
	*gfn = slot->gfn + ((max_u64(slot->hva, start) - slot->hva) >> PAGE_SHIFT);
	*last = slot->gfn +
		(page_align_up(min_u64(memslot_hva_end(slot), end) - slot->hva) >> PAGE_SHIFT);
}

void slots_init(struct slots *slots);
/* slots_fini - no slot is left (bug). */
void slots_fini(struct slots *slots);

/*
 * slots_get - the slots of now. Inside an RCU section, under slots_lock, or while shadow's mn_active is not 0: the set is
 * not replaced while a bracket is open (M9).
 */
const struct memslots *slots_get(struct slots *slots);

/* memslots_find - the slot with @gfn, or NULL. O(log n). As slots_get(). */
const struct memslot *memslots_find(const struct memslots *all, gfn_t gfn);

/*
 * Slots that meet gfns, or host addresses, [start, end), and the one after @slot; NULL: no more. O(log n + hits), by
 * gfn or hva. As slots_get().
 */
const struct memslot *memslots_first_gfn(const struct memslots *all, gfn_t start, gfn_t end);
const struct memslot *memslots_next_gfn(const struct memslots *all, const struct memslot *slot,
					gfn_t start, gfn_t end);
const struct memslot *memslots_first_hva(const struct memslots *all, hva_t start, hva_t end);
const struct memslot *memslots_next_hva(const struct memslots *all, const struct memslot *slot,
					hva_t start, hva_t end);

#define memslots_for_each_gfn(slot, all, start, end)                             \
	for ((slot) = memslots_first_gfn((all), (start), (end)); (slot) != NULL; \
	     (slot) = memslots_next_gfn((all), (slot), (start), (end)))
#define memslots_for_each_hva(slot, all, start, end)                             \
	for ((slot) = memslots_first_hva((all), (start), (end)); (slot) != NULL; \
	     (slot) = memslots_next_hva((all), (slot), (start), (end)))

/*
 * slots_find_id - slot @id, or NULL. slots_first_id - the one with the least id from @id on, or NULL.
 * slots_lock held. O(log n). Kernel: id_to_memslot().
 */
struct memslot *slots_first_id(struct slots *slots, unsigned id);
struct memslot *slots_find_id(struct slots *slots, unsigned id);
/* slots_overlap - does a slot other than @except (NULL: any) meet gfns [gfn, end)? slots_lock held. O(log n). */
bool slots_overlap(struct slots *slots, gfn_t gfn, gfn_t end, const struct memslot *except);

/* memslot_alloc - a slot like @like, in no set. NULL: no memory. memslot_free - of one that nobody sees any more. */
struct memslot *memslot_alloc(const struct memslot *like);
void memslot_free(struct memslot *slot);

/*
 * A change, O(log n): @next takes the place of @old; either may be NULL. slots_lock held for all three steps.
 *
 * slots_stage	changes the set that nobody looks at
 * slots_publish	swaps the two; only while no bracket is open (M9)
 * slots_mirror	makes the same change in the other set. After sync_rcu_wait(), which readers of it need. Now nobody
 *			sees @old.
 *
 * Kernel: kvm_replace_memslot(), kvm_swap_active_memslots(), kvm_activate_memslot().
 */
void slots_stage(struct slots *slots, struct memslot *old, struct memslot *next);
void slots_publish(struct slots *slots);
void slots_mirror(struct slots *slots, struct memslot *old, struct memslot *next);

#endif
