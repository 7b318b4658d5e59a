/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The table: four levels of sptes, leaves of 4K, 2M and 1G. The only writer of entries, through one transition.
 * Owns its pages. The rest of shadow/ calls, in an RCU section or under shadow's mmu_lock as stated. Knows no slot, no
 * host, no backend.
 *
 * A tree hangs from a root. One root is current: who walks for an access, and who installs, uses that. A root that was
 * swapped out is invalid: nothing reaches pages through it any more, but until it is torn down its leaves are zapped
 * like all others (M14). "All roots" below means the current one and the invalid ones.
 *
 * Where mmu_lock is asked for, the caller flushes the span before it drops the lock.
 */
#ifndef UMBRA_MMU_SHADOW_EPT_H
#define UMBRA_MMU_SHADOW_EPT_H

#include <stdatomic.h>

#include "mmu/base/sync.h"
#include "mmu/shadow/spte.h"

struct ept_page; /* one table; its address stands for a root, too */
struct ept_root;
struct ept_chunk;

struct ept_opts {
	bool ad; /* whoever walks the table sets A and D; else leaves are born with SPTE_AD_DISABLED */
	/*
	 * optional. A store may have gone through the leaf, and nothing in the table says so any more. Called in the call
	 * that took D (or W, without A and D) away; neighbours come together. Must not call into the ept.
	 * Kernel: kvm_set_pfn_dirty() in handle_changed_spte().
	 */
	void (*dirtied)(void *ctx, gfn_t gfn, uint64_t npages);
	void *ctx;
	unsigned chunk; /* tables are allocated so many at a time; 0: as many as is good */
};

/*
 * Locks used to protect members:
 *	I	immutable after init
 *	a	atomic
 *	u	changed holding shadow's mmu_lock for writing; read in RCU sections
 *	r	roots_lock; read in RCU sections
 *	m	mem_lock
 */
struct ept {
	struct ept_opts opts;		    /* [I] */
	_Atomic(struct ept_page *) root;    /* [u] the current one */
	struct lock roots_lock;		    /* a leaf */
	_Atomic(struct ept_root *) invalid; /* [r] */
	_Atomic uint64_t dead;	      /* [a] list of tables that left their tree, for ept_reap() */
	_Atomic uint64_t splits;      /* [a] large leaves that have become tables, ever */
	_Atomic uint64_t table_pages; /* [a] in trees, or dead and not reaped */
	_Atomic uint64_t dead_pages;  /* [a] of these, dead: at least as many */
	_Atomic uint64_t leaves[SPTE_LEVELS + 1]; /* [a] present now, by level, in all trees */
	struct lock mem_lock;			  /* a leaf */
	struct ept_chunk *chunks;		  /* [m] freed at the end */
	struct ept_page *free; /* [m] tables of them, each in entry 0 of another */
};

/*
 * ept_init - an empty table. 0 or -ENOMEM. @opts NULL: with A and D, no hook.
 * ept_fini - free all. No leaf is present any more (bug), nobody walks.
 */
int ept_init(struct ept *ept, const struct ept_opts *opts);
void ept_fini(struct ept *ept);

/* ept_make_leaf - a leaf for this table. @fn is aligned to the size. */
static inline uint64_t ept_make_leaf(const struct ept *ept, fn_t fn, bool writable, int level)
{
	return spte_make_sized(fn, writable, level, ept->opts.ad);
}

/* ept_count_leaves - of all sizes, now. */
uint64_t ept_count_leaves(struct ept *ept);

/* ---- Look up and install ---- */

/* ept_root - the current root, for a fault's stale check and what it installs. RCU section or mmu_lock. */
struct ept_page *ept_root(struct ept *ept);

/* ept_peek - the leaf over @gfn in the current tree; SPTE_NONE without one. @level (may be NULL): its own. RCU section or mmu_lock. */
uint64_t ept_peek(struct ept *ept, gfn_t gfn, int *level);

/*
 * ept_hole_level - the largest level (1..3) at which nothing is mapped or linked over @gfn: what may be installed there.
 * 0: a leaf or FROZEN is there. RCU section or mmu_lock.
 */
int ept_hole_level(struct ept_page *root, gfn_t gfn);

/*
 * ept_is_empty - is the entry of @level over @gfn a table without a leaf in or below it? It may get one at once: a hint, but to
 * who holds mmu_lock for writing. RCU section or mmu_lock.
 */
bool ept_is_empty(struct ept_page *root, gfn_t gfn, int level);

/*
 * ept_populate - make tables down to @level exist for [gfn, end) of @root, but where a larger leaf or FROZEN is, so that
 * ept_install() cannot run out of memory in the middle. RCU section. 0 or -ENOMEM. Kernel: topping up the memory caches.
 */
int ept_populate(struct ept *ept, struct ept_page *root, gfn_t gfn, gfn_t end, int level);

/*
 * ept_install - change the entry of @level over @gfn from @old to @new by compare-and-swap. mmu_lock held for reading,
 * in an RCU section; without the lock only if both are leaves: rights, A and D, the fast path. False: changed meanwhile, or
 * no table leads to that level. Kernel: tdp_mmu_set_spte_atomic(), fast_pf_fix_direct_spte().
 */
bool ept_install(struct ept *ept, struct ept_page *root, gfn_t gfn, int level, uint64_t old,
		 uint64_t new);

/*
 * ept_install_run - install 4K leaves for @n pages with consecutive frames; @leaf is the first. Stops at the first entry
 * that is not empty or has no table. Returns the number installed; one descent a table. mmu_lock for reading, RCU section.
 */
uint64_t ept_install_run(struct ept *ept, struct ept_page *root, gfn_t gfn, uint64_t n,
			 uint64_t leaf);

/* ept_taken_run - how many of @n pages from @gfn on have something in their 4K entries, before the first that has not. As a hint; RCU section. */
uint64_t ept_taken_run(struct ept_page *root, gfn_t gfn, uint64_t n);

/* ---- Take away ---- */

/* From the first to the last leaf that a call has touched, whole: what to flush. */
struct ept_span {
	gfn_t start, end; /* start == end: nothing */
	uint64_t count;	  /* leaves touched, in pages of 4K */
};

/* ept_span_join - let @span reach over @other, too. */
static inline void ept_span_join(struct ept_span *span, struct ept_span other)
{
	if (!other.count)
		return;
	if (span->count) {
		other.start = min_u64(other.start, span->start);
		other.end = max_u64(other.end, span->end);
		other.count += span->count;
	}
	*span = other;
}

/*
 * ept_zap - remove all leaves in [gfn, end) of all roots. A larger leaf of which the range has a part is split first, so
 * that its other pages stay; without memory it goes whole, and the span says so. mmu_lock for writing.
 * Kernel: tdp_mmu_zap_leafs().
 */
struct ept_span ept_zap(struct ept *ept, gfn_t gfn, gfn_t end);

/*
 * ept_wrprotect - take rights from all leaves in [gfn, end) that have them; the span has those. mmu_lock either way.
 *	EPT_WP_HOST	the primary lets nobody write: W, MW and HW go, in all roots
 *	EPT_WP_LOG	W goes, in the current root; whoever stores next asks, and gets it by the fast path
 *	EPT_WP_SPLIT	beside either: a large leaf that has the rights is split first down to 4K, as far as the range has it
 *	EPT_WP_PART	the same of a leaf of which the range has a part only, so that its other pages keep them
 *			Without memory, and without these: the whole leaf is protected
 * Kernel: tdp_mmu_wrprot_gfn_range().
 */
enum { EPT_WP_HOST = 1, EPT_WP_LOG = 2, EPT_WP_SPLIT = 4, EPT_WP_PART = 8 };
struct ept_span ept_wrprotect(struct ept *ept, gfn_t gfn, gfn_t end, int what);

/*
 * ept_clear_dirty - clear D (without A and D: W) of leaves in [gfn, end) of the current root where it is set, and tell each by
 * @dirty, with the leaf's range. The hook dirtied is not told. mmu_lock either way. Kernel: clear_dirty_gfn_range().
 */
struct ept_span ept_clear_dirty(struct ept *ept, gfn_t gfn, gfn_t end,
				void (*dirty)(void *ctx, gfn_t gfn, uint64_t npages), void *ctx);

/*
 * ept_tell_dirty - clear D of leaves in [gfn, end) of the invalid roots; the hook dirtied is told before this returns. mmu_lock
 * for writing: no teardown is between a leaf and the hook. ept_has_invalid - is there an invalid root? None comes with
 * mmu_lock held either way; if there is none, the hook has been told of all that were.
 */
void ept_tell_dirty(struct ept *ept, gfn_t gfn, gfn_t end);
bool ept_has_invalid(struct ept *ept);

/* ---- Age ---- */

/*
 * ept_age - were leaves of [gfn, end) used, in any root? Clears A, or makes them access-tracked without A and D (then a leaf
 * loses W, and dirtied is told). The span has those that were young. RCU section, no lock. Kernel: kvm_tdp_mmu_age_gfn_range().
 * ept_test_young - the same question, nothing is changed.
 */
struct ept_span ept_age(struct ept *ept, gfn_t gfn, gfn_t end);
bool ept_test_young(struct ept *ept, gfn_t gfn, gfn_t end);

/*
 * ept_walk - what hardware does for an access: find the leaf in the current tree, check the right, set A, and D for a store.
 * Returns the leaf as it is then, SPTE_NONE when the access faults. RCU section.
 */
uint64_t ept_walk(struct ept *ept, gfn_t gfn, bool write, int *level);

/* ---- Repoint ---- */

/*
 * ept_repoint_begin - freeze the leaf of @gfn to give it another frame. A large one is split first; leaves of invalid
 * roots are zapped. 1: frozen; 0: no leaf; -ENOMEM: a large leaf stands as it was, zap it. mmu_lock for writing.
 * ept_repoint_end - let it reach @fn, read-only. Between the two the caller flushes the page: the one way in which a leaf
 * changes its frame without a fault. mmu_lock held throughout.
 */
int ept_repoint_begin(struct ept *ept, gfn_t gfn);
void ept_repoint_end(struct ept *ept, gfn_t gfn, fn_t fn);

/* ---- Large leaves ---- */

/*
 * ept_split - put a table of smaller leaves in the place of the large leaf over @gfn, one level down, in the current tree.
 * The table is filled off-line and swapped in at once; it says what the leaf said (A, D, rights), so there is nothing to
 * flush. mmu_lock either way, RCU section. 0 (also without a large leaf), -ENOMEM, -EAGAIN (the leaf changed: ask again).
 * Kernel: tdp_mmu_split_huge_page().
 */
int ept_split(struct ept *ept, gfn_t gfn);

/*
 * ept_collapse - the other way: the table below the entry of @level (2, 3) over @gfn, if its 512 leaves are all there, of
 * consecutive frames, aligned, with equal rights, becomes one leaf, with A and D of all; with W (MW is a right) only if all have
 * it. FROZEN meanwhile. False: it may not, nothing has changed. mmu_lock for writing; the caller flushes the leaf's range before
 * it drops the lock.
 */
bool ept_collapse(struct ept *ept, gfn_t gfn, int level);

/*
 * ept_prune - unlink tables of the current tree that lie in [gfn, end) wholly and have no leaf: a large leaf may be
 * installed there again. Returns how many. mmu_lock for writing.
 */
uint64_t ept_prune(struct ept *ept, gfn_t gfn, gfn_t end);

/* ---- Roots ---- */

/*
 * ept_root_alloc - an empty root; NULL without memory. ept_root_free - give back one that was never swapped in.
 * ept_root_swap - make @fresh the current root, in constant time; *@old is invalid from now on.
 * mmu_lock for writing; the caller flushes everything before it drops the lock. Kernel: kvm_tdp_mmu_invalidate_roots().
 */
struct ept_page *ept_root_alloc(struct ept *ept);
void ept_root_free(struct ept *ept, struct ept_page *root);
void ept_root_swap(struct ept *ept, struct ept_page *fresh, struct ept_page **old);

/*
 * ept_root_teardown - zap and unlink up to @budget tables of an invalid root. True: it is empty, dead, and must not be named
 * again. One thread at a time for a root. mmu_lock held for reading (beside installs that still lead there and will be
 * refused), in an RCU section. Nothing needs a flush. Kernel: tdp_mmu_zap_root().
 */
bool ept_root_teardown(struct ept *ept, struct ept_page *root, unsigned budget);

/* ept_reap - free the tables that are dead: waits for a grace period if there are any. No RCU section, no lock held. */
void ept_reap(struct ept *ept);

/* ---- For checkers ---- */

/* ept_for_each - visit present leaves in [gfn, end) of the current root (_invalid: of each invalid root). As ept_peek(). */
void ept_for_each(struct ept *ept, gfn_t gfn, gfn_t end,
		  void (*visit)(void *ctx, gfn_t gfn, uint64_t spte, int level), void *ctx);
void ept_for_each_invalid(struct ept *ept, gfn_t gfn, gfn_t end,
			  void (*visit)(void *ctx, gfn_t gfn, uint64_t spte, int level), void *ctx);

/*
 * ept_check - is the table sound in itself? No entry is frozen or malformed, in any root, and what is counted is there.
 * Calls @wrong for each thing that is not so, returns their number. Nobody changes the table. RCU section.
 */
uint64_t ept_check(struct ept *ept,
		   void (*wrong)(void *ctx, gfn_t gfn, uint64_t spte, const char *what), void *ctx);

#endif
