/* SPDX-License-Identifier: BSD-2-Clause */
/* Which accesses to a view may ask at all: the rights of its VMAs. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "mmu/host/view_priv.h"

static unsigned access_of(const struct view *view, uint64_t page)
{
	return view->access && view->access[page] ? view->access[page] - 1u
						  : PROT_READ | PROT_WRITE;
}

int view_open(struct view *view, uint64_t page, uint64_t n)
{
	int rc = 0;

	lock_assert_held(&view->repoint);
	for (uint64_t run, end = page + n; page < end; page += run) {
		unsigned access = access_of(view, page);

		for (run = 1; page + run < end && access_of(view, page + run) == access; run++)
			;
		if (view_mprotect(view, page, run, (int)access))
			rc = rc ?: -errno; /* the rest all the same: this may be the way back */
	}
	return rc;
}

/* The run of pages from *@page on whose VMAs can be relied on. 0: there is none before @end. */
static uint64_t next_sound(const struct view *view, uint64_t *page, uint64_t end)
{
	uint64_t n = 0;

	if (!view->broken)
		return end - *page;
	while (*page < end && view->away[*page] == AWAY_BROKEN)
		++*page;
	while (*page + n < end && view->away[*page + n] != AWAY_BROKEN)
		n++;
	return n;
}

bool view_close_stores(struct view *view)
{
	lock_assert_held(&view->repoint);
	if (!view->uffd->is_retried || view->access)
		return false;
	for (uint64_t page = 0, n; (n = next_sound(view, &page, view->npages)); page += n)
		if (view_mprotect(view, page, n, PROT_READ)) {
			(void)view_open_stores(view);
			return false;
		}
	return true;
}

int view_open_stores(struct view *view)
{
	int rc = 0;

	for (uint64_t page = 0, n; (n = next_sound(view, &page, view->npages)); page += n)
		rc = rc ?: view_open(view, page, n);
	return rc;
}

static int need_access(struct view *view)
{
	if (!view->access)
		view->access = pool_map_sparse(view->npages, -1);
	return view->access ? 0 : -errno;
}

/*
 * mprotect() of several VMAs may fail in the middle. The way back splits none that is not split already, so it works
 * where the way there did not. If it fails all the same, accesses fail that need not: never the other way round, since
 * who protects takes from the entries of the view what it gives up, and gives only what its own entries allow.
 */
int view_protect(struct view *view, uint64_t page, uint64_t n, unsigned access)
{
	int rc;

	bug_on(!n || page + n > view->npages);
	if (!view->uffd)
		return rights_protect(view, page, n, access);
	lock_acquire(&view->repoint);
	rc = need_access(view);
	if (!rc && !sync_load(&view->shut) && view_mprotect(view, page, n, (int)access)) {
		rc = -errno;
		(void)view_open(view, page, n);
	}
	if (!rc && access == (PROT_READ | PROT_WRITE))
		memset(view->access + page, 0, n);
	else if (!rc)
		memset(view->access + page, (int)access + 1, n);
	lock_release(&view->repoint);
	return rc;
}
