/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One batch of the scan, in three steps that each hold one mmap_lock for reading, or none: look at pages, find frames for
 * those that stand still, merge. What changes in between is noticed by the comparison at the end.
 */
#include "mmu/host/ksm_priv.h"

/* A chunk lock is held for so many entries, and so many frames have a reference more while they are hashed. */
#define LOOK 64u

struct look {
	struct ksm *ksm;
	struct ksm_area *area;
	struct region *r;
	uint64_t looked, items;
	uint64_t page[LOOK];
	fn_t fn[LOOK];
};

/* Pages of [page, end) that could be merged, with a reference on their frames. How many. */
static unsigned gather(struct look *l, uint64_t page, uint64_t end)
{
	struct chunk_lock *chunk = region_chunk(l->r, page);
	struct pool *pool = l->ksm->pool;
	unsigned n = 0;

	lock_acquire(&chunk->lock);
	for (; page < end; page++) {
		uint64_t hpte = hpte_read(l->r, page);

		if (!l->area->sum[page])
			continue;
		l->looked++;
		if (!hpte_is_usable(hpte)) {
			l->area->sum[page] = KSM_FRESH;
			continue;
		}
		if (pool_is_stable(pool, hpte_fn(hpte)) || pool_is_zero(pool, hpte_fn(hpte)))
			continue;
		pool_get(pool, hpte_fn(hpte));
		l->page[n] = page;
		l->fn[n++] = hpte_fn(hpte);
	}
	lock_release(&chunk->lock);
	return n;
}

static void put_frames(struct pool *pool, const fn_t *fn, unsigned n)
{
	for (unsigned i = 0, run; i < n; i += run) {
		for (run = 1; i + run < n && fn[i + run] == fn[i] + run; run++)
			;
		pool_put(pool, fn[i], run);
	}
}

/* Pages seen for the first time are aged: whoever is young when they merge has been used since. */
static void look_at(struct look *l, uint64_t page, uint64_t end)
{
	uint64_t first = UINT64_MAX, last = 0;
	unsigned n = gather(l, page, end);

	for (unsigned i = 0; i < n; i++) {
		uint64_t *known = &l->area->sum[l->page[i]];
		uint64_t sum = ksm_hash(pool_direct(l->ksm->pool, l->fn[i]));

		if (*known == sum) {
			l->ksm->item[l->items++] =
				(struct ksm_item){ .page = l->page[i], .sum = sum, .to = FN_NONE };
			continue;
		}
		if (*known == KSM_FRESH) {
			first = min_u64(first, l->page[i]);
			last = l->page[i];
		} else {
			l->ksm->volatiles++;
		}
		*known = sum;
	}
	put_frames(l->ksm->pool, l->fn, n);
	if (first <= last && !l->ksm->opts.no_age)
		mmu_notifier_clear_young(hostmm_subscriptions(l->r->mm), region_hva(l->r, first),
					 region_hva(l->r, last + 1));
}

/* False if the region is gone. */
static bool look(struct look *l, uint64_t page, uint64_t end)
{
	struct hostmm *mm = l->area->mm;

	rwlock_read_acquire(&mm->mmap_lock);
	l->r = ksm_region(l->area);
	for (uint64_t next; l->r && page < end; page = next) {
		next = min_u64(page + LOOK, end);
		look_at(l, page, next);
	}
	rwlock_read_release(&mm->mmap_lock);
	return l->r;
}

/* A stable frame with these contents that may have one page more. */
static struct ksm_node *find_stable(struct ksm *ksm, uint64_t sum)
{
	struct ksm_node *n = NULL;

	while ((n = ksm_table_next(&ksm->stable, sum, n))) {
		if (n->batch != ksm->batches) {
			n->batch = ksm->batches;
			n->planned = 0;
		}
		/* One map is the service's own. */
		if (pool_maps(ksm->pool, n->fn) - 1 + n->planned < ksm->opts.max_page_sharing)
			return n;
	}
	return NULL;
}

/* Make the frame of an unstable page a stable one, if it still has these contents. Kernel: stable_tree_insert(). */
static struct ksm_node *promote(struct ksm *ksm, const struct ksm_node *unstable)
{
	struct hostmm *mm = unstable->area->mm;
	struct ksm_node *n = NULL;
	struct region *r;
	fn_t fn;

	rwlock_read_acquire(&mm->mmap_lock);
	r = ksm_region(unstable->area);
	if (r && unstable->area->sum[unstable->page] && !merge_protect(r, unstable->page, &fn)) {
		if (!pool_is_stable(ksm->pool, fn) && !pool_is_zero(ksm->pool, fn) &&
		    ksm_hash(pool_direct(ksm->pool, fn)) == unstable->sum)
			n = ksm_table_add(&ksm->stable, unstable->sum);
		if (n) {
			n->fn = fn;
			n->batch = ksm->batches;
			pool_set_stable(ksm->pool, fn, true);
		} else {
			merge_unprotect(ksm->pool, fn);
		}
	}
	rwlock_read_release(&mm->mmap_lock);
	return n;
}

/* No stable frame has these contents: has a page of this pass? If not, this one is noted as one. */
static struct ksm_node *find_unstable(struct ksm *ksm, struct ksm_area *area, uint64_t page,
				      uint64_t sum)
{
	struct ksm_node *u = ksm_table_next(&ksm->unstable, sum, NULL), *n;

	if (u && u->area && (u->area != area || u->page != page)) {
		n = promote(ksm, u);
		ksm->unshared--;
		u->area = NULL;
		if (n)
			return n;
	}
	if (!u)
		u = ksm_table_add(&ksm->unstable, sum);
	if (u && !u->area) {
		u->area = area;
		u->page = page;
		ksm->unshared++;
	}
	return NULL;
}

static fn_t find_frame(struct ksm *ksm, struct ksm_area *area, const struct ksm_item *item)
{
	struct ksm_node *n;
	fn_t zero;

	/* By the page's number: pages of zeros in a row stay a row of frames, which costs no VMAs. */
	if (item->sum == ksm->zero_sum && ksm->opts.use_zero_pages &&
	    !pool_zero_run(ksm->pool, &zero))
		return zero + item->page % POOL_LARGE;
	n = find_stable(ksm, item->sum);
	if (!n)
		n = find_unstable(ksm, area, item->page, item->sum);
	if (!n)
		return FN_NONE;
	n->planned++;
	return n->fn;
}

static void merge_items(struct ksm *ksm, struct ksm_area *area, uint64_t n)
{
	struct hostmm *mm = area->mm;
	struct region *r;

	rwlock_read_acquire(&mm->mmap_lock);
	r = ksm_region(area);
	if (r) {
		for (struct ksm_item *item = ksm->item; item < ksm->item + n; item++)
			item->young = item->to != FN_NONE &&
				      mmu_notifier_test_young(hostmm_subscriptions(mm),
							      region_hva(r, item->page));
		ksm_merge(r, ksm->item, n, &ksm->stats);
	}
	rwlock_read_release(&mm->mmap_lock);
}

/* To the next registered page. False: there is none in this pass. */
static bool advance(struct ksm *ksm)
{
	if (!ksm->in_pass) {
		ksm->in_pass = true;
		ksm->at = ksm->areas;
		ksm->page = 0;
	}
	for (; ksm->at; ksm->at = ksm->at->next, ksm->page = 0)
		for (; ksm->page < ksm->at->npages; ksm->page++)
			if (ksm->at->sum[ksm->page])
				return true;
	return false;
}

static void end_pass(struct ksm *ksm)
{
	ksm->in_pass = false;
	ksm_prune(ksm);
	ksm_table_clear(&ksm->unstable);
	ksm->stats.full_scans++;
	ksm->stats.pages_unshared = ksm->unshared;
	ksm->stats.pages_volatile = ksm->volatiles;
	ksm->unshared = ksm->volatiles = 0;
}

uint64_t ksm_batch(struct ksm *ksm, uint64_t npages)
{
	struct look l = { .ksm = ksm };
	uint64_t end;

	if (!advance(ksm)) {
		end_pass(ksm);
		return 0;
	}
	l.area = ksm->at;
	end = min_u64(chunk_end(ksm->page, l.area->npages), ksm->page + npages);
	if (!look(&l, ksm->page, end)) {
		ksm_forget(ksm, l.area);
		return ksm_batch(ksm, npages);
	}
	ksm->page = end;
	ksm->batches++;
	for (uint64_t i = 0; i < l.items; i++)
		ksm->item[i].to = find_frame(ksm, l.area, &ksm->item[i]);
	if (l.items)
		merge_items(ksm, l.area, l.items);
	ksm->stats.pages_scanned += l.looked;
	return l.looked;
}
