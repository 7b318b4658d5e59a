/* SPDX-License-Identifier: BSD-2-Clause */
#include "mmu/shadow/snapshot.h"

#include <errno.h>
#include <string.h>

#include "mmu/notify/interval.h"
#include "mmu/shadow/shadow_priv.h"

/* ---- The primary ---- */

/* Locks: lock, of this one call, guards nothing but sub.invalidate_seq. */
struct mirror {
	struct mmu_interval_notifier sub;
	struct lock lock;
};

/* Nothing is held that would have to be let go: only retry must notice. */
static bool mirror_invalidate(struct mmu_interval_notifier *sub,
			      const struct mmu_notifier_range *range, uint64_t cur_seq)
{
	struct mirror *mirror = (struct mirror *)((char *)sub - offsetof(struct mirror, sub));

	(void)range;
	lock_acquire(&mirror->lock);
	mmu_interval_set_seq(sub, cur_seq);
	lock_release(&mirror->lock);
	return true;
}

static const struct mmu_interval_notifier_ops mirror_ops = {
	.invalidate = mirror_invalidate,
};

/*
 *	mirror_snapshot()		bracket
 *	seq = read_begin()
 *	walk: page 0			invalidate(): sets the sequence
 *					pages 0 and 1 change
 *	walk: page 1			end
 *	read_retry(seq): true, again
 */
static int look(struct mirror *mirror, struct hostmm *mm, hva_t start, uint64_t npages,
		const void *owner, uint8_t *state)
{
	bool retry;
	int rc;

	do {
		uint64_t seq = mmu_interval_read_begin(&mirror->sub);

		rc = hostmm_walk(mm, start, npages, owner, state);
		lock_acquire(&mirror->lock);
		retry = mmu_interval_read_retry(&mirror->sub, seq) && !mutant(41);
		lock_release(&mirror->lock);
	} while (!rc && retry);
	return rc;
}

int mirror_snapshot(struct hostmm *mm, hva_t start, uint64_t npages, const void *owner,
		    uint8_t *state)
{
	struct mirror mirror = { .sub.user_lock = &mirror.lock };
	int rc;

	if (!is_page_aligned(start) || !npages || npages > (UINT64_MAX - start) >> PAGE_SHIFT)
		return -EINVAL;
	lock_init(&mirror.lock);
	rc = mmu_interval_notifier_insert(&mirror.sub, hostmm_subscriptions(mm), start,
					  npages << PAGE_SHIFT, &mirror_ops);
	if (!rc) {
		rc = look(&mirror, mm, start, npages, owner, state);
		mmu_interval_notifier_remove(&mirror.sub);
	}
	lock_fini(&mirror.lock);
	return rc;
}

/* ---- The table ---- */

struct table_walk {
	gfn_t gfn, end;
	uint8_t *state;
};

static void see_leaf(void *ctx, gfn_t gfn, uint64_t spte, int level)
{
	struct table_walk *walk = ctx;
	gfn_t first = max_u64(gfn, walk->gfn);
	gfn_t end = min_u64(gfn + spte_level_pages(level), walk->end);
	uint8_t state = SNAPSHOT_NONE;

	if (spte & SPTE_READ)
		state = SNAPSHOT_READ | (spte_is_writable(spte) ? SNAPSHOT_WRITE : 0) |
			(level == SPTE_LEVEL_2M	  ? SNAPSHOT_PMD
			 : level == SPTE_LEVEL_1G ? SNAPSHOT_PUD
						  : 0);
	if (first < end)
		memset(walk->state + (first - walk->gfn), state, end - first);
}

/* What no slot has is a hole, whatever the table says. RCU section held. */
static void see_slots(struct shadow *sh, gfn_t gfn, gfn_t end, uint8_t *state)
{
	const struct memslots *all = slots_get(&sh->slots);
	const struct memslot *slot;
	gfn_t hole = gfn;

	memslots_for_each_gfn(slot, all, gfn, end)
	{
		if (slot->flags & MEMSLOT_INVALID)
			continue;
		if (hole < slot->gfn)
			memset(state + (hole - gfn), SNAPSHOT_HOLE, slot->gfn - hole);
		hole = memslot_end(slot);
	}
	if (hole < end)
		memset(state + (hole - gfn), SNAPSHOT_HOLE, end - hole);
}

/* As shadow_wait_retry(), for a range: the end counts down before it takes mn_lock to wake. */
static void wait_range(struct shadow *sh, gfn_t gfn, gfn_t end)
{
	lock_acquire(&sh->mn_lock);
	sh->retry_waiters++;
	while (is_invalidating(sh, gfn, end))
		cond_wait(&sh->mn_changed, &sh->mn_lock);
	sh->retry_waiters--;
	lock_release(&sh->mn_lock);
}

int shadow_snapshot(struct shadow *sh, gfn_t gfn, uint64_t npages, uint8_t *state)
{
	const uint64_t limit = 1UL << SPTE_GFN_BITS;
	struct table_walk walk = { .gfn = gfn, .end = gfn + npages, .state = state };

	if (!npages || npages > limit || gfn > limit - npages)
		return -EINVAL;
	/*
	 * A bracket zaps under the lock for writing and is in progress until its end: with the lock held and nothing in
	 * progress over the range, none is half done, and none can begin.
	 */
	rwlock_read_acquire(&sh->mmu_lock);
	while (is_invalidating(sh, gfn, gfn + npages)) {
		rwlock_read_release(&sh->mmu_lock);
		wait_range(sh, gfn, gfn + npages);
		rwlock_read_acquire(&sh->mmu_lock);
	}
	memset(state, SNAPSHOT_NONE, npages);
	sync_rcu_read_lock();
	ept_for_each(&sh->ept, gfn, gfn + npages, see_leaf, &walk);
	see_slots(sh, gfn, gfn + npages, state);
	sync_rcu_read_unlock();
	rwlock_read_release(&sh->mmu_lock);
	return 0;
}
