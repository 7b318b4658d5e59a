/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which pages of a slot were stored to: a bitmap a slot, with get and clear, as KVM has it. docs/dirty.md tells the whole.
 * Owns the bitmaps of slots with MEMSLOT_LOG_DIRTY. The embedder calls, any thread, beside running faults. Knows no
 * migration and no screen: who copies the pages, and when, is the embedder's.
 *
 * The promise: a store that is over when a get begins is in its bitmap or was in an earlier one, and one beside it in this
 * one or in a later one. While a fault of another thread makes the same page writable, a store counts as beside. So a get
 * that begins when nobody stores and no fault is under way has them all. In manual mode a page that is copied after the
 * clear misses no store that no later get shows.
 */
#ifndef UMBRA_MMU_SHADOW_DIRTY_H
#define UMBRA_MMU_SHADOW_DIRTY_H

#include "mmu/shadow/shadow.h"

/* How logging works from now on, in slots where it is turned on from now on. */
enum {
	/* get reports and changes nothing; clear protects what was copied. Kernel: KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE. */
	SHADOW_DIRTY_MANUAL = 1u << 0,
	/* All pages begin as dirty, and are protected at their first clear. With MANUAL. Kernel: KVM_DIRTY_LOG_INITIALLY_SET. */
	SHADOW_DIRTY_INITIALLY_SET = 1u << 1,
	/* Stores come from the backend (backend_ops.collect_dirty) where it has any: nothing is protected here. */
	SHADOW_DIRTY_BACKEND = 1u << 2,
};

/*
 * shadow_dirty_configure - choose how. 0; -EINVAL: other flags, or INITIALLY_SET without MANUAL or with BACKEND;
 * -EBUSY: a slot logs, and not so. Takes slots_lock. Kernel: KVM_ENABLE_CAP of KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2.
 */
int shadow_dirty_configure(struct shadow *shadow, unsigned how);

/* Words of a bitmap of @npages: bit n % 64 of word n / 64 is page n of the slot. */
static inline uint64_t shadow_dirty_words(uint64_t npages)
{
	return (npages + 63) / 64;
}

/*
 * shadow_get_dirty_log - the pages of slot @id that were stored to since the last get, in shadow_dirty_words() words of
 * @bitmap, which are overwritten. On return the next store to each of them is seen again (not in manual mode).
 * Takes slots_lock, and mmu_lock in parts, so that faults go on beside it. 0; -ENOENT: no such slot, or it does not log;
 * the backend's errno: nothing is lost, but which pages it were is; all of the slot are in the next get's bitmap, and @bitmap is
 * zeros. Kernel: kvm_get_dirty_log_protect().
 */
int shadow_get_dirty_log(struct shadow *shadow, unsigned id, uint64_t *bitmap);

/*
 * shadow_clear_dirty_log - pages [first, first + npages) of slot @id whose bits are set, from bit 0 of @bitmap on, are about
 * to be copied: on return they are clean, and the next store to each is seen. Only bits that get has told can be cleared.
 * Locks as get. 0; -EINVAL: @first is no multiple of 64, or @npages is none and does not end the slot, or beyond the slot;
 * -ENOENT as get. Bits beyond the slot are ignored. Kernel: kvm_clear_dirty_log_protect().
 */
int shadow_clear_dirty_log(struct shadow *shadow, unsigned id, uint64_t first, uint64_t npages,
			   const uint64_t *bitmap);

#endif
