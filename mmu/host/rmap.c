/* SPDX-License-Identifier: BSD-2-Clause */
#include "mmu/host/rmap.h"

#include <errno.h>
#include <stdlib.h>

#include "mmu/base/mutant.h"
#include "mmu/host/hostmm_priv.h"
#include "mmu/host/pool_priv.h"

/*
 * Locks used to protect members:
 *	I	immutable after create
 *	r	lock
 */
struct rmap {
	struct lock lock;
	struct cond unpinned;	    /* some mm has lost its last pin */
	struct interval_tree homes; /* [r] regions, by home frames */
	struct rmap_link **head;    /* [I] per frame, members [r]; sparse */
};

/* Links of a small region cost no VMA. */
#define LINKS_SMALL 128u

int rmap_create(struct rmap **out, uint64_t frames)
{
	struct rmap *rmap = calloc(1, sizeof(*rmap));

	if (!rmap)
		return -ENOMEM;
	rmap->head = pool_map_sparse(frames * sizeof(struct rmap_link *), -1);
	if (!rmap->head) {
		free(rmap);
		return -ENOMEM;
	}
	lock_init(&rmap->lock);
	cond_init(&rmap->unpinned);
	interval_tree_init(&rmap->homes);
	*out = rmap;
	return 0;
}

void rmap_destroy(struct pool *pool)
{
	struct rmap *rmap = pool->rmap;

	bug_on(rmap->homes.root);
	pool_unmap_sparse(pool, rmap->head, pool_frames(pool) * sizeof(struct rmap_link *));
	cond_fini(&rmap->unpinned);
	lock_fini(&rmap->lock);
	free(rmap);
}

int rmap_add_region(struct region *r)
{
	struct rmap *rmap = r->pool->rmap;
	uint64_t npages = region_pages(r);

	r->rmap.links = npages <= LINKS_SMALL
				? calloc(npages, sizeof(*r->rmap.links))
				: pool_map_sparse(npages * sizeof(*r->rmap.links), -1);
	if (!r->rmap.links)
		return -ENOMEM;
	r->rmap.homes.start = r->home;
	r->rmap.homes.end = r->home + npages;
	lock_acquire(&rmap->lock);
	interval_tree_insert(&rmap->homes, &r->rmap.homes);
	lock_release(&rmap->lock);
	return 0;
}

void rmap_remove_region(struct region *r)
{
	struct rmap *rmap = r->pool->rmap;
	uint64_t npages = region_pages(r);

	/* What it lends is empty, and yet others wait for it. */
	for (uint64_t page = 0; r->is_private && page < npages; page += CHUNK_PAGES)
		if (hpte_sharers(r, page))
			hpte_unshare(r, page);
	lock_acquire(&rmap->lock);
	interval_tree_remove(&rmap->homes, &r->rmap.homes);
	lock_release(&rmap->lock);
	if (npages <= LINKS_SMALL)
		free(r->rmap.links);
	else
		pool_unmap_sparse(r->pool, r->rmap.links, npages * sizeof(*r->rmap.links));
}

static bool is_followed(struct region *r, uint64_t page, fn_t fn)
{
	return fn != r->home + page && !pool_is_zero(r->pool, fn);
}

static void link_page(struct region *r, uint64_t page, struct rmap_link **head)
{
	struct rmap_link *link = &r->rmap.links[page];

	bug_on(link->prev);
	*link = (struct rmap_link){ .next = *head, .prev = head, .region = r };
	if (link->next)
		link->next->prev = &link->next;
	*head = link;
}

void rmap_add_locked(struct region *r, uint64_t page, uint64_t n, fn_t fn)
{
	struct rmap *rmap = r->pool->rmap;

	lock_assert_held(&rmap->lock);
	for (; n; page++, fn++, n--)
		if (is_followed(r, page, fn))
			link_page(r, page, &rmap->head[fn]);
}

void rmap_add(struct region *r, uint64_t page, fn_t fn)
{
	struct rmap *rmap = r->pool->rmap;

	if (!is_followed(r, page, fn))
		return;
	lock_acquire(&rmap->lock);
	rmap_add_locked(r, page, 1, fn);
	lock_release(&rmap->lock);
}

void rmap_lock(struct rmap *rmap)
{
	lock_acquire(&rmap->lock);
}

void rmap_unlock(struct rmap *rmap)
{
	lock_release(&rmap->lock);
}

void rmap_remove(struct region *r, uint64_t page, fn_t fn)
{
	struct rmap *rmap = r->pool->rmap;
	struct rmap_link *link = &r->rmap.links[page];

	if (!is_followed(r, page, fn))
		return;
	lock_acquire(&rmap->lock);
	bug_on(!link->prev);
	*link->prev = link->next;
	if (link->next)
		link->next->prev = link->prev;
	link->prev = NULL;
	lock_release(&rmap->lock);
}

/* ---- Walks ---- */

/* A page that may have the frame. Its mm is pinned. */
struct rmap_map {
	struct hostmm *mm;
	hva_t hva;
};

/* With room for as many; more are counted. */
struct rmap_maps {
	struct rmap_map *map;
	size_t room, n;
};

/* rmap->lock held: a region that is listed has an mm that is there. */
static void pin(struct hostmm *mm)
{
	mm->pins += !mutant(27);
}

static void note(struct rmap_maps *maps, struct region *r, uint64_t page)
{
	if (maps->n < maps->room) {
		pin(r->mm);
		maps->map[maps->n] = (struct rmap_map){ .mm = r->mm, .hva = region_hva(r, page) };
	}
	maps->n++;
}

/* The page, and those of regions that have its chunk from it. */
static void note_all(struct rmap_maps *maps, struct region *r, uint64_t page)
{
	note(maps, r, page);
	for (struct region *s = hpte_sharers(r, page); s; s = hpte_chunk(s, page)->next)
		note(maps, s, page);
}

void rmap_pin(struct hostmm *mm)
{
	struct rmap *rmap = mm->pool->rmap;

	lock_acquire(&rmap->lock);
	pin(mm);
	lock_release(&rmap->lock);
}

void rmap_unpin(struct hostmm *mm)
{
	struct rmap *rmap = mm->pool->rmap;

	if (mutant(27))
		return;
	lock_acquire(&rmap->lock);
	bug_on(!mm->pins);
	if (!--mm->pins)
		cond_broadcast(&rmap->unpinned);
	lock_release(&rmap->lock);
}

void rmap_wait_unpinned(struct hostmm *mm)
{
	struct rmap *rmap = mm->pool->rmap;

	lock_acquire(&rmap->lock);
	while (mm->pins)
		cond_wait(&rmap->unpinned, &rmap->lock);
	lock_release(&rmap->lock);
}

static struct region *region_of(struct interval_node *node)
{
	return (struct region *)(void *)((char *)node - offsetof(struct region, rmap.homes));
}

/* rmap->lock held: regions stay meanwhile. */
static void collect(struct rmap *rmap, fn_t fn, struct rmap_maps *maps)
{
	struct interval_node *node = interval_tree_first(&rmap->homes, fn, fn + 1);

	if (node) {
		struct region *r = region_of(node);
		uint64_t page = fn - r->home, hpte = hpte_read(r, page);

		/* Empty if it has a lender: found with that. */
		if (hpte_has_frame(hpte) && hpte_fn(hpte) == fn)
			note_all(maps, r, page);
	}
	for (struct rmap_link *l = rmap->head[fn]; l; l = l->next)
		note_all(maps, l->region, (uint64_t)(l - l->region->rmap.links));
}

/* Those that come between the two looks may be missed. */
static int snapshot(struct rmap *rmap, fn_t fn, struct rmap_maps *maps)
{
	*maps = (struct rmap_maps){ .n = 0 };
	lock_acquire(&rmap->lock);
	collect(rmap, fn, maps);
	lock_release(&rmap->lock);
	if (!maps->n)
		return 0;
	maps->room = maps->n;
	maps->n = 0;
	maps->map = calloc(maps->room, sizeof(*maps->map));
	if (!maps->map)
		return -ENOMEM;
	lock_acquire(&rmap->lock);
	collect(rmap, fn, maps);
	lock_release(&rmap->lock);
	maps->n = min_u64(maps->n, maps->room);
	return 0;
}

int rmap_walk(struct pool *pool, fn_t fn, rmap_one one, void *ctx)
{
	struct rmap_maps maps;
	int rc = snapshot(pool->rmap, fn, &maps);

	if (mutant(1213) && maps.n > 1) /* the first stands for all */
		while (maps.n > 1)
			rmap_unpin(maps.map[--maps.n].mm);
	for (size_t i = 0; i < maps.n; i++) {
		struct hostmm *mm = maps.map[i].mm;

		rwlock_read_acquire(&mm->mmap_lock);
		struct region *r = rc ? NULL : hostmm_region(mm, maps.map[i].hva);

		if (r)
			rc = one(r, region_page(r, maps.map[i].hva), ctx);
		rwlock_read_release(&mm->mmap_lock);
		rmap_unpin(mm);
	}
	free(maps.map);
	return rc;
}
