/* SPDX-License-Identifier: BSD-2-Clause */
/* Pages that a failed repoint has left closed: watched again, so that an access asks and does not fail. */
#include <sys/mman.h>

#include "mmu/host/view_priv.h"

void view_break(struct view *view, uint64_t page, uint64_t n)
{
	for (; n; page++, n--) {
		view->broken += view->away[page] != AWAY_BROKEN;
		view->away[page] = AWAY_BROKEN;
	}
}

/*
 * Out of VMAs, the system refuses before it changes anything; out of memory, an old one may have unmapped the pages already. Which it
 * was tells whether they are watched still: they show nothing, so there is nothing that this takes the protection from.
 */
void view_refused(struct view *view, uint64_t page, uint64_t n)
{
	for (uint64_t end = page + n; page < end; page++)
		if (uffd_writeprotect(view->uffd, view_addr(view, page), PAGE_SIZE, false))
			view_break(view, page, 1);
		else if (!view->away[page])
			view_count_foreign(view, -1);
}

/* The VMA goes home. It has no rights before it is watched, so there is no gap. */
static bool mend_page(struct view *view, uint64_t page)
{
	void *at = view_addr(view, page);

	if (map_fixed(view, page, 1, view->home + page, PROT_NONE) ||
	    uffd_register(view->uffd, at, PAGE_SIZE) || view_open(view, page, 1))
		return false;
	view->away[page] = 0;
	view->broken--;
	view_count_foreign(view, -1);
	return true;
}

static unsigned mend(struct view *view)
{
	unsigned mended = 0;

	lock_assert_held(&view->repoint);
	for (uint64_t page = 0; page < view->npages && view->broken; page++) {
		if (view->away[page] != AWAY_BROKEN)
			continue;
		if (!mend_page(view, page))
			break; /* still out of memory: its user is told */
		mended++;
	}
	return mended;
}

void view_settle(struct view *view)
{
	lock_acquire(&view->repoint);
	if (view->broken && !sync_load(&view->shut))
		count_repoints(view, 2 * mend(view));
	lock_release(&view->repoint);
}
