// SPDX-License-Identifier: BSD-2-Clause
/*
 * After KVM's memslot_perf_test: the guest's memory lies in many slots, and while a guest thread works, the VMM maps and
 * unmaps it, in large and small pieces, and moves a slot, which the guest uses or does not. There it is timed; here every word
 * is checked. UMBRA_TIMES=1 prints how long each took, for comparison on one machine; nothing depends on that.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "mmu/shadow/shadow_priv.h"
#include "tests/rig.h"
#include "tests/test.h"

#define SLOTS	   64u
#define PER_SLOT   8u
#define PAGES	   (SLOTS * PER_SLOT)
#define CHUNK	   16u
#define MOVE_ID	   SLOTS
#define MOVE_GFN   0x100000UL
#define MOVE_PAGES 16u

static struct rig r;
static char *pane[SLOTS + 1];
static atomic_bool stop;
static atomic_uint rounds;
static double begin;

static void up(void)
{
	struct memslot slot;

	rig_up(&r, &(struct rig_opts){ .pages = PAGES, .no_slot = true });
	for (unsigned id = 0; id <= SLOTS; id++) {
		gfn_t gfn = id < SLOTS ? id * PER_SLOT : MOVE_GFN;
		uint64_t n = id < SLOTS ? PER_SLOT : MOVE_PAGES;

		check_eq(shadow_add_slot(r.shadow, id, gfn, n, rig_hva(&r, gfn % PAGES), 0), 0);
		check(shadow_slot(r.shadow, gfn, &slot));
		pane[id] = window_base(&slot);
	}
	atomic_store(&stop, false);
	atomic_store(&rounds, 0);
	begin = rig_now();
}

static void say_time(const char *what, unsigned n)
{
	if (getenv("UMBRA_TIMES"))
		printf("memslot_perf: %-20s %8.0f us each\n", what, (rig_now() - begin) / n * 1e6);
}

static void down(void)
{
	rig_down(&r);
}

static _Atomic uint64_t *guest_word(uint64_t page)
{
	return rig_word(pane[page / PER_SLOT], page % PER_SLOT, 0);
}

static void discard(uint64_t page, uint64_t n)
{
	check_eq(hostmm_discard(r.mm, rig_hva(&r, page), rig_hva(&r, page + n)), 0);
}

/* test_memslot_map: half is written while the other is given back, again and again. */
UTEST(kvm_memslot_perf, map, .init = up, .fini = down)
{
	for (uint64_t round = 1; round <= 6; round++) {
		uint64_t half = round % 2 * (PAGES / 2);

		for (uint64_t page = half; page < half + PAGES / 2; page++) {
			check_eq(rig_load(guest_word(page)), 0);
			rig_store(guest_word(page), round);
		}
		discard(PAGES / 2 - half, PAGES / 2);
		for (uint64_t page = half; page < half + PAGES / 2; page++)
			check_eq(rig_load(guest_word(page)), round);
	}
	say_time("map", 6);
	rig_check(&r);
}

static void unmap_in(uint64_t piece, const char *what)
{
	begin = rig_now();
	for (uint64_t round = 1; round <= 4; round++) {
		struct shadow_stats stats;

		for (uint64_t page = 0; page < PAGES; page++)
			rig_store(guest_word(page), round);
		for (uint64_t page = 0; page < PAGES; page += piece)
			discard(page, piece);
		shadow_get_stats(r.shadow, &stats);
		check_eq(stats.leaves, 0);
		for (uint64_t page = 0; page < PAGES; page++)
			check_eq(rig_load(guest_word(page)), 0);
	}
	say_time(what, 4);
	rig_check(&r);
}

/* test_memslot_unmap: in 2 MiB there, all of it here. */
UTEST(kvm_memslot_perf, unmap, .init = up, .fini = down)
{
	unmap_in(PAGES, "unmap");
}

/* test_memslot_unmap_chunked: pieces that are no multiples of slots, nor slots of them. */
UTEST(kvm_memslot_perf, unmap_chunked, .init = up, .fini = down)
{
	unmap_in(CHUNK, "unmap, 16 pages");
	unmap_in(PER_SLOT / 2, "unmap, 4 pages");
	unmap_in(1, "unmap, 1 page");
}

/* test_memslot_rw: the guest writes what the host reads, and back. */
UTEST(kvm_memslot_perf, rw, .init = up, .fini = down)
{
	for (uint64_t round = 1; round <= 4; round++) {
		for (uint64_t page = 0; page < PAGES; page++)
			rig_store(guest_word(page), round + page);
		for (uint64_t page = 0; page < PAGES; page++) {
			check_eq(rig_load(rig_word(r.host, page, 0)), round + page);
			rig_store(rig_word(r.host, page, 8), round * page);
		}
		for (uint64_t page = 0; page < PAGES; page++)
			check_eq(rig_load(rig_word(pane[page / PER_SLOT], page % PER_SLOT, 8)),
				 round * page);
	}
	say_time("rw", 4);
	rig_check(&r);
}

/* guest_code_test_memslot_move(): counts in the pages of one slot. */
static void *guest(void *arg)
{
	char *view = arg;

	for (uint64_t n = 1; !atomic_load(&stop); n++) {
		for (uint64_t page = 0; page < PER_SLOT; page++) {
			if (rig_add(rig_word(view, page, 16), 1) != n - 1)
				expect(!"a count is lost");
		}
		atomic_fetch_add(&rounds, 1);
	}
	return NULL;
}

static void move_beside(char *view, const char *what)
{
	pthread_t t = rig_thread(guest, view);

	for (unsigned i = 0; i < 100; i++) {
		unsigned seen = atomic_load(&rounds);

		check_eq(shadow_move_slot(r.shadow, MOVE_ID, MOVE_GFN + 0x1000 * (i % 7 + 1)), 0);
		check_eq(shadow_move_slot(r.shadow, MOVE_ID, MOVE_GFN), 0);
		while (atomic_load(&rounds) == seen)
			sched_yield();
	}
	say_time(what, 200);
	atomic_store(&stop, true);
	rig_join(t);
	check_eq(r.window_fatal, 0);
	rig_check(&r);
}

UTEST(kvm_memslot_perf, move_active_area, .init = up, .fini = down)
{
	move_beside(pane[MOVE_ID], "move, active");
}

/* The guest works beside: in slot 0, on the same host pages. */
UTEST(kvm_memslot_perf, move_inactive_area, .init = up, .fini = down)
{
	move_beside(pane[0], "move, inactive");
}
