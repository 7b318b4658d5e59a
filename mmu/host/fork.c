/* SPDX-License-Identifier: BSD-2-Clause */
/* fork(): a second address space that shares every present frame with the first until one of them stores. */
#include <errno.h>

#include "mmu/base/mutant.h"
#include "mmu/host/hostmm_actors.h"
#include "mmu/host/hostmm_priv.h"

/*
 * When more pages than this are shown for stores, the view is emptied at once and filled on demand: to protect entry by entry
 * takes as long as fork(2) does. A view may always show less.
 */
#define FORK_PROTECT_MAX CHUNK_PAGES

static bool shows_many(struct region *r)
{
	const uint64_t both = HPTE_VIEW | HPTE_WRITE;
	uint64_t n = 0;

	for (uint64_t page = 0; page < region_pages(r) && n <= FORK_PROTECT_MAX; page++)
		n += (sync_load(&r->hpte[page]) & both) == both;
	return n > FORK_PROTECT_MAX;
}

/*
 * Write-protect, then share: an entry that has become a second map must find the first read-only. Nobody else knows @to.
 * Kernel: copy_present_pte().
 */
static void share_region(struct region *to, struct region *from)
{
	/* Nobody fills it meanwhile: mmap_lock is held for writing. */
	bool hidden = shows_many(from);

	if (hidden)
		view_zap(from->view, 0, region_pages(from));
	for (uint64_t page = 0, end; page < region_pages(from); page = end) {
		struct chunk_lock *mine = region_chunk(to, page), *chunk = region_chunk(from, page);

		end = chunk_end(page, region_pages(from));
		lock_acquire(&mine->lock);
		lock_acquire(&chunk->lock);
		hpte_fork(to, from, page, end, hidden);
		lock_release(&chunk->lock);
		lock_release(&mine->lock);
	}
}

/* The child's pages have the rights of the parent's, and end where they end. Nobody else knows @to. */
static int copy_rights(struct region *to, struct region *from)
{
	uint64_t npages = region_pages(from);
	int rc;

	to->is_private = from->is_private = true;
	to->may = from->may;
	to->limit = from->limit;
	if (!from->prots && to->limit == npages)
		return 0;
	rc = region_need_prots(to);
	for (uint64_t page = 0; !rc && from->prots && page < npages; page++)
		if (from->prots[page])
			to->prots[page] = from->prots[page];
	return rc ? rc : region_open(to, 0, npages);
}

/*
 * The bracket: what subscribers hold writable they let go of before a page has two owners, and build nothing until all
 * entries say so. A region that nobody may write has no such entries. Kernel: copy_page_range().
 */
static int fork_region(struct hostmm *child, struct region *from)
{
	struct mmu_notifier_range range;
	bool told = (from->may & HOSTMM_PROT_WRITE) && !mutant(123); /* 123: not even writers are */
	struct region *to;
	int rc;

	rc = hostmm_add_region(child, region_pages(from), from->prot, from->pager, from->pager_ctx,
			       from->source, from->start, &to);
	if (rc)
		return rc;
	rc = copy_rights(to, from);
	if (rc)
		return rc;
	rc = device_pull(from, 0, region_pages(from));
	if (rc)
		return rc;
	if (told)
		bracket_start(&range, from, 0, region_pages(from), MMU_NOTIFY_PROTECTION_PAGE);
	share_region(to, from);
	if (told)
		bracket_end(&range);
	return 0;
}

int hostmm_fork(struct hostmm *mm, const struct hostmm_opts *opts, struct hostmm **child)
{
	struct hostmm *new;
	int rc = hostmm_create(&new, mm->pool, opts);

	if (rc)
		return rc;
	/* For writing, as in the kernel: no fault is half-way, and the regions are those of one moment. */
	rwlock_write_acquire(&mm->mmap_lock);
	for (struct region *r = mm->regions; r && !rc; r = r->next)
		rc = fork_region(new, r);
	rwlock_write_release(&mm->mmap_lock);
	if (rc) {
		hostmm_destroy(new);
		return rc;
	}
	ksm_fork(mm, new);
	atomic_fetch_add_explicit(&mm->forks, 1, memory_order_relaxed);
	*child = new;
	return 0;
}

int hostmm_fork_hva(struct hostmm *child, hva_t parent_hva, hva_t *hva)
{
	int rc = -EFAULT;

	rwlock_read_acquire(&child->mmap_lock);
	for (struct region *r = child->regions; r && rc; r = r->next) {
		if (!r->forked_from || parent_hva - r->forked_from >= r->end - r->start)
			continue;
		*hva = r->start + (parent_hva - r->forked_from);
		rc = 0;
	}
	rwlock_read_release(&child->mmap_lock);
	return rc;
}
