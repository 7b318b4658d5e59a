/* SPDX-License-Identifier: BSD-2-Clause */
/* fork(): a second address space that shares every present frame with the first until one of them stores. */
#include <errno.h>

#include "mmu/base/mutant.h"
#include "mmu/base/thread.h"
#include "mmu/host/hostmm_actors.h"
#include "mmu/host/hostmm_priv.h"

/* A region of fewer pages is protected before a thread would have begun. */
#define ASIDE_PAGES (1UL << 12)

/*
 * What the view shows for stores it shows for loads from now on: in one call for all chunks in a row, since most of it is
 * the flush. Pages between that it does not show cost nothing; chunks, as of a sparse region, would.
 */
static void *protect_view(void *region)
{
	struct region *r = region;
	uint64_t npages = region_pages(r), first = 0, last = 0;

	for (uint64_t page = 0, end; page < npages; page = end) {
		end = chunk_end(page, npages);
		if (!hpte_is_stored_to(r, page, end))
			continue;
		if (first < last && last < page)
			view_wrprotect(r->view, first, last - first);
		if (last < page || first == last)
			first = page;
		last = end;
	}
	if (first < last)
		view_wrprotect(r->view, first, last - first);
	return NULL;
}

static void protect_entries(struct region *r)
{
	uint64_t npages = region_pages(r);

	for (uint64_t page = 0, end; page < npages; page = end) {
		struct chunk_lock *chunk;

		end = chunk_end(page, npages);
		if (!hpte_chunk(r, page)->writable)
			continue;
		chunk = region_chunk(r, page);
		lock_acquire(&chunk->lock);
		hpte_fork_protect(r, page, end);
		lock_release(&chunk->lock);
	}
}

/*
 * The bracket: what subscribers hold writable they let go of before a page has two owners, and build nothing until all
 * entries say so. A region that nobody may write has no such entries. Kernel: copy_page_range().
 *
 * It is two walks of page tables in the kernel, that of the view and, at the start of the bracket, that of windows. The
 * view may show less than the entries say at any time, so its walk need not wait for the start:
 *
 *	forks					beside it
 *	bracket: subscribers let go		the view shows for loads
 *	join
 *	entries lose W, frames are shared
 *	end of the bracket
 *
 * Who stores to the view meanwhile waits for mmap_lock.
 */
static void protect_and_share(struct region *to, struct region *from)
{
	struct mmu_notifier_range range;
	bool told = (from->may & HOSTMM_PROT_WRITE) && !mutant(123); /* 123: not even writers are */
	bool aside;
	pthread_t thread;

	aside = region_pages(from) >= ASIDE_PAGES && !thread_start(&thread, protect_view, from);
	if (told)
		bracket_start(&range, from, 0, region_pages(from), MMU_NOTIFY_PROTECTION_PAGE);
	if (aside)
		bug_on(pthread_join(thread, NULL));
	else
		protect_view(from);
	/* Protect, then share: whoever finds a second page with a frame finds the first read-only. */
	protect_entries(from);
	hpte_tell_tlbs(from, 0, region_pages(from));
	hpte_fork(to, from);
	if (told)
		bracket_end(&range);
}

/* The child's pages have the rights of the parent's, and end where they end. Nobody else knows @to. */
static int copy_rights(struct region *to, struct region *from)
{
	uint64_t npages = region_pages(from);
	bool met = from->limit < npages;
	int rc;

	to->is_private = from->is_private = true;
	to->may = from->may;
	to->limit = from->limit;
	if (!from->prots && to->limit == npages)
		return 0;
	rc = region_need_prots(to);
	for (uint64_t page = 0; !rc && from->prots && page < npages; page++) {
		if (from->prots[page])
			to->prots[page] = from->prots[page];
		met |= from->prots[page];
	}
	return rc || !met ? rc : region_open(to, 0, npages);
}

/* Kernel: dup_mmap(), of one VMA. */
static int fork_region(struct hostmm *child, struct region *from, bool is_snapshot)
{
	struct region_how how = { .npages = region_pages(from),
				  .prot = from->prot,
				  .pager = from->pager,
				  .pager_ctx = from->pager_ctx,
				  .source = is_snapshot ? HOSTMM_SOURCE_MPROTECT : from->source,
				  .audit = from->audit && !is_snapshot,
				  .forked_from = from->start };
	struct region *to;
	int rc;

	rc = hostmm_add_region(child, &how, &to);
	if (rc)
		return rc;
	if (is_snapshot)
		to->is_private = from->is_private = true;
	else
		rc = copy_rights(to, from);
	if (rc)
		return rc;
	rc = device_pull(from, 0, region_pages(from));
	if (rc)
		return rc;
	protect_and_share(to, from);
	return 0;
}

int fork_regions(struct hostmm *child, struct hostmm *mm, bool is_snapshot)
{
	int rc = 0;

	rwlock_assert_held_write(&mm->mmap_lock);
	for (struct region *r = mm->regions; r && !rc; r = r->next)
		rc = fork_region(child, r, is_snapshot);
	return rc;
}

int hostmm_fork(struct hostmm *mm, const struct hostmm_opts *opts, struct hostmm **child)
{
	struct hostmm *new;
	int rc = hostmm_create(&new, mm->pool, opts);

	if (rc)
		return rc;
	/* For writing, as in the kernel: no fault is half-way, and the regions are those of one moment. */
	rwlock_write_acquire(&mm->mmap_lock);
	rc = fork_regions(new, mm, false);
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
