/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A view without userfaultfd: a page can be used as far as the rights of its VMA go, and an access beyond them ends in
 * SIGSEGV, whose handler has it resolved (trap.h).
 *
 * Here rights that differ from page to page cost VMAs. When the system has no more of them, the view forgets what it shows
 * as a whole: one VMA without rights, at home, filled again on demand. A view may always show less. Where others have taken all that there
 * were, and it has none to give, a page cannot be shown: -ENOMEM.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "mmu/base/trace.h"
#include "mmu/host/view_priv.h"

static int prot_of(enum view_rights rights)
{
	return rights == VIEW_WRITE  ? PROT_READ | PROT_WRITE
	       : rights == VIEW_READ ? PROT_READ
				     : PROT_NONE;
}

/* repoint held, as in all below. One VMA, at home. */
static void forget_all(struct view *view)
{
	if (map_fixed(view, 0, view->npages, view->home, PROT_NONE))
		bug_report(__FILE__, __LINE__, "a view cannot be closed");
	page_array_clear(view->rights, view->npages, sizeof(*view->rights));
	page_array_clear(view->away, view->npages, sizeof(*view->away));
	view_count_foreign(view, -(int64_t)view_foreign(view));
}

static int set_rights(struct view *view, uint64_t page, uint64_t n, enum view_rights rights)
{
	if (mprotect(view_addr(view, page), n << PAGE_SHIFT, prot_of(rights)))
		return -errno;
	memset(view->rights + page, rights, n);
	return 0;
}

/* The VMA of the page is replaced by one with the rights that it is to have: there is no gap. */
static int repoint(struct view *view, uint64_t page, uint64_t n, fn_t fn, enum view_rights rights)
{
	if (map_fixed(view, page, n, fn, prot_of(rights)))
		return -errno;
	trace_instant(umbra_repoint, page, fn, rights == VIEW_WRITE);
	memset(view->rights + page, rights, n);
	for (; n; page++, fn++, n--) {
		if (!view->away[page])
			view_count_foreign(view, 1);
		view->away[page] = fn == view->home + page ? 0 : (uint32_t)fn + 1;
		if (!view->away[page])
			view_count_foreign(view, -1);
	}
	return 0;
}

/* Map the first run of [page, page + n): those that the VMAs show already, or those that they do not. How many, or -errno. */
static int64_t map_run(struct view *view, uint64_t page, uint64_t n, fn_t fn,
		       enum view_rights rights)
{
	uint64_t run = 0;
	int rc;

	while (run < n && shows_frame(view, page + run, fn + run))
		run++;
	if (run) {
		rc = set_rights(view, page, run, rights);
	} else {
		run = view_new_run(view, page, n, fn);
		rc = run ? repoint(view, page, run, fn, rights) : -ENOMEM;
	}
	return rc ? rc : (int64_t)run;
}

static int map_all(struct view *view, uint64_t page, uint64_t n, fn_t fn, enum view_rights rights)
{
	while (n) {
		int64_t run = map_run(view, page, n, fn, rights);

		if (run < 0)
			return (int)run;
		page += (uint64_t)run;
		fn += (uint64_t)run;
		n -= (uint64_t)run;
	}
	return 0;
}

int rights_map(struct view *view, uint64_t page, uint64_t n, fn_t fn, bool writable)
{
	enum view_rights rights = writable ? VIEW_WRITE : VIEW_READ;
	int rc;

	lock_acquire(&view->repoint);
	rc = sync_load(&view->shut) ? -ESHUTDOWN : map_all(view, page, n, fn, rights);
	if (rc == -ENOMEM) {
		forget_all(view);
		rc = map_all(view, page, n, fn, rights);
	}
	lock_release(&view->repoint);
	return rc;
}

/* Length of the run of pages from @page on, before @end, that have the rights of @page. */
static uint64_t run_length(const struct view *view, uint64_t page, uint64_t end)
{
	uint64_t n = 1;

	while (page + n < end && view->rights[page + n] == view->rights[page])
		n++;
	return n;
}

/* Pages of the range that have @from get @to. */
static int change_rights(struct view *view, uint64_t page, uint64_t end, enum view_rights from,
			 enum view_rights to)
{
	int rc = 0;

	for (uint64_t n; page < end && !rc; page += n) {
		n = run_length(view, page, end);
		if (view->rights[page] == from)
			rc = set_rights(view, page, n, to);
	}
	return rc;
}

int rights_make_writable(struct view *view, uint64_t page, uint64_t n)
{
	int rc;

	lock_acquire(&view->repoint);
	rc = change_rights(view, page, page + n, VIEW_READ, VIEW_WRITE);
	if (rc == -ENOMEM) { /* they fault again, and are mapped with what they may have then */
		forget_all(view);
		rc = 0;
	}
	lock_release(&view->repoint);
	return rc;
}

/* What the owner gives, pages get when they are mapped; what he takes, now. */
int rights_protect(struct view *view, uint64_t page, uint64_t n, unsigned access)
{
	lock_acquire(&view->repoint);
	if (!(access & PROT_READ)    ? set_rights(view, page, n, VIEW_NOTHING)
	    : !(access & PROT_WRITE) ? change_rights(view, page, page + n, VIEW_WRITE, VIEW_READ)
				     : 0)
		forget_all(view);
	lock_release(&view->repoint);
	return 0;
}

void rights_wrprotect(struct view *view, uint64_t page, uint64_t n)
{
	lock_acquire(&view->repoint);
	if (change_rights(view, page, page + n, VIEW_WRITE, VIEW_READ))
		forget_all(view);
	lock_release(&view->repoint);
}

void rights_zap(struct view *view, uint64_t page, uint64_t n)
{
	lock_acquire(&view->repoint);
	if (set_rights(view, page, n, VIEW_NOTHING))
		forget_all(view);
	lock_release(&view->repoint);
}
