/* SPDX-License-Identifier: BSD-2-Clause */
/* How many VMAs the views of this process may cost, and what is done when there are no more. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "mmu/host/view_priv.h"

/* What the system has unless it is told otherwise. */
#define MAX_MAP_COUNT 65530u

static _Atomic uint64_t foreign; /* of all views */
static _Atomic uint64_t limit;	 /* 0: not known yet */

static uint64_t max_map_count(void)
{
	int fd = open("/proc/sys/vm/max_map_count", O_RDONLY | O_CLOEXEC);
	char text[24] = "";
	uint64_t n = 0;

	if (fd < 0)
		return MAX_MAP_COUNT;
	if (read(fd, text, sizeof(text) - 1) > 0)
		n = strtoull(text, NULL, 10);
	close(fd);
	return n ? n : MAX_MAP_COUNT;
}

void view_limit_foreign(uint64_t pages)
{
	if (!pages)
		pages = max_map_count() / 8 * 3;
	atomic_store_explicit(&limit, pages, memory_order_relaxed);
}

void view_count_foreign(struct view *view, int64_t n)
{
	/* Acquire and release: who reads 0 of the view finds every VMA at home, and watched. */
	sync_fetch_add(&view->foreign, (uint64_t)n);
	atomic_fetch_add_explicit(&foreign, (uint64_t)n, memory_order_relaxed);
}

bool map_fixed(struct view *view, uint64_t page, uint64_t n, fn_t fn, int prot)
{
	bool may_fail = fn != view->home + page && prot != PROT_NONE, failed;
	int rc;

	/* The last VMAs are for those that go home. */
	if (may_fail && !pool_keep_vmas(view->pool)) {
		errno = ENOMEM;
		return true;
	}
	failed = view_mmap(view, page, n, fn, prot);
	if (!failed || errno != ENOMEM || may_fail)
		return failed;
	pool_lend_vmas(view->pool);
	failed = view_mmap(view, page, n, fn, prot);
	rc = errno;
	(void)pool_keep_vmas(view->pool);
	errno = rc;
	return failed;
}

/* With @more pages away from home beside those that are, would @page be too many? */
static bool is_full(const struct view *view, uint64_t page, uint64_t more)
{
	return !view->away[page] &&
	       atomic_load_explicit(&foreign, memory_order_relaxed) + more >=
		       atomic_load_explicit(&limit, memory_order_relaxed) &&
	       !pool_refs(view->pool, view->home + page);
}

uint64_t view_new_run(const struct view *view, uint64_t page, uint64_t n, fn_t fn)
{
	uint64_t run, more = 0;
	bool is_home = fn == view->home + page;

	if (!atomic_load_explicit(&limit, memory_order_relaxed))
		view_limit_foreign(0);
	for (run = 0; run < n && !shows_frame(view, page + run, fn + run); run++) {
		if (!is_home && is_full(view, page + run, more))
			break;
		more += !view->away[page + run];
	}
	return run;
}
