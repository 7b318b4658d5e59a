/* SPDX-License-Identifier: BSD-2-Clause */
/* Sources: who finds out that a host thread waits for a page, and what is done for him. */
#include <errno.h>

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

/* A host thread waits at @addr. What cannot be resolved must not be retried for ever: close the region. */
static void resolve_for_waiter(void *ctx, uint64_t addr, bool write)
{
	struct hostmm *mm = ctx;
	bool found;
	int rc;

	atomic_fetch_add_explicit(&mm->view_faults, 1, memory_order_relaxed);
	rc = show(mm, addr, write, &found);
	if (rc && found)
		hostmm_fail(mm, addr, -rc);
}

/* The thread's own fault: one that cannot be resolved is his affair. */
static int resolve_own(void *ctx, hva_t addr, bool write)
{
	struct hostmm *mm = ctx;
	bool found;

	atomic_fetch_add_explicit(&mm->view_faults, 1, memory_order_relaxed);
	return show(mm, addr, write, &found);
}

static void fault_thread_died(void *ctx, int error)
{
	struct hostmm *mm = ctx;

	/* Before the lock: a region that comes later sees it. */
	sync_store(&mm->dead, true);
	hostmm_fail(mm, 0, error);
}

static const struct fault_ops fault_ops = {
	.resolve = resolve_for_waiter,
	.died = fault_thread_died,
};

static int open_blocking(struct hostmm *mm)
{
	int rc = uffd_open(&mm->uffd);

	if (rc)
		return rc;
	rc = fault_threads_start(&mm->threads, &mm->uffd, mm->opts.fault_threads, &fault_ops, mm);
	if (rc)
		uffd_close(&mm->uffd);
	else
		mm->has_uffd = true;
	return rc;
}

static int open_sigbus(struct hostmm *mm)
{
	int rc = uffd_open_sigbus(&mm->sigbus);

	mm->has_sigbus = !rc;
	return rc;
}

int source_open(struct hostmm *mm, enum hostmm_source source, struct uffd **u)
{
	int rc = 0;

	*u = NULL;
	if (source >= HOSTMM_SOURCES)
		return -EINVAL;
	if (source == HOSTMM_SOURCE_MPROTECT)
		return 0;
	lock_acquire(&mm->sources_lock);
	if (source == HOSTMM_SOURCE_UFFD && !mm->has_uffd)
		rc = open_blocking(mm);
	else if (source == HOSTMM_SOURCE_SIGBUS && !mm->has_sigbus)
		rc = open_sigbus(mm);
	lock_release(&mm->sources_lock);
	*u = source == HOSTMM_SOURCE_UFFD ? &mm->uffd : &mm->sigbus;
	return rc;
}

int source_attach(struct region *r)
{
	if (r->source == HOSTMM_SOURCE_UFFD)
		return 0;
	r->trap = (struct trap){ .start = r->start,
				 .end = r->end,
				 .resolve = resolve_own,
				 .ctx = r->mm };
	return trap_add(&r->trap);
}

void source_detach(struct region *r)
{
	if (r->source != HOSTMM_SOURCE_UFFD)
		trap_remove(&r->trap);
}

void source_stop(struct hostmm *mm)
{
	if (mm->has_uffd)
		fault_threads_stop(mm->threads);
}

void source_close(struct hostmm *mm)
{
	if (mm->has_uffd)
		uffd_close(&mm->uffd);
	if (mm->has_sigbus)
		uffd_close(&mm->sigbus);
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
