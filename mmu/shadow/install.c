/* SPDX-License-Identifier: BSD-2-Clause */
/* The last step of a fault: leaves into the table, and the backend after them. */
#include <errno.h>

#include "mmu/base/trace.h"
#include "mmu/shadow/fault_priv.h"

/* ---- One large leaf or several small ones? ---- */

/* May one leaf of @level be there, as far as slot and frame go? */
static bool fits(const struct fault *f, int level)
{
	uint64_t n = spte_level_pages(level);
	gfn_t start = spte_level_start(f->gfn, level);

	return start >= f->slot->gfn && start + n <= memslot_end(f->slot) &&
	       !((fault_page(f, f->gfn)->fn ^ f->gfn) & (n - 1));
}

/* As far as the table goes? What a zap has left may be in the way, empty. */
static bool has_room(struct shadow *sh, const struct fault *f, int level)
{
	int there = SPTE_LEVEL_4K;

	/* One that is there already: for a store that it does not allow. */
	if (spte_is_present(ept_peek(&sh->ept, f->gfn, &there)))
		return there == level;
	return ept_hole_level(f->root, f->gfn) >= level || ept_is_empty(f->root, f->gfn, level);
}

/* Does the primary have the whole, in frames that make one leaf? For a store all of it must be writable. */
static bool is_huge(struct shadow *sh, struct fault *f, int level)
{
	uint64_t n = spte_level_pages(level);
	gfn_t start = spte_level_start(f->gfn, level);
	hva_t hva = f->slot->hva + ((start - f->slot->gfn) << PAGE_SHIFT);

	return hostmm_huge(sh->mm, hva, n, &f->first) && !(f->first.fn & (n - 1)) &&
	       (f->first.writable || !f->write);
}

/*
 * Unlink the empty tables where the leaf is to be. Who installs small leaves beside this finds his table gone, or FROZEN, and
 * starts over.
 */
static void make_room(struct shadow *sh, const struct fault *f)
{
	if (ept_hole_level(f->root, f->gfn) >= f->level || !ept_is_empty(f->root, f->gfn, f->level))
		return;
	rwlock_write_acquire(&sh->mmu_lock);
	count(&sh->pruned, ept_prune(&sh->ept, f->block.start, f->block.end));
	rwlock_write_release(&sh->mmu_lock);
}

void fault_choose_level(struct shadow *sh, struct fault *f)
{
	f->level = SPTE_LEVEL_4K;
	f->block = f->got;
	if (f->alone || !slot_allows_large(sh, f->slot))
		return;
	for (int level = sh->max_level; level > SPTE_LEVEL_4K; level--)
		if (fits(f, level) && has_room(sh, f, level) && is_huge(sh, f, level)) {
			fault_set_leaf(f, level);
			make_room(sh, f);
			return;
		}
}

/* ---- Install ---- */

/* While stores are followed only the page that is being stored to may be stored to unseen: what the leaves of others are without. */
static uint64_t withheld_around(struct shadow *sh, const struct fault *f)
{
	return mutant(20) ? 0 : dirty_withheld(sh, f->slot);
}

static uint64_t make_leaf(struct shadow *sh, const struct fault *f, gfn_t gfn,
			  const struct gup_page *page, int level, uint64_t withheld)
{
	bool writable = page->writable && !(f->slot->flags & MEMSLOT_READONLY);
	uint64_t leaf = ept_make_leaf(&sh->ept, page->fn, writable, level);

	return f->write && gfn == f->gfn ? leaf : leaf & ~withheld;
}

/* Pages [gfn, gfn + n) have leaves now, the first of which is @leaf: let the backend carry them out in one call. */
static int map_run(struct shadow *sh, const struct fault *f, gfn_t gfn, uint64_t n, uint64_t leaf)
{
	count(&sh->pages, n);
	count(&sh->batches, 1);
	trace_instant(kvm_mmu_set_spte, gfn, n, spte_fn(leaf));
	if (f->write && gfn <= f->gfn && f->gfn < gfn + n)
		shadow_mark_dirty_ring(sh, f->slot, f->gfn, f->ring);
	return sh->ops->map(f->slot->backend, gfn - f->slot->gfn, n, spte_fn(leaf),
			    spte_is_writable(leaf));
}

/* The leaf that is there does not allow the store, the primary does: the same frames, more rights. */
static int upgrade(struct shadow *sh, const struct fault *f, uint64_t old, uint64_t new)
{
	gfn_t start = spte_level_start(f->gfn, f->level);
	uint64_t n = spte_level_pages(f->level), page = start - f->slot->gfn;

	bug_on(spte_fn(old) != spte_fn(new) || !spte_is_writable(new));
	if (!ept_install(&sh->ept, f->root, f->gfn, f->level, old, new))
		return FAULT_AGAIN;
	count(&sh->upgrades, 1);
	trace_instant(kvm_tdp_mmu_spte_changed, start, n, spte_fn(new));
	shadow_mark_dirty_ring(sh, f->slot, f->gfn, f->ring);
	/* Aging has taken it from the backend, too. */
	if (spte_is_access_tracked(old))
		return sh->ops->map(f->slot->backend, page, n, spte_fn(new), true);
	return sh->ops->make_writable(f->slot->backend, page, n);
}

/* Something is in the faulting page's entry. */
static int install_over(struct shadow *sh, struct fault *f, uint64_t leaf)
{
	int level = SPTE_LEVEL_4K, rc;
	uint64_t old = ept_peek(&sh->ept, f->gfn, &level);

	if (!spte_is_present(old))
		return FAULT_AGAIN;
	if (!f->write || spte_is_writable(old))
		return SHADOW_SPURIOUS;
	if (level > f->level) {
		rc = shadow_split_leaf(sh, f->gfn);
		if (rc)
			return rc;
		old = ept_peek(&sh->ept, f->gfn, &level);
	}
	if (level != f->level || !spte_is_present(old))
		return FAULT_AGAIN;
	rc = upgrade(sh, f, old, leaf);
	return rc ? rc : SHADOW_FIXED;
}

static int install_large(struct shadow *sh, struct fault *f)
{
	uint64_t leaf = make_leaf(sh, f, f->gfn, &f->first, f->level, withheld_around(sh, f));
	int rc;

	if (!ept_install(&sh->ept, f->root, f->gfn, f->level, SPTE_NONE, leaf))
		return install_over(sh, f, leaf);
	rc = map_run(sh, f, f->block.start, f->block.end - f->block.start, leaf);
	return rc < 0 ? rc : SHADOW_FIXED;
}

/* Where does the run end whose leaves go on as that of @gfn begins? */
static gfn_t run_end(const struct fault *f, gfn_t gfn, uint64_t withheld)
{
	const struct gup_page *page = fault_page(f, gfn);
	gfn_t end = f->block.end;
	uint64_t n = 1;

	/* The leaf of the faulting page is not like the others. */
	if (f->write && withheld && gfn <= f->gfn)
		end = min_u64(end, max_u64(gfn + 1, f->gfn));
	while (gfn + n < end && page[n].fn == page->fn + n && page[n].writable == page->writable)
		n++;
	return gfn + n;
}

/*
 * An entry that is taken ends an attempt, not the run, whose length is worked out once: a block that is full would
 * cost its square.
 */
static int install_small(struct shadow *sh, struct fault *f)
{
	gfn_t gfn = f->block.start, run = gfn, end = gfn; /* [run, end) go on as @leaf begins */
	uint64_t withheld = withheld_around(sh, f), leaf = 0, at, done;
	int result = SHADOW_SPURIOUS, rc = 0;

	while (gfn < f->block.end && rc >= 0) {
		const struct gup_page *page = fault_page(f, gfn);

		if (page->fn == FN_NONE) {
			gfn++;
			continue;
		}
		if (gfn >= end) {
			run = gfn;
			leaf = make_leaf(sh, f, gfn, page, SPTE_LEVEL_4K, withheld);
			end = run_end(f, gfn, withheld);
		}
		at = leaf + ((gfn - run) << PAGE_SHIFT);
		done = ept_install_run(&sh->ept, f->root, gfn, end - gfn, at);
		if (done)
			rc = map_run(sh, f, gfn, done, at);
		if (gfn <= f->gfn && f->gfn < gfn + done)
			result = SHADOW_FIXED;
		gfn += done;
		if (gfn == end || rc < 0)
			continue;
		/* The next one is taken, which matters for the faulting page alone. */
		if (gfn == f->gfn)
			result = rc = install_over(sh, f, at + (done << PAGE_SHIFT));
		gfn++;
		gfn += ept_taken_run(f->root, gfn,
				     (gfn <= f->gfn && f->gfn < end ? f->gfn : end) - gfn);
	}
	return rc < 0 ? rc : result;
}

int fault_install(struct shadow *sh, struct fault *f)
{
	sync_use(f->slot);
	return f->level > SPTE_LEVEL_4K ? install_large(sh, f) : install_small(sh, f);
}

void fault_take_back(struct shadow *sh, const struct fault *f)
{
	struct zap_batch z;

	zap_begin(&z, sh);
	zap_range(&z, f->slot, f->block.start, f->block.end);
	zap_end(&z);
}
