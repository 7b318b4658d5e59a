/* SPDX-License-Identifier: BSD-2-Clause */
/* Large leaves on request: split them before rights go page by page, make them again when that is over. */
#include <errno.h>

#include "mmu/base/trace.h"
#include "mmu/shadow/shadow_priv.h"

#define LAST_GFN (1UL << SPTE_GFN_BITS)

/* ---- Split ---- */

int shadow_split_leaf(struct shadow *sh, gfn_t gfn)
{
	int level = SPTE_LEVEL_4K, rc;

	while (spte_is_present(ept_peek(&sh->ept, gfn, &level)) && level > SPTE_LEVEL_4K) {
		rc = ept_split(&sh->ept, gfn);
		if (rc && rc != -EAGAIN)
			return rc;
	}
	return 0;
}

/* Where a walk that is done with @gfn goes on: behind its leaf, or the hole that it is in. */
static gfn_t next_gfn(struct shadow *sh, gfn_t gfn)
{
	int level = SPTE_LEVEL_4K;

	if (!spte_is_present(ept_peek(&sh->ept, gfn, &level)))
		level = ept_hole_level(ept_root(&sh->ept), gfn);
	/* In a table there may be a large leaf only behind its end. */
	if (level < SPTE_LEVEL_2M)
		level = SPTE_LEVEL_2M;
	return spte_level_start(gfn, level) + spte_level_pages(level);
}

int shadow_split(struct shadow *sh, gfn_t gfn, gfn_t end)
{
	int rc = 0;

	if (gfn > end || end > LAST_GFN)
		return -EINVAL;
	while (gfn < end && !rc) {
		sync_rcu_read_lock();
		rwlock_read_acquire(&sh->mmu_lock);
		rc = shadow_split_leaf(sh, gfn);
		gfn = next_gfn(sh, gfn);
		rwlock_read_release(&sh->mmu_lock);
		sync_rcu_read_unlock();
	}
	return rc;
}

/* ---- Recover ---- */

/* What is to become one leaf, and what the primary has for it. */
struct whole {
	gfn_t start, end;
	int level;
	uint64_t seq;
	const struct memslot *slot;
};

/* Is it worth a look? The first page has a leaf one level smaller. */
static bool is_candidate(struct shadow *sh, const struct whole *w)
{
	int level = SPTE_LEVEL_4K;

	return w->slot && !(w->slot->flags & (MEMSLOT_INVALID | MEMSLOT_LOG_DIRTY)) &&
	       !dirty_is_followed(sh, w->slot) && w->slot->gfn <= w->start &&
	       w->end <= memslot_end(w->slot) &&
	       spte_is_present(ept_peek(&sh->ept, w->start, &level)) && level == w->level - 1;
}

static bool is_huge(struct shadow *sh, const struct whole *w)
{
	hva_t hva = w->slot->hva + ((w->start - w->slot->gfn) << PAGE_SHIFT);
	struct gup_page first;

	return hostmm_huge(sh->mm, hva, w->end - w->start, &first);
}

/*
 * The same check as a fault's, over the whole leaf: the primary's answer still holds. What ept_collapse() asks of the small
 * leaves would be enough for safety, since a start has taken those that it met.
 */
static bool is_stale(struct shadow *sh, const struct whole *w)
{
	if (mutant(175) || mutant(176))
		return false;
	return is_invalidating(sh, w->start, w->end) || sync_load(&sh->invalidate_seq) != w->seq;
}

/*
 * The flush is for who walked by the small leaves. A window has nothing to unlearn, unless the leaf has a right less than some
 * small ones had.
 */
static bool collapse(struct shadow *sh, const struct whole *w)
{
	uint64_t old, new = SPTE_NONE;
	bool done, lost;

	rwlock_write_acquire(&sh->mmu_lock);
	old = ept_peek(&sh->ept, w->start, NULL);
	done = !is_stale(sh, w) && ept_collapse(&sh->ept, w->start, w->level);
	if (done)
		new = ept_peek(&sh->ept, w->start, NULL);
	lost = (old & ~new &SPTE_RIGHTS) ||
	       (new &SPTE_MAY_WRITE & ~SPTE_HOST_WRITABLE) == SPTE_MMU_WRITABLE;
	if (done && (sh->ops->walks_table || lost))
		flush_zap(sh, w->slot, w->start, w->end);
	rwlock_write_release(&sh->mmu_lock);
	return done;
}

static bool recover_one(struct shadow *sh, gfn_t gfn, int level)
{
	struct whole w = { .start = gfn, .end = gfn + spte_level_pages(level), .level = level };
	bool done;

	sync_rcu_read_lock();
	w.seq = sync_load_acquire(&sh->invalidate_seq);
	w.slot = memslots_find(slots_get(&sh->slots), gfn);
	done = is_candidate(sh, &w) && is_huge(sh, &w) && collapse(sh, &w);
	sync_rcu_read_unlock();
	return done;
}

/* Nothing to make one leaf of here, nor in what follows: where the walk goes on. */
static gfn_t skip(struct shadow *sh, gfn_t gfn, int level)
{
	int hole;

	sync_rcu_read_lock();
	hole = ept_hole_level(ept_root(&sh->ept), gfn);
	sync_rcu_read_unlock();
	if (hole < level)
		hole = level;
	return spte_level_start(gfn, hole) + spte_level_pages(hole);
}

/* In pieces: others want the lock, too. */
static void prune(struct shadow *sh, gfn_t gfn, gfn_t end)
{
	const uint64_t piece = spte_level_pages(SPTE_LEVEL_1G);

	while (gfn < end) {
		gfn_t next = min_u64(spte_level_start(gfn, SPTE_LEVEL_1G) + piece, end);

		rwlock_write_acquire(&sh->mmu_lock);
		(void)ept_prune(&sh->ept, gfn, next);
		rwlock_write_release(&sh->mmu_lock);
		gfn = next;
	}
}

uint64_t shadow_recover(struct shadow *sh, gfn_t gfn, gfn_t end)
{
	uint64_t made = 0;

	end = min_u64(end, LAST_GFN);
	if (gfn >= end)
		return 0;
	prune(sh, gfn, end);
	for (int level = SPTE_LEVEL_2M; level <= sh->max_level; level++) {
		uint64_t n = spte_level_pages(level);

		for (gfn_t at = (gfn + n - 1) & ~(n - 1); at < end && end - at >= n;
		     at = skip(sh, at, level))
			made += recover_one(sh, at, level);
	}
	count(&sh->collapses, made);
	ept_reap(&sh->ept);
	return made;
}
