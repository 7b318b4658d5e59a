// SPDX-License-Identifier: BSD-2-Clause
/*
 * An audit of a userfaultfd of the test's own: whose call an event was, and for what audit_settle() waits. Who reads, and how long a
 * follower takes, the test decides.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mmu/host/audit.h"
#include "mmu/host/fault_threads.h"
#include "tests/rig.h"
#include "tests/test.h"

#define PAGES 16u
#define TURNS 2000

static struct {
	struct uffd uffd;
	struct fault_threads *readers;
	char *view;
	int fd;
	bool up;
	struct gate in_hand;
	atomic_uint followed, settled;
} a;

static void resolve(void *ctx, const struct uffd_fault *fault)
{
	(void)ctx;
	(void)fault;
}

static void died(void *ctx, int error)
{
	(void)ctx;
	(void)error;
}

static void note(void *ctx, const struct uffd_msg *msg)
{
	(void)ctx;
	audit_note(&a.uffd, msg);
}

static const struct fault_ops ops = { .resolve = resolve, .died = died, .event = note };

static void follow(void *ctx, const struct audit_event *event)
{
	(void)ctx;
	(void)event;
	gate_pass(&a.in_hand);
	atomic_fetch_add(&a.followed, 1);
}

static void begin_to_read(void)
{
	check_eq(fault_threads_start(&a.readers, &a.uffd, 0, &ops, NULL), 0);
}

static void up(void)
{
	int rc = uffd_open(&a.uffd, UFFD_AUDIT | UFFD_SIGBUS);

	if (rc)
		test_skip("userfaultfd: %s", strerror(-rc));
	a.up = true;
	a.readers = NULL;
	a.in_hand = (struct gate)GATE_INIT;
	atomic_store(&a.followed, 0);
	atomic_store(&a.settled, 0);
	a.fd = memfd_create("umbra-test", MFD_CLOEXEC);
	check(a.fd >= 0);
	check_eq(ftruncate(a.fd, PAGES * PAGE_SIZE), 0);
	a.view = mmap(NULL, PAGES * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, a.fd, 0);
	check(a.view != MAP_FAILED);
	check_eq(uffd_register(&a.uffd, a.view, PAGES * PAGE_SIZE), 0);
	check_eq(audit_start(&a.uffd, follow, NULL), 0);
}

static void down(void)
{
	if (!a.up)
		return;
	/* Whatever the test has come to. */
	gate_open(&a.in_hand);
	if (!a.readers)
		begin_to_read();
	munmap(a.view, PAGES * PAGE_SIZE);
	fault_threads_stop(a.readers);
	audit_stop(&a.uffd);
	uffd_close(&a.uffd);
	close(a.fd);
}

static char *page_at(unsigned page)
{
	return a.view + page * PAGE_SIZE;
}

static struct audit_stats stats(void)
{
	struct audit_stats s = { 0 };

	(void)audit_settle(&a.uffd, 0);
	audit_add_stats(&a.uffd, &s);
	return s;
}

/* An unmap for who watches, and no hole for others to map into: nobody's memory but the test's is unmapped here. */
static void unmap(unsigned page, unsigned n)
{
	check(mmap(page_at(page), n * PAGE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
		   -1, 0) == page_at(page));
}

/* An unmap of a part, and a second one of the whole, while umbra unmaps the same: not hers. */
UTEST(audit_own, an_unmap_is_of_exactly_what_was_said, .init = up, .fini = down)
{
	struct audit_own own;
	struct audit_stats s;

	begin_to_read();
	audit_begin(&a.uffd, &own, (hva_t)page_at(2), (hva_t)page_at(6), true);
	unmap(3, 1);
	unmap(2, 4);
	audit_end(&a.uffd, &own);
	s = stats();
	check_eq(s.own, 1);
	check_eq(s.unmaps, 1);
	audit_begin(&a.uffd, &own, (hva_t)page_at(8), (hva_t)page_at(9), true);
	unmap(8, 1);
	check(mremap(page_at(10), PAGE_SIZE, PAGE_SIZE,
		     MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, page_at(8)) == page_at(8));
	unmap(8, 1);
	audit_end(&a.uffd, &own);
	s = stats();
	check_eq(s.own, 2);
	check_eq(s.remaps, 1);
	check(s.unmaps > 1);
}

static void *settle(void *arg)
{
	(void)arg;
	(void)audit_settle(&a.uffd, 0);
	atomic_store(&a.settled, 1);
	return NULL;
}

/* As long as something is not followed yet, and some turns longer, nobody says so. */
static void check_waits(void)
{
	for (unsigned i = 0; i < TURNS; i++) {
		check(!atomic_load(&a.settled));
		sched_yield();
	}
}

UTEST(audit_own, what_is_in_hand_is_waited_for, .init = up, .fini = down)
{
	pthread_t t;

	begin_to_read();
	gate_arm(&a.in_hand);
	check_eq(madvise(page_at(1), PAGE_SIZE, MADV_DONTNEED), 0);
	gate_wait(&a.in_hand);
	t = rig_thread(settle, NULL);
	check_waits();
	gate_open(&a.in_hand);
	rig_join(t);
	check_eq(atomic_load(&a.followed), 1);
}

static void *discard(void *arg)
{
	(void)arg;
	check_eq(madvise(page_at(1), PAGE_SIZE, MADV_DONTNEED), 0);
	return NULL;
}

UTEST(audit_own, what_is_not_read_yet_is_waited_for, .init = up, .fini = down)
{
	pthread_t actor = rig_thread(discard, NULL), t;

	while (!uffd_is_changing(&a.uffd))
		sched_yield();
	t = rig_thread(settle, NULL);
	check_waits();
	begin_to_read();
	rig_join(actor);
	rig_join(t);
	check_eq(atomic_load(&a.followed), 1);
}
