/* SPDX-License-Identifier: BSD-2-Clause */
#include "mmu/host/rmap.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

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

void rmap_destroy(struct rmap *rmap, uint64_t frames)
{
	bug_on(rmap->homes.root);
	munmap(rmap->head, frames * sizeof(struct rmap_link *));
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

	lock_acquire(&rmap->lock);
	interval_tree_remove(&rmap->homes, &r->rmap.homes);
	lock_release(&rmap->lock);
	if (npages <= LINKS_SMALL)
		free(r->rmap.links);
	else
		munmap(r->rmap.links, npages * sizeof(*r->rmap.links));
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

void rmap_add(struct region *r, uint64_t page, uint64_t n, fn_t fn)
{
	struct rmap *rmap = r->pool->rmap;

	if (n == 1 && !is_followed(r, page, fn))
		return;
	lock_acquire(&rmap->lock);
	for (; n; page++, fn++, n--)
		if (is_followed(r, page, fn))
			link_page(r, page, &rmap->head[fn]);
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

/* rmap->lock held: a region that is listed has an mm that is there. */
static void pin(struct hostmm *mm)
{
	mm->pins += !mutant(27);
}

static void note(struct rmap_map *map, struct region *r, uint64_t page)
{
	pin(r->mm);
	*map = (struct rmap_map){ .mm = r->mm, .hva = region_hva(r, page) };
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

/* Up to @room pages, or how many there are with no room at all. rmap->lock held: their regions stay meanwhile. */
static size_t collect(struct rmap *rmap, fn_t fn, struct rmap_map *maps, size_t room)
{
	struct interval_node *node = interval_tree_first(&rmap->homes, fn, fn + 1);
	size_t n = 0;

	if (node) {
		struct region *r = region_of(node);
		uint64_t page = fn - r->home, hpte = sync_load(&r->hpte[page]);

		if (hpte_has_frame(hpte) && hpte_fn(hpte) == fn) {
			if (n < room)
				note(&maps[n], r, page);
			n++;
		}
	}
	for (struct rmap_link *l = rmap->head[fn]; l && (!room || n < room); l = l->next, n++)
		if (n < room)
			note(&maps[n], l->region, (uint64_t)(l - l->region->rmap.links));
	return room && n > room ? room : n;
}

static int snapshot(struct rmap *rmap, fn_t fn, struct rmap_map **maps, size_t *n)
{
	size_t room;

	lock_acquire(&rmap->lock);
	room = collect(rmap, fn, NULL, 0);
	lock_release(&rmap->lock);
	*n = 0;
	*maps = NULL;
	if (!room)
		return 0;
	*maps = calloc(room, sizeof(**maps));
	if (!*maps)
		return -ENOMEM;
	lock_acquire(&rmap->lock);
	*n = collect(rmap, fn, *maps, room);
	lock_release(&rmap->lock);
	return 0;
}

int rmap_walk(struct pool *pool, fn_t fn, rmap_one one, void *ctx)
{
	struct rmap_map *maps;
	size_t n;
	int rc = snapshot(pool->rmap, fn, &maps, &n);

	if (mutant(1213) && n > 1) /* the first stands for all */
		while (n > 1)
			rmap_unpin(maps[--n].mm);
	for (size_t i = 0; i < n; i++) {
		struct hostmm *mm = maps[i].mm;

		rwlock_read_acquire(&mm->mmap_lock);
		struct region *r = rc ? NULL : hostmm_region(mm, maps[i].hva);

		if (r)
			rc = one(r, region_page(r, maps[i].hva), ctx);
		rwlock_read_release(&mm->mmap_lock);
		rmap_unpin(mm);
	}
	free(maps);
	return rc;
}
