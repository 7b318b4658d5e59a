// SPDX-License-Identifier: BSD-2-Clause
/* The pool: reservations, references, contents of frames. */
#include "mmu/host/pool.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/rig.h"
#include "tests/test.h"

static uint64_t memory_of(struct pool *p)
{
	struct stat st;

	check_eq(fstat(pool_fd(p), &st), 0);
	return (uint64_t)st.st_blocks * 512 / PAGE_SIZE;
}

UTEST(pool, refuses_sizes_it_cannot_number)
{
	struct pool *p;

	check_eq(pool_create(&p, 0, false), -EINVAL);
	check_eq(pool_create(&p, 1UL << 32, false), -EINVAL);
}

UTEST(pool, reserves_first_fit_and_merges_what_comes_back)
{
	struct pool *p;
	fn_t a, b, c, d;

	check_eq(pool_create(&p, 32, false), 0);
	check_eq(pool_reserve(p, 0, &a), -EINVAL);
	check_eq(pool_reserve(p, 33, &a), -ENOSPC);
	check_eq(pool_reserve(p, 8, &a), 0);
	check_eq(pool_reserve(p, 8, &b), 0);
	check_eq(pool_reserve(p, 16, &c), 0);
	check(a == 0 && b == 8 && c == 16);
	check_eq(pool_reserve(p, 1, &d), -ENOSPC);
	pool_unreserve(p, a, 8);
	pool_unreserve(p, c, 16);
	check_eq(pool_reserve(p, 17, &d), -ENOSPC); /* 8 + 16, apart */
	pool_unreserve(p, b, 8);
	check_eq(pool_reserve(p, 32, &d), 0);
	check_eq(d, 0);
	pool_unreserve(p, d, 32);
	pool_destroy(p);
}

UTEST(pool, large_runs_begin_where_a_large_page_may)
{
	struct pool *p;
	fn_t small, large, other, last;

	check_eq(pool_create(&p, 4 * POOL_LARGE, false), 0);
	check_eq(pool_reserve(p, 3, &small), 0);
	check_eq(pool_reserve(p, POOL_LARGE + 1, &large), 0);
	check_eq(large, POOL_LARGE);
	check_eq(pool_reserve(p, 5, &other), 0);
	check_eq(other, 3); /* what was left before it is of use */
	/* No such place left: anywhere. */
	check_eq(pool_reserve(p, 2 * POOL_LARGE - 1, &last), 0);
	check_eq(last, 2 * POOL_LARGE + 1);
	check_eq(pool_reserve(p, POOL_LARGE, &last), -ENOSPC);
	pool_unreserve(p, other, 5);
	pool_unreserve(p, large, POOL_LARGE + 1);
	pool_unreserve(p, small, 3);
	pool_unreserve(p, 2 * POOL_LARGE + 1, 2 * POOL_LARGE - 1);
	pool_destroy(p);

	check_eq(pool_create(&p, 3 * POOL_LARGEST, false), 0);
	check_eq(pool_reserve(p, 1, &small), 0);
	check_eq(pool_reserve(p, POOL_LARGEST, &large), 0);
	check_eq(large, POOL_LARGEST);
	check_eq(pool_reserve(p, POOL_LARGEST + 1, &last), -ENOSPC);
	pool_unreserve(p, large, POOL_LARGEST);
	pool_unreserve(p, small, 1);
	pool_destroy(p);
}

UTEST(pool, contents_go_with_the_last_reference)
{
	struct pool *p;
	uint64_t *word;
	fn_t fn;

	check_eq(pool_create(&p, 16, false), 0);
	check_eq(pool_reserve(p, 8, &fn), 0);
	check_eq(memory_of(p), 0);
	for (fn_t i = fn; i < fn + 8; i++)
		check(pool_get_unless_used(p, i));
	check(!pool_get_unless_used(p, fn));
	check_eq(pool_zero(p, fn, 8), 0);
	check_eq(memory_of(p), 8);
	check_eq(pool_used(p), 8);
	word = pool_direct(p, fn + 3);
	check_eq(*word, 0);
	*word = 77;
	pool_get(p, fn + 3);
	pool_put(p, fn, 8);
	check_eq(pool_used(p), 1);
	check_eq(memory_of(p), 1);
	check_eq(*word, 77);
	check_eq(pool_refs(p, fn + 3), 1);
	pool_put(p, fn + 3, 1);
	check_eq(pool_used(p), 0);
	check_eq(memory_of(p), 0);
	pool_unreserve(p, fn, 8);
	pool_destroy(p);
}

/* Used frames among fresh ones: zeroing in bulk must not forget either. */
UTEST(pool, zeroes_used_and_fresh_frames_alike)
{
	struct pool *p;
	fn_t fn;

	check_eq(pool_create(&p, 16, true), 0);
	check_eq(pool_reserve(p, 16, &fn), 0);
	for (fn_t i = 1; i < 16; i += 3) {
		check(pool_get_unless_used(p, i));
		check_eq(pool_populate(p, i, 1), 0);
		memset(pool_direct(p, i), 0xff, PAGE_SIZE);
		pool_put(p, i, 1);
		check_eq(*(uint64_t *)pool_direct(p, i), POOL_CANARY);
	}
	for (fn_t i = 0; i < 16; i++)
		check(pool_get_unless_used(p, i));
	check_eq(pool_zero(p, 0, 16), 0);
	for (fn_t i = 0; i < 16; i++)
		for (unsigned w = 0; w < PAGE_SIZE / 8; w++)
			check_eq(((uint64_t *)pool_direct(p, i))[w], 0);
	pool_put(p, 0, 16);
	pool_unreserve(p, 0, 16);
	pool_destroy(p);
}

UTEST(pool, loose_frames_come_from_the_top_and_leave_by_themselves)
{
	struct pool *p;
	fn_t region, loose[3], fn;

	check_eq(pool_create(&p, 8, false), 0);
	check_eq(pool_reserve(p, 5, &region), 0);
	for (int i = 0; i < 3; i++) {
		check_eq(pool_alloc_loose(p, &loose[i]), 0);
		check_eq(loose[i], 7 - i);
		check_eq(pool_refs(p, loose[i]), 1);
	}
	check_eq(pool_alloc_loose(p, &fn), -ENOSPC);
	pool_put(p, loose[1], 1);
	check_eq(pool_alloc_loose(p, &fn), 0);
	check_eq(fn, loose[1]);
	pool_put(p, loose[2], 3);
	pool_unreserve(p, region, 5);
	pool_destroy(p);
}

/* A region is gone, but somebody still reads a frame of it: nobody else may get that frame. */
UTEST(pool, a_frame_with_a_slow_reader_is_not_handed_out)
{
	struct pool *p;
	fn_t region, a, b, c;

	check_eq(pool_create(&p, 3, true), 0);
	check_eq(pool_reserve(p, 3, &region), 0);
	check(pool_get_unless_used(p, region + 2));
	check_eq(pool_zero(p, region + 2, 1), 0);
	pool_unreserve(p, region, 3);
	check_eq(pool_alloc_loose(p, &a), 0);
	check_eq(pool_alloc_loose(p, &b), 0);
	check(a != region + 2 && b != region + 2 && a != b);
	check_eq(pool_alloc_loose(p, &c), -ENOSPC);
	check_eq(*(uint64_t *)pool_direct(p, region + 2), 0);
	pool_put(p, region + 2, 1);
	check_eq(pool_alloc_loose(p, &c), 0);
	check_eq(c, region + 2);
	pool_put(p, a, 1);
	pool_put(p, b, 1);
	pool_put(p, c, 1);
	check_eq(pool_used(p), 0);
	pool_destroy(p);
}

UTEST(pool, copies_frames)
{
	struct pool *p;
	fn_t fn;

	check_eq(pool_create(&p, 2, false), 0);
	check_eq(pool_reserve(p, 2, &fn), 0);
	check(pool_get_unless_used(p, fn) && pool_get_unless_used(p, fn + 1));
	check_eq(pool_populate(p, fn, 1), 0);
	memset(pool_direct(p, fn), 0x5a, PAGE_SIZE);
	pool_copy(p, fn + 1, fn);
	check(!memcmp(pool_direct(p, fn), pool_direct(p, fn + 1), PAGE_SIZE));
	pool_put(p, fn, 2);
	pool_unreserve(p, fn, 2);
	pool_destroy(p);
}

static void put_without_a_reference(void *arg)
{
	struct pool *p = arg;

	pool_put(p, 0, 1);
}

static void get_without_a_reference(void *arg)
{
	struct pool *p = arg;

	pool_get(p, 0);
}

static void destroy_with_a_reservation(void *arg)
{
	struct pool *p = arg;
	fn_t fn;

	if (!pool_reserve(p, 1, &fn))
		pool_destroy(p);
}

/* M25: a count that would go below zero ends in bug_on(), in every profile. */
UTEST(pool, unpaired_counts_are_bugs)
{
	struct pool *p;

	check_eq(pool_create(&p, 4, false), 0);
	check_eq(test_signal_of(put_without_a_reference, p), SIGABRT);
	check_eq(test_signal_of(get_without_a_reference, p), SIGABRT);
	check_eq(test_signal_of(destroy_with_a_reservation, p), SIGABRT);
	pool_destroy(p);
}

/*
 * Filling a frame that is about to die: whoever gets it must find it dead, or its fill is punched away. Threads take
 * turns with few frames; each writes its mark and looks again before it puts.
 */
static atomic_bool stop;

struct taker {
	struct pool *p;
	uint64_t mark;
	_Atomic uint64_t taken;
};

static void *take_and_put(void *arg)
{
	struct taker *t = arg;
	uint64_t seed = t->mark;

	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		fn_t fn = rig_random(&seed) % 4;
		_Atomic uint64_t *word = pool_direct(t->p, fn);

		if (!pool_get_unless_used(t->p, fn))
			continue;
		expect(pool_zero(t->p, fn, 1) == 0);
		expect(atomic_load(word) == 0);
		atomic_store(word, t->mark);
		for (int i = 0; i < 20; i++)
			if (atomic_load(word) != t->mark)
				expect(!"the frame kept its mark");
		pool_put(t->p, fn, 1);
		atomic_fetch_add_explicit(&t->taken, 1, memory_order_relaxed);
	}
	return NULL;
}

/* Each at least once, however long a busy host needs for that. */
static bool all_have_taken(struct taker *taker, unsigned n)
{
	while (n && atomic_load_explicit(&taker[n - 1].taken, memory_order_relaxed))
		n--;
	return !n;
}

static void take_for(bool canary)
{
	struct taker taker[3];
	pthread_t t[3];
	struct pool *p;
	double until;
	fn_t fn;

	check_eq(pool_create(&p, 4, canary), 0);
	check_eq(pool_reserve(p, 4, &fn), 0);
	atomic_store(&stop, false);
	for (unsigned i = 0; i < 3; i++) {
		taker[i] = (struct taker){ .p = p, .mark = 100 + i };
		t[i] = rig_thread(take_and_put, &taker[i]);
	}
	for (until = rig_now() + rig_seconds(0.3); rig_now() < until || !all_have_taken(taker, 3);)
		check(pool_used(p) <= 4);
	atomic_store(&stop, true);
	for (unsigned i = 0; i < 3; i++)
		rig_join(t[i]);
	check_eq(pool_used(p), 0);
	pool_unreserve(p, fn, 4);
	pool_destroy(p);
}

UTEST(pool, a_dying_frame_is_nobodys)
{
	take_for(false);
}

UTEST(pool, a_dying_frame_is_nobodys_with_canary)
{
	take_for(true);
}

/* Whoever stores to a frame after it was freed is found out when the frame is taken again, once; its contents are made good. */
UTEST(pool, counts_late_stores)
{
	const uint64_t *words;
	struct pool *p;
	fn_t a;

	check_eq(pool_create(&p, 4, true), 0);
	check_eq(pool_reserve(p, 2, &a), 0);
	for (unsigned round = 0; round < 3; round++) {
		check(pool_get_unless_used(p, a));
		check_eq(pool_zero(p, a, 1), 0);
		words = pool_direct(p, a);
		check_eq(words[100], 0);
		check_eq(pool_late_stores(p), round > 1);
		pool_put(p, a, 1);
		check_eq(words[100], POOL_CANARY);
		if (round == 1)
			((uint64_t *)pool_direct(p, a))[100] = 7;
	}
	pool_unreserve(p, a, 2);
	pool_destroy(p);
}
