// SPDX-License-Identifier: BSD-2-Clause
/*
 * System calls by code that knows nothing of umbra, on pages of the side region and on a region of the actor's own, and children of
 * fork(2). The side region has an audit then, where the source has one; with mprotect only what needs none is done.
 *
 * A child has a copy of the host view as it was, and finds in it what was there: no older than what was known, and whole.
 *
 * A call is followed after it, so a change of side pages lasts until hostmm_audit_wait(): then all must be told.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mmu/host/child.h"
#include "tests/stress/actors.h"
#include "tests/stress/side.h"

#define BOTH  (HOSTMM_PROT_READ | HOSTMM_PROT_WRITE)
#define PAGES 8u

/* An address that a system call is to get: NOLINTNEXTLINE(performance-no-int-to-ptr) */
static void *at(hva_t hva)
{
	return (void *)(uintptr_t)hva;
}

static int errno_of(bool failed)
{
	return failed ? -errno : 0;
}

/* Contents stay. */
static int raw_discard(struct world *w, uint64_t page, uint64_t end, uint64_t *random)
{
	(void)random;
	return errno_of(madvise(at(side_hva(w, page)), (end - page) << PAGE_SHIFT, MADV_DONTNEED));
}

/*
 * One page after the other: those that are away have a VMA each, and mremap() takes one. Always onto memory that is the caller's: in a
 * hole there may be somebody else's by then.
 */
static int move_pages(hva_t from, hva_t to, uint64_t n)
{
	for (; n; from += PAGE_SIZE, to += PAGE_SIZE, n--)
		if (mremap(at(from), PAGE_SIZE, PAGE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, at(to)) ==
		    MAP_FAILED)
			return -errno;
	return 0;
}

/* A region of the actor's own, with @value in its pages, if that is not 0. */
static int map_own(struct world *w, uint64_t n, uint64_t value, hva_t *hva)
{
	bool audit = w->o->source != HOSTMM_SOURCE_MPROTECT;
	int rc = hostmm_map_source(w->mm, n, BOTH, NULL, NULL, w->o->source, audit, hva);

	for (hva_t i = 0; value && !rc && i < n << PAGE_SHIFT; i += PAGE_SIZE) {
		rc = hostmm_write(w->mm, *hva + i + PAGE_SIZE - sizeof(value), &value,
				  sizeof(value));
		if (!rc && !access_store(at(*hva + i), value))
			fail(ORACLE_ERROR, w->pages, "raw: a host view was shut");
	}
	return rc;
}

static uint64_t pick_value(struct world *w, uint64_t *random)
{
	return play_random(random) & 1 ? SIDE_STAMP | ++w->side_stamp : 0;
}

/* Pages of another region take the place of what is there: first, perhaps, at some other place. */
static int replace(struct world *w, uint64_t page, uint64_t end, uint64_t *random)
{
	uint64_t n = end - page, value = pick_value(w, random), got = 0;
	hva_t hva;
	int rc = map_own(w, n, value, &hva);

	if (!rc && play_random(random) & 1) {
		void *away = mmap(NULL, n << PAGE_SHIFT, PROT_NONE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

		if (away == MAP_FAILED)
			return -errno;
		rc = move_pages(hva, (hva_t)(uintptr_t)away, n);
		hva = (hva_t)(uintptr_t)away;
	}
	if (rc)
		return rc;
	if (!access_load(at(hva), &got) || got != value)
		fail(ORACLE_SIDE, w->pages + page,
		     "raw: a page that was moved holds %#lx, must be %#lx", got, value);
	side_begin(w, page, end);
	rc = move_pages(hva, side_hva(w, page), n);
	hostmm_audit_wait(w->mm);
	side_hold(w, page, end, value);
	side_end(w, page, end);
	return rc;
}

/* Somebody else's memory comes where pages were; nobody touches it. */
static int raw_map_over(struct world *w, uint64_t page, uint64_t end, uint64_t *random)
{
	uint64_t len = (end - page) << PAGE_SHIFT, *mine;

	side_begin(w, page, end);
	mine = mmap(at(side_hva(w, page)), len, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	hostmm_audit_wait(w->mm);
	side_hold(w, page, end, SIDE_NONE);
	side_end(w, page, end);
	if (mine == MAP_FAILED)
		return -errno;
	for (uint64_t i = 0; i < len / sizeof(*mine); i++)
		mine[i] = i;
	sched_yield();
	for (uint64_t i = 0; i < len / sizeof(*mine); i++)
		if (mine[i] != i)
			fail(ORACLE_SIDE, w->pages + page,
			     "raw: memory of others was touched: %#lx at %lu", mine[i], i);
	return replace(w, page, end, random);
}

/* What is unmapped is gone, and what is left is as it was. */
static int raw_unmap(struct world *w, uint64_t page, uint64_t end, uint64_t *random)
{
	uint64_t n = end - page + 1, value = pick_value(w, random) | 1, got = 0;
	hva_t hva, last;
	int rc = map_own(w, n, value, &hva);

	if (rc)
		return rc;
	last = hva + ((n - 1) << PAGE_SHIFT);
	rc = errno_of(munmap(at(hva), (n - 1) << PAGE_SHIFT));
	hostmm_audit_wait(w->mm);
	if (!rc && hostmm_read(w->mm, last - PAGE_SIZE, &got, sizeof(got)) != -EFAULT)
		fail(ORACLE_SIDE, w->pages, "raw: %#lx has outlived munmap()", got);
	if (!rc && (!access_load(at(last), &got) || got != value))
		fail(ORACLE_SIDE, w->pages,
		     "raw: beside what was unmapped there is %#lx, must be %#lx", got, value);
	return rc ?: hostmm_unmap(w->mm, hva);
}

/* Contents go: for all the same, whoever has looked before. */
static int raw_remove(struct world *w, uint64_t page, uint64_t end, uint64_t *random)
{
	uint64_t n = end - page, value = SIDE_STAMP;
	hva_t hva, last;
	int rc = map_own(w, n, value, &hva);

	(void)random;
	if (rc)
		return rc;
	last = hva + ((n - 1) << PAGE_SHIFT);
	rc = errno_of(madvise(at(hva), n << PAGE_SHIFT, MADV_REMOVE));
	rc = rc ?: hostmm_read(w->mm, last, &value, sizeof(value));
	if (!rc && (value || !access_load(at(last), &value) || value))
		fail(ORACLE_SIDE, w->pages, "raw: %#lx has outlived MADV_REMOVE", value);
	return rc ?: hostmm_unmap(w->mm, hva);
}

/* In a child: pages of the side region that may be looked at are as they were when it was forked. side_lock was held then. */
static void look_at_side(struct world *w)
{
	for (uint64_t page = 0; page < SIDE_PAGES; page++) {
		uint64_t want = atomic_load(&w->side_page[page].value), got = 0;

		if (want == SIDE_NONE || want == SIDE_BAD)
			continue;
		if (!access_load(at(side_hva(w, page)), &got) || got != want)
			fail(ORACLE_FORK, w->pages + page,
			     "a child of fork(2): side page %lu holds %#lx, must be %#lx", page,
			     got, want);
	}
}

/* What it has had of the parent goes when its end has been noticed; until then there are frames of nobody's for who counts. */
static void wait_unserved(struct world *w)
{
	struct hostmm_children_stats stats;

	do {
		sched_yield();
		hostmm_children_get_stats(w->children, &stats);
	} while (stats.alive);
}

/* The child looks, ends, is something else, or is killed, as soon as it is there. */
int act_child(struct world *w, uint64_t *random)
{
	unsigned how = play_random(random) % 4;
	int status = 0;
	pid_t pid;

	if (how == 3) {
		pthread_mutex_lock(&w->side_lock);
		pid = fork_looking(w, random, look_at_side);
		pthread_mutex_unlock(&w->side_lock);
	} else {
		pid = fork();
	}
	if (!pid) {
		if (how == 1)
			execl("/bin/true", "true", (char *)NULL);
		if (how == 2)
			for (;;)
				pause();
		_exit(0);
	}
	if (pid < 0)
		return errno == EAGAIN || errno == ENOMEM ? 0 : -errno;
	if (how == 2)
		kill(pid, SIGKILL);
	if (waitpid(pid, &status, 0) != pid)
		return -errno;
	wait_unserved(w);
	if (how != 2 && status)
		fail(ORACLE_FORK, 0, "a child of fork(2) has ended with status %#x", status);
	return 0;
}

int act_raw(struct world *w, uint64_t *random)
{
	static int (*const call[])(struct world * w, uint64_t page, uint64_t end,
				   uint64_t * random) = { raw_discard, raw_remove, raw_unmap,
							  raw_map_over, replace };
	unsigned most = w->o->source == HOSTMM_SOURCE_MPROTECT ? 2 : sizeof(call) / sizeof(call[0]);
	uint64_t page, end;
	int rc;

	side_pick(random, PAGES, &page, &end);
	pthread_mutex_lock(&w->side_lock);
	rc = call[play_random(random) % most](w, page, end, random);
	pthread_mutex_unlock(&w->side_lock);
	return rc;
}
