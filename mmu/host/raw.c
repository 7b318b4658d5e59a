/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Raw system calls: host code that knows nothing of umbra has discarded, unmapped or moved memory of regions, and regions follow.
 * It has happened when this runs, so what is done here is late, but never too little: a frame is freed when no subscriber
 * has it any more, and memory that shows a frame is closed before.
 *
 *	REMOVE	subscribers let go; contents may have become zeros
 *	UNMAP	as munmap() does: pages lose contents and rights, for guests and devices, too
 *	REMAP	as mremap() does: pages go with their memory, into a region where it is now
 */
#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "mmu/base/mutant.h"
#include "mmu/host/hostmm_priv.h"

static bool is_of(const struct region *r, const struct source *source)
{
	return &r->mm->source[r->source][r->audit] == source;
}

/* The part of [start, end) that lies in @r, in pages. */
static bool clip(const struct region *r, hva_t start, hva_t end, uint64_t *page, uint64_t *last)
{
	start = max_u64(start, r->start);
	end = min_u64(end, r->end);
	if (start >= end)
		return false;
	*page = region_page(r, start);
	*last = *page + ((end - start) >> PAGE_SHIFT);
	return true;
}

/* ---- REMOVE ---- */

static void remove_pages(struct region *r, uint64_t page, uint64_t last)
{
	struct mmu_notifier_range range;

	if (mutant(412)) /* contents stay */
		return;
	bracket_start(&range, r, page, last, MMU_NOTIFY_CLEAR);
	for (uint64_t end; page < last; page = end) {
		struct chunk_lock *chunk = region_chunk(r, page);

		end = chunk_end(page, last);
		lock_acquire(&chunk->lock);
		hpte_wait_idle(r, page, end);
		hpte_hide(r, page, end);
		if (!mutant(411))
			hpte_spoil(r, page, end);
		hpte_tell_tlbs(r, page, end);
		lock_release(&chunk->lock);
	}
	bracket_end(&range);
}

static void follow_remove(struct source *source, hva_t start, hva_t end)
{
	struct hostmm *mm = source->mm;
	uint64_t page, last;

	rwlock_read_acquire(&mm->mmap_lock);
	for (struct region *r = mm->regions; r; r = r->next)
		if (is_of(r, source) && clip(r, start, end, &page, &last))
			remove_pages(r, page, last);
	rwlock_read_release(&mm->mmap_lock);
}

/* ---- UNMAP ---- */

/* The first page from @page on, before @last, that is lost, and no mistake. */
static uint64_t next_lost(struct region *r, uint64_t page, uint64_t last)
{
	while (page < last && (!view_is_lost(r->view, page) || view_recheck(r->view, page)))
		page++;
	return page;
}

static void take_away(struct region *r, uint64_t page, uint64_t last)
{
	if (!mutant(421))
		clear_pages(r, page, last);
	if (!mutant(422))
		memset(r->prots + page, 1, last - page); /* no rights, until the region ends */
	view_forget(r->view, page, last - page);
}

static void unmap_pages(struct region *r, uint64_t page, uint64_t last)
{
	for (uint64_t end; (page = next_lost(r, page, last)) < last; page = end) {
		for (end = page + 1; end < last && next_lost(r, end, end + 1) == end; end++)
			;
		take_away(r, page, end);
	}
}

/* Lost, and dealt with: what the log has yet to say about such a page is not about its contents. */
static bool is_stale(struct region *r, uint64_t page)
{
	return view_is_lost(r->view, page) && !region_prot(r, page) && !hpte_peek(r, page);
}

static struct region *find_stale(struct source *source)
{
	for (struct region *r = source->mm->regions; r; r = r->next) {
		uint64_t page = 0;

		if (!is_of(r, source))
			continue;
		while (page < region_pages(r) && is_stale(r, page))
			page++;
		if (page == region_pages(r))
			return r;
	}
	return NULL;
}

/*
 * Regions of which nothing is left. Only this thread makes them so, but others may unmap them first; and what others move to the
 * place is theirs as soon as it is noted, before the view knows that it is gone.
 */
static void drop_stale(struct source *source)
{
	struct hostmm *mm = source->mm;
	struct region *r;
	hva_t start = 0;

	while (!mutant(423)) {
		rwlock_read_acquire(&mm->mmap_lock);
		r = find_stale(source);
		if (r)
			start = r->start;
		rwlock_read_release(&mm->mmap_lock);
		if (!r)
			return;
		ksm_exit(mm, start);
		rwlock_write_acquire(&mm->mmap_lock);
		r = find_stale(source);
		if (r && !audit_retire_view(&source->uffd, r->view))
			r = NULL;
		if (r)
			region_unlink(r);
		rwlock_write_release(&mm->mmap_lock);
		if (r)
			region_destroy(r);
	}
}

static void follow_unmap(struct source *source, hva_t start, hva_t end)
{
	struct hostmm *mm = source->mm;
	uint64_t page, last;

	rwlock_write_acquire(&mm->mmap_lock);
	for (struct region *r = mm->regions; r; r = r->next)
		if (is_of(r, source) && clip(r, start, end, &page, &last))
			unmap_pages(r, page, last);
	rwlock_write_release(&mm->mmap_lock);
	/* Who waited for a page there finds that the address is gone: NOLINTNEXTLINE(performance-no-int-to-ptr) */
	uffd_wake(&source->uffd, (void *)(uintptr_t)start, end - start);
	drop_stale(source);
}

/* ---- REMAP ---- */

/* Pages of one region that have been moved, and where. */
struct moved {
	hva_t start, end, to;
	uint64_t n;
};

/* The region whose pages have been moved from [start, end); @moved is cut to it. There may be remains of others. */
static struct region *find_from(struct source *source, hva_t start, hva_t end, struct moved *moved)
{
	uint64_t page, last;

	for (struct region *r = source->mm->regions; r; r = r->next) {
		if (!is_of(r, source) || !clip(r, start, end, &page, &last))
			continue;
		for (uint64_t i = page; i < last; i++) {
			if (is_stale(r, i))
				continue;
			moved->start = region_hva(r, page);
			moved->end = region_hva(r, last);
			moved->n = last - page;
			return r;
		}
	}
	return NULL;
}

/* The region of the source inside which pages have been moved, if there is one. */
static struct region *find_to(struct source *source, const struct moved *moved)
{
	hva_t end = moved->to + (moved->n << PAGE_SHIFT);

	for (struct region *r = source->mm->regions; r; r = r->next)
		if (is_of(r, source) && !mutant(444) && r->start <= moved->to && end <= r->end &&
		    region_page(r, end - PAGE_SIZE) < r->limit)
			return r;
	return NULL;
}

/* What could not be followed: whatever of ours is mapped there, nobody reaches it any more. */
static void close_watched(struct source *source, const struct moved *moved)
{
	const struct timespec pause = { .tv_nsec = 20000L };
	hva_t end = moved->to + (moved->n << PAGE_SHIFT);

	for (hva_t hva = moved->to; hva < end; hva += PAGE_SIZE) {
		int rc;

		/* NOLINTNEXTLINE(performance-no-int-to-ptr) */
		while ((rc = uffd_try_watches(&source->uffd, (void *)(uintptr_t)hva)) == -EAGAIN)
			nanosleep(&pause, NULL);
		if (!rc)
			view_close_range(hva, hva + PAGE_SIZE);
	}
}

static void inherit_rights(struct region *to, uint64_t at, struct region *from, uint64_t page,
			   uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		unsigned prot = region_prot(from, page + i);

		to->prots[at + i] = (uint8_t)(prot + 1);
		to->may |= prot;
	}
}

/*
 * mmap_lock held for writing. The memory at its new place shows nothing before the entries go there, so that what is shown is
 * again what entries say.
 */
static int move_between(struct region *from, struct region *to, const struct moved *moved)
{
	uint64_t page = region_page(from, moved->start), at = region_page(to, moved->to);
	int rc = device_pull(from, page, page + moved->n); /* what does not come back is lost */

	view_inherit(to->view, at, from->view, page, moved->n);
	if (!mutant(445))
		clear_pages(to, at, at + moved->n);
	if (!mutant(443))
		inherit_rights(to, at, from, page, moved->n);
	move_pages(from, page, page + moved->n, to, at);
	(void)region_open(to, at, at + moved->n); /* or it lets less through than it might */
	/* With MREMAP_DONTUNMAP there is memory still, without contents; else an UNMAP follows. */
	for (uint64_t i = page; i < page + moved->n && !mutant(446); i++)
		(void)view_recheck(from->view, i);
	return rc;
}

static int new_region(struct source *source, const struct region *from, const struct moved *moved,
		      struct region **out)
{
	const struct region_how how = { .npages = moved->n,
					.prot = from->prot,
					.pager = from->pager,
					.pager_ctx = from->pager_ctx,
					.source = from->source,
					.audit = true,
					.moved_to = moved->to };

	return hostmm_new_region(source->mm, &how, out);
}

/* Into the region that is there, or a new one. What @moved says may have been unmapped by now: then the memory goes, too. */
static int follow_piece(struct source *source, struct moved *moved)
{
	struct hostmm *mm = source->mm;
	struct region *from, *to, *new = NULL;
	int rc = -ENOENT;

	rwlock_write_acquire(&mm->mmap_lock);
	from = find_from(source, moved->start, moved->end, moved);
	to = find_to(source, moved);
	if (from && !to)
		rc = new_region(source, from, moved, &new);
	if (new)
		region_link(new);
	if (from && (to || new))
		rc = move_between(from, to ? to : new, moved);
	rwlock_write_release(&mm->mmap_lock);
	return rc;
}

static void follow_remap(struct source *source, const struct audit_event *event)
{
	struct hostmm *mm = source->mm;
	struct moved moved;
	int rc;

	for (hva_t start = event->start; start < event->end; start = moved.end) {
		bool found;

		rwlock_read_acquire(&mm->mmap_lock);
		found = find_from(source, start, event->end, &moved);
		rwlock_read_release(&mm->mmap_lock);
		if (!found)
			return; /* memory of nobody, which shows nothing */
		moved.to = event->to + (moved.start - event->start);
		rc = follow_piece(source, &moved);
		if (rc && !mutant(449)) {
			atomic_fetch_add_explicit(&mm->raw_failures, 1, memory_order_relaxed);
			close_watched(source, &moved);
			hostmm_fail(mm, moved.start, -rc);
		}
		poison_recheck(mm, moved.to, moved.to + (moved.n << PAGE_SHIFT));
	}
}

/* ---- All ---- */

/* Nobody knows what happened: the system is asked about each page. */
static void follow_all(struct source *source)
{
	struct hostmm *mm = source->mm;

	rwlock_write_acquire(&mm->mmap_lock);
	for (struct region *r = mm->regions; r; r = r->next) {
		if (!is_of(r, source))
			continue;
		for (uint64_t page = 0; page < region_pages(r); page++)
			(void)view_recheck(r->view, page);
		unmap_pages(r, 0, region_pages(r));
		remove_pages(r, 0, region_pages(r));
	}
	rwlock_write_release(&mm->mmap_lock);
	drop_stale(source);
}

void raw_follow(void *ctx, const struct audit_event *event)
{
	struct source *source = ctx;

	switch (event->kind) {
	case AUDIT_REMOVE:
		follow_remove(source, event->start, event->end);
		break;
	case AUDIT_UNMAP:
		follow_unmap(source, event->start, event->end);
		break;
	case AUDIT_REMAP:
		follow_remap(source, event);
		break;
	case AUDIT_FORK:
		if (!mutant(493))
			close(event->fd);
		break;
	case AUDIT_ALL:
		follow_all(source);
		break;
	}
}
