/* SPDX-License-Identifier: BSD-2-Clause */
/* Which frames of a pool are reserved. */
#include <errno.h>
#include <stdlib.h>

#include "mmu/host/pool_priv.h"

static void drop_if_empty(struct extent **link)
{
	struct extent *e = *link;

	if (e->start == e->end) {
		*link = e->next;
		free(e);
	}
}

/* The first extent with room for @n frames from a multiple of @align on; *@first is that. NULL: none. */
static struct extent **find_room(struct pool *pool, uint64_t n, uint64_t align, fn_t *first)
{
	struct extent **link, *e;

	for (link = &pool->free; (e = *link); link = &e->next) {
		*first = (e->start + align - 1) & ~(align - 1);
		if (*first < e->end && e->end - *first >= n)
			return link;
	}
	return NULL;
}

/* Take [first, first + n) out of *@link. What lies before it stays a place for small runs. */
static int take_run(struct extent **link, fn_t first, uint64_t n)
{
	struct extent *e = *link, *before;

	if (first > e->start) {
		before = malloc(sizeof(*before));
		if (!before)
			return -ENOMEM;
		*before = (struct extent){ .next = e, .start = e->start, .end = first };
		*link = before;
		link = &before->next;
	}
	e->start = first + n;
	drop_if_empty(link);
	return 0;
}

/* Regions grow from the bottom, loose frames from the top, so that these do not fragment those. */
int pool_reserve(struct pool *pool, uint64_t n, fn_t *first)
{
	uint64_t align = n >= POOL_LARGEST ? POOL_LARGEST : n >= POOL_LARGE ? POOL_LARGE : 1;
	struct extent **link;
	int rc;

	if (!n)
		return -EINVAL;
	lock_acquire(&pool->lock);
	link = find_room(pool, n, align, first);
	if (!link && align == POOL_LARGEST)
		link = find_room(pool, n, POOL_LARGE, first);
	if (!link && align > 1)
		link = find_room(pool, n, 1, first);
	rc = link ? take_run(link, *first, n) : -ENOSPC;
	lock_release(&pool->lock);
	return rc;
}

int pool_reserve_top(struct pool *pool, uint64_t n, fn_t *first)
{
	struct extent **link, **last = NULL;
	int rc = -ENOSPC;

	lock_acquire(&pool->lock);
	for (link = &pool->free; *link; link = &(*link)->next)
		last = link;
	if (last && (*last)->end - (*last)->start >= n) {
		*first = (*last)->end -= n;
		drop_if_empty(last);
		rc = 0;
	}
	lock_release(&pool->lock);
	return rc;
}

void pool_unreserve(struct pool *pool, fn_t first, uint64_t n)
{
	struct extent **link, *e, *next;
	fn_t end = first + n;

	bug_on(!n || end < first || end > pool->file.nframes);
	lock_acquire(&pool->lock);
	for (link = &pool->free; *link && (*link)->end < first; link = &(*link)->next)
		;
	e = *link;
	if (e && e->end == first) {
		e->end = end;
	} else if (e && e->start == end) {
		e->start = first;
	} else {
		bug_on(e && e->start < end);
		struct extent *fresh = malloc(sizeof(*fresh));

		bug_on(!fresh); /* 24 bytes; losing frames for ever would be the alternative */
		*fresh = (struct extent){ .next = e, .start = first, .end = end };
		*link = fresh;
		e = fresh;
	}
	next = e->next;
	if (next && next->start == e->end) {
		e->end = next->end;
		e->next = next->next;
		free(next);
	}
	lock_release(&pool->lock);
}
