/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One fault on its way through fault.c (the protocol), fast.c (rights given back), install.c (leaves) and restore.c (entries that
 * a backend lost). Owns nothing. Knows the insides of struct shadow.
 */
#ifndef UMBRA_MMU_SHADOW_FAULT_PRIV_H
#define UMBRA_MMU_SHADOW_FAULT_PRIV_H

#include "mmu/shadow/shadow_priv.h"

/* Results of one try that are not in enum shadow_result: only the fault path sees them. */
enum {
	FAULT_AGAIN = 2, /* from the snapshot on */
	FAULT_GO_ON,	 /* the leaf does not answer the fault: ask the primary */
};

struct fault {
	gfn_t gfn;
	bool write;
	unsigned ring; /* the producer, for dirty logging */
	bool alone; /* no pages around: neighbours that are being invalidated must not hold this one up */
	bool at_home; /* it has been brought home, since the backend could not map it where it was */

	/* The snapshot, before anything was looked at. */
	uint64_t seq;
	struct ept_page *root;
	uint64_t age_seq;
	const struct memslot *slot;

	/* What the primary has said. */
	struct around_block got; /* page[] covers it, with a reference on the faulting page alone */
	struct gup_page first;	 /* of the large leaf, if level is larger than 4K; no reference */

	/* What is to be installed, and checked, taken back or woken as a whole. */
	int level;
	struct around_block block;

	/* Last: a fault that asks for one page touches two pages of stack, and not four. */
	struct gup_page page[SHADOW_AROUND_MAX];
};

/* Page @gfn of what the primary has said. */
static inline const struct gup_page *fault_page(const struct fault *f, gfn_t gfn)
{
	return &f->page[gfn - f->got.start];
}

/* The part of the slot to which a leaf of @level over the faulting page belongs. A large one lies in it wholly. */
static inline void fault_set_leaf(struct fault *f, int level)
{
	f->level = level;
	f->block.start = spte_level_start(f->gfn, level);
	f->block.end = f->block.start + spte_level_pages(level);
}

/* The backend has mapped what the leaves of the block said: do they still? Before mmu_lock is dropped. */
static inline void fault_recheck(struct shadow *sh, const struct fault *f)
{
	shadow_age_recheck(sh, f->slot, f->block.start, f->block.end, f->age_seq);
}

/*
 * fault_fast - give a leaf that is there the rights back that aging or dirty logging took. RCU section, no lock held.
 * SHADOW_FIXED, FAULT_GO_ON, or the backend's errno: then what the table says was taken back. Kernel: fast_page_fault().
 */
int fault_fast(struct shadow *sh, struct fault *f);

/*
 * fault_choose_level - one large leaf or several small ones? After the lookup; sets level and block, and takes empty tables out
 * of its way. RCU section, no lock held.
 */
void fault_choose_level(struct shadow *sh, struct fault *f);

/*
 * fault_install - install the block. mmu_lock held for reading, the check passed, tables exist. enum shadow_result,
 * FAULT_AGAIN, -ENOMEM (a split), or the backend's errno: then fault_take_back(). Kernel: kvm_tdp_mmu_map().
 * fault_take_back - the backend could not carry out what the table says: zap the block. No lock held. The fault tries the page
 * alone once, before it fails.
 */
int fault_install(struct shadow *sh, struct fault *f);
void fault_take_back(struct shadow *sh, const struct fault *f);

/* fault_restore - the table has what the fault asks for: let a backend that may have lost it map it again. No lock held. */
int fault_restore(struct shadow *sh, struct fault *f);

#endif
