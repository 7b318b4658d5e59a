/* SPDX-License-Identifier: BSD-2-Clause */
/* Pages that a failed repoint has left closed: watched again, so that an access asks and does not fail. */
#include <sys/mman.h>

#include "mmu/host/view_priv.h"

/* The VMA goes home. It has no rights before it is watched, so there is no gap. */
static bool mend_page(struct view *view, uint64_t page)
{
	void *at = view_addr(view, page);

	if (mmap(at, PAGE_SIZE, PROT_NONE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE,
		 pool_fd(view->pool), (off_t)((view->home + page) << PAGE_SHIFT)) == MAP_FAILED ||
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
