// SPDX-License-Identifier: BSD-2-Clause
/* System calls that fail under the library: errors come up, nothing is lost, nobody reads zeros. */
#include <errno.h>
#include <limits.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "mmu/host/uffd.h"
#include "tests/rig.h"
#include "tests/test.h"

static void after_read(const void *buf, ssize_t n);

#define AFTER_READ(buf, n) after_read(buf, n)

#include "tests/unit/fail_calls.h"

#define FDS	256 /* more than the test has open */

#define THREADS 4U /* for faults, of each view */

static struct rig r;

/*
 * Once the threads that wait for faults in read(2) are there: what a test says of later calls is of those that come back. One more read
 * is by uffd_open() for an audit.
 */
static void up_with(struct rig_opts opts, unsigned host_reads)
{
	opts.threads = THREADS;
	rule_set(READ, 0, EIO, UINT_MAX, UINT_MAX);
	rig_up(&r, &opts);
	while (rule_seen() < THREADS + host_reads)
		sched_yield();
	rule_clear();
}

static void up(void)
{
	unsigned host_reads = rig_audit() ? 1 : rig_source() == HOSTMM_SOURCE_UFFD ? THREADS : 0;

	up_with((struct rig_opts){ .pages = 32, .around = 8 }, host_reads);
}

/* CONTINUE cannot protect. */
static void up_before_6_4(void)
{
	uffd_act_old(true);
	up();
}

static void down(void)
{
	rule_clear();
	if (r.pool)
		rig_down(&r);
}

UTEST(fail, creation_undoes_itself, .init = up, .fini = down)
{
	const struct hostmm_opts mm_opts = { .fault_threads = 2 };
	const struct window_opts window_opts = { .fault_threads = 2 };
	struct window *window;
	struct hostmm *mm;
	struct pool *pool;
	hva_t hva;

	rule_set(MEMFD, 0, EMFILE, 1, 1);
	check_eq(pool_create(&pool, 8, false), -EMFILE);
	rule_set(FTRUNCATE, 0, EFBIG, 1, 1);
	check_eq(pool_create(&pool, 8, false), -EFBIG);
	rule_set(IOCTL, UFFDIO_REGISTER, ENOMEM, 1, 1);
	check_eq(hostmm_create(&mm, r.pool, &mm_opts), -ENOMEM);
	rule_set(IOCTL, UFFDIO_API, EINVAL, 1, 2);
	check_eq(hostmm_create(&mm, r.pool, &mm_opts), -EOPNOTSUPP);
	rule_set(IOCTL, UFFDIO_API, EINVAL, 1, 2);
	check_eq(window_create(&window, r.pool, &window_opts), -EOPNOTSUPP);
	rule_set(IOCTL, UFFDIO_REGISTER, ENOMEM, 1, 1);
	check_eq(hostmm_map(r.mm, 8, HOSTMM_PROT_READ, NULL, NULL, &hva), -ENOMEM);
	rule_set(IOCTL, UFFDIO_REGISTER, EBUSY, 1, 1);
	check_eq(shadow_add_slot(r.shadow, 2, 0x10000, 4, r.hva, 0), -EBUSY);
	check_eq(shadow_add_slot(r.shadow, 2, 0x10000, 4, r.hva, 0), 0);
}

/* EAGAIN is no error: the layout is changing under the call (field.md 2.1). */
UTEST(fail, again_is_tried_again, .init = up, .fini = down)
{
	rule_set(IOCTL, UFFDIO_CONTINUE, EAGAIN, 1, 50);
	rig_store(rig_word(r.host, 1, 0), 1);
	check(rule_seen() > 50);
	rule_set(IOCTL, UFFDIO_CONTINUE, EAGAIN, 1, 50);
	check_eq(rig_load(rig_word(r.guest, 1, 0)), 1);
	rule_set(IOCTL, UFFDIO_CONTINUE, EAGAIN, 1, 2500);
	check_eq(rig_load(rig_word(r.guest, 20, 0)), 0);
	rule_set(IOCTL, UFFDIO_CONTINUE, EAGAIN, 1, 1100);
	rig_store(rig_word(r.host, 24, 0), 1);
	rule_set(IOCTL, UFFDIO_WRITEPROTECT, EAGAIN, 1, 50);
	check_eq(hostmm_wrprotect(r.mm, r.hva, rig_hva(&r, 32)), 0);
	rig_store(rig_word(r.host, 1, 0), 2);
	rule_set(MADVISE, MADV_DONTNEED, EAGAIN, 1, 5);
	check_eq(hostmm_zap(r.mm, r.hva, rig_hva(&r, 32)), 0);
	check_eq(rig_load(rig_word(r.guest, 1, 0)), 2);
	check(!r.window_fatal && !r.host_fatal);
	rig_check(&r);
}

/* Write protection that the system refuses becomes a zap: the next store faults all the same. */
UTEST(fail, wrprotect_falls_back_to_zap, .init = up, .fini = down)
{
	struct hostmm_stats before, after;

	rig_store(rig_word(r.host, 1, 0), 1);
	rule_set(IOCTL, UFFDIO_WRITEPROTECT, ENOENT, 1, 1);
	check_eq(hostmm_wrprotect(r.mm, r.hva, rig_hva(&r, 32)), 0);
	check_eq(rule_seen(), 1);
	hostmm_get_stats(r.mm, &before);
	rig_store(rig_word(r.host, 1, 0), 2);
	hostmm_get_stats(r.mm, &after);
	check(after.view_faults > before.view_faults);
	check_eq(rig_load(rig_word(r.guest, 1, 0)), 2);
}

/* A repoint that fails in any of its steps leaves a page that nobody reaches, and the next one mends it. */
UTEST(fail, a_repoint_that_fails_is_mended, .init = up, .fini = down)
{
	unsigned prot;
	fn_t home;

	rig_store(rig_word(r.host, 3, 0), 33);
	check_eq(hostmm_migrate(r.mm, rig_hva(&r, 3), rig_hva(&r, 4), HOSTMM_MIGRATE_AWAY), 0);
	/* Somebody has its home frame: it cannot go there instead, which is tried. */
	check_eq(hostmm_home(r.mm, rig_hva(&r, 3), 1, &home, &prot), 0);
	check(pool_get_unless_used(r.pool, home));
	rule_set(IOCTL, UFFDIO_REGISTER, ENOMEM, 1, 3); /* with its block, alone, and at home */
	check_eq(shadow_fault(r.shadow, RIG_GFN + 3, false), -ENOMEM);
	rule_set(IOCTL, UFFDIO_CONTINUE, ENOMEM, 1, 3);
	check_eq(shadow_fault(r.shadow, RIG_GFN + 3, false), -ENOMEM);
	check_eq(hostmm_wrprotect(r.mm, rig_hva(&r, 3), rig_hva(&r, 4)), 0);
	rule_set(MPROTECT, 0, ENOMEM, 1, 100);
	check_eq(shadow_fault(r.shadow, RIG_GFN + 3, false), -ENOMEM);
	check(rule_seen() > 0);
	rule_clear();
	check_eq(rig_load(rig_word(r.guest, 3, 0)), 33);
	rig_guest_store(&r, rig_word(r.guest, 3, 0), 34);
	check_eq(rig_load(rig_word(r.host, 3, 0)), 34);
	check_eq(r.window_fatal, 0);
	rig_check(&r);
	pool_put(r.pool, home, 1);
}

/* The same for a page at home that becomes read-only, where CONTINUE cannot protect: its VMA is closed to stores meanwhile. */
UTEST(fail, a_read_only_fill_that_fails_is_mended, .init = up_before_6_4, .fini = down)
{
	static const unsigned long step[] = { UFFDIO_CONTINUE, UFFDIO_WRITEPROTECT };

	for (unsigned i = 0; i < sizeof(step) / sizeof(*step); i++) {
		uint64_t page = 3 + i;

		rig_store(rig_word(r.host, page, 0), 33);
		check_eq(hostmm_wrprotect(r.mm, rig_hva(&r, page), rig_hva(&r, page + 1)), 0);
		rule_set(IOCTL, step[i], ENOMEM, 1, 100);
		check_eq(shadow_fault(r.shadow, RIG_GFN + page, false), -ENOMEM);
		check(rule_seen() > 0);
		rule_clear();
		rig_guest_store(&r, rig_word(r.guest, page, 0), 34);
		check_eq(rig_load(rig_word(r.host, page, 0)), 34);
		rig_check(&r);
	}
	check_eq(r.window_fatal, 0);
}

/* Out of VMAs: a page that is away goes home, where it needs none. */
UTEST(fail, a_repoint_that_fails_brings_the_page_home, .init = up, .fini = down)
{
	struct gup_page page;
	unsigned prot;
	fn_t home;

	rig_store(rig_word(r.host, 3, 0), 33);
	check_eq(hostmm_home(r.mm, rig_hva(&r, 3), 1, &home, &prot), 0);
	check_eq(hostmm_migrate(r.mm, rig_hva(&r, 3), rig_hva(&r, 4), HOSTMM_MIGRATE_AWAY), 0);
	rule_set(IOCTL, UFFDIO_REGISTER, ENOMEM, 1, 2); /* with its block, and alone */
	check_eq(shadow_fault(r.shadow, RIG_GFN + 3, false), SHADOW_FIXED);
	rule_clear();
	check(hostmm_peek(r.mm, rig_hva(&r, 3), &page) && page.fn == home);
	check_eq(rig_load(rig_word(r.guest, 3, 0)), 33);
	check_eq(hostmm_migrate(r.mm, rig_hva(&r, 3), rig_hva(&r, 4), HOSTMM_MIGRATE_AWAY), 0);
	rule_set(IOCTL, UFFDIO_REGISTER, ENOMEM, 1, 1);
	check_eq(rig_load(rig_word(r.host, 3, 0)), 33);
	rule_clear();
	check(hostmm_peek(r.mm, rig_hva(&r, 3), &page) && page.fn == home);
	check(!r.window_fatal && !r.host_fatal);
	rig_check(&r);
}

/* No memory for a page: the error reaches who can be told, and closes the view of who cannot. */
UTEST(fail, page_in_without_memory, .init = up, .fini = down)
{
	uint64_t value;

	rule_set(FALLOCATE, 0, ENOSPC, 1, 1);
	check_eq(hostmm_read(r.mm, r.hva, &value, 8), -ENOSPC);
	check_eq(hostmm_read(r.mm, r.hva, &value, 8), 0);
	/* Ahead of the page it is only the page that counts. */
	rule_set(FALLOCATE, 0, ENOSPC, 1, 1);
	check_eq(rig_load(rig_word(r.guest, 16, 0)), 0);
	rule_set(FALLOCATE, 0, ENOSPC, 1, 100);
	check(!rig_try_load(rig_word(r.guest, 24, 0), &value));
	rig_wait(&r.window_fatal);
	check_eq(r.window_error, -ENOSPC);
	check(!rig_try_load(rig_word(r.guest, 16, 0), &value));
	rule_clear();
	check_eq(rig_load(rig_word(r.host, 16, 0)), 0);
}

/* A hole that cannot be punched costs memory; the contents are still gone. */
UTEST(fail, a_hole_that_cannot_be_punched, .init = up, .fini = down)
{
	rig_store(rig_word(r.guest, 3, 0), 3);
	rule_set(FALLOCATE, 0, EIO, 1, 1);
	check_eq(hostmm_discard(r.mm, r.hva, rig_hva(&r, 32)), 0);
	check_eq(rule_seen(), 1);
	check_eq(rig_load(rig_word(r.guest, 3, 0)), 0);
	check_eq(rig_load(rig_word(r.host, 3, 0)), 0);
}

/* ---- Fault threads that die: everything fails, nobody reads zeros ---- */

struct access {
	char *view;
	bool wrong;
};

static void *access_all(void *arg)
{
	struct access *a = arg;
	uint64_t value;

	for (uint64_t page = 8; page < 32; page++)
		a->wrong |= rig_try_load(rig_word(a->view, page, 0), &value) && value != page;
	return NULL;
}

/* The reason comes first. */
static void wait_closed(char *view, atomic_uint *fatal)
{
	uint64_t value;

	rig_wait(fatal);
	while (rig_try_load(rig_word(view, 1, 0), &value))
		sched_yield();
}

/* A thread that is waiting already reads one fault, and dies when it comes back. */
static void dies(char *view, atomic_uint *fatal, const atomic_int *error, int want)
{
	struct access a[2] = { { .view = view }, { .view = view } };
	uint64_t value;
	pthread_t t[2];

	rig_store(rig_word(view, 1, 0), 1);
	for (uint64_t page = 8; page < 32; page++)
		check_eq(hostmm_write(r.mm, rig_hva(&r, page), &page, sizeof(page)), 0);
	rule_set(READ, 0, EIO, 1, 1000000);
	for (int i = 0; i < 2; i++)
		t[i] = rig_thread(access_all, &a[i]);
	for (int i = 0; i < 2; i++) {
		rig_join(t[i]);
		check(!a[i].wrong);
	}
	wait_closed(view, fatal);
	rule_clear();
	check_eq(*error, want);
	/* Also what was there. */
	for (uint64_t page = 1; page < 32; page++)
		check(!rig_try_load(rig_word(view, page, 0), &value));
}

UTEST(fail, a_dead_thread_of_the_window_closes_it, .init = up, .fini = down)
{
	struct memslot slot;
	uint64_t value;

	dies(r.guest, &r.window_fatal, &r.window_error, -EIO);
	/* A slot that comes later is closed too; the host goes on. */
	check_eq(shadow_add_slot(r.shadow, 2, 0x10000, 4, r.hva, 0), 0);
	check(shadow_slot(r.shadow, 0x10000, &slot));
	check(!rig_try_load(rig_word(window_base(&slot), 0, 0), &value));
	check_eq(rig_load(rig_word(r.host, 1, 0)), 1);
	check_eq(hostmm_discard(r.mm, r.hva, rig_hva(&r, 32)), 0);
	check_eq(rig_load(rig_word(r.host, 1, 0)), 0);
}

UTEST(fail, a_thread_that_is_interrupted_goes_on, .init = up, .fini = down)
{
	rule_set(READ, 0, EINTR, 1, 50);
	/* Each may have been waiting already for one. */
	for (unsigned i = 0; i <= THREADS; i++) {
		check_eq(rig_load(rig_word(r.guest, 0, 0)), 0);
		check_eq(hostmm_discard(r.mm, r.hva, rig_hva(&r, 1)), 0);
	}
	check(rule_seen() > 50 && !r.window_fatal);
}

static void up_audited(void)
{
	up_with((struct rig_opts){ .pages = 32, .source = HOSTMM_SOURCE_UFFD, .audit = true }, 1);
}

/* One that cannot wait for faults any more is as one that cannot read them; to be interrupted is nothing. */
UTEST(fail, a_thread_that_cannot_poll_closes_the_view, .init = up_audited, .fini = down)
{
	uint64_t value;

	rule_set(POLL, 0, EINTR, 1, 50);
	for (uint64_t page = 0; page < 32; page += 8)
		check_eq(rig_load(rig_word(r.host, page, 0)), 0);
	while (rule_seen() <= 50) /* somebody is on his way back */
		sched_yield();
	check(!r.host_fatal);
	/* The first fault is read by who was waiting already. */
	rule_set(POLL, 0, ENOMEM, 1, 1000000);
	(void)rig_try_load(rig_word(r.host, 5, 0), &value);
	wait_closed(r.host, &r.host_fatal);
	check_eq(r.host_error, ENOMEM);
	for (uint64_t page = 0; page < 32; page += 8)
		check(!rig_try_load(rig_word(r.host, page, 0), &value));
	rule_clear();
	check_eq(hostmm_read(r.mm, r.hva, &value, sizeof(value)), 0);
}

static struct gate in_fault = GATE_INIT;
static uint64_t bad_page; /* that the pager cannot give. Page 5 waits at the gate */

static int fill(void *ctx, uint64_t page, void *dst, uint64_t npages)
{
	(void)ctx, (void)dst, (void)npages;
	if (page == 5)
		gate_pass(&in_fault);
	return page == bad_page ? -EIO : 0;
}

static const struct pager_ops pager = { .fill = fill };

static _Atomic uint64_t stop_at; /* who has read that a thread waits there stops at the gate */

static void after_read(const void *buf, ssize_t n)
{
	const struct uffd_msg *msg = buf;

	if (stop_at && n == sizeof(*msg) && msg->event == UFFD_EVENT_PAGEFAULT &&
	    (msg->arg.pagefault.address & PAGE_MASK) == stop_at)
		gate_pass(&in_fault);
}

static void up_paged(void)
{
	up_with((struct rig_opts){ .pages = 32, .source = HOSTMM_SOURCE_UFFD, .pager = &pager },
		THREADS);
}

static void up_paged_audited(void)
{
	up_with((struct rig_opts){ .pages = 32,
				   .source = HOSTMM_SOURCE_UFFD,
				   .audit = true,
				   .pager = &pager },
		1);
}

static void *touch_5(void *view)
{
	uint64_t value;

	check(!rig_try_load(rig_word(view, 5, 0), &value));
	return NULL;
}

/*
 * What fails once a fault thread has died is not the reason.
 *
 *	fault thread 1			fault thread 2
 *	fault, fill
 *					read() or poll() fails, fatal()
 *	fill fails
 *	no fatal()
 */
static void ends_beside_a_fault(char *view, const atomic_uint *fatal, int call, int error)
{
	pthread_t toucher;
	uint64_t value;

	gate_arm(&in_fault);
	toucher = rig_thread(touch_5, view);
	gate_wait(&in_fault);
	if (error)
		rule_set(call, 0, error, 1, 1);
	/* Whoever reads that comes back. */
	(void)rig_try_load(rig_word(view, 6, 0), &value);
	rig_wait(fatal);
	gate_open(&in_fault);
	rig_join(toucher);
	atomic_store(&stop_at, 0);
	down(); /* all threads have ended */
	r.pool = NULL;
	check_eq(*fatal, 1);
}

UTEST(fail, a_fault_beside_a_dead_thread_of_the_window_is_not_the_reason, .init = up_paged,
      .fini = down)
{
	bad_page = 5;
	ends_beside_a_fault(r.guest, &r.window_fatal, READ, EIO);
}

UTEST(fail, a_fault_beside_a_dead_thread_is_not_the_reason, .init = up_paged, .fini = down)
{
	bad_page = 5;
	ends_beside_a_fault(r.host, &r.host_fatal, READ, EIO);
}

UTEST(fail, a_fault_beside_a_dead_thread_of_an_audit_is_not_the_reason, .init = up_paged_audited,
      .fini = down)
{
	bad_page = 5;
	ends_beside_a_fault(r.host, &r.host_fatal, POLL, ENOMEM);
	check_eq(r.host_error, ENOMEM);
}

/* Nor what fails because another fault has shut the memory: page 5 is elsewhere, and its VMA is to change. */
UTEST(fail, a_fault_beside_one_that_cannot_be_resolved_is_not_the_reason, .init = up_paged,
      .fini = down)
{
	uint64_t value = 5;

	bad_page = 6;
	check_eq(hostmm_write(r.mm, rig_hva(&r, 5), &value, sizeof(value)), 0);
	check_eq(hostmm_migrate(r.mm, rig_hva(&r, 5), rig_hva(&r, 6), HOSTMM_MIGRATE_AWAY), 0);
	atomic_store(&stop_at, rig_hva(&r, 5));
	ends_beside_a_fault(r.host, &r.host_fatal, 0, 0);
	check_eq(r.host_error, EIO);
}

/* With an audit umbra's own calls wait for those threads, too: they go on. */
static void dies_audited(void)
{
	uint64_t value;
	hva_t hva;

	dies(r.host, &r.host_fatal, &r.host_error, EIO);
	check_eq(hostmm_zap(r.mm, r.hva, rig_hva(&r, 32)), 0);
	check_eq(hostmm_discard(r.mm, rig_hva(&r, 4), rig_hva(&r, 32)), 0);
	check_eq(hostmm_map(r.mm, 4, HOSTMM_PROT_READ, NULL, NULL, &hva), -ESHUTDOWN);
	check_eq(rig_load(rig_word(r.guest, 1, 0)), 1); /* the guest goes on */
	check(!rig_try_load(rig_word(r.host, 1, 0), &value));
}

UTEST(fail, a_dead_thread_of_an_audited_view_closes_it, .init = up_audited, .fini = down)
{
	dies_audited();
}

/* The descriptor that nobody reads any more goes without another one. */
UTEST(fail, a_dead_thread_of_an_audited_view_closes_it_without_descriptors, .init = up_audited,
      .fini = down)
{
	int fd[FDS], n = 0;
	struct rlimit before, now;

	check_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
	now = (struct rlimit){ .rlim_cur = FDS, .rlim_max = before.rlim_max };
	check_eq(setrlimit(RLIMIT_NOFILE, &now), 0);
	while ((fd[n] = dup(STDERR_FILENO)) >= 0)
		n++;
	check_eq(errno, EMFILE);
	dies_audited();
	check_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
	while (n)
		close(fd[--n]);
}

UTEST(fail, a_dead_thread_of_the_host_view_closes_it, .init = up, .fini = down)
{
	uint64_t value;
	hva_t hva;

	dies(r.host, &r.host_fatal, &r.host_error, EIO);
	check_eq(hostmm_map(r.mm, 4, HOSTMM_PROT_READ, NULL, NULL, &hva), 0);
	check(!rig_try_load(rig_word((char *)(uintptr_t)hva, 0, 0), &value));
	check_eq(rig_load(rig_word(r.guest, 1, 0)), 1); /* the guest goes on */
}

/* Who does not know a feature, or does not allow it, refuses all of them, and is asked for less. */
UTEST(fail, userfaultfd_is_asked_for_less, .init = up, .fini = down)
{
	struct uffd u;

	uffd_act_old(false);
	rule_set(IOCTL, UFFDIO_API, EINVAL, 1, 1);
	check_eq(uffd_open(&u, 0), 0);
	check(rule_seen() >= 2);
	uffd_close(&u);
	rule_set(IOCTL, UFFDIO_API, EPERM, 1, 1);
	check_eq(uffd_open(&u, UFFD_AUDIT), 0);
	check(rule_seen() >= 2 && !u.has_fork);
	uffd_close(&u);
	rule_set(IOCTL, UFFDIO_API, EPERM, 1, 1);
	check_eq(uffd_open(&u, 0), -EPERM);
}
