// SPDX-License-Identifier: BSD-2-Clause
/* Views over userfaultfd: linear and foreign pages, rights, the gap, failing closed. */
#include "mmu/host/view.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mmu/host/fault_threads.h"
#include "tests/rig.h"
#include "tests/test.h"

#define PAGES 64

/*
 * One view, whose faults are resolved by rule: a page that the test has not let in waits; others are mapped to the
 * frame and the rights that the test set, more rights on a store when allowed.
 */
static struct {
	struct pool *pool;
	struct uffd uffd;
	struct view *view;
	struct fault_threads *threads;
	char *base;
	fn_t home;
	atomic_uint reads, writes, died;
	atomic_int error;
	_Atomic fn_t fn[PAGES];
	atomic_bool writable[PAGES];
	struct gate gate;
} v;

static void resolve(void *ctx, const struct uffd_fault *fault)
{
	uint64_t page = (fault->addr - (uint64_t)(uintptr_t)v.base) >> PAGE_SHIFT;
	int rc;

	(void)ctx;
	atomic_fetch_add(fault->write ? &v.writes : &v.reads, 1);
	gate_pass(&v.gate);
	expect(page < PAGES);
	if (fault->write)
		atomic_store(&v.writable[page], true);
	rc = view_map(v.view, page, 1, v.fn[page], v.writable[page]);
	expect(rc == 0 || rc == -ESHUTDOWN);
	view_wake(v.view, page, 1);
}

static void died(void *ctx, int error)
{
	(void)ctx;
	atomic_store(&v.error, error);
	atomic_fetch_add(&v.died, 1);
}

static const struct fault_ops ops = { .resolve = resolve, .died = died };

static void view_up(void)
{
	int rc = uffd_open(&v.uffd, 0);

	skip_if(rc == -EPERM || rc == -ENOSYS || rc == -EOPNOTSUPP, "userfaultfd: %s",
		strerror(-rc));
	check_eq(rc, 0);
	v.gate = (struct gate)GATE_INIT;
	v.reads = v.writes = v.died = 0;
	check_eq(pool_create(&v.pool, 2 * PAGES, true), 0);
	check_eq(pool_reserve(v.pool, 2 * PAGES, &v.home), 0);
	for (fn_t fn = 0; fn < 2 * PAGES; fn++)
		check(pool_get_unless_used(v.pool, fn));
	check_eq(pool_zero(v.pool, v.home, 2 * PAGES), 0);
	for (fn_t fn = 0; fn < 2 * PAGES; fn++)
		*(uint64_t *)pool_direct(v.pool, fn) = fn;
	for (unsigned i = 0; i < PAGES; i++) {
		v.fn[i] = v.home + i;
		v.writable[i] = false;
	}
	check_eq(view_create(&v.view, v.pool, &v.uffd, PAGES, v.home), 0);
	v.base = view_base(v.view);
	check_eq(fault_threads_start(&v.threads, &v.uffd, 2, &ops, NULL), 0);
}

static void view_up_old(void)
{
	view_up();
	v.uffd.has_continue_wp = false; /* Linux before 6.4 */
}

static void view_down(void)
{
	if (!v.threads)
		return;
	fault_threads_stop(v.threads);
	v.threads = NULL;
	view_destroy(v.view);
	uffd_close(&v.uffd);
	pool_put(v.pool, v.home, 2 * PAGES);
	pool_unreserve(v.pool, v.home, 2 * PAGES);
	pool_destroy(v.pool);
}

static _Atomic uint64_t *word(uint64_t page)
{
	return rig_word(v.base, page, 0);
}

static uint64_t frame_word(fn_t fn)
{
	return *(volatile uint64_t *)pool_direct(v.pool, fn);
}

static unsigned vmas(void)
{
	uint64_t start = (uint64_t)(uintptr_t)v.base, end = start + (PAGES << PAGE_SHIFT), a, b;
	FILE *f = fopen("/proc/self/maps", "re");
	unsigned n = 0;
	char line[512];

	check(f);
	while (fgets(line, sizeof(line), f)) {
		char *dash;

		a = strtoul(line, &dash, 16);
		b = strtoul(dash + 1, NULL, 16);
		n += a < end && start < b;
	}
	fclose(f);
	return n;
}

/* Without it each kernel is what the tests named so make of this one. */
static void need_continue_wp(void)
{
	skip_if(!v.uffd.has_continue_wp, "UFFDIO_CONTINUE cannot protect: Linux before 6.4");
}

UTEST(view, shows_nothing_before_it_is_let, .init = view_up, .fini = view_down)
{
	check_eq(vmas(), 1);
	check_eq(rig_load(word(5)), v.home + 5);
	check_eq(v.reads, 1);
	check_eq(view_map(v.view, 0, PAGES, v.home, true), 0);
	for (unsigned i = 0; i < PAGES; i++)
		rig_store(word(i), 1000 + i);
	check(v.reads == 1 && v.writes == 0);
	for (unsigned i = 0; i < PAGES; i++)
		check_eq(frame_word(v.home + i), 1000 + i);
	check_eq(view_foreign(v.view), 0);
	if (v.uffd.has_continue_wp)
		check_eq(view_repoints(v.view), 0);
	check_eq(view_pages(v.view), PAGES);
}

static void check_rights(void)
{
	check_eq(view_map(v.view, 0, 16, v.home, false), 0);
	check_eq(rig_load(word(3)), v.home + 3);
	check(v.reads == 0 && v.writes == 0);
	rig_store(word(3), 33);
	check_eq(v.writes, 1);
	rig_store(word(3), 34);
	check_eq(v.writes, 1);
	check_eq(view_make_writable(v.view, 4, 2), 0);
	rig_store(word(4), 44);
	rig_store(word(5), 55);
	check_eq(v.writes, 1);

	view_wrprotect(v.view, 0, 16);
	atomic_store(&v.writable[3], false);
	check_eq(rig_load(word(3)), 34);
	check_eq(v.reads, 0);
	rig_store(word(3), 35);
	rig_store(word(4), 45);
	check_eq(v.writes, 3);

	view_zap(v.view, 2, 3);
	check_eq(rig_load(word(3)), 35);
	check_eq(rig_load(word(1)), v.home + 1);
	check_eq(v.reads, 1);
}

UTEST(view, keeps_rights, .init = view_up, .fini = view_down)
{
	need_continue_wp();
	check_rights();
	check_eq(view_repoints(v.view), 0);
	check_eq(vmas(), 1);
}

UTEST(view, keeps_rights_without_continue_wp, .init = view_up_old, .fini = view_down)
{
	check_rights();
	check(view_repoints(v.view) > 0);
	check_eq(vmas(), 1);
}

static void check_foreign(void)
{
	fn_t foreign = v.home + PAGES + 9;

	check_eq(view_map(v.view, 8, 4, v.home + 8, true), 0);
	view_zap(v.view, 9, 1);
	check_eq(view_map(v.view, 9, 1, foreign, false), 0);
	v.fn[9] = foreign;
	check_eq(view_foreign(v.view), 1);
	check_eq(vmas(), 3);
	check_eq(rig_load(word(9)), foreign);
	check_eq(v.reads, 0);
	rig_store(word(9), 99);
	check_eq(v.writes, 1);
	check_eq(frame_word(foreign), 99);
	check_eq(frame_word(v.home + 9), v.home + 9);
	check_eq(view_repoints(v.view) % 2, 0);

	/* A run over pages at home and away, each by its own way. */
	view_zap(v.view, 8, 4);
	check_eq(view_map(v.view, 8, 4, v.home + 8, true), 0);
	v.fn[9] = v.home + 9;
	check_eq(rig_load(word(9)), v.home + 9);
	check_eq(view_foreign(v.view), 0);
	check_eq(vmas(), 1);

	/* Consecutive frames away from home. */
	view_zap(v.view, 8, 4);
	check_eq(view_map(v.view, 8, 4, foreign, false), 0);
	check_eq(view_foreign(v.view), 4);
	view_zap(v.view, 8, 4);
	check_eq(view_map(v.view, 8, 4, foreign, false), 0);
	for (unsigned i = 8; i < 12; i++) {
		v.fn[i] = foreign + i - 8;
		v.writable[i] = false;
	}
	check_eq(rig_load(word(11)), foreign + 3);
	rig_store(word(11), 5);
	check_eq(v.writes, 2);
	check_eq(frame_word(foreign + 3), 5);
}

UTEST(view, shows_foreign_frames, .init = view_up, .fini = view_down)
{
	check_foreign();
}

UTEST(view, shows_foreign_frames_without_continue_wp, .init = view_up_old, .fini = view_down)
{
	check_foreign();
}

UTEST(view, knows_its_gaps, .init = view_up, .fini = view_down)
{
	fn_t foreign = v.home + PAGES;

	need_continue_wp();
	check(!view_has_gap(v.view, 3, v.home + 3));
	check(view_has_gap(v.view, 3, foreign));
	check_eq(view_map(v.view, 3, 1, foreign, true), 0);
	check(!view_has_gap(v.view, 3, foreign));
	check(view_has_gap(v.view, 3, v.home + 3));
	check(!view_has_gap(v.view, 4, v.home + 4));
	v.uffd.has_continue_wp = false;
	check(view_has_gap(v.view, 4, v.home + 4));
}

/*
 * The gap of a repoint: threads read the page all the time, so that its entry is often there before CONTINUE, and not
 * protected. Bit 57 of /proc/self/pagemap says what the entry is: a store that is let through it would be lost.
 */
static atomic_bool stop;

/* Who meets a page that is not there waits until the test has mapped it. */
static void park(void *ctx, const struct uffd_fault *fault)
{
	(void)ctx;
	(void)fault;
}

static const struct fault_ops park_ops = { .resolve = park, .died = died };

static void *read_all(void *arg)
{
	uint64_t value;

	(void)arg;
	while (!atomic_load_explicit(&stop, memory_order_relaxed))
		(void)rig_try_load(word(1), &value);
	return NULL;
}

static bool is_protected(int pagemap, uint64_t page)
{
	uint64_t addr = (uint64_t)(uintptr_t)v.base + (page << PAGE_SHIFT), entry = 0;

	check_eq(pread(pagemap, &entry, 8, (off_t)(addr / PAGE_SIZE * 8)), 8);
	check(entry >> 63 & 1, "page not present");
	return entry >> 57 & 1;
}

static void check_gap(void)
{
	int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	pthread_t t[2];
	unsigned bad = 0;
	double until;

	check(pagemap >= 0);
	fault_threads_stop(v.threads);
	check_eq(fault_threads_start(&v.threads, &v.uffd, 1, &park_ops, NULL), 0);
	check_eq(view_map(v.view, 1, 1, v.home + 1, false), 0);
	atomic_store(&stop, false);
	for (int i = 0; i < 2; i++)
		t[i] = rig_thread(read_all, NULL);
	until = rig_now() + rig_seconds(0.5);
	for (unsigned i = 0; rig_now() < until; i++) {
		view_zap(v.view, 1, 1);
		check_eq(view_map(v.view, 1, 1, v.home + (i % 2 ? 1 : PAGES + 1), false), 0);
		bad += !is_protected(pagemap, 1);
		view_wake(v.view, 1, 1);
	}
	atomic_store(&stop, true);
	view_wake(v.view, 1, 1);
	for (int i = 0; i < 2; i++)
		rig_join(t[i]);
	close(pagemap);
	check_eq(bad, 0);
}

UTEST(view, protects_what_slipped_in, .init = view_up, .fini = view_down)
{
	check_gap();
}

UTEST(view, protects_what_slipped_in_without_continue_wp, .init = view_up_old, .fini = view_down)
{
	check_gap();
}

static void *load_page(void *arg)
{
	uint64_t value = 0;

	return rig_try_load(arg, &value) ? (void *)"loaded" : NULL;
}

/* Shut while somebody waits: he fails, and so does everybody after him; nobody reads zeros. */
UTEST(view, shut_fails_all, .init = view_up, .fini = view_down)
{
	uint64_t value;
	pthread_t t;

	check_eq(view_map(v.view, 0, 2, v.home, true), 0);
	check_eq(view_map(v.view, 3, 1, v.home + PAGES, true), 0);
	check_eq(rig_load(word(1)), v.home + 1);
	gate_arm(&v.gate);
	t = rig_thread(load_page, word(7));
	gate_wait(&v.gate);
	view_shut(v.view);
	check(!rig_join(t));
	gate_open(&v.gate);
	for (unsigned i = 0; i < 9; i++) {
		check(!rig_try_load(word(i), &value));
		check(!rig_try_store(word(i), 1));
	}
	check_eq(view_map(v.view, 3, 1, v.home + 3, false), -ESHUTDOWN);
	check_eq(view_map(v.view, 1, 1, v.home + PAGES, true), -ESHUTDOWN);
	check(!rig_try_load(word(3), &value));
}

/* munmap() does not wake who waits; view_destroy() does, or a vCPU would hang in a slot that is gone. */
UTEST(view, destroy_wakes_who_waits)
{
	struct view *second;
	pthread_t t;

	view_up();
	check_eq(view_create(&second, v.pool, &v.uffd, PAGES, v.home + PAGES), 0);
	gate_arm(&v.gate);
	t = rig_thread(load_page, word(7));
	gate_wait(&v.gate);
	view_destroy(v.view);
	check(!rig_join(t));
	v.view = second;
	v.base = view_base(second);
	gate_open(&v.gate);
	view_down();
}

UTEST(uffd, wait_stops_when_told_or_dead, .init = view_up, .fini = view_down)
{
	struct uffd audited, dead = { .fd = open("/dev/null", O_RDONLY | O_CLOEXEC) };
	int silent[2], told[2];
	struct uffd_msg msg;

	check(dead.fd >= 0 && !pipe2(silent, O_CLOEXEC) && !pipe2(told, O_CLOEXEC));
	check_eq(write(told[1], "", 1), 1);
	check_eq(uffd_open(&audited, UFFD_AUDIT), 0);
	check_eq(uffd_wait(&audited, told[0]), 0);
	uffd_close(&audited);
	check_eq(uffd_wait(&dead, silent[0]), 1);
	check(uffd_read(&dead, &msg) < 0);
	close(dead.fd);
	dead.fd = -1; /* poll() ignores it: silence, until told */
	check_eq(uffd_wait(&dead, told[0]), 0);
	for (int i = 0; i < 2; i++) {
		close(silent[i]);
		close(told[i]);
	}
}

UTEST(uffd, says_what_it_did)
{
	char *base;

	view_up();
	base = v.base;
	check_eq(uffd_continue(&v.uffd, base, 4 << PAGE_SHIFT, false), 4 << PAGE_SHIFT);
	check_eq(uffd_continue(&v.uffd, base + PAGE_SIZE, PAGE_SIZE, false), -EEXIST);
	/* Short, when it meets a page that is there. */
	view_zap(v.view, 0, 2);
	check_eq(uffd_continue(&v.uffd, base, 4 << PAGE_SHIFT, false), 2 << PAGE_SHIFT);
	check_eq(uffd_continue(&v.uffd, base + 1, PAGE_SIZE, false), -EINVAL);
	check_eq(uffd_writeprotect(&v.uffd, base + 1, PAGE_SIZE, true), -EINVAL);
	view_down();
}
