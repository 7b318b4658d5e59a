/* SPDX-License-Identifier: BSD-2-Clause */
#include "mmu/shadow/shadow.h"

#include <errno.h>
#include <stdlib.h>

#include "mmu/base/mutant.h"
#include "mmu/shadow/shadow_priv.h"

int shadow_create(struct shadow **out, struct hostmm *mm, const struct backend_ops *ops,
		  void *backend_ctx, const struct shadow_opts *opts)
{
	unsigned around = opts->fault_around;
	struct ept_opts table;
	struct shadow *sh;
	int rc;

	if (around > SHADOW_AROUND_MAX || (around & (around - 1)) ||
	    opts->max_level > SPTE_LEVEL_1G)
		return -EINVAL;
	sh = calloc(1, sizeof(*sh));
	if (!sh)
		return -ENOMEM;
	sh->mm = mm;
	sh->ops = ops;
	sh->backend_ctx = backend_ctx;
	sh->max_level = opts->max_level ? (int)opts->max_level : SHADOW_MAX_LEVEL;
	sh->no_change_pte = opts->no_change_pte;
	slots_init(&sh->slots);
	table = (struct ept_opts){
		.ad = ops->walks_table && !opts->no_ad,
		.dirtied = shadow_dirty_leaf,
		.ctx = sh,
	};
	rc = ept_init(&sh->ept, &table);
	if (rc) {
		free(sh);
		return rc;
	}
	lock_init(&sh->slots_lock);
	lock_init(&sh->mn_lock);
	cond_init(&sh->mn_changed);
	rwlock_init(&sh->mmu_lock);
	around_init(&sh->around, around);
	atomic_init(&sh->zap_piece, ZAP_PIECE);
	atomic_init(&sh->reap_batch, REAP_BATCH);
	sh->mn.ops = &shadow_notifier_ops;
	rc = hostmm_subscribe(mm, &sh->mn);
	bug_on(rc);
	*out = sh;
	return 0;
}

void shadow_destroy(struct shadow *sh)
{
	mmu_notifier_unregister(&sh->mn); /* by release, nothing is mapped any more */
	shadow_remove_slots(sh);
	dirty_fini(sh);
	ept_fini(&sh->ept);
	slots_fini(&sh->slots);
	around_fini(&sh->around);
	rwlock_fini(&sh->mmu_lock);
	cond_fini(&sh->mn_changed);
	lock_fini(&sh->mn_lock);
	lock_fini(&sh->slots_lock);
	free(sh);
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

/* As stores of the guest are: under an owner page by page, each in his book first, and in the next bitmap. */
static int write_owned(struct shadow *sh, const struct memslot *slot, gpa_t gpa, hva_t hva,
		       const char *from, uint64_t len)
{
	int rc = 0;

	while (!rc && len) {
		uint64_t n = min_u64(len, PAGE_SIZE - gpa % PAGE_SIZE);
		gfn_t gfn = gpa >> PAGE_SHIFT;
		struct lock *held;

		rc = shadow_dirty_store_begin(sh, slot, gfn, &held);
		if (rc)
			break;
		rc = hostmm_write(sh->mm, hva, from, n);
		dirty_spill(sh, slot, gfn);
		shadow_dirty_store_end(held);
		gpa += n;
		hva += n;
		from += n;
		len -= n;
	}
	return rc;
}

/* What was written before an error is marked, too. */
static int write_slot(struct shadow *sh, const struct memslot *slot, gpa_t gpa, hva_t hva,
		      const char *from, uint64_t len)
{
	int rc;

	if (dirty_is_owned(sh, slot->id))
		return write_owned(sh, slot, gpa, hva, from, len);
	rc = hostmm_write(sh->mm, hva, from, len);
	if (len)
		shadow_mark_dirty_range(slot, gpa, len);
	return rc;
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

		rc = from ? write_slot(sh, slot, gpa, hva, from, n)
			  : hostmm_read(sh->mm, hva, in, n);
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
		.fast = sh->fast,
		.pages = sh->pages,
		.batches = sh->batches,
		.upgrades = sh->upgrades,
		.repointed = sh->repointed,
		.invalidations = sh->invalidations,
		.zapped = sh->zapped,
		.flushes = sh->flushes,
		.yields = sh->yields,
		.zap_alls = sh->zap_alls,
		.splits = sh->ept.splits,
		.collapses = sh->collapses,
		.pruned = sh->pruned,
		.aged = sh->aged,
		.leaves = ept_count_leaves(&sh->ept),
		.leaves_4k = sync_load(&sh->ept.leaves[SPTE_LEVEL_4K]),
		.leaves_2m = sync_load(&sh->ept.leaves[SPTE_LEVEL_2M]),
		.leaves_1g = sync_load(&sh->ept.leaves[SPTE_LEVEL_1G]),
		.table_pages = sh->ept.table_pages,
	};
}
