/* SPDX-License-Identifier: BSD-2-Clause */
/* Sources: who finds out that a host thread waits for a page, and what is done for him. */
#include <errno.h>

#include "mmu/base/mutant.h"
#include "mmu/base/trace.h"
#include "mmu/host/hostmm_priv.h"

static int show_once(struct hostmm *mm, hva_t addr, bool write, bool *found)
{
	uint64_t begin = trace_begin();
	struct region *r;
	int rc = -EFAULT;

	rwlock_read_acquire(&mm->mmap_lock);
	r = hostmm_region(mm, addr);
	if (r) {
		uint64_t page = region_page(r, addr);
		struct chunk_lock *chunk = region_chunk(r, page);

		lock_acquire(&chunk->lock);
		rc = cow_show(r, page, write);
		if (rc == -EHWPOISON && !view_poison(r->view, page))
			rc = 0; /* he gets SIGBUS, and the region lives on */
		lock_release(&chunk->lock);
	}
	rwlock_read_release(&mm->mmap_lock);
	trace_span(umbra_host_fault, begin, addr, write, rc);
	*found = r;
	return rc;
}

/* Show the page at @addr. *@found: there is a region. Out of VMAs it costs none at home. */
static int show(struct hostmm *mm, hva_t addr, bool write, bool *found)
{
	int rc;

	/* The layout goes on changing: once more, with no lock held that who changes it may want. */
	do
		rc = show_once(mm, addr, write, found);
	while (rc == -EAGAIN);
	if (rc == -ENOMEM && *found && !hostmm_bring_home(mm, addr & PAGE_MASK))
		rc = show_once(mm, addr, write, found);
	return rc;
}

/* The same, looked at again when others have changed what is where meanwhile, and all of that has been followed. */
static int show_settled(struct source *source, hva_t addr, bool write, bool *found)
{
	struct uffd *u = source->uffd.audit ? &source->uffd : NULL;
	uint64_t seq;
	int rc;

	atomic_fetch_add_explicit(&source->mm->view_faults, 1, memory_order_relaxed);
	do {
		seq = u ? audit_seq(u) : 0;
		rc = show(source->mm, addr, write, found);
	} while ((rc || !*found) && u && !mutant(452) && audit_settle(u, seq));
	return rc;
}

/*
 * Memory that is watched and of no region: a call of others has mapped it. Whatever the VMA names, nobody has approved that it is
 * shown.
 */
static void refuse_stray(struct uffd *u, hva_t addr)
{
	/* An address that a fault named: NOLINTNEXTLINE(performance-no-int-to-ptr) */
	void *page = (void *)(uintptr_t)addr;
	int rc = uffd_poison(u, page);

	/* Before Linux 6.6, or what is remembered of the page is in the way: closed. Without a VMA it is so already. */
	if (rc && rc != -ENOENT)
		view_close_range(addr, addr + PAGE_SIZE);
	uffd_wake(u, page, PAGE_SIZE);
}

/* A host thread waits at @addr. What cannot be resolved must not be retried for ever: close the region. */
static void resolve_for_waiter(void *ctx, const struct uffd_fault *fault)
{
	struct source *source = ctx;
	bool found;
	int rc = show_settled(source, fault->addr, fault->write, &found);

	if (rc && found)
		hostmm_fail(source->mm, fault->addr, -rc);
	else if (!found && source->uffd.audit && !mutant(447))
		refuse_stray(&source->uffd, fault->addr);
}

/* The thread's own fault: one that cannot be resolved is his affair. */
static int resolve_own(void *ctx, hva_t addr, bool write)
{
	bool found;

	return show_settled(ctx, addr, write, &found);
}

static void note_event(void *ctx, const struct uffd_msg *msg)
{
	struct source *source = ctx;

	audit_note(&source->uffd, msg);
}

static void fault_thread_died(void *ctx, int error)
{
	struct source *source = ctx;

	/* Before the lock: a region that comes later sees it. */
	sync_store(&source->mm->dead, true);
	/* Whoever has that lock may wait for us to read. */
	if (source->uffd.audit)
		audit_shut(&source->uffd);
	hostmm_fail(source->mm, 0, error);
}

static const struct fault_ops fault_ops = {
	.resolve = resolve_for_waiter,
	.died = fault_thread_died,
	.event = note_event,
};

/* A blocking one has fault threads, and one with an audit somebody who reads events. */
static int open_source(struct source *source, bool is_sigbus, bool audit)
{
	struct uffd *u = &source->uffd;
	unsigned threads = is_sigbus ? 0 : source->mm->opts.fault_threads;
	int rc = uffd_open(u, (is_sigbus ? UFFD_SIGBUS : 0) | (audit ? UFFD_AUDIT : 0));

	if (rc)
		return rc;
	rc = audit ? audit_start(u, raw_follow, source) : 0;
	if (rc)
		goto err_undo_open;
	if (threads || audit)
		rc = fault_threads_start(&source->threads, u, threads, &fault_ops, source);
	if (rc)
		goto err_undo_audit;
	source->stray = (struct trap){ .resolve = resolve_own, .ctx = source, .is_stray = true };
	if (is_sigbus && audit)
		rc = trap_add(&source->stray);
	if (rc)
		goto err_undo_threads;
	source->is_open = true;
	return 0;

err_undo_threads:
	fault_threads_stop(source->threads);
err_undo_audit:
	if (audit)
		audit_stop(u);
err_undo_open:
	uffd_close(u);
	return rc;
}

void source_init(struct hostmm *mm)
{
	for (unsigned source = 0; source < HOSTMM_SOURCES; source++)
		for (unsigned audit = 0; audit < 2; audit++)
			mm->source[source][audit].mm = mm;
}

int source_open(struct hostmm *mm, enum hostmm_source source, bool audit, struct uffd **u)
{
	struct source *s;
	int rc = 0;

	*u = NULL;
	if (source >= HOSTMM_SOURCES || (source == HOSTMM_SOURCE_MPROTECT && audit))
		return -EINVAL;
	s = &mm->source[source][audit];
	lock_acquire(&mm->sources_lock);
	if (source != HOSTMM_SOURCE_MPROTECT && !s->is_open)
		rc = open_source(s, source == HOSTMM_SOURCE_SIGBUS, audit);
	if (s->is_open)
		*u = &s->uffd;
	lock_release(&mm->sources_lock);
	return rc;
}

int source_attach(struct region *r)
{
	if (r->source == HOSTMM_SOURCE_UFFD)
		return 0;
	r->trap = (struct trap){ .start = r->start,
				 .end = r->end,
				 .resolve = resolve_own,
				 .ctx = &r->mm->source[r->source][r->audit] };
	return trap_add(&r->trap);
}

void source_detach(struct region *r)
{
	if (r->source != HOSTMM_SOURCE_UFFD)
		trap_remove(&r->trap);
}

static struct source *next_open(struct hostmm *mm, unsigned *i)
{
	for (; *i < 2 * HOSTMM_SOURCES; ++*i) {
		struct source *s = &mm->source[*i / 2][*i % 2];

		if (s->is_open)
			return s;
	}
	return NULL;
}

/* Threads last: the end of a view waits until they have read of it. */
void source_close(struct hostmm *mm)
{
	struct source *s;

	for (unsigned i = 0; (s = next_open(mm, &i)); i++) {
		if (s->stray.resolve && s->uffd.is_sigbus && s->uffd.audit)
			trap_remove(&s->stray);
		if (s->threads)
			fault_threads_stop(s->threads);
		if (s->uffd.audit)
			audit_stop(&s->uffd);
		uffd_close(&s->uffd);
	}
}

void source_add_stats(struct hostmm *mm, struct hostmm_stats *stats)
{
	struct audit_stats sum = { 0 };
	struct source *s;

	lock_acquire(&mm->sources_lock);
	for (unsigned i = 0; (s = next_open(mm, &i)); i++)
		if (s->uffd.audit)
			audit_add_stats(&s->uffd, &sum);
	lock_release(&mm->sources_lock);
	stats->raw_removes = sum.removes;
	stats->raw_unmaps = sum.unmaps;
	stats->raw_remaps = sum.remaps;
	stats->raw_forks = sum.forks;
	stats->raw_overflows = sum.overflows;
}

void hostmm_audit_wait(struct hostmm *mm)
{
	struct source *s;
	bool is_open;

	for (unsigned i = 0; i < HOSTMM_SOURCES; i++) {
		s = &mm->source[i][true];
		lock_acquire(&mm->sources_lock);
		is_open = s->is_open;
		lock_release(&mm->sources_lock);
		if (is_open)
			(void)audit_settle(&s->uffd, 0);
	}
}

int hostmm_source_of(struct hostmm *mm, hva_t hva, enum hostmm_source *source)
{
	struct region *r;

	rwlock_read_acquire(&mm->mmap_lock);
	r = hostmm_region(mm, hva);
	if (r)
		*source = r->source;
	rwlock_read_release(&mm->mmap_lock);
	return r ? 0 : -EFAULT;
}

int hostmm_prefault(struct hostmm *mm, hva_t start, hva_t end, bool write)
{
	int rc = 0;

	if (!is_page_aligned(start | end) || start >= end)
		return -EINVAL;
	for (; !rc && start < end; start += PAGE_SIZE) {
		bool found;

		rc = show(mm, start, write, &found);
	}
	return rc;
}
