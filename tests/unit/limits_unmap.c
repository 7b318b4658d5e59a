// SPDX-License-Identifier: BSD-2-Clause
/*
 * A region is unmapped while faults on it are in flight: whoever is in the middle of one is waited for, fails afterwards, and waits for
 * nothing; the rest goes on.
 */
#include <errno.h>

#include "mmu/host/hostmm_actors.h"
#include "tests/rig.h"
#include "tests/test.h"

#define PAGES 8UL

static struct rig r;
static struct gate gate;
static hva_t other;

/* Pages come in when the test lets them. */
static int fill(void *ctx, uint64_t page, void *dst, uint64_t npages)
{
	(void)ctx;
	gate_pass(&gate);
	memset(dst, 1 + (int)page, npages << 12);
	return 0;
}

static const struct pager_ops pager = { .fill = fill };

static void up_with(enum hostmm_source source)
{
	gate = (struct gate)GATE_INIT;
	rig_up(&r, &(struct rig_opts){ .pages = PAGES, .pool_frames = 256, .around = 1 });
	check_eq(hostmm_map_source(r.mm, PAGES, HOSTMM_PROT_READ | HOSTMM_PROT_WRITE, &pager, NULL,
				   source, false, &other),
		 0);
	gate_arm(&gate);
}

static void up(void)
{
	up_with(rig_source());
}

static void down(void)
{
	rig_down(&r);
}

static void *unmap(void *arg)
{
	(void)arg;
	check_eq(hostmm_unmap(r.mm, other), 0);
	return NULL;
}

/* While somebody is in the middle of a page-in. */
static void begin_unmap(pthread_t *t)
{
	gate_wait(&gate);
	*t = rig_thread(unmap, NULL);
}

struct access {
	_Atomic uint64_t *word;
	bool write, done;
};

static void *access_host(void *arg)
{
	struct access *a = arg;
	uint64_t value;

	a->done = a->write ? rig_try_store(a->word, 5) : rig_try_load(a->word, &value);
	return NULL;
}

/* Four threads on two pages; the one whose page is being filled may have it, the others find nothing. */
static void host_threads(void)
{
	struct access a[4];
	pthread_t t[4], u;
	uint64_t value;

	for (unsigned i = 0; i < 4; i++) {
		a[i] = (struct access){ .word = rig_word((char *)(uintptr_t)other, i / 2, 0),
					.write = i % 2 };
		t[i] = rig_thread(access_host, &a[i]);
	}
	begin_unmap(&u);
	gate_open(&gate);
	rig_join(u);
	for (unsigned i = 0; i < 4; i++)
		rig_join(t[i]); /* a test that hangs ends at its deadline */
	check(!rig_try_load(rig_word((char *)(uintptr_t)other, 0, 0), &value));
	check_eq(hostmm_read(r.mm, other, &value, sizeof(value)), -EFAULT);
	check_eq(r.host_fatal, 0);
	rig_store(rig_word(r.host, 1, 0), 7);
	check_eq(rig_load(rig_word(r.guest, 1, 0)), 7);
}

UTEST(limits_unmap, under_host_threads_that_wait, .fini = down)
{
	up_with(HOSTMM_SOURCE_UFFD);
	host_threads();
}

UTEST(limits_unmap, under_host_threads_in_a_sigbus_handler, .fini = down)
{
	up_with(HOSTMM_SOURCE_SIGBUS);
	host_threads();
}

UTEST(limits_unmap, under_host_threads_in_a_segv_handler, .fini = down)
{
	up_with(HOSTMM_SOURCE_MPROTECT);
	host_threads();
}

struct fault {
	gfn_t gfn;
	int rc;
};

static void *run_fault(void *arg)
{
	struct fault *f = arg;

	f->rc = shadow_fault(r.shadow, f->gfn, true);
	return NULL;
}

/* A slot that is left behind: its faults say so. Those that were in flight have an answer, and leave nothing in the table. */
UTEST(limits_unmap, under_faults_of_a_guest, .init = up, .fini = down)
{
	struct fault f[2] = { { .gfn = 0x10000 }, { .gfn = 0x10000 + 3 } };
	struct shadow_stats stats;
	pthread_t t[2], u;

	check_eq(shadow_add_slot(r.shadow, 2, 0x10000, PAGES, other, 0), 0);
	for (int i = 0; i < 2; i++)
		t[i] = rig_thread(run_fault, &f[i]);
	begin_unmap(&u);
	gate_open(&gate);
	for (int i = 0; i < 2; i++) {
		rig_join(t[i]);
		check(f[i].rc == SHADOW_FIXED || f[i].rc == -EFAULT, "%d", f[i].rc);
	}
	rig_join(u);
	shadow_get_stats(r.shadow, &stats);
	check_eq(stats.leaves, 0);
	check_eq(shadow_fault(r.shadow, 0x10000, false), -EFAULT);
	rig_check(&r);
	check_eq(shadow_remove_slot(r.shadow, 2), 0);
	check_eq(shadow_fault(r.shadow, 0x10000, false), -ENXIO);
	check_eq(r.window_fatal, 0);
}

/* A guest that waits in the window is stopped with a reason. */
UTEST(limits_unmap, under_a_guest_that_waits, .init = up, .fini = down)
{
	struct memslot slot;
	struct access a;
	pthread_t t, u;
	uint64_t value;

	check_eq(shadow_add_slot(r.shadow, 2, 0x10000, PAGES, other, 0), 0);
	check(shadow_slot(r.shadow, 0x10000, &slot));
	a = (struct access){ .word = rig_word(window_base(&slot), 2, 0) };
	t = rig_thread(access_host, &a);
	begin_unmap(&u);
	gate_open(&gate);
	rig_join(u);
	rig_join(t);
	check(!rig_try_load(a.word, &value));
	rig_wait(&r.window_fatal);
	check_eq(r.window_error, -EFAULT);
	rig_store(rig_word(r.host, 1, 0), 7);
	check_eq(rig_load(rig_word(r.host, 1, 0)), 7);
}

struct copy {
	int rc;
};

static void *run_copy(void *arg)
{
	struct copy *c = arg;
	uint64_t value;

	c->rc = hostmm_read(r.mm, other + 4096, &value, sizeof(value));
	return NULL;
}

UTEST(limits_unmap, under_copies, .init = up, .fini = down)
{
	struct copy c = { 1 };
	pthread_t t = rig_thread(run_copy, &c), u;

	begin_unmap(&u);
	gate_open(&gate);
	rig_join(t);
	rig_join(u);
	check_eq(c.rc, 0); /* it came first */
	check_eq(hostmm_read(r.mm, other, &c, sizeof(c)), -EFAULT);
}
