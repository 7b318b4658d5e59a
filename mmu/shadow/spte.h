/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Shadow page table entries: the Intel EPT layout, bit for bit, and what may follow what.
 * Owns the encoding. ept.c writes entries, everybody in shadow/ may decode. Knows nothing of tables or locks.
 *
 *	63   59 58  57  56        52 51             12 11 10  9 8 7  6  5  3 2 1 0
 *	+------+---+---+------------+-----------------+--+--+--+-+--+---+----+-+-+-+
 *	|  0   | MW| HW|     0      | frame or table  |MP| 0| D|A|PS|IPT| MT |X|W|R|
 *	+------+---+---+------------+-----------------+--+--+--+-+--+---+----+-+-+-+
 *
 *	R W X	rights. MT IPT  memory type (6: write back) and "ignore PAT". PS  large page. A D  accessed, dirty
 *	MP	MMU-present (ignored by hardware): tells an entry in use from FROZEN and from nothing
 *	HW	host-writable: the primary lets the page be written		(EPT_SPTE_HOST_WRITABLE)
 *	MW	mmu-writable: no protection of the secondary's own is in the way	(EPT_SPTE_MMU_WRITABLE)
 *
 * W implies MW implies HW. The address of a table is its address in this process; that of a leaf is its frame's in
 * the pool.
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
#define SPTE_HOST_WRITABLE (1UL << 57)
#define SPTE_MMU_WRITABLE  (1UL << 58)

/* Not present to hardware and not to be overwritten: somebody is tearing the entry down. Kernel: FROZEN_SPTE. */
#define SPTE_FROZEN	   0x5a0UL
#define SPTE_NONE	   0UL

#define SPTE_LEVELS	   4
#define SPTE_LEVEL_4K	   1
#define SPTE_LEVEL_BITS	   9
#define SPTE_PER_TABLE	   (1UL << SPTE_LEVEL_BITS)
#define SPTE_GFN_BITS	   (SPTE_LEVELS * SPTE_LEVEL_BITS)

static_assert(!(SPTE_FROZEN & (SPTE_MMU_PRESENT | SPTE_READ | SPTE_WRITE | SPTE_EXEC)),
	      "FROZEN must not be present");
static_assert(!((SPTE_HOST_WRITABLE | SPTE_MMU_WRITABLE | SPTE_MMU_PRESENT) & SPTE_ADDR_MASK),
	      "bits in the address");

static inline bool spte_is_present(uint64_t spte)
{
	return spte & SPTE_MMU_PRESENT;
}

static inline bool spte_is_writable(uint64_t spte)
{
	return spte & SPTE_WRITE;
}

/* Only a leaf has a memory type, so that level 1 needs no special case. */
static inline bool spte_is_leaf(uint64_t spte, int level)
{
	return spte_is_present(spte) && (level == SPTE_LEVEL_4K || (spte & SPTE_LARGE));
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

static inline uint64_t spte_make_table(const void *table)
{
	return (uint64_t)(uintptr_t)table | SPTE_MMU_PRESENT | SPTE_READ | SPTE_WRITE | SPTE_EXEC |
	       SPTE_ACCESSED;
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

/*
 * spte_check_change - is @old -> @new lawful at @level? The transitions of an entry, all of them:
 *
 *	none -> leaf, table		install
 *	leaf -> leaf			same frame, same size: rights, A and D change
 *	leaf -> none, FROZEN		zap
 *	table -> FROZEN, none		tear down
 *	FROZEN -> none			torn down
 *	FROZEN -> leaf			repointed: read-only, 4K, the old one flushed. spte_check_repoint() alone has it
 *
 * Kernel: handle_changed_spte(); a present leaf never changes its frame (M17).
 */
bool spte_check_change(uint64_t old, uint64_t new, int level);

/* spte_check_repoint - may the leaf that was frozen for another frame become @new? Kernel: kvm_mmu_notifier_change_pte(). */
static inline bool spte_check_repoint(uint64_t new)
{
	return spte_is_leaf(new, SPTE_LEVEL_4K) && (new &SPTE_READ) && !(new &SPTE_LARGE) &&
	       !(new &(SPTE_WRITE | SPTE_MMU_WRITABLE | SPTE_HOST_WRITABLE));
}

#endif
