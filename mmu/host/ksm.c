/* SPDX-License-Identifier: BSD-2-Clause */
/* The service itself: what is registered, who scans, what it has done. */
#include "mmu/host/ksm.h"

#include <errno.h>
#include <stdlib.h>

#include "mmu/host/hostmm_actors.h"
#include "mmu/host/ksm_priv.h"
#include "mmu/host/pool_priv.h"

/* ---- Alone with the service ---- */

static void claim(struct ksm *ksm, bool scanner)
{
	lock_acquire(&ksm->lock);
	ksm->waiting += !scanner;
	while (ksm->claimed || (scanner && ksm->waiting))
		cond_wait(&ksm->changed, &ksm->lock);
	ksm->waiting -= !scanner;
	ksm->claims += !scanner;
	ksm->claimed = true;
	lock_release(&ksm->lock);
}

void ksm_claim(struct ksm *ksm)
{
	claim(ksm, false);
}

void ksm_claim_scan(struct ksm *ksm)
{
	claim(ksm, true);
}

void ksm_release(struct ksm *ksm)
{
	lock_acquire(&ksm->lock);
	ksm->claimed = false;
	cond_broadcast(&ksm->changed);
	lock_release(&ksm->lock);
}

/* ---- Stable frames ---- */

static void let_go(struct ksm *ksm, struct ksm_node *n)
{
	pool_set_stable(ksm->pool, n->fn, false);
	merge_unprotect(ksm->pool, n->fn);
}

/* One map is the service's own. Who has the other is alone then, and may store without a copy. */
static bool is_shared(struct ksm *ksm, struct ksm_node *n)
{
	if (pool_maps(ksm->pool, n->fn) > 2)
		return true;
	let_go(ksm, n);
	return false;
}

static bool is_nothing(struct ksm *ksm, struct ksm_node *n)
{
	let_go(ksm, n);
	return false;
}

void ksm_prune(struct ksm *ksm)
{
	ksm_table_keep(&ksm->stable, is_shared, ksm);
}

/* ---- Areas ---- */

struct region *ksm_region(struct ksm_area *area)
{
	struct region *r = hostmm_region(area->mm, area->start);

	return r && sync_load(&r->ksm) == area ? r : NULL;
}

static struct ksm_area *area_create(struct ksm *ksm, struct region *r)
{
	struct ksm_area *area = calloc(1, sizeof(*area)), **link;
	uint64_t npages = region_pages(r);
	void *sum;

	if (!area)
		return NULL;
	sum = pool_map_sparse(npages * sizeof(*area->sum), -1);
	if (!sum) {
		free(area);
		return NULL;
	}
	*area = (struct ksm_area){ .mm = r->mm, .start = r->start, .npages = npages, .sum = sum };
	for (link = &ksm->areas; *link; link = &(*link)->next)
		;
	*link = area;
	sync_store(&r->mm->ksm, ksm);
	sync_store(&r->ksm, area);
	return area;
}

static bool has_areas(struct ksm *ksm, struct hostmm *mm)
{
	struct ksm_area *area;

	for (area = ksm->areas; area && area->mm != mm; area = area->next)
		;
	return area;
}

void ksm_forget(struct ksm *ksm, struct ksm_area *area)
{
	struct ksm_area **link;
	struct region *r;

	rwlock_read_acquire(&area->mm->mmap_lock);
	r = ksm_region(area);
	if (r)
		sync_store(&r->ksm, NULL);
	rwlock_read_release(&area->mm->mmap_lock);
	for (link = &ksm->areas; *link != area; link = &(*link)->next)
		;
	*link = area->next;
	if (!has_areas(ksm, area->mm))
		sync_store(&area->mm->ksm, NULL);
	if (ksm->at == area) {
		ksm->at = area->next;
		ksm->page = 0;
	}
	/* They name areas. Others than this one's cost a pass at most. */
	ksm_table_clear(&ksm->unstable);
	ksm->unshared = 0;
	pool_unmap_sparse(ksm->pool, area->sum, area->npages * sizeof(*area->sum));
	free(area);
}

/* The region with [start, end) inside, for @ksm. mmap_lock held. 0 or -errno. */
static int find_region(struct ksm *ksm, struct hostmm *mm, hva_t start, hva_t end,
		       struct region **r)
{
	struct ksm *other = sync_load(&mm->ksm);

	if (other && other != ksm)
		return -EINVAL;
	*r = hostmm_region(mm, start);
	if (!*r)
		return -EFAULT;
	return end <= (*r)->end ? 0 : -EINVAL;
}

static int check_range(struct ksm *ksm, struct hostmm *mm, hva_t start, hva_t end)
{
	return is_page_aligned(start | end) && start < end && hostmm_pool(mm) == ksm->pool
		       ? 0
		       : -EINVAL;
}

int ksm_register(struct ksm *ksm, struct hostmm *mm, hva_t start, hva_t end)
{
	int rc = check_range(ksm, mm, start, end);
	struct ksm_area *area;
	struct region *r;

	if (rc)
		return rc;
	ksm_claim(ksm);
	rwlock_read_acquire(&mm->mmap_lock);
	rc = find_region(ksm, mm, start, end, &r);
	if (!rc) {
		area = sync_load(&r->ksm);
		if (!area)
			area = area_create(ksm, r);
		if (!area)
			rc = -ENOMEM;
		for (uint64_t page = region_page(r, start); !rc && page < region_page(r, end);
		     page++)
			if (area->sum[page] == KSM_NONE)
				area->sum[page] = KSM_FRESH;
	}
	rwlock_read_release(&mm->mmap_lock);
	ksm_release(ksm);
	return rc;
}

/* A page that only the service shares with is alone when that lets go: no copy. */
static int unmerge(struct ksm *ksm, struct region *r, uint64_t page)
{
	uint64_t hpte = hpte_peek(r, page);
	fn_t fn = hpte_fn(hpte);

	if (!hpte_is_usable(hpte) ||
	    !(pool_is_zero(ksm->pool, fn) ||
	      (pool_is_stable(ksm->pool, fn) && pool_maps(ksm->pool, fn) > 2)))
		return 0;
	return cow_break(r, page);
}

int ksm_unregister(struct ksm *ksm, struct hostmm *mm, hva_t start, hva_t end)
{
	int rc = check_range(ksm, mm, start, end);
	struct region *r;

	if (rc)
		return rc;
	ksm_claim(ksm);
	rwlock_read_acquire(&mm->mmap_lock);
	rc = find_region(ksm, mm, start, end, &r);
	if (!rc && sync_load(&r->ksm)) {
		struct ksm_area *area = sync_load(&r->ksm);

		for (uint64_t page = region_page(r, start); page < region_page(r, end); page++) {
			int err = area->sum[page] ? unmerge(ksm, r, page) : 0;

			area->sum[page] = KSM_NONE;
			rc = rc ? rc : err;
		}
	}
	rwlock_read_release(&mm->mmap_lock);
	ksm_prune(ksm);
	ksm_release(ksm);
	return rc;
}

void ksm_exit(struct hostmm *mm, hva_t hva)
{
	struct ksm *ksm = sync_load(&mm->ksm);
	struct ksm_area *area;

	if (!ksm)
		return;
	ksm_claim(ksm);
	for (area = ksm->areas; area; area = area->next)
		if (area->mm == mm && area->start == hva)
			break;
	if (area)
		ksm_forget(ksm, area);
	ksm_release(ksm);
}

void ksm_let_go(struct hostmm *mm)
{
	struct ksm *ksm = sync_load(&mm->ksm);

	if (!ksm)
		return;
	ksm_claim(ksm);
	ksm_prune(ksm);
	ksm_release(ksm);
}

static void fork_area(struct ksm *ksm, const struct ksm_area *area, struct hostmm *child)
{
	struct ksm_area *new = NULL;
	struct region *r;

	rwlock_read_acquire(&child->mmap_lock);
	for (r = child->regions; r; r = r->next)
		if (r->forked_from == area->start)
			new = area_create(ksm, r);
	rwlock_read_release(&child->mmap_lock);
	for (uint64_t page = 0; new &&page < area->npages; page++)
		if (area->sum[page])
			new->sum[page] = KSM_FRESH;
}

void ksm_fork(struct hostmm *mm, struct hostmm *child)
{
	struct ksm *ksm = sync_load(&mm->ksm);

	if (!ksm)
		return;
	ksm_claim(ksm);
	for (struct ksm_area *area = ksm->areas; area; area = area->next)
		if (area->mm == mm)
			fork_area(ksm, area, child);
	ksm_release(ksm);
}

/* ---- Life ---- */

int ksm_create(struct ksm **out, struct pool *pool, const struct ksm_opts *opts)
{
	static const char zeros[PAGE_SIZE];
	struct ksm *ksm;

	if (opts->max_page_sharing == 1)
		return -EINVAL;
	ksm = calloc(1, sizeof(*ksm));
	if (!ksm)
		return -ENOMEM;
	ksm->pool = pool;
	ksm->opts = *opts;
	if (!opts->pages_to_scan)
		ksm->opts.pages_to_scan = 100;
	if (!opts->max_page_sharing)
		ksm->opts.max_page_sharing = 256;
	ksm->zero_sum = ksm_hash(zeros);
	lock_init(&ksm->lock);
	cond_init(&ksm->changed);
	*out = ksm;
	return 0;
}

void ksm_destroy(struct ksm *ksm)
{
	ksm_stop(ksm);
	ksm_claim(ksm);
	while (ksm->areas)
		ksm_forget(ksm, ksm->areas);
	ksm_table_keep(&ksm->stable, is_nothing, ksm);
	ksm_release(ksm);
	ksm_table_fini(&ksm->stable);
	ksm_table_fini(&ksm->unstable);
	cond_fini(&ksm->changed);
	lock_fini(&ksm->lock);
	free(ksm);
}
