// SPDX-License-Identifier: BSD-2-Clause
/*
 * Threads that are gone before their fault is resolved: a vCPU that is kicked out of its access and ends, a host thread that is
 * cancelled. What was begun for them is finished, and the next one has it. A fault thread that ends is in fail.c, the whole process in
 * limits_kill.c.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>

#include "tests/rig.h"
#include "tests/test.h"

#define PAGES	8UL
#define THREADS 4u
#define GFN	0x10000UL

static struct rig r;
static struct gate gate;
static hva_t other;

/* Pages come in when the test lets them. */
static int fill(void *ctx, uint64_t page, void *dst, uint64_t npages)
{
	(void)ctx;
	gate_pass(&gate);
	for (uint64_t i = 0; i < npages; i++)
		memset((char *)dst + (i << PAGE_SHIFT), 1 + (int)(page + i), PAGE_SIZE);
	return 0;
}

static const struct pager_ops pager = { .fill = fill };

struct victim {
	_Atomic uint64_t *word;
	bool write, is_killed;
	atomic_uint begun;
	pthread_t thread;
};

static _Thread_local sigjmp_buf out;

static void leave(int sig)
{
	(void)sig;
	siglongjmp(out, 1);
}

static void *access_page(void *arg)
{
	struct victim *v = arg;

	if (sigsetjmp(out, 1)) {
		v->is_killed = true;
		return NULL;
	}
	atomic_store(&v->begun, 1);
	if (v->write)
		rig_store(v->word, 5);
	else
		(void)rig_load(v->word);
	return NULL;
}

static void up(void)
{
	const struct sigaction sa = { .sa_handler = leave };

	gate = (struct gate)GATE_INIT;
	rig_up(&r, &(struct rig_opts){ .pages = PAGES, .pool_frames = 256, .around = 1 });
	check_eq(hostmm_map_source(r.mm, PAGES, HOSTMM_PROT_READ | HOSTMM_PROT_WRITE, &pager, NULL,
				   HOSTMM_SOURCE_UFFD, rig_audit(), &other),
		 0);
	check_eq(shadow_add_slot(r.shadow, 2, GFN, PAGES, other, 0), 0);
	check_eq(sigaction(SIGUSR1, &sa, NULL), 0);
	gate_arm(&gate);
}

static void down(void)
{
	rig_down(&r);
}

/* Loads and stores of two pages, none of which can come in yet; all are killed, in the middle or just before. */
static void kill_all(char *view)
{
	struct victim v[THREADS];

	for (unsigned i = 0; i < THREADS; i++) {
		v[i] = (struct victim){ .word = rig_word(view, i / 2, 0), .write = i % 2 };
		v[i].thread = rig_thread(access_page, &v[i]);
		rig_wait(&v[i].begun);
	}
	gate_wait(&gate);
	for (unsigned i = 0; i < THREADS; i++) {
		check_eq(pthread_kill(v[i].thread, SIGUSR1), 0);
		rig_join(v[i].thread); /* a test that hangs ends at its deadline */
		check(v[i].is_killed);
	}
}

/* Nothing is stored by who was gone, nothing is lost, nobody is waited for. */
static void check_after(void)
{
	const uint64_t ones = 0x0101010101010101;
	struct memslot slot;
	char *guest;

	check(shadow_slot(r.shadow, GFN, &slot));
	guest = window_base(&slot);
	gate_open(&gate);
	for (uint64_t page = 0; page < PAGES; page++) {
		check_eq(rig_load(rig_word(guest, page, 0)), ones * (page + 1));
		check_eq(rig_load(rig_word((char *)(uintptr_t)other, page, 0)), ones * (page + 1));
	}
	rig_guest_store(&r, rig_word(guest, 1, 0), 7);
	check_eq(rig_load(rig_word((char *)(uintptr_t)other, 1, 0)), 7);
	rig_check(&r);
	check_eq(hostmm_unmap(r.mm, other), 0);
	check_eq(shadow_remove_slot(r.shadow, 2), 0);
	check_eq(r.window_fatal + r.host_fatal, 0);
}

UTEST(limits_thread, vcpus_that_are_killed_in_a_fault, .init = up, .fini = down)
{
	struct memslot slot;

	check(shadow_slot(r.shadow, GFN, &slot));
	kill_all(window_base(&slot));
	check_after();
}

UTEST(limits_thread, host_threads_that_are_killed_in_a_fault, .init = up, .fini = down)
{
	kill_all((char *)(uintptr_t)other);
	check_after();
}
