/* SPDX-License-Identifier: BSD-2-Clause */
#include "mmu/host/view_lost.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "mmu/base/mutant.h"
#include "mmu/host/view_priv.h"

#define BITS 64u

struct view_link *view_link(struct view *view)
{
	return &view->link;
}

static void set_bits(struct view *view, hva_t start, hva_t end, bool lost)
{
	hva_t base = (hva_t)(uintptr_t)view->base, last = base + (view->npages << PAGE_SHIFT);

	lock_assert_held(&view->uffd->reading);
	if (start >= last || end <= base)
		return;
	start = max_u64(start, base);
	end = min_u64(end, last);
	for (uint64_t page = (start - base) >> PAGE_SHIFT; page < (end - base) >> PAGE_SHIFT;
	     page++) {
		uint64_t bit = 1UL << page % BITS;

		if (lost)
			sync_fetch_or(&view->lost[page / BITS], bit);
		else
			sync_fetch_and(&view->lost[page / BITS], ~bit);
	}
}

void view_lose(struct view *view, hva_t start, hva_t end)
{
	set_bits(view, start, end, true);
}

void view_regain(struct view *view, hva_t start, hva_t end)
{
	set_bits(view, start, end, false);
}

bool view_is_lost(const struct view *view, uint64_t page)
{
	return view->lost && (sync_load_acquire(&view->lost[page / BITS]) >> page % BITS & 1);
}

bool view_next_own(const struct view *view, uint64_t *page, uint64_t end, uint64_t *n)
{
	while (*page < end && view_is_lost(view, *page) && !mutant(433))
		++*page;
	if (!view->lost || mutant(433))
		*n = end - *page;
	else
		for (*n = 0; *page + *n < end && !view_is_lost(view, *page + *n); ++*n)
			;
	return *page < end;
}

/*
 * Under the lock that events are read under: one that takes the VMA away after this look is noted after it, and so marks the
 * page again.
 */
bool view_recheck(struct view *view, uint64_t page)
{
	const struct timespec pause = { .tv_nsec = 20000L };
	hva_t hva = (hva_t)(uintptr_t)view_addr(view, page);
	int rc;

	for (;;) {
		lock_acquire(&view->uffd->reading);
		rc = uffd_try_watches(view->uffd, view_addr(view, page));
		if (!rc || rc == -ENOENT)
			set_bits(view, hva, hva + PAGE_SIZE, rc);
		lock_release(&view->uffd->reading);
		if (rc != -EAGAIN)
			return !rc;
		nanosleep(&pause, NULL);
	}
}

/* ---- Calls on what is the view's own ---- */

/*
 * A call of others returns when its event has been read, and whoever has read holds the lock until pages are marked. So with the
 * lock taken once, marks tell of all calls that have returned.
 */
void view_heed(struct view *view)
{
	if (!view->lost || mutant(435))
		return;
	lock_acquire(&view->uffd->reading);
	lock_release(&view->uffd->reading);
}

bool view_mmap(struct view *view, uint64_t page, uint64_t n, fn_t fn, int prot)
{
	hva_t hva = (hva_t)(uintptr_t)view_addr(view, page);
	uint64_t first = page, own = n;
	struct audit_own call;
	bool failed;

	view_heed(view);
	if (view->lost && (!view_next_own(view, &first, page + n, &own) || own != n)) {
		errno = EFAULT;
		return true;
	}
	audit_begin(view->uffd, &call, hva, hva + (n << PAGE_SHIFT), true);
	failed = mmap(view_addr(view, page), n << PAGE_SHIFT, prot,
		      MAP_SHARED | MAP_FIXED | MAP_NORESERVE, pool_fd(view->pool),
		      (off_t)(fn << PAGE_SHIFT)) == MAP_FAILED;
	audit_end(view->uffd, &call);
	return failed;
}

int view_watch(struct view *view, uint64_t page, uint64_t n)
{
	void *at = view_addr(view, page);

	/* A child must not reach frames that go on to change under it. */
	if (view->lost && !mutant(491) && madvise(at, n << PAGE_SHIFT, MADV_DONTFORK))
		return -errno;
	return uffd_register(view->uffd, at, n << PAGE_SHIFT);
}

bool view_mprotect(struct view *view, uint64_t page, uint64_t n, int prot)
{
	view_heed(view);
	for (uint64_t end = page + n; view_next_own(view, &page, end, &n); page += n)
		if (mprotect(view_addr(view, page), n << PAGE_SHIFT, prot))
			return true;
	return false;
}

void view_discard(struct view *view, uint64_t page, uint64_t n)
{
	view_heed(view);
	for (uint64_t end = page + n; view_next_own(view, &page, end, &n); page += n) {
		hva_t hva = (hva_t)(uintptr_t)view_addr(view, page);
		struct audit_own call;
		int tries = 0;

		audit_begin(view->uffd, &call, hva, hva + (n << PAGE_SHIFT), false);
		while (madvise(view_addr(view, page), n << PAGE_SHIFT, MADV_DONTNEED)) {
			/* Somebody has just unmapped a part, which shows nothing then. The rest is done. */
			if (errno == ENOMEM && view->lost)
				break;
			bug_on((errno != EAGAIN && errno != EINTR) || ++tries > 1000);
		}
		audit_end(view->uffd, &call);
	}
}

/* What is refused makes no event: the second try is a call of its own. */
static bool unmap_own(struct view *view, uint64_t page, uint64_t n)
{
	hva_t hva = (hva_t)(uintptr_t)view_addr(view, page);
	struct audit_own call;
	bool failed;

	audit_begin(view->uffd, &call, hva, hva + (n << PAGE_SHIFT), true);
	failed = munmap(view_addr(view, page), n << PAGE_SHIFT);
	audit_end(view->uffd, &call);
	return failed;
}

void view_unmap(struct view *view)
{
	uint64_t page = 0, n;

	view_heed(view);
	for (; view_next_own(view, &page, view->npages, &n); page += n) {
		if (!unmap_own(view, page, n))
			continue;
		pool_lend_vmas(view->pool);
		if (unmap_own(view, page, n))
			bug_report(__FILE__, __LINE__, "a view cannot be unmapped");
		(void)pool_keep_vmas(view->pool);
	}
	if (view->lost)
		audit_remove_view(view->uffd, view);
}

void view_close_range(hva_t start, hva_t end)
{
	/* An address that a system call named: NOLINTNEXTLINE(performance-no-int-to-ptr) */
	char *at = (char *)(uintptr_t)start;

	if (!mprotect(at, end - start, PROT_NONE) || errno != ENOMEM)
		return;
	/* There are holes: what is between them one by one. */
	for (; start < end; start += PAGE_SIZE, at += PAGE_SIZE)
		if (mprotect(at, PAGE_SIZE, PROT_NONE) && errno != ENOMEM)
			bug_report(__FILE__, __LINE__, "memory cannot be closed");
}

void view_close(struct view *view)
{
	sync_store(&view->shut, true);
	for (uint64_t page = 0, n; view_next_own(view, &page, view->npages, &n); page += n) {
		hva_t hva = (hva_t)(uintptr_t)view_addr(view, page);

		view_close_range(hva, hva + (n << PAGE_SHIFT));
	}
}

/* ---- VMAs that were moved ---- */

int view_adopt(struct view **out, struct pool *pool, struct uffd *u, uint64_t npages, fn_t home,
	       void *base)
{
	struct view *view;
	int rc = view_alloc(&view, pool, u, npages, home);

	if (rc)
		return rc;
	view->base = base;
	audit_adopt_view(u, view);
	*out = view;
	return 0;
}

/* What the VMA of a page shows: as in away, but never 0. */
static uint32_t shown(const struct view *view, uint64_t page)
{
	return view->away[page] ? view->away[page] : (uint32_t)(view->home + page) + 1;
}

static void set_away(struct view *view, uint64_t page, uint32_t away)
{
	bool was = view->away[page], is = away != (uint32_t)(view->home + page) + 1;

	view->broken += (is && away == AWAY_BROKEN);
	view->broken -= view->away[page] == AWAY_BROKEN;
	view->away[page] = is ? away : 0;
	if (was != is)
		view_count_foreign(view, is ? 1 : -1);
}

void view_forget(struct view *view, uint64_t page, uint64_t n)
{
	lock_acquire(&view->repoint);
	for (; n; page++, n--)
		set_away(view, page, (uint32_t)(view->home + page) + 1);
	lock_release(&view->repoint);
}

void view_inherit(struct view *to, uint64_t at, struct view *from, uint64_t page, uint64_t n)
{
	count_repoints(to, 1);
	for (uint64_t i = 0; i < n; i++) {
		uint32_t away;

		lock_acquire(&from->repoint);
		away = shown(from, page + i);
		lock_release(&from->repoint);
		lock_acquire(&to->repoint);
		if (!mutant(441))
			set_away(to, at + i, away);
		lock_release(&to->repoint);
	}
	count_repoints(to, 1);
	if (!mutant(442))
		view_zap(to, at, n);
}
