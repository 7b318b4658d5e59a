/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The table: four levels of sptes. The only writer of entries.
 * Owns its pages. shadow.c and fault.c call, under shadow's mmu_lock as stated. Knows no slot, no host, no backend.
 */
#ifndef UMBRA_MMU_SHADOW_EPT_H
#define UMBRA_MMU_SHADOW_EPT_H

#include <stdatomic.h>

#include "mmu/shadow/spte.h"

struct ept_page;

struct ept {
	struct ept_page *root;
	_Atomic uint64_t table_pages; /* pages of the table now, root included */
	_Atomic uint64_t leaves;      /* present leaves now */
};

/* 0 or -ENOMEM. ept_fini() frees all table pages; no leaf is present any more (bug). */
int ept_init(struct ept *ept);
void ept_fini(struct ept *ept);

/* ept_peek - the leaf entry of @gfn, SPTE_NONE if there is none. Needs no lock: tables live as long as the ept. */
uint64_t ept_peek(struct ept *ept, gfn_t gfn);

/*
 * ept_populate - make the tables down to level 1 exist for [gfn, end), so that ept_install() cannot run out of
 * memory in the middle. Needs no lock: tables are only ever added. 0 or -ENOMEM. Kernel: topping up the memory caches.
 */
int ept_populate(struct ept *ept, gfn_t gfn, gfn_t end);

/*
 * ept_install - change the leaf of @gfn from @old to @new by compare-and-swap. Tables exist. mmu_lock held for reading.
 * False: another installer was faster. Kernel: tdp_mmu_set_spte_atomic().
 */
bool ept_install(struct ept *ept, gfn_t gfn, uint64_t old, uint64_t new);

/* The span of leaves that a walk has touched: what to flush. */
struct ept_span {
	gfn_t start, end; /* start == end: nothing */
	uint64_t count;
};

/*
 * ept_zap - remove all leaves in [gfn, end). mmu_lock held for writing. The caller flushes the span before it drops
 * the lock. Kernel: tdp_mmu_zap_leafs().
 */
struct ept_span ept_zap(struct ept *ept, gfn_t gfn, gfn_t end);

/*
 * ept_wrprotect - take the right to store from all leaves in [gfn, end); the span has those that had it. mmu_lock held for
 * writing. The caller flushes the span before it drops the lock. Kernel: tdp_mmu_wrprot_gfn_range().
 */
struct ept_span ept_wrprotect(struct ept *ept, gfn_t gfn, gfn_t end);

/*
 * ept_repoint_begin - freeze the leaf of @gfn, if it has one of 4K, to give it another frame; false without one.
 * ept_repoint_end - let it reach @fn, read-only. Between the two the caller flushes: the one way in which a leaf
 * changes its frame without a fault. mmu_lock held for writing throughout.
 */
bool ept_repoint_begin(struct ept *ept, gfn_t gfn);
void ept_repoint_end(struct ept *ept, gfn_t gfn, fn_t fn);

/* ept_for_each - visit present leaves in [gfn, end), for the checker. mmu_lock held either way. */
void ept_for_each(struct ept *ept, gfn_t gfn, gfn_t end,
		  void (*visit)(void *ctx, gfn_t gfn, uint64_t spte), void *ctx);

#endif
