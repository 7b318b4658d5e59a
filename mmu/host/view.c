/* SPDX-License-Identifier: BSD-2-Clause */
#include "mmu/host/view.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "mmu/base/mutant.h"
#include "mmu/base/trace.h"
#include "mmu/host/view_priv.h"

/* Where [@home, @home + @npages) is mapped: like frames, views of large pages begin where one may begin. */
static void *map_linear(struct pool *pool, uint64_t npages, fn_t home, int prot)
{
	size_t len = npages << PAGE_SHIFT, large = POOL_LARGE << PAGE_SHIFT;
	char *base = NULL, *room = NULL;

	if (npages >= POOL_LARGE) {
		room = mmap(NULL, len + large, PROT_NONE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (room == MAP_FAILED)
			return room;
		base = room + (-(uintptr_t)room & (large - 1));
	}
	base = mmap(base, len, prot, MAP_SHARED | MAP_NORESERVE | (room ? MAP_FIXED : 0),
		    pool_fd(pool), (off_t)(home << PAGE_SHIFT));
	if (!room)
		return base;
	/* What is not used shows nothing, and is all that would be left if the system kept it. */
	if (base == MAP_FAILED) {
		int rc = errno;

		(void)pool_munmap(pool, room, len + large);
		errno = rc;
		return base;
	}
	if (base > room)
		(void)pool_munmap(pool, room, (size_t)(base - room));
	(void)pool_munmap(pool, base + len, large - (size_t)(base - room));
	return base;
}

void view_free(struct view *view)
{
	view_count_foreign(view, -(int64_t)view_foreign(view));
	page_array_free(view->pool, view->away, view->npages, sizeof(*view->away));
	page_array_free(view->pool, view->rights, view->npages, sizeof(*view->rights));
	page_array_free(view->pool, view->lost, view_lost_bytes(view->npages), 1);
	if (view->access)
		pool_unmap_sparse(view->pool, view->access, view->npages);
	lock_fini(&view->repoint);
	free(view);
}

int view_alloc(struct view **out, struct pool *pool, struct uffd *u, uint64_t npages, fn_t home)
{
	bool is_audited = u && u->audit;
	struct view *view;

	if (!npages || home + npages > pool_frames(pool))
		return -EINVAL;
	view = calloc(1, sizeof(*view));
	if (!view)
		return -ENOMEM;
	*view = (struct view){ .pool = pool, .uffd = u, .npages = npages, .home = home };
	lock_init(&view->repoint);
	view->away = page_array(npages, sizeof(*view->away));
	if (!u)
		view->rights = page_array(npages, sizeof(*view->rights));
	if (is_audited)
		view->lost = page_array(view_lost_bytes(npages), 1);
	if (!view->away || (!u && !view->rights) || (is_audited && !view->lost)) {
		view_free(view);
		return -ENOMEM;
	}
	*out = view;
	return 0;
}

static void unmap_all(struct view *view)
{
	if (pool_munmap(view->pool, view->base, view->npages << PAGE_SHIFT))
		bug_report(__FILE__, __LINE__, "a view cannot be unmapped");
}

int view_create(struct view **out, struct pool *pool, struct uffd *u, uint64_t npages, fn_t home)
{
	struct view *view;
	int rc = view_alloc(&view, pool, u, npages, home);

	if (rc)
		return rc;
	view->base = map_linear(pool, npages, home, u ? PROT_READ | PROT_WRITE : PROT_NONE);
	if (view->base == MAP_FAILED) {
		rc = -errno;
		view_free(view);
		return rc;
	}
	rc = u ? view_watch(view, 0, npages) : 0;
	if (rc) {
		unmap_all(view);
		view_free(view);
		return rc;
	}
	if (view->lost)
		audit_add_view(u, view);
	*out = view;
	return 0;
}

void view_destroy(struct view *view)
{
	count_repoints(view, 1);
	if (view->lost)
		view_unmap(view);
	else
		unmap_all(view);
	/* munmap() does not: who waited finds that the address is gone. */
	view_wake(view, 0, view->npages);
	view_free(view);
}

void *view_base(const struct view *view)
{
	return view->base;
}

uint64_t view_pages(const struct view *view)
{
	return view->npages;
}

/*
 * Install entries for pages whose VMA shows the right frames. An entry that exists already came from an access in the
 * gap of repoint(): of unknown rights, so set them.
 */
static int fill(struct view *view, uint64_t page, uint64_t n, fn_t fn, bool writable)
{
	while (n) {
		int64_t done = uffd_continue(view->uffd, view_addr(view, page), n << PAGE_SHIFT,
					     !writable);
		int rc;

		if (done == -EEXIST) {
			rc = mutant(291) ? 0
					 : uffd_writeprotect(view->uffd, view_addr(view, page),
							     PAGE_SIZE, !writable);
			if (rc)
				return rc;
			done = PAGE_SIZE;
		}
		if (done == -EFAULT && !pool_refill(view->pool, fn))
			continue;
		/* Linear, but in several VMAs: the system may have failed to merge them. */
		if (done == -ENOENT && n > 1) {
			rc = fill(view, page, 1, fn, writable);
			done = rc ? rc : (int64_t)PAGE_SIZE;
		}
		if (done < 0)
			return (int)done;
		page += (uint64_t)done >> PAGE_SHIFT;
		fn += (uint64_t)done >> PAGE_SHIFT;
		n -= (uint64_t)done >> PAGE_SHIFT;
	}
	return 0;
}

/*
 * The same where CONTINUE cannot install write-protected entries (before Linux 6.4): the VMA forbids writes until the
 * entries are protected.
 */
static int fill_read_only(struct view *view, uint64_t page, uint64_t n, fn_t fn)
{
	int rc = view_mprotect(view, page, n, PROT_READ) ? -errno : 0, opened;
	bool all = rc == -ENOMEM && view_close_stores(view);

	if (rc && !all)
		return rc;
	rc = fill(view, page, n, fn, true);
	if (!rc)
		rc = uffd_writeprotect(view->uffd, view_addr(view, page), n << PAGE_SHIFT, true);
	/* What may be without protection must not be there when others are let in again. */
	if (rc && all)
		view_discard(view, page, n);
	if (!rc || all) {
		opened = all ? view_open_stores(view) : 0;
		/* Those that are being repointed count as broken until then. */
		opened = opened ?: view_open(view, page, n);
		if (!opened)
			return rc;
		rc = rc ?: opened;
	}
	/* Closed to stores: as a repoint that failed, until it is mended. */
	for (uint64_t i = all ? 0 : page, end = all ? view->npages : page + n; i < end; i++) {
		if (!view->away[i])
			view_count_foreign(view, 1);
		view_break(view, i, 1);
	}
	return rc;
}

/*
 * The gap. mmap() replaces the VMA with one that userfaultfd does not watch until it is registered, and an access may
 * come in between:
 *
 *	repoint()				vCPU
 *	mmap(MAP_FIXED, fn)
 *						load: the kernel maps fn by itself
 *	UFFDIO_REGISTER
 *	UFFDIO_CONTINUE -> EEXIST
 *	UFFDIO_WRITEPROTECT			(the entry was never protected)
 *
 * The frame is approved, so a load may have it, and a store too if the page is to be writable. If it is not, the VMA
 * is born PROT_READ and opened when the entry is protected; a store in the gap fails (KVM_RUN: EFAULT) and is repeated.
 * The gap exists for frames with contents only: a hole would be filled with zeros behind our back.
 *
 * foreign counts the page from before the first change until after the last, so that whoever reads 0 finds every VMA
 * of the view watched and at home.
 */
static int repoint_locked(struct view *view, uint64_t page, uint64_t n, fn_t fn, bool writable)
{
	int rc, prot = PROT_READ | (writable ? PROT_WRITE : 0);

	for (uint64_t i = page; i < page + n; i++)
		if (!view->away[i])
			view_count_foreign(view, 1);
	if (map_fixed(view, page, n, fn, prot)) {
		rc = -errno;
		view_refused(view, page, n);
		if (rc != -ENOMEM || fn != view->home + page || !view_forget_run(view, page))
			return rc;
		return writable || view->uffd->has_continue_wp ? fill(view, page, n, fn, writable)
							       : fill_read_only(view, page, n, fn);
	}
	view_break(view, page, n);
	rc = view_watch(view, page, n);
	/* A page that nobody watches must not stay reachable. */
	if (rc && map_fixed(view, page, n, fn, PROT_NONE) && errno != EFAULT)
		bug_report(__FILE__, __LINE__, "neither watched nor closed");
	if (rc)
		return rc;
	if (writable || view->uffd->has_continue_wp) {
		rc = fill(view, page, n, fn, writable);
		if (!rc && !writable)
			rc = view_open(view, page, n);
	} else {
		rc = fill_read_only(view, page, n, fn);
	}
	if (rc)
		return rc;
	view->broken -= n;
	for (uint64_t i = page; i < page + n; i++, fn++) {
		view->away[i] = fn == view->home + i ? 0 : (uint32_t)fn + 1;
		if (!view->away[i])
			view_count_foreign(view, -1);
	}
	return 0;
}

static bool is_simple(const struct view *view, bool writable)
{
	return writable || view->uffd->has_continue_wp;
}

/* Map the first run of [page, page + n): those that the VMAs show already, or those that they do not. How many, or -errno. */
static int64_t map_slow(struct view *view, uint64_t page, uint64_t n, fn_t fn, bool writable)
{
	uint64_t run = 0;
	int rc = 0;

	lock_acquire(&view->repoint);
	while (run < n && shows_frame(view, page + run, fn + run))
		run++;
	if (sync_load(&view->shut)) {
		rc = -ESHUTDOWN;
	} else if (run && is_simple(view, writable)) {
		rc = fill(view, page, run, fn, writable);
	} else {
		/* VMAs change: who is refused meanwhile must learn that it was only a gap. */
		count_repoints(view, 1);
		if (run) {
			rc = fill_read_only(view, page, run, fn);
		} else {
			run = view_new_run(view, page, n, fn);
			rc = run ? repoint_locked(view, page, run, fn, writable) : -ENOMEM;
			trace_instant(umbra_repoint, page, fn, writable);
		}
		count_repoints(view, 1);
	}
	lock_release(&view->repoint);
	return rc ? rc : (int64_t)run;
}

int view_map(struct view *view, uint64_t page, uint64_t n, fn_t fn, bool writable)
{
	bug_on(!n || page + n > view->npages);
	if (!view->uffd)
		return rights_map(view, page, n, fn, writable);
	/* Acquire: pairs with repoint_locked(), the VMAs are home before foreign says so. */
	if (fn == view->home + page && is_simple(view, writable) &&
	    !sync_load_acquire(&view->foreign))
		return fill(view, page, n, fn, writable);
	while (n) {
		int64_t run = map_slow(view, page, n, fn, writable);

		if (run < 0)
			return (int)run;
		page += (uint64_t)run;
		fn += (uint64_t)run;
		n -= (uint64_t)run;
	}
	return 0;
}

bool view_has_gap(struct view *view, uint64_t page, fn_t fn)
{
	bool gap;

	/* Who gets a signal for a store that fails makes it again. */
	if (!view->uffd || view->uffd->is_sigbus)
		return false;
	if (!is_simple(view, false))
		return true;
	if (fn == view->home + page && !sync_load_acquire(&view->foreign))
		return false;
	lock_acquire(&view->repoint);
	gap = !shows_frame(view, page, fn);
	lock_release(&view->repoint);
	return gap;
}

int view_restore(struct view *view, uint64_t page, uint64_t n, fn_t fn, bool writable)
{
	bool linear = fn == view->home + page && !sync_load_acquire(&view->foreign);
	int64_t done = -EEXIST;

	bug_on(!n || page + n > view->npages || !view->uffd);
	if (linear && is_simple(view, writable))
		done = uffd_continue(view->uffd, view_addr(view, page), n << PAGE_SHIFT, !writable);
	/* Still there, or not to be told: set its rights. */
	return done > 0 ? (int)(done >> PAGE_SHIFT) : view_map(view, page, 1, fn, writable);
}

int view_make_writable(struct view *view, uint64_t page, uint64_t n)
{
	int rc;

	bug_on(!n || page + n > view->npages);
	if (!view->uffd)
		return rights_make_writable(view, page, n);
	rc = uffd_writeprotect(view->uffd, view_addr(view, page), n << PAGE_SHIFT, false);
	if (!rc)
		return 0;
	/* Another thread may be mapping the page, and its VMA be in the gap: ask again behind it. */
	lock_acquire(&view->repoint);
	rc = uffd_writeprotect(view->uffd, view_addr(view, page), n << PAGE_SHIFT, false);
	lock_release(&view->repoint);
	return rc;
}

void view_wrprotect(struct view *view, uint64_t page, uint64_t n)
{
	bug_on(!n || page + n > view->npages);
	if (!view->uffd)
		rights_wrprotect(view, page, n);
	else if (uffd_writeprotect(view->uffd, view_addr(view, page), n << PAGE_SHIFT, true))
		view_zap(view, page,
			 n); /* more than asked for: the next access of any kind faults */
}

void view_zap(struct view *view, uint64_t page, uint64_t n)
{
	bug_on(!n || page + n > view->npages);
	if (view->uffd)
		view_discard(view, page, n);
	else
		rights_zap(view, page, n);
}

int view_poison(struct view *view, uint64_t page)
{
	void *at = view_addr(view, page);
	int rc;

	if (!view->uffd || view->uffd->is_sigbus)
		return -EINVAL;
	rc = uffd_poison(view->uffd, at);
	/* Protection of an entry that has gone since is still remembered, and in the way. Of what shows nothing it may be taken. */
	if (rc == -EEXIST)
		rc = uffd_writeprotect(view->uffd, at, PAGE_SIZE, false)
			     ?: uffd_poison(view->uffd, at);
	if (rc != -EEXIST)
		return rc;
	/* So somebody else has done that: who came after his wake waits still. */
	view_wake(view, page, 1);
	return 0;
}

void view_wake(struct view *view, uint64_t page, uint64_t n)
{
	bug_on(!n || page + n > view->npages);
	if (view->uffd && !view->uffd->is_sigbus)
		uffd_wake(view->uffd, view_addr(view, page), n << PAGE_SHIFT);
}

/* VMAs of one kind over all of it: a split at either end is the most that it takes. */
static bool close_all(struct view *view)
{
	size_t len = view->npages << PAGE_SHIFT;

	if (view->lost) {
		view_close(view);
		return true;
	}
	return !mprotect(view->base, len, PROT_NONE) ||
	       mmap(view->base, len, PROT_NONE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) != MAP_FAILED;
}

void view_shut(struct view *view)
{
	lock_acquire(&view->repoint);
	sync_store(&view->shut, true);
	count_repoints(view, 2);
	if (!close_all(view)) {
		pool_lend_vmas(view->pool);
		if (!close_all(view))
			bug_report(__FILE__, __LINE__, "view cannot be closed");
		(void)pool_keep_vmas(view->pool);
	}
	lock_release(&view->repoint);
	view_wake(view, 0, view->npages);
}

uint64_t view_foreign(const struct view *view)
{
	return atomic_load_explicit(&view->foreign, memory_order_relaxed);
}

uint64_t view_repoints(const struct view *view)
{
	return atomic_load_explicit(&view->repoints, memory_order_acquire);
}
