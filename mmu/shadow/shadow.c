/* SPDX-License-Identifier: BSD-2-Clause */
#include "mmu/shadow/shadow.h"

#include <errno.h>
#include <stdlib.h>

#include "mmu/base/mutant.h"
#include "mmu/base/trace.h"
#include "mmu/shadow/shadow_priv.h"

int shadow_create(struct shadow **out, struct hostmm *mm, const struct backend_ops *ops,
		  void *backend_ctx, const struct shadow_opts *opts)
{
	unsigned around = opts->fault_around;
	struct shadow *sh;
	int rc;

	if (around > SHADOW_AROUND_MAX || (around & (around - 1)))
		return -EINVAL;
	sh = calloc(1, sizeof(*sh));
	if (!sh)
		return -ENOMEM;
	sh->mm = mm;
	sh->ops = ops;
	sh->backend_ctx = backend_ctx;
	rc = slots_init(&sh->slots);
	if (rc)
		goto err_undo_alloc;
	rc = ept_init(&sh->ept);
	if (rc)
		goto err_undo_slots;
	lock_init(&sh->slots_lock);
	lock_init(&sh->mn_lock);
	cond_init(&sh->mn_changed);
	rwlock_init(&sh->mmu_lock);
	around_init(&sh->around, around);
	sh->mn.ops = &shadow_notifier_ops;
	rc = hostmm_subscribe(mm, &sh->mn);
	bug_on(rc);
	*out = sh;
	return 0;

err_undo_slots:
	slots_fini(&sh->slots);
err_undo_alloc:
	free(sh);
	return rc;
}

void shadow_destroy(struct shadow *sh)
{
	while (slots_get(&sh->slots)->count)
		bug_on(shadow_remove_slot(sh, slots_get(&sh->slots)->slot[0].id));
	mmu_notifier_unregister(&sh->mn);
	ept_fini(&sh->ept);
	slots_fini(&sh->slots);
	around_fini(&sh->around);
	rwlock_fini(&sh->mmu_lock);
	cond_fini(&sh->mn_changed);
	lock_fini(&sh->mn_lock);
	lock_fini(&sh->slots_lock);
	free(sh);
}

void shadow_zap(struct shadow *sh, const struct memslot *slot, gfn_t gfn, gfn_t end)
{
	uint64_t begin = trace_begin();
	struct ept_span span;

	if (!mutant(5))
		rwlock_assert_held_write(&sh->mmu_lock);
	span = ept_zap(&sh->ept, gfn, end);
	if (!span.count)
		return;
	if (mutant(21))
		rwlock_write_release(&sh->mmu_lock);
	/* Flush before unlock (M21): another bracket over the pages finds no leaf, and lets its caller free them. */
	sh->ops->zap(slot->backend, span.start - slot->gfn, span.end - span.start);
	if (mutant(21))
		rwlock_write_acquire(&sh->mmu_lock);
	count(&sh->zapped, span.count);
	count(&sh->flushes, 1);
	trace_span(umbra_zap, begin, span.start, span.end - span.start, span.count);
}

/*
 * Swap the array of slots while no bracket is open, so that the start and the end of each see the same slots and
 * count alike (M9). Later brackets wait at mn_lock only for the swap itself.
 */
static void swap_slots(struct shadow *sh, struct memslots *next)
{
	struct memslots *old;

	lock_acquire(&sh->mn_lock);
	while (sh->mn_active && !mutant(9))
		cond_wait(&sh->mn_changed, &sh->mn_lock);
	old = slots_publish(&sh->slots, next);
	cond_broadcast(&sh->mn_changed); /* for faults that met an invalid slot */
	lock_release(&sh->mn_lock);
	sync_rcu_wait();
	free(old);
}

static int add_slot_locked(struct shadow *sh, struct memslot *slot)
{
	struct memslots *next;
	unsigned prot;
	fn_t home;
	int rc;

	rc = hostmm_home(sh->mm, slot->hva, slot->npages, &home, &prot);
	if (rc)
		return rc;
	if (!(slot->flags & MEMSLOT_READONLY) && !(prot & HOSTMM_PROT_WRITE))
		return -EFAULT;
	rc = sh->ops->slot_add(sh->backend_ctx, slot, home);
	if (rc)
		return rc;
	rc = slots_with(&sh->slots, slot, &next);
	if (rc) {
		sh->ops->slot_remove(sh->backend_ctx, slot);
		return rc;
	}
	swap_slots(sh, next);
	return 0;
}

int shadow_add_slot(struct shadow *sh, unsigned id, gfn_t gfn, uint64_t npages, hva_t hva,
		    unsigned flags)
{
	struct memslot slot = { .id = id,
				.flags = flags,
				.gfn = gfn,
				.npages = npages,
				.hva = hva };
	uint64_t limit = 1UL << SPTE_GFN_BITS;
	int rc;

	if (!npages || npages > limit || gfn > limit - npages || !is_page_aligned(hva) ||
	    (flags & ~MEMSLOT_READONLY))
		return -EINVAL;
	lock_acquire(&sh->slots_lock);
	rc = add_slot_locked(sh, &slot);
	lock_release(&sh->slots_lock);
	return rc;
}

/*
 *	shadow_remove_slot()			shadow_fault()
 *						seq = invalidate_seq
 *						slot = find()
 *	publish the slot as invalid
 *	lock for writing, seq++, zap, unlock
 *						lock for reading: seq has changed, RETRY
 *						slot is invalid: wait
 *	publish without the slot
 *	sync_rcu_wait()				(the section ends with the last use of the slot)
 *	backend lets go
 *
 * While it is invalid the slot stays in sight of brackets: until the zap its pages are still reachable, and must not
 * be freed under it.
 */
static int remove_slot_locked(struct shadow *sh, unsigned id)
{
	struct memslots *invalid, *without;
	struct memslot slot = { .id = id };
	int rc;

	rc = slots_invalid(&sh->slots, id, &invalid);
	if (rc)
		return rc;
	rc = slots_without(&sh->slots, id, &without);
	if (rc) {
		free(invalid);
		return rc;
	}
	for (unsigned i = 0; i < invalid->count; i++)
		if (invalid->slot[i].id == id)
			slot = invalid->slot[i];

	swap_slots(sh, invalid);
	rwlock_write_acquire(&sh->mmu_lock);
	sync_fetch_add(&sh->invalidate_seq, !mutant(142)); /* faults that have found the slot */
	shadow_zap(sh, &slot, slot.gfn, memslot_end(&slot));
	rwlock_write_release(&sh->mmu_lock);
	swap_slots(sh, without);
	sh->ops->slot_remove(sh->backend_ctx, &slot);
	return 0;
}

int shadow_remove_slot(struct shadow *sh, unsigned id)
{
	int rc;

	lock_acquire(&sh->slots_lock);
	rc = remove_slot_locked(sh, id);
	lock_release(&sh->slots_lock);
	return rc;
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

/* Are all bytes of [gpa, gpa + len) in slots, for writing if asked? */
static int check_access(const struct memslots *all, gpa_t gpa, size_t len, bool write)
{
	if (len && gpa + len - 1 < gpa)
		return -EFAULT;
	while (len) {
		const struct memslot *slot = memslots_find(all, gpa >> PAGE_SHIFT);
		uint64_t n;

		if (!slot || (write && (slot->flags & MEMSLOT_READONLY)))
			return -EFAULT;
		n = min_u64(len, (memslot_end(slot) << PAGE_SHIFT) - gpa);
		gpa += n;
		len -= n;
	}
	return 0;
}

/* Exactly one of @in and @from is given. The RCU section keeps the slots; hostmm keeps the pages. */
static int access_guest(struct shadow *sh, gpa_t gpa, char *in, const char *from, size_t len)
{
	const struct memslots *all;
	int rc;

	sync_rcu_read_lock();
	all = slots_get(&sh->slots);
	rc = check_access(all, gpa, len, from);
	while (!rc && len) {
		const struct memslot *slot = memslots_find(all, gpa >> PAGE_SHIFT);
		hva_t hva = slot->hva + (gpa - (slot->gfn << PAGE_SHIFT));
		uint64_t n = min_u64(len, (memslot_end(slot) << PAGE_SHIFT) - gpa);

		rc = from ? hostmm_write(sh->mm, hva, from, n) : hostmm_read(sh->mm, hva, in, n);
		gpa += n;
		len -= n;
		if (from)
			from += n;
		else
			in += n;
	}
	sync_rcu_read_unlock();
	return rc;
}

int shadow_read(struct shadow *sh, gpa_t gpa, void *buf, size_t len)
{
	return access_guest(sh, gpa, buf, NULL, len);
}

int shadow_write(struct shadow *sh, gpa_t gpa, const void *buf, size_t len)
{
	return access_guest(sh, gpa, NULL, buf, len);
}

void shadow_get_stats(struct shadow *sh, struct shadow_stats *stats)
{
	*stats = (struct shadow_stats){
		.faults = sh->faults,
		.fixed = sh->fixed,
		.spurious = sh->spurious,
		.retries = sh->retries,
		.pages = sh->pages,
		.batches = sh->batches,
		.upgrades = sh->upgrades,
		.repointed = sh->repointed,
		.invalidations = sh->invalidations,
		.zapped = sh->zapped,
		.flushes = sh->flushes,
		.leaves = sh->ept.leaves,
		.table_pages = sh->ept.table_pages,
	};
}
