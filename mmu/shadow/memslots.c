/* SPDX-License-Identifier: BSD-2-Clause */
/* Slots that come, move, change their flags and go, beside faults and brackets. Kernel: kvm_set_memory_region(). */
#include <errno.h>

#include "mmu/base/mutant.h"
#include "mmu/shadow/shadow_priv.h"

/*
 * Put @new where @old is, while no bracket is open, so that the start and the end of each see the same slots and count
 * alike (M9). Later brackets wait at mn_lock only for the swap itself. On return nobody looks at @old.
 *
 *	change()				fault (RCU section)		bracket
 *	stage in the set nobody looks at
 *						set = current, slot in it
 *									mn_active++
 *									set = current
 *	wait for mn_active == 0						mn_active--
 *	current = that set
 *						(goes on with the slot it has)	mn_active++, the new set
 *	sync_rcu_wait()				section ends
 *	stage the same in the other set, which has no reader now
 */
static void change(struct shadow *sh, struct memslot *old, struct memslot *new)
{
	lock_assert_held(&sh->slots_lock);
	slots_stage(&sh->slots, old, new);
	lock_acquire(&sh->mn_lock);
	while (sh->mn_active && !mutant(9))
		cond_wait(&sh->mn_changed, &sh->mn_lock);
	slots_publish(&sh->slots);
	cond_broadcast(&sh->mn_changed); /* for faults that met an invalid slot */
	lock_release(&sh->mn_lock);
	if (!mutant(91))
		sync_rcu_wait();
	slots_mirror(&sh->slots, old, new);
}

static int check_prot(struct shadow *sh, const struct memslot *slot, unsigned flags, fn_t *home)
{
	unsigned prot;
	int rc = hostmm_home(sh->mm, slot->hva, slot->npages, home, &prot);

	if (rc)
		return rc;
	return (flags & MEMSLOT_READONLY) || (prot & HOSTMM_PROT_WRITE) ? 0 : -EFAULT;
}

static bool is_valid_gfn_range(gfn_t gfn, uint64_t npages)
{
	uint64_t limit = 1UL << SPTE_GFN_BITS;

	return npages && npages <= limit && gfn <= limit - npages;
}

static int add_slot_locked(struct shadow *sh, struct memslot *slot)
{
	fn_t home;
	int rc;

	rc = check_prot(sh, slot, slot->flags, &home);
	if (rc)
		return rc;
	if (slots_find_id(&sh->slots, slot->id) ||
	    slots_overlap(&sh->slots, slot->gfn, memslot_end(slot), NULL))
		return -EEXIST;
	rc = sh->ops->slot_add(sh->backend_ctx, slot, home);
	if (rc)
		return rc;
	rc = shadow_dirty_prepare_slot(sh, NULL, slot);
	if (rc) {
		sh->ops->slot_remove(sh->backend_ctx, slot);
		return rc;
	}
	change(sh, NULL, slot);
	shadow_dirty_slot_changed(sh, NULL, slot);
	return 0;
}

int shadow_add_slot(struct shadow *sh, unsigned id, gfn_t gfn, uint64_t npages, hva_t hva,
		    unsigned flags)
{
	struct memslot like = { .id = id,
				.flags = flags,
				.gfn = gfn,
				.npages = npages,
				.hva = hva };
	struct memslot *slot;
	int rc;

	if (!is_valid_gfn_range(gfn, npages) || !is_page_aligned(hva) || (flags & ~MEMSLOT_FLAGS))
		return -EINVAL;
	slot = memslot_alloc(&like);
	if (!slot)
		return -ENOMEM;
	lock_acquire(&sh->slots_lock);
	rc = add_slot_locked(sh, slot);
	lock_release(&sh->slots_lock);
	if (rc)
		memslot_free(slot);
	return rc;
}

/*
 * Let nothing reach @old's pages: @invalid, which is like it but for the mark, stands in its place then.
 *
 *	make_invalid()				shadow_fault()
 *						seq = invalidate_seq
 *						slot = find()
 *	publish the slot as invalid
 *	lock for writing, seq++, zap, unlock
 *						lock for reading: seq has changed, RETRY
 *						slot is invalid: wait
 *	publish without the slot, or with it elsewhere
 *	sync_rcu_wait()				(the section ends with the last use of the slot)
 *	backend lets go
 *
 * While it is invalid the slot stays in sight of brackets: until the zap its pages are still reachable, and must not
 * be freed under it.
 */
static void make_invalid(struct shadow *sh, struct memslot *old, struct memslot *invalid)
{
	struct zap_batch z;

	change(sh, old, invalid);
	zap_begin(&z, sh);
	sync_fetch_add(&sh->invalidate_seq, !mutant(142)); /* faults that have found the slot */
	/* Nobody installs under an invalid slot, so others may come in between. */
	if (!mutant(172))
		zap_range_yield(&z, invalid, invalid->gfn, memslot_end(invalid));
	zap_end(&z);
	memslot_free(old);
}

static struct memslot *alloc_like(const struct memslot *old, gfn_t gfn, unsigned flags)
{
	struct memslot like = *old;

	like.gfn = gfn;
	like.flags = flags;
	return memslot_alloc(&like);
}

static struct memslot *alloc_invalid(const struct memslot *old)
{
	return alloc_like(old, old->gfn, old->flags | MEMSLOT_INVALID);
}

static int remove_slot_locked(struct shadow *sh, struct memslot *old)
{
	struct memslot *invalid;

	if (!old)
		return -ENOENT;
	/* Who comes next with the id must not find the owner of this one, nor his bits, which are as many as this one's pages. */
	if (dirty_is_owned(sh, old->id))
		return -EBUSY;
	invalid = alloc_invalid(old);
	if (!invalid)
		return -ENOMEM;
	make_invalid(sh, old, invalid);
	change(sh, invalid, NULL);
	shadow_dirty_slot_changed(sh, invalid, NULL);
	sh->ops->slot_remove(sh->backend_ctx, invalid);
	memslot_free(invalid);
	return 0;
}

int shadow_remove_slot(struct shadow *sh, unsigned id)
{
	int rc;

	lock_acquire(&sh->slots_lock);
	rc = remove_slot_locked(sh, slots_find_id(&sh->slots, id));
	lock_release(&sh->slots_lock);
	return rc;
}

/*
 *	move_slot_locked()		fault at the old gfn	fault at the new gfn	access to the backend
 *	invalid at the old gfn, zapped
 *					RETRY, sleeps		no slot
 *	backend: has the new gfn						asks there: no slot yet, waits
 *	publish at the new gfn
 *					wakes: no slot		installs
 *	wake all who wait at the backend					asks again: installs
 *
 * A frame is never reachable at both: the zap is over before the first fault there can install.
 */
static int move_slot_locked(struct shadow *sh, struct memslot *old, gfn_t gfn)
{
	struct memslot *invalid, *moved;

	if (!old)
		return -ENOENT;
	if (!is_valid_gfn_range(gfn, old->npages))
		return -EINVAL;
	if (old->gfn == gfn)
		return 0;
	if (dirty_is_owned(sh, old->id))
		return -EBUSY;
	if (slots_overlap(&sh->slots, gfn, gfn + old->npages, old))
		return -EEXIST;
	invalid = alloc_invalid(old);
	moved = alloc_like(old, gfn, old->flags);
	if (!invalid || !moved) {
		memslot_free(invalid);
		memslot_free(moved);
		return -ENOMEM;
	}
	make_invalid(sh, old, invalid);
	if (sh->ops->slot_move)
		sh->ops->slot_move(sh->backend_ctx, moved);
	change(sh, invalid, moved);
	shadow_dirty_slot_changed(sh, invalid, moved);
	memslot_free(invalid);
	sh->ops->wake(moved->backend, 0, moved->npages);
	return 0;
}

int shadow_move_slot(struct shadow *sh, unsigned id, gfn_t gfn)
{
	int rc;

	lock_acquire(&sh->slots_lock);
	rc = move_slot_locked(sh, slots_find_id(&sh->slots, id), gfn);
	lock_release(&sh->slots_lock);
	return rc;
}

/* Faults that found the slot writable are over, later ones install read-only: what is there by now is all there is. */
static void write_protect(struct shadow *sh, const struct memslot *slot)
{
	struct zap_batch z;

	zap_begin(&z, sh);
	if (!mutant(173))
		wrprotect_range_yield(&z, slot, slot->gfn, memslot_end(slot));
	zap_end(&z);
}

static int set_flags_locked(struct shadow *sh, struct memslot *old, unsigned flags)
{
	struct memslot *next;
	bool log_ends;
	fn_t home;
	int rc;

	if (!old)
		return -ENOENT;
	if (old->flags == flags)
		return 0;
	log_ends = old->flags & ~flags & MEMSLOT_LOG_DIRTY;
	rc = check_prot(sh, old, flags, &home);
	if (rc)
		return rc;
	next = alloc_like(old, old->gfn, flags);
	if (!next)
		return -ENOMEM;
	rc = shadow_dirty_prepare_slot(sh, old, next);
	if (rc) {
		memslot_free(next);
		return rc;
	}
	change(sh, old, next);
	if (flags & ~old->flags & MEMSLOT_READONLY)
		write_protect(sh, next);
	shadow_dirty_slot_changed(sh, old, next);
	memslot_free(old);
	/* Kernel: kvm_mmu_slot_apply_flags(). */
	if (log_ends)
		(void)shadow_recover(sh, next->gfn, memslot_end(next));
	return 0;
}

int shadow_set_slot_flags(struct shadow *sh, unsigned id, unsigned flags)
{
	int rc;

	if (flags & ~MEMSLOT_FLAGS)
		return -EINVAL;
	lock_acquire(&sh->slots_lock);
	rc = set_flags_locked(sh, slots_find_id(&sh->slots, id), flags);
	lock_release(&sh->slots_lock);
	return rc;
}

void shadow_remove_slots(struct shadow *sh)
{
	struct memslot *slot;

	lock_acquire(&sh->slots_lock);
	while ((slot = slots_first_id(&sh->slots, 0))) {
		slots_stage(&sh->slots, slot, NULL);
		slots_publish(&sh->slots);
		slots_mirror(&sh->slots, slot, NULL);
		shadow_dirty_slot_changed(sh, slot, NULL);
		sh->ops->slot_remove(sh->backend_ctx, slot);
		memslot_free(slot);
	}
	lock_release(&sh->slots_lock);
}

bool shadow_slot(struct shadow *sh, gfn_t gfn, struct memslot *slot)
{
	const struct memslot *found;

	sync_rcu_read_lock();
	found = memslots_find(slots_get(&sh->slots), gfn);
	if (found && (found->flags & MEMSLOT_INVALID))
		found = NULL;
	if (found)
		*slot = *found;
	sync_rcu_read_unlock();
	return found;
}
