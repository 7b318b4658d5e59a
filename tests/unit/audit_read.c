// SPDX-License-Identifier: BSD-2-Clause
/*
 * A userfaultfd with events and nobody who reads it but the test: what calls do while a change is under way. Handlers that spun
 * there, dropped the fault, or took -EAGAIN for a number of bytes have hung guests.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mmu/base/addr.h"
#include "mmu/host/uffd.h"
#include "tests/rig.h"
#include "tests/test.h"

#define PAGES 16u

static struct {
	struct uffd uffd;
	char *view;
	int fd;
	bool up;
} a;

static void up(unsigned how)
{
	int rc = uffd_open(&a.uffd, how);

	if (rc)
		test_skip("userfaultfd: %s", strerror(-rc));
	a.up = true;
	a.fd = memfd_create("umbra-test", MFD_CLOEXEC);
	check(a.fd >= 0);
	check_eq(ftruncate(a.fd, PAGES * PAGE_SIZE), 0);
	check_eq(fallocate(a.fd, 0, 0, PAGES * PAGE_SIZE), 0);
	a.view = mmap(NULL, PAGES * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, a.fd, 0);
	check(a.view != MAP_FAILED);
	check_eq(uffd_register(&a.uffd, a.view, PAGES * PAGE_SIZE), 0);
}

static void down(void)
{
	if (!a.up)
		return;
	uffd_close(&a.uffd);
	munmap(a.view, PAGES * PAGE_SIZE);
	close(a.fd);
}

static void read_event(unsigned event)
{
	struct uffd_msg msg;
	int rc;

	while (!(rc = uffd_read(&a.uffd, &msg)))
		;
	check_eq(rc, 1);
	check_eq(msg.event, event);
}

static void *discard(void *arg)
{
	(void)arg;
	check_eq(madvise(a.view, PAGE_SIZE, MADV_DONTNEED), 0);
	return NULL;
}

struct call {
	int64_t (*make)(void);
	int64_t result;
	atomic_bool begun, done;
};

static int64_t fill_eight(void)
{
	return uffd_continue(&a.uffd, a.view + 8 * PAGE_SIZE, 8 * PAGE_SIZE, false);
}

static int64_t protect_eight(void)
{
	return uffd_writeprotect(&a.uffd, a.view + 8 * PAGE_SIZE, 8 * PAGE_SIZE, true);
}

static void *make_call(void *arg)
{
	struct call *c = arg;

	atomic_store(&c->begun, true);
	c->result = c->make();
	atomic_store(&c->done, true);
	return NULL;
}

/* The call waits for the event to be read, then does all it was asked for. */
static void waits(int64_t (*make)(void), int64_t want)
{
	struct call c = { .make = make };
	pthread_t actor = rig_thread(discard, NULL), caller;

	while (!uffd_is_changing(&a.uffd))
		sched_yield();
	check_eq(uffd_try_watches(&a.uffd, a.view), -EAGAIN);
	caller = rig_thread(make_call, &c);
	while (!atomic_load(&c.begun))
		sched_yield();
	/* As long as other callers are bound to fail, so is this one. */
	for (unsigned i = 0; i < 2000; i++)
		check_eq(uffd_try_watches(&a.uffd, a.view), -EAGAIN);
	check(!atomic_load(&c.done));
	read_event(UFFD_EVENT_REMOVE);
	rig_join(actor);
	rig_join(caller);
	check_eq(c.result, want);
	check(!uffd_is_changing(&a.uffd));
}

UTEST(audit_read, a_fill_waits_for_the_event, .fini = down)
{
	up(UFFD_AUDIT);
	waits(fill_eight, 8 * PAGE_SIZE);
}

UTEST(audit_read, protecting_waits_for_the_event, .fini = down)
{
	up(UFFD_AUDIT | UFFD_SIGBUS);
	check_eq(fill_eight(), 8 * PAGE_SIZE);
	waits(protect_eight, 0);
}

/* Whoever waits to be read goes on when nobody will. */
UTEST(audit_read, abandoned, .fini = down)
{
	pthread_t actor;

	up(UFFD_AUDIT);
	actor = rig_thread(discard, NULL);
	while (!uffd_is_changing(&a.uffd))
		sched_yield();
	uffd_abandon(&a.uffd);
	rig_join(actor);
	check(!uffd_is_changing(&a.uffd));
	check(uffd_continue(&a.uffd, a.view, PAGE_SIZE, false) < 0);
}
