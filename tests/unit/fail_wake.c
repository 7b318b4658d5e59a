// SPDX-License-Identifier: BSD-2-Clause
/*
 * Calls that end a wait, and fail: UFFDIO_WAKE, after which nobody else would come, and UFFDIO_POISON, which wakes, too. Threads wait
 * for real, in the window and in the host view; one that nobody wakes lets the test end at its deadline.
 */
#include <errno.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <sys/ioctl.h>

#include "mmu/host/hostmm_reclaim.h"
#include "mmu/host/uffd.h"
#include "tests/rig.h"
#include "tests/test.h"
#include "tests/unit/fail_calls.h"

#define PAGES 32UL

static struct rig r;

static void up(void)
{
	rule_clear();
	rig_up(&r, &(struct rig_opts){ .pages = PAGES, .around = 1, .source = HOSTMM_SOURCE_UFFD });
}

static void up_audited(void)
{
	rule_clear();
	rig_up(&r, &(struct rig_opts){ .pages = PAGES,
				       .around = 1,
				       .source = HOSTMM_SOURCE_UFFD,
				       .audit = true });
}

static void down(void)
{
	rule_clear();
	rig_down(&r);
}

static hva_t at(uint64_t page)
{
	return rig_hva(&r, page);
}

/* ---- WAKE ---- */

struct access {
	char *view;
	uint64_t page, end, wrong;
};

static void *add_to_each(void *arg)
{
	struct access *a = arg;

	for (; a->page < a->end; a->page++)
		a->wrong += rig_add(rig_word(a->view, a->page, 0), 1) != 0;
	return NULL;
}

/* Two threads a view, each the first on its pages: all of them are let go on. */
static void wake_fails(int error, unsigned times)
{
	struct access a[4];
	pthread_t t[4];

	rule_set(IOCTL, UFFDIO_WAKE, error, 1, times);
	for (unsigned i = 0; i < 4; i++) {
		a[i] = (struct access){ .view = i % 2 ? r.guest : r.host,
					.page = 8 * i,
					.end = 8 * i + 8 };
		t[i] = rig_thread(add_to_each, &a[i]);
	}
	for (unsigned i = 0; i < 4; i++) {
		rig_join(t[i]);
		check_eq(a[i].wrong, 0);
	}
	check(rule_seen() > times);
	rule_clear();
	for (uint64_t page = 0; page < PAGES; page++)
		check_eq(rig_load(rig_word(page / 8 % 2 ? r.host : r.guest, page, 0)), 1);
	check(!r.window_fatal && !r.host_fatal);
	rig_check(&r);
}

UTEST(fail_wake, again_is_tried_again, .init = up, .fini = down)
{
	wake_fails(EAGAIN, 60);
}

UTEST(fail_wake, a_signal_interrupts_none, .init = up, .fini = down)
{
	wake_fails(EINTR, 60);
}

UTEST(fail_wake, again_is_tried_again_with_an_audit, .init = up_audited, .fini = down)
{
	wake_fails(EAGAIN, 60);
}

static void wake_at_nothing(void *arg)
{
	struct uffd *u = arg;

	uffd_wake(u, NULL, 0);
}

/* What cannot be is told, and not slept over. Nobody waits for what was abandoned. */
UTEST(fail_wake, a_wake_that_cannot_be_done_is_a_bug)
{
	struct uffd u;
	int rc = uffd_open(&u, UFFD_AUDIT);

	skip_if(rc == -EPERM || rc == -ENOSYS || rc == -EOPNOTSUPP, "userfaultfd: %s",
		strerror(-rc));
	check_eq(rc, 0);
	check_eq(test_signal_of(wake_at_nothing, &u), SIGABRT);
	uffd_abandon(&u);
	check_eq(test_signal_of(wake_at_nothing, &u), 0);
	uffd_close(&u);
}

/* ---- POISON ---- */

struct probe {
	uint64_t page;
	bool loaded;
};

static void *try_load(void *arg)
{
	struct probe *p = arg;
	uint64_t value;

	p->loaded = rig_try_load(rig_word(r.host, p->page, 0), &value);
	return NULL;
}

/* Page 3 is bad, and POISON fails when host threads ask for it: none of them reads anything. */
static void poison_fails(int error, unsigned from, unsigned to)
{
	struct probe p[3] = { { .page = 3 }, { .page = 3 }, { .page = 3 } };
	pthread_t t[3];

	rig_store(rig_word(r.host, 2, 0), 2);
	rig_store(rig_word(r.host, 3, 0), 3);
	check_eq(hostmm_poison(r.mm, at(3)), 0);
	rule_set(IOCTL, UFFDIO_POISON, error, from, to);
	for (unsigned i = 0; i < 3; i++)
		t[i] = rig_thread(try_load, &p[i]);
	for (unsigned i = 0; i < 3; i++) {
		rig_join(t[i]);
		check(!p[i].loaded);
	}
	check(rule_seen() >= to || to > 1000);
	rule_clear();
	check_eq(r.window_fatal, 0);
	check_eq(rig_load(rig_word(r.guest, 2, 0)), 2);
	rig_check(&r);
}

static void check_region_alive(void)
{
	check_eq(r.host_fatal, 0);
	check_eq(rig_load(rig_word(r.host, 2, 0)), 2);
	check_eq(hostmm_discard(r.mm, at(3), at(4)), 0);
	check_eq(rig_load(rig_word(r.host, 3, 0)), 0);
}

static void need_poison(void)
{
	uint64_t value;

	rig_store(rig_word(r.host, 9, 0), 1);
	check_eq(hostmm_poison(r.mm, at(9)), 0);
	(void)rig_try_load(rig_word(r.host, 9, 0), &value);
	skip_if(r.host_fatal, "no UFFDIO_POISON: Linux before 6.6");
}

/* The system remembers protection that was there before the page was hidden. */
UTEST(fail_wake, what_was_protected_can_be_poisoned, .init = up, .fini = down)
{
	need_poison();
	for (uint64_t page = 2; page < 4; page++)
		rig_store(rig_word(r.host, page, 0), page);
	check_eq(hostmm_wrprotect(r.mm, at(0), at(PAGES)), 0);
	poison_fails(EAGAIN, ~0u, ~0u);
	check_region_alive();
}

UTEST(fail_wake, poison_again_is_tried_again, .init = up, .fini = down)
{
	need_poison();
	poison_fails(EAGAIN, 1, 60);
	check_region_alive();
}

/* Something is there: then who waits looks again. */
UTEST(fail_wake, poison_that_finds_the_page_wakes, .init = up, .fini = down)
{
	need_poison();
	poison_fails(EEXIST, 1, 1);
	check_region_alive();
}

/* What cannot be poisoned is closed, with its region: an access fails, and nothing is read. */
static void poison_is_refused(int error)
{
	uint64_t value;

	need_poison();
	poison_fails(error, 1, 1000000);
	rig_wait(&r.host_fatal);
	check_eq(r.host_error, EHWPOISON);
	check(!rig_try_load(rig_word(r.host, 2, 0), &value));
	check_eq(hostmm_read(r.mm, at(2), &value, sizeof(value)), 0);
	check_eq(value, 2);
}

UTEST(fail_wake, poison_without_memory_closes_the_region, .init = up, .fini = down)
{
	poison_is_refused(ENOMEM);
}

UTEST(fail_wake, poison_without_a_vma_closes_the_region, .init = up, .fini = down)
{
	poison_is_refused(ENOENT);
}

UTEST(fail_wake, poison_without_a_process_closes_the_region, .init = up, .fini = down)
{
	poison_is_refused(ESRCH);
}
