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

/* Their VMAs go home, as one. It has no rights before it is watched, so no access is served; some fail, and are repeated. */
static bool send_home(struct view *view, uint64_t page, uint64_t n)
{
	if (map_fixed(view, page, n, view->home + page, PROT_NONE))
		return false;
	if (view_watch(view, page, n) || view_open(view, page, n)) {
		view_break(view, page, n);
		return false;
	}
	for (; n; page++, n--) {
		view->broken -= view->away[page] == AWAY_BROKEN;
		if (view->away[page])
			view_count_foreign(view, -1);
		view->away[page] = 0;
	}
	return true;
}

bool view_forget_run(struct view *view, uint64_t page)
{
	uint64_t first = page, end = page + 1;

	if (!view->uffd->is_retried)
		return false;
	while (first && view->away[first - 1])
		first--;
	while (end < view->npages && view->away[end])
		end++;
	return send_home(view, first, end - first);
}

static unsigned mend(struct view *view)
{
	unsigned mended = 0;

	lock_assert_held(&view->repoint);
	for (uint64_t page = 0; page < view->npages && view->broken; page++) {
		if (view->away[page] != AWAY_BROKEN)
			continue;
		if (!send_home(view, page, 1))
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
