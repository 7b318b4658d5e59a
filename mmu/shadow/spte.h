/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Shadow page table entries: the Intel EPT layout, bit for bit, and what may follow what.
 * Owns the encoding. ept*.c write entries, everybody in shadow/ may decode. Knows nothing of tables or locks.
 *
 *	63   59 58  57  56  55  54  53  52 51             12 11 10  9 8 7  6  5  3 2 1 0
 *	+------+---+---+---+---+---+---+--+-----------------+--+--+--+-+--+---+----+-+-+-+
 *	|  0   | MW| HW| SX| 0 | SR| 0 |ND| frame or table  |MP| 0| D|A|PS|IPT| MT |X|W|R|
 *	+------+---+---+---+---+---+---+--+-----------------+--+--+--+-+--+---+----+-+-+-+
 *
 *	R W X	rights. MT IPT  memory type (6: write back) and "ignore PAT". PS  large page. A D  accessed, dirty
 *	MP	MMU-present (ignored by hardware): tells an entry in use from FROZEN and from nothing
 *	ND	whoever walks this leaf sets no A and D					(SPTE_TDP_AD_DISABLED)
 *	SR SX	R and X of a leaf that is access-tracked: it has no rights, so that its next use is a fault
 *	HW	host-writable: the primary lets the page be written			(EPT_SPTE_HOST_WRITABLE)
 *	MW	mmu-writable: no protection of the secondary's own is in the way	(EPT_SPTE_MMU_WRITABLE)
 *
 * W implies MW implies HW. A and D are never set beside ND; SR and SX only beside ND and without R, W and X. The address
 * of a table is its address in this process; that of a leaf is its frame's in the pool, aligned to the size of the leaf.
 */
#ifndef UMBRA_MMU_SHADOW_SPTE_H
#define UMBRA_MMU_SHADOW_SPTE_H

#include <assert.h>

#include "mmu/base/addr.h"

#define SPTE_READ	   (1UL << 0)
#define SPTE_WRITE	   (1UL << 1)
#define SPTE_EXEC	   (1UL << 2)
#define SPTE_MT_WB	   (6UL << 3)
#define SPTE_IPAT	   (1UL << 6)
#define SPTE_LARGE	   (1UL << 7)
#define SPTE_ACCESSED	   (1UL << 8)
#define SPTE_DIRTY	   (1UL << 9)
#define SPTE_MMU_PRESENT   (1UL << 11)
#define SPTE_ADDR_MASK	   0x000ffffffffff000UL
#define SPTE_AD_DISABLED   (1UL << 52)
#define SPTE_HOST_WRITABLE (1UL << 57)
#define SPTE_MMU_WRITABLE  (1UL << 58)

#define SPTE_RIGHTS	   (SPTE_READ | SPTE_WRITE | SPTE_EXEC)
#define SPTE_MAY_WRITE	   (SPTE_WRITE | SPTE_MMU_WRITABLE | SPTE_HOST_WRITABLE)
/* Kernel: SHADOW_ACC_TRACK_SAVED_BITS_SHIFT. */
#define SPTE_SAVED_SHIFT   54
#define SPTE_SAVED	   ((SPTE_READ | SPTE_EXEC) << SPTE_SAVED_SHIFT)

/* Not present to hardware and not to be overwritten: somebody is tearing the entry down. Kernel: FROZEN_SPTE. */
#define SPTE_FROZEN	   0x5a0UL
#define SPTE_NONE	   0UL

#define SPTE_LEVELS	   4
#define SPTE_LEVEL_4K	   1
#define SPTE_LEVEL_2M	   2
#define SPTE_LEVEL_1G	   3
#define SPTE_LEVEL_BITS	   9
#define SPTE_PER_TABLE	   (1UL << SPTE_LEVEL_BITS)
#define SPTE_GFN_BITS	   (SPTE_LEVELS * SPTE_LEVEL_BITS)

static_assert(!(SPTE_FROZEN & (SPTE_MMU_PRESENT | SPTE_RIGHTS)), "FROZEN must not be present");
static_assert(!((SPTE_HOST_WRITABLE | SPTE_MMU_WRITABLE | SPTE_MMU_PRESENT | SPTE_AD_DISABLED |
		 SPTE_SAVED) &
		SPTE_ADDR_MASK),
	      "bits in the address");
static_assert(!(SPTE_SAVED & (SPTE_HOST_WRITABLE | SPTE_MMU_WRITABLE | SPTE_AD_DISABLED)),
	      "saved rights over software bits");

static inline bool spte_is_present(uint64_t spte)
{
	return spte & SPTE_MMU_PRESENT;
}

/* A table that is dead keeps its link in the address bits of an entry; the rest of FROZEN still says so. */
static inline bool spte_is_frozen(uint64_t spte)
{
	return (spte & ~SPTE_ADDR_MASK) == SPTE_FROZEN;
}

static inline bool spte_is_writable(uint64_t spte)
{
	return spte & SPTE_WRITE;
}

/* At level 1 there are only leaves; above, PS tells. */
static inline bool spte_is_leaf(uint64_t spte, int level)
{
	return spte_is_present(spte) && (level == SPTE_LEVEL_4K || (spte & SPTE_LARGE));
}

static inline bool spte_is_table(uint64_t spte, int level)
{
	return spte_is_present(spte) && !spte_is_leaf(spte, level);
}

/* Of leaves. Kernel: spte_ad_enabled(), is_access_track_spte(). */
static inline bool spte_has_ad(uint64_t spte)
{
	return !(spte & SPTE_AD_DISABLED);
}

static inline bool spte_is_access_tracked(uint64_t spte)
{
	return (spte & SPTE_AD_DISABLED) && !(spte & SPTE_RIGHTS);
}

/* Was the leaf used, may a store have gone through it, as far as the entry can tell? Kernel: is_accessed_spte(), is_dirty_spte(). */
static inline bool spte_is_young(uint64_t spte)
{
	return spte_has_ad(spte) ? spte & SPTE_ACCESSED : !spte_is_access_tracked(spte);
}

static inline bool spte_is_dirty(uint64_t spte)
{
	return spte & (spte_has_ad(spte) ? SPTE_DIRTY : SPTE_WRITE);
}

/* The leaf without rights, to learn of its next use; and back. Without W either way. Kernel: mark_spte_for_access_track(). */
static inline uint64_t spte_track_access(uint64_t spte)
{
	if (spte_is_access_tracked(spte))
		return spte;
	return (spte & ~SPTE_RIGHTS) | (spte & (SPTE_READ | SPTE_EXEC)) << SPTE_SAVED_SHIFT;
}

/* Kernel: restore_acc_track_spte(). */
static inline uint64_t spte_restore_access(uint64_t spte)
{
	return (spte & ~SPTE_SAVED) | (spte & SPTE_SAVED) >> SPTE_SAVED_SHIFT;
}

/*
 * May others change the leaf beside a holder of mmu_lock for writing: hardware sets A and D, a fast fault gives W back,
 * aging takes? Then it changes by one atomic operation only. Kernel: spte_has_volatile_bits().
 */
static inline bool spte_is_volatile(uint64_t spte)
{
	if (!spte_has_ad(spte))
		return true;
	return !(spte & SPTE_ACCESSED) ||
	       ((spte & SPTE_MMU_WRITABLE) &&
		(spte & (SPTE_WRITE | SPTE_DIRTY)) != (SPTE_WRITE | SPTE_DIRTY));
}

static inline fn_t spte_fn(uint64_t spte)
{
	return (spte & SPTE_ADDR_MASK) >> PAGE_SHIFT;
}

static inline uint64_t spte_make_leaf(fn_t fn, bool writable)
{
	return fn << PAGE_SHIFT | SPTE_MMU_PRESENT | SPTE_READ | SPTE_EXEC | SPTE_MT_WB |
	       SPTE_IPAT | SPTE_ACCESSED |
	       (writable ? SPTE_WRITE | SPTE_DIRTY | SPTE_HOST_WRITABLE | SPTE_MMU_WRITABLE : 0);
}

/* The same of any size, and for those who walk without A and D. */
static inline uint64_t spte_make_sized(fn_t fn, bool writable, int level, bool ad)
{
	uint64_t spte = spte_make_leaf(fn, writable) | (level > SPTE_LEVEL_4K ? SPTE_LARGE : 0);

	return ad ? spte : (spte & ~(SPTE_ACCESSED | SPTE_DIRTY)) | SPTE_AD_DISABLED;
}

static inline uint64_t spte_make_table(const void *table)
{
	return (uint64_t)(uintptr_t)table | SPTE_MMU_PRESENT | SPTE_RIGHTS | SPTE_ACCESSED;
}

/* Pages that an entry of @level spans, and the index of @gfn's entry in its table. */
static inline uint64_t spte_level_pages(int level)
{
	return 1UL << ((level - 1) * SPTE_LEVEL_BITS);
}

static inline unsigned spte_index(gfn_t gfn, int level)
{
	return (gfn >> ((level - 1) * SPTE_LEVEL_BITS)) & (SPTE_PER_TABLE - 1);
}

/* The first gfn of the entry of @level over @gfn. */
static inline gfn_t spte_level_start(gfn_t gfn, int level)
{
	return gfn & ~(spte_level_pages(level) - 1);
}

/* What entry @index of the table that takes the place of the large leaf @spte of @level says. Kernel: make_small_spte(). */
static inline uint64_t spte_make_small(uint64_t spte, int level, unsigned index)
{
	uint64_t small = spte + (index * spte_level_pages(level - 1) << PAGE_SHIFT);

	return level - 1 > SPTE_LEVEL_4K ? small : small & ~SPTE_LARGE;
}

#define SPTE_LEAF_BITS                                                                    \
	(SPTE_RIGHTS | SPTE_MT_WB | SPTE_IPAT | SPTE_LARGE | SPTE_ACCESSED | SPTE_DIRTY | \
	 SPTE_MMU_PRESENT | SPTE_ADDR_MASK | SPTE_AD_DISABLED | SPTE_SAVED | SPTE_MAY_WRITE)

/* spte_check_leaf, spte_check_table - is the present entry well-formed at @level? */
static inline bool spte_check_leaf(uint64_t spte, int level)
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

static inline bool spte_check_table(uint64_t spte, int level)
{
	return level > SPTE_LEVEL_4K && (spte & SPTE_ADDR_MASK) &&
	       (spte & ~SPTE_ADDR_MASK) == spte_make_table((void *)0);
}

/*
 * spte_check_change - is @old -> @new lawful at @level? The transitions of an entry, all of them:
 *
 *	none -> leaf, table	install
 *	leaf -> leaf		same frame, same size: rights, A and D change
 *	leaf -> none, FROZEN	zap
 *	table -> FROZEN		tear down, collapse
 *	FROZEN -> none		torn down
 *	leaf -> table		split: the children say what the leaf said. spte_check_split() alone has it
 *	FROZEN -> large leaf	collapsed: the frozen children have said so together. spte_check_collapse() alone has it
 *	FROZEN -> leaf		repointed: read-only, 4K, the old one flushed. spte_check_repoint() alone has it
 *
 * And a leaf is well-formed: the layout above, R or access-tracked, 4K at level 1, 2M at 2, 1G at 3, none at 4.
 * In a table that has left its tree none -> FROZEN is lawful, too: nothing may be installed there any more.
 * Kernel: handle_changed_spte(); a present leaf never changes its frame (M17).
 */
static inline bool spte_check_change(uint64_t old, uint64_t new, int level)
{
	if (new == SPTE_FROZEN)
		return spte_is_present(old);
	if (new == SPTE_NONE)
		return old == SPTE_FROZEN || spte_is_leaf(old, level);
	if (!spte_is_present(new) || spte_is_frozen(old))
		return false;
	if (!spte_is_leaf(new, level))
		return old == SPTE_NONE && spte_check_table(new, level);
	if (!spte_check_leaf(new, level))
		return false;
	return old == SPTE_NONE || (spte_is_leaf(old, level) && spte_fn(old) == spte_fn(new) &&
				    spte_has_ad(old) == spte_has_ad(new));
}

/* spte_check_split - may @child, not linked yet, take the place of the large leaf @old of @level? */
bool spte_check_split(uint64_t old, const _Atomic uint64_t child[SPTE_PER_TABLE], int level);

/* spte_check_collapse - may @new, at @level, take the place of a table whose entry 0 was @first? */
bool spte_check_collapse(uint64_t first, uint64_t new, int level);

/* spte_check_repoint - may the leaf that was frozen for another frame become @new? Kernel: kvm_mmu_notifier_change_pte(). */
static inline bool spte_check_repoint(uint64_t new)
{
	return spte_is_leaf(new, SPTE_LEVEL_4K) && (new &SPTE_READ) && !(new &SPTE_LARGE) &&
	       !(new &SPTE_MAY_WRITE);
}

#endif
