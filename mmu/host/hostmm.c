/* SPDX-License-Identifier: BSD-2-Clause */
#include "mmu/host/hostmm.h"

#include <errno.h>
#include <stdlib.h>

#include "mmu/base/trace.h"
#include "mmu/host/hostmm_priv.h"
#include "mmu/host/pool_priv.h"

struct region *hostmm_region(struct hostmm *mm, hva_t hva)
{
	struct region *r;

	rwlock_assert_held(&mm->mmap_lock);
	/* Where pages are lost there may be another one by now. */
	for (r = mm->regions; r && r->start <= hva; r = r->next)
		if (region_holds(r, hva))
			return r;
	return NULL;
}

void hostmm_fail(struct hostmm *mm, hva_t hva, int error)
{
	/* The reason first, for who meets shut memory. What fails because it is shut, or a fault thread has died, is none. */
	if (mm->opts.fatal && error != ESHUTDOWN && (!hva || !sync_load(&mm->dead)))
		mm->opts.fatal(mm->opts.fatal_ctx, hva, error);
	rwlock_read_acquire(&mm->mmap_lock);
	for (struct region *r = mm->regions; r; r = r->next)
		if (!hva || (r->start <= hva && hva < r->end))
			view_shut(r->view);
	rwlock_read_release(&mm->mmap_lock);
}

int hostmm_create(struct hostmm **out, struct pool *pool, const struct hostmm_opts *opts)
{
	struct hostmm *mm;
	struct uffd *u;
	int rc;

	if (!opts->fault_threads)
		return -EINVAL;
	mm = calloc(1, sizeof(*mm));
	if (!mm)
		return -ENOMEM;
	mm->pool = pool;
	mm->opts = *opts;
	rwlock_init_read_mostly(&mm->mmap_lock);
	mmu_notifier_subscriptions_init(&mm->subscriptions);
	mmu_notifier_subscriptions_set_mmap_lock(&mm->subscriptions, &mm->mmap_lock);
	lock_init(&mm->sources_lock);
	source_init(mm);
	rc = source_open(mm, opts->source, opts->audit, &u);
	if (!rc) {
		*out = mm;
		return 0;
	}
	lock_fini(&mm->sources_lock);
	mmu_notifier_subscriptions_fini(&mm->subscriptions);
	rwlock_fini(&mm->mmap_lock);
	free(mm);
	return rc;
}

void hostmm_get(struct hostmm *mm)
{
	rmap_pin(mm);
}

void hostmm_put(struct hostmm *mm)
{
	rmap_unpin(mm);
}

static bool first_region(struct hostmm *mm, hva_t *hva)
{
	bool any;

	rwlock_read_acquire(&mm->mmap_lock);
	any = mm->regions;
	*hva = any ? mm->regions->start : 0;
	rwlock_read_release(&mm->mmap_lock);
	return any;
}

/* Who has a reference may be faster, which is well. */
static void unmap_all(struct hostmm *mm)
{
	hva_t hva;

	while (first_region(mm, &hva))
		(void)hostmm_unmap(mm, hva);
}

void hostmm_destroy(struct hostmm *mm)
{
	unmap_all(mm);
	rmap_wait_unpinned(mm);
	unmap_all(mm); /* what was mapped meanwhile */
	source_close(mm);
	lock_fini(&mm->sources_lock);
	mmu_notifier_subscriptions_fini(&mm->subscriptions);
	rwlock_fini(&mm->mmap_lock);
	free(mm);
}

struct mmu_notifier_subscriptions *hostmm_subscriptions(struct hostmm *mm)
{
	return &mm->subscriptions;
}

int hostmm_subscribe(struct hostmm *mm, struct mmu_notifier *mn)
{
	return mmu_notifier_register(mn, &mm->subscriptions);
}

struct pool *hostmm_pool(struct hostmm *mm)
{
	return mm->pool;
}

static int create_view(struct region *r, const struct region_how *how, struct uffd *u, fn_t home)
{
	if (how->moved_to)
		/* An address that a system call named: NOLINTNEXTLINE(performance-no-int-to-ptr) */
		return view_adopt(&r->view, r->pool, u, how->npages, home,
				  (void *)(uintptr_t)how->moved_to);
	return view_create(&r->view, r->pool, u, how->npages, home);
}

static uint64_t chunks_of(uint64_t npages)
{
	return npages / CHUNK_PAGES + 1;
}

static int region_create(struct region **out, struct hostmm *mm, const struct region_how *how,
			 fn_t home, struct uffd *u)
{
	struct region *r = calloc(1, sizeof(*r));
	uint64_t npages = how->npages;
	int rc;

	if (!r)
		return -ENOMEM;
	r->hpte = pool_map_sparse(npages * sizeof(*r->hpte), -1);
	if (!r->hpte) {
		rc = -ENOMEM;
		goto err_undo_alloc;
	}
	r->split = page_array(chunks_of(npages), sizeof(*r->split));
	r->chunks = page_array(chunks_of(npages), sizeof(*r->chunks));
	if (!r->split || !r->chunks) {
		rc = -ENOMEM;
		goto err_undo_chunks;
	}
	r->mm = mm;
	r->pool = mm->pool;
	rc = create_view(r, how, u, home);
	if (rc)
		goto err_undo_chunks;
	r->source = how->source;
	r->audit = how->audit;
	r->home = home;
	r->start = (hva_t)(uintptr_t)view_base(r->view);
	r->end = r->start + (npages << PAGE_SHIFT);
	rc = rmap_add_region(r);
	if (rc)
		goto err_undo_view;
	lock_init(&r->store);
	for (unsigned i = 0; i < CHUNK_LOCKS; i++) {
		lock_init(&r->chunk[i].lock);
		cond_init(&r->chunk[i].page_in_done);
	}
	*out = r;
	return 0;

err_undo_view:
	view_destroy(r->view);
err_undo_chunks:
	page_array_free(mm->pool, r->chunks, chunks_of(npages), sizeof(*r->chunks));
	page_array_free(mm->pool, r->split, chunks_of(npages), sizeof(*r->split));
	pool_unmap_sparse(mm->pool, r->hpte, npages * sizeof(*r->hpte));
err_undo_alloc:
	free(r);
	return rc;
}

static void region_free(struct region *r)
{
	uint64_t npages = region_pages(r);

	rmap_remove_region(r);
	view_destroy(r->view);
	pool_unmap_sparse(r->pool, r->hpte, npages * sizeof(*r->hpte));
	if (r->prots)
		pool_unmap_sparse(r->pool, r->prots, npages);
	page_array_free(r->pool, r->chunks, chunks_of(npages), sizeof(*r->chunks));
	page_array_free(r->pool, r->split, chunks_of(npages), sizeof(*r->split));
	lock_fini(&r->store);
	for (unsigned i = 0; i < CHUNK_LOCKS; i++) {
		cond_fini(&r->chunk[i].page_in_done);
		lock_fini(&r->chunk[i].lock);
	}
	free(r);
}

void region_destroy(struct region *r)
{
	struct pool *pool = r->pool;
	uint64_t npages = region_pages(r);
	fn_t home = r->home;

	source_detach(r);
	region_free(r);
	pool_unreserve(pool, home, npages);
}

int hostmm_new_region(struct hostmm *mm, const struct region_how *how, struct region **out)
{
	const struct pager_ops *pager = how->pager;
	struct region *r = NULL;
	struct uffd *u;
	fn_t home;
	int rc;

	if (!(how->prot & HOSTMM_PROT_READ) ||
	    (how->prot & ~(HOSTMM_PROT_READ | HOSTMM_PROT_WRITE)) || (pager && !pager->fill))
		return -EINVAL;
	rc = source_open(mm, how->source, how->audit, &u);
	if (rc)
		return rc;
	rc = pool_reserve(mm->pool, how->npages, &home);
	if (rc)
		return rc;
	rc = region_create(&r, mm, how, home, u);
	if (rc)
		goto err_undo_reserve;
	r->prot = r->may = how->prot;
	r->limit = how->npages;
	r->pager = pager;
	r->pager_ctx = how->pager_ctx;
	r->forked_from = how->forked_from;
	/* Its pages may be taken away when nothing may fail any more. */
	rc = how->audit ? region_need_prots(r) : 0;
	if (!rc)
		rc = source_attach(r);
	if (rc)
		goto err_undo_create;
	/* Whoever maps memory will want some of it. A child's comes by copies. */
	if (!how->forked_from) {
		atomic_init(&r->hpte[0], 0);
		pool_touch(mm->pool, home);
	}
	*out = r;
	return 0;

err_undo_create:
	region_free(r);
err_undo_reserve:
	pool_unreserve(mm->pool, home, how->npages);
	return rc;
}

void region_link(struct region *r)
{
	struct hostmm *mm = r->mm;
	struct region **link;

	rwlock_assert_held_write(&mm->mmap_lock);
	for (link = &mm->regions; *link && (*link)->start < r->start; link = &(*link)->next)
		;
	r->next = *link;
	*link = r;
	if (sync_load(&mm->dead))
		view_shut(r->view);
}

/* *@hva: where it is. It may be gone at once: a munmap() by others takes it away as soon as it is linked. */
static int add_region(struct hostmm *mm, const struct region_how *how, struct region **out,
		      hva_t *hva)
{
	int rc = hostmm_new_region(mm, how, out);

	if (rc)
		return rc;
	*hva = (*out)->start;
	rwlock_write_acquire(&mm->mmap_lock);
	region_link(*out);
	rwlock_write_release(&mm->mmap_lock);
	return 0;
}

int hostmm_add_region(struct hostmm *mm, const struct region_how *how, struct region **out)
{
	hva_t hva;

	return add_region(mm, how, out, &hva);
}

int hostmm_map_source(struct hostmm *mm, uint64_t npages, unsigned prot,
		      const struct pager_ops *pager, void *pager_ctx, enum hostmm_source source,
		      bool audit, hva_t *hva)
{
	struct region_how how = { .npages = npages,
				  .prot = prot,
				  .pager = pager,
				  .pager_ctx = pager_ctx,
				  .source = source,
				  .audit = audit };
	struct region *r;

	return add_region(mm, &how, &r, hva);
}

int hostmm_map(struct hostmm *mm, uint64_t npages, unsigned prot, const struct pager_ops *pager,
	       void *pager_ctx, hva_t *hva)
{
	return hostmm_map_source(mm, npages, prot, pager, pager_ctx, mm->opts.source,
				 mm->opts.audit, hva);
}

void region_unlink(struct region *r)
{
	struct hostmm *mm = r->mm;
	struct mmu_notifier_range range;
	struct region **link;

	rwlock_assert_held_write(&mm->mmap_lock);
	for (link = &mm->regions; *link != r; link = &(*link)->next)
		;
	*link = r->next;
	mmu_notifier_range_init(&range, MMU_NOTIFY_UNMAP, &mm->subscriptions, r->start, r->end);
	bug_on(mmu_notifier_invalidate_range_start(&range));
	for (uint64_t page = 0, end; page < region_pages(r); page = end) {
		struct chunk_lock *chunk;

		end = chunk_end(page, region_pages(r));
		/* Of what nobody has touched there is nothing to look at: a large region is mostly that. */
		if (hpte_forget(r, page) || !hpte_chunk(r, page)->used)
			continue;
		chunk = region_chunk(r, page);
		lock_acquire(&chunk->lock);
		hpte_clear(r, page, end);
		lock_release(&chunk->lock);
	}
	mmu_notifier_invalidate_range_end(&range);
	atomic_fetch_add_explicit(&mm->page_ins, r->page_ins, memory_order_relaxed);
	atomic_fetch_add_explicit(&mm->pages_in, r->pages_in, memory_order_relaxed);
}

int hostmm_unmap(struct hostmm *mm, hva_t hva)
{
	struct region *r;

	ksm_exit(mm, hva);
	rwlock_write_acquire(&mm->mmap_lock);
	for (r = mm->regions; r && r->start != hva; r = r->next)
		;
	if (r)
		region_unlink(r);
	rwlock_write_release(&mm->mmap_lock);
	if (!r)
		return -EINVAL;
	/* Nobody finds the region any more, its view shows nothing. */
	region_destroy(r);
	return 0;
}

int hostmm_home(struct hostmm *mm, hva_t hva, uint64_t n, fn_t *home, unsigned *prot)
{
	struct region *r;
	int rc = -EFAULT;

	rwlock_read_acquire(&mm->mmap_lock);
	r = hostmm_region(mm, hva);
	if (r && n <= (r->end - hva) >> PAGE_SHIFT) {
		*home = r->home + region_page(r, hva);
		*prot = r->may;
		rc = 0;
	}
	rwlock_read_release(&mm->mmap_lock);
	return rc;
}

void hostmm_get_stats(struct hostmm *mm, struct hostmm_stats *stats)
{
	*stats = (struct hostmm_stats){
		.view_faults = mm->view_faults,
		.page_ins = mm->page_ins,
		.pages_in = mm->pages_in,
		.discards = mm->discards,
		.wrprotects = mm->wrprotects,
		.migrates = mm->migrates,
		.zaps = mm->zaps,
		.raw_failures = mm->raw_failures,
	};
	source_add_stats(mm, stats);
	rwlock_read_acquire(&mm->mmap_lock);
	for (struct region *r = mm->regions; r; r = r->next) {
		stats->page_ins += r->page_ins;
		stats->pages_in += r->pages_in;
	}
	rwlock_read_release(&mm->mmap_lock);
}
