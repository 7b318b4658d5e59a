// SPDX-License-Identifier: BSD-2-Clause
/*
 * dirty: the dirty log of a guest that has touched all of its memory, and stores to all of it while that is logged. By
 * write protection in the window, or by KVM's log of the window's memslot; beside KVM's log, or KVM's dirty ring, of a plain
 * memslot.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "guest/abi.h"
#include "hv/kvmio.h"
#include "hv/ram.h"
#include "tests/bench/bare_loop.h"
#include "tests/bench/bench.h"
#include "tests/bench/guest.h"

#define PAGES	    (128UL << 8)
#define PAGES_LONG  (1024UL << 8)
#define PAGES_QUICK (16UL << 8)
#define RING	    65536u /* entries, the most that KVM knows; some it keeps free */
#define RUNS_MAX    1001u  /* --reps, and one that does not count */

enum way { PROTECT, BY_KVM, PLAIN, BY_RING, WAYS };
enum figure { ON, ROUND, GET, CLEAR, FIGURES };

/* A run gives all figures: what one case has measured the next one takes up. */
struct run {
	double us[FIGURES];
};

static struct {
	struct run run[RUNS_MAX];
	unsigned n;
} done[WAYS];

struct dirty_case {
	const char *name;
	enum way way, against;
	enum figure figure;
};

static const struct dirty_case cases[] = {
	{ "turn on, against KVM's log", PROTECT, PLAIN, ON },
	{ "a store to every page, against KVM's log", PROTECT, PLAIN, ROUND },
	{ "get, against KVM's log", PROTECT, PLAIN, GET },
	{ "clear, against KVM's log", PROTECT, PLAIN, CLEAR },
	{ "by KVM: turn on, against KVM's log", BY_KVM, PLAIN, ON },
	{ "by KVM: a store to every page", BY_KVM, PLAIN, ROUND },
	{ "by KVM: get, which clears", BY_KVM, PLAIN, GET },
	{ "by KVM: clear", BY_KVM, PLAIN, CLEAR },
	{ "turn on, against KVM's ring", PROTECT, BY_RING, ON },
	{ "a store to every page, against KVM's ring", PROTECT, BY_RING, ROUND },
	{ "get, against collecting KVM's ring", PROTECT, BY_RING, GET },
	{ "clear, against a reset of KVM's ring", PROTECT, BY_RING, CLEAR },
};

#define CASES (sizeof(cases) / sizeof(cases[0]))

static uint64_t pages;

/* ---- One run ---- */

struct logger {
	enum way way;
	struct kvm_dirty_gfn *ring; /* BY_RING: of the vCPU, once mapped */
	uint32_t next;		    /* entry */
	uint64_t *bitmap;
	uint64_t round_begin;
	struct run *run;
};

static int plain_set_slot(const struct guest_work *w, uint32_t flags)
{
	return kvmio_set_slot(w->vm, w->slot, flags, w->gpa, w->bytes, w->plain);
}

static int turn(const struct logger *l, const struct guest_work *w, bool on)
{
	struct kvm_enable_cap manual = { .cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, .args = { 1 } };

	if (l->way == BY_RING)
		return plain_set_slot(w, on ? KVM_MEM_LOG_DIRTY_PAGES : 0);
	if (l->way != PLAIN)
		return ram_dirty_log(w->ram, RAM_WORK,
				     !on		? RAM_DIRTY_OFF
				     : l->way == BY_KVM ? RAM_DIRTY_KVM_MANUAL
							: RAM_DIRTY_PROTECT_MANUAL);
	if (on && ioctl(w->vm, KVM_ENABLE_CAP, &manual) < 0)
		return -errno;
	return plain_set_slot(w, on ? KVM_MEM_LOG_DIRTY_PAGES : 0);
}

/* Entries that KVM has made become bits, and are given back with the next reset. */
static int collect(struct logger *l, const struct guest_work *w)
{
	if (!l->ring) {
		void *ring = mmap(NULL, RING * sizeof(*l->ring), PROT_READ | PROT_WRITE, MAP_SHARED,
				  w->vcpu, (off_t)KVM_DIRTY_LOG_PAGE_OFFSET << 12);

		if (ring == MAP_FAILED)
			return -errno;
		l->ring = ring;
	}
	memset(l->bitmap, 0, pages / 8);
	for (;; l->next++) {
		struct kvm_dirty_gfn *e = &l->ring[l->next % RING];

		if (__atomic_load_n(&e->flags, __ATOMIC_ACQUIRE) != KVM_DIRTY_GFN_F_DIRTY)
			return 0;
		if (e->slot == w->slot && e->offset < pages)
			l->bitmap[e->offset / 64] |= 1ul << e->offset % 64;
		__atomic_store_n(&e->flags, KVM_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
	}
}

static int get(struct logger *l, const struct guest_work *w)
{
	if (l->way == BY_RING)
		return collect(l, w);
	return l->way == PLAIN ? kvmio_get_dirty_log(w->vm, w->slot, l->bitmap)
			       : ram_get_dirty_log(w->ram, RAM_WORK, l->bitmap);
}

static int clear(const struct logger *l, const struct guest_work *w)
{
	struct kvm_clear_dirty_log args = { .slot = w->slot,
					    .num_pages = (uint32_t)pages,
					    .dirty_bitmap = l->bitmap };

	if (l->way == BY_RING)
		return ioctl(w->vm, KVM_RESET_DIRTY_RINGS) < 0 ? -errno : 0;
	if (l->way != PLAIN)
		return ram_clear_dirty_log(w->ram, RAM_WORK, 0, pages, l->bitmap);
	return ioctl(w->vm, KVM_CLEAR_DIRTY_LOG, &args) < 0 ? -errno : 0;
}

static uint64_t weight(const uint64_t *bitmap)
{
	uint64_t n = 0;

	for (uint64_t i = 0; i < pages / 64; i++)
		n += (uint64_t)__builtin_popcountl(bitmap[i]);
	return n;
}

static int end_round(struct logger *l, const struct guest_work *w)
{
	uint64_t begin = bench_now_ns(), got;
	int err;

	l->run->us[ROUND] = (double)(begin - l->round_begin) / 1000;
	memset(l->bitmap, 0, pages / 8); /* its own pages are there */
	begin = bench_now_ns();
	err = get(l, w);
	got = bench_now_ns();
	l->run->us[GET] = (double)(got - begin) / 1000;
	if (err)
		return err;
	if (weight(l->bitmap) != pages)
		return -ERANGE;
	begin = bench_now_ns();
	err = clear(l, w);
	l->run->us[CLEAR] = (double)(bench_now_ns() - begin) / 1000;
	if (!err)
		err = get(l, w);
	if (!err && weight(l->bitmap))
		err = -ERANGE;
	return err ? err : turn(l, w, false);
}

/* Round 0 touches all, round 1 is logged. */
static int mark(void *ctx, const struct guest_work *w, uint32_t phase, uint64_t round)
{
	struct logger *l = ctx;
	uint64_t begin = bench_now_ns();
	int err = 0;

	if (phase == PHASE_END && !round) {
		err = turn(l, w, true);
		l->run->us[ON] = (double)(bench_now_ns() - begin) / 1000;
	} else if (phase == PHASE_END) {
		err = end_round(l, w);
	} else if (phase == PHASE_BEGIN) {
		l->round_begin = begin;
	}
	return err;
}

static int measure(enum way way, struct run *run)
{
	struct logger l = { .way = way, .run = run, .bitmap = calloc(pages / 64, 8) };
	struct guest_run guest = {
		.bootargs = "workload=touch pattern=seq op=write rounds=2",
		.work_pages = pages,
		.plain = way >= PLAIN ? bare_plain(pages << 12) : NULL,
		.plain_ring = way == BY_RING ? RING * sizeof(struct kvm_dirty_gfn) : 0,
		.mark = mark,
		.mark_ctx = &l,
	};
	struct guest_time time;
	int err = !l.bitmap		      ? -ENOMEM
		  : guest.plain == MAP_FAILED ? -errno
					      : guest_run(&guest, &time);

	if (guest.plain && guest.plain != MAP_FAILED)
		munmap(guest.plain, pages << 12);
	if (l.ring)
		munmap(l.ring, RING * sizeof(*l.ring));
	free(l.bitmap);
	return err;
}

/* ---- Cases ---- */

static unsigned taken[CASES][2];

/* The next repetition that this case has not seen. */
static int figure(const struct dirty_case *c, unsigned side, double *value)
{
	enum way way = side ? c->against : c->way;
	unsigned at = taken[c - cases][side]++;
	int err = 0;

	if (at >= RUNS_MAX)
		return -ERANGE;
	if (at == done[way].n) {
		err = measure(way, &done[way].run[at]);
		done[way].n += !err;
	}
	*value = done[way].run[at].us[c->figure];
	return err;
}

static int run_umbra(const void *arg, double *value)
{
	return figure(arg, 0, value);
}

static int run_reference(const void *arg, double *value)
{
	return figure(arg, 1, value);
}

static bool has_ring(void)
{
	char text[256];
	struct why w = { .text = text, .size = sizeof(text) };
	int kvm = kvmio_open(&w), most;

	if (kvm < 0)
		return false;
	most = kvmio_check(kvm, KVM_CAP_DIRTY_LOG_RING);
	close(kvm);
	return most >= (int)(RING * sizeof(struct kvm_dirty_gfn));
}

static int run(struct bench *b)
{
	int err = 0;

	bool ring = has_ring();

	pages = bench_is_quick(b) ? PAGES_QUICK : bench_is_long(b) ? PAGES_LONG : PAGES;
	if (!ring)
		bench_skip(b, "KVM's dirty ring", "this KVM has none (KVM_CAP_DIRTY_LOG_RING)");
	else if (pages > RING / 2)
		bench_skip(b, "KVM's dirty ring", "it would be full before the round is over");
	ring = ring && pages <= RING / 2;
	bench_warm_memory(pages << 12);
	for (size_t i = 0; i < CASES && !err; i++) {
		const struct bench_case c = {
			.name = cases[i].name,
			.umbra = run_umbra,
			.reference = run_reference,
			.arg = &cases[i],
		};

		if (cases[i].against != BY_RING || ring)
			err = bench_run(b, &c);
	}
	return err;
}

const struct bench_group bench_dirty = {
	.name = "dirty",
	.what = "the dirty log of a guest's 128 MiB (--quick: 16 MiB; --long: 1 GiB)",
	.reference = "KVM's log or dirty ring, plain memslot",
	.unit = "us",
	.cases = CASES,
	.share = 2,
	.needs_kvm = true,
	.run = run,
};
