// SPDX-License-Identifier: BSD-2-Clause
/*
 * After the kernel's mm/uffd-unit-tests.c, under its names: what its faults, write protection, moves and poison are to a host mm and a
 * window on it. The cases with events are those of the audit of raw system calls.
 */
#include <errno.h>

#include "mmu/host/hostmm_actors.h"
#include "mmu/host/hostmm_reclaim.h"
#include "mmu/shadow/dirty.h"
#include "tests/rig_fork.h"
#include "tests/test.h"

#define LARGE 512UL
#define PAGES (2 * LARGE)

static struct rig r;

static void up_source(enum hostmm_source source)
{
	rig_up(&r, &(struct rig_opts){ .pages = PAGES,
				       .gfn = PAGES,
				       .pool_frames = 8 * LARGE,
				       .source = source,
				       .canary = true,
				       .around = 1 });
}

static void up(void)
{
	up_source(rig_source());
}

static void down(void)
{
	rig_down(&r);
}

static hva_t at(uint64_t page)
{
	return rig_hva(&r, page);
}

static void put(uint64_t page, uint64_t value)
{
	check_eq(hostmm_write(r.mm, at(page), &value, sizeof(value)), 0);
}

static uint64_t page_ins(void)
{
	struct hostmm_stats stats;

	hostmm_get_stats(r.mm, &stats);
	return stats.pages_in;
}

static uint64_t view_faults(void)
{
	struct hostmm_stats stats;

	hostmm_get_stats(r.mm, &stats);
	return stats.view_faults;
}

/* uffd_move_test, and _pmd_split: pages go with their frames, what was there is gone, their place is empty. */
UTEST(mm_uffd, move, .init = up, .fini = down)
{
	fn_t fn;

	for (uint64_t page = 0; page < LARGE; page++)
		put(page, 100 + page);
	put(LARGE + 3, 7);
	fn = rig_frame(&r, 3);
	check_eq(rig_load(rig_word(r.guest, 3, 0)), 103);
	check_eq(hostmm_move(r.mm, at(0), at(LARGE), at(LARGE)), 0);
	check_eq(rig_frame(&r, LARGE + 3), fn);
	for (uint64_t page = 0; page < LARGE; page += 31) {
		check_eq(rig_load(rig_word(r.guest, LARGE + page, 0)), 100 + page);
		check_eq(rig_load(rig_word(r.host, page, 0)), 0);
	}
	rig_check(&r);
}

/* uffd_wp_fork_test: both sides of the fork fault at the first store, and neither's is seen by the other. */
UTEST(mm_uffd, wp_fork, .init = up, .fini = down)
{
	struct rig child;
	uint64_t before;

	for (uint64_t page = 0; page < 4; page++)
		rig_store(rig_word(r.host, page, 0), 1);
	check_eq(hostmm_wrprotect(r.mm, at(0), at(4)), 0);
	rig_fork(&child, &r);
	before = view_faults();
	rig_store(rig_word(r.host, 1, 0), 2);
	check(view_faults() > before);
	check_eq(rig_peek(&child, 1), 1);
	rig_store(rig_word(child.host, 2, 0), 3);
	check_eq(rig_peek(&r, 2), 1);
	check_eq(rig_peek(&child, 2), 3);
	rig_fork_down(&child);
}

/* uffd_wp_unpopulated_test: protection of what is not there is not lost. */
UTEST(mm_uffd, wp_unpopulated, .init = up, .fini = down)
{
	uint64_t bits[PAGES / 64] = { 0 };

	check_eq(shadow_set_slot_flags(r.shadow, 1, MEMSLOT_LOG_DIRTY), 0);
	check_eq(hostmm_wrprotect(r.mm, at(0), at(8)), 0);
	check_eq(shadow_get_dirty_log(r.shadow, 1, bits), 0);
	check_eq(rig_load(rig_word(r.guest, 2, 0)), 0);
	rig_guest_store(&r, rig_word(r.guest, 3, 0), 5);
	check_eq(shadow_get_dirty_log(r.shadow, 1, bits), 0);
	check_eq(bits[0], 1UL << 3);
	/* Once more after the contents are gone: MADV_DONTNEED drops it in the kernel. */
	check_eq(hostmm_discard(r.mm, at(0), at(8)), 0);
	rig_guest_store(&r, rig_word(r.guest, 4, 0), 5);
	check_eq(shadow_get_dirty_log(r.shadow, 1, bits), 0);
	check(bits[0] & 1UL << 4);
}

/* uffd_minor_test: the page is in memory, and no view shows it. What another has put there is what is read. */
static void minor(bool wp)
{
	uint64_t before, faults;
	bool loads_store = rig_loads_store();

	for (uint64_t page = 0; page < 8; page++)
		put(page, ~page);
	before = page_ins();
	if (wp)
		check_eq(hostmm_wrprotect(r.mm, at(0), at(8)), 0);
	for (uint64_t page = 0; page < 8; page++) {
		check_eq(rig_load(rig_word(page % 2 ? r.guest : r.host, page, 0)), ~page);
		if (!wp)
			continue;
		faults = view_faults();
		rig_store(rig_word(r.host, page, 8), page);
		check(view_faults() > faults || loads_store);
	}
	check_eq(page_ins(), before);
	check(!r.window_fatal && !r.host_fatal);
}

UTEST(mm_uffd, minor, .init = up, .fini = down)
{
	minor(false);
}

UTEST(mm_uffd, minor_wp, .init = up, .fini = down)
{
	minor(true);
}

/* uffd_minor_collapse_test: one large page behind small faults. */
UTEST(mm_uffd, minor_collapse, .init = up, .fini = down)
{
	struct gup_page first;

	for (uint64_t page = 0; page < LARGE; page++)
		put(page, ~page);
	check_eq(hostmm_migrate(r.mm, at(3), at(90), HOSTMM_MIGRATE_AWAY), 0);
	check_eq(hostmm_collapse(r.mm, r.hva), 0);
	check(hostmm_huge(r.mm, r.hva, LARGE, &first));
	for (uint64_t page = 0; page < LARGE; page++) {
		check_eq(rig_load(rig_word(r.host, page, 0)), ~page);
		check_eq(rig_load(rig_word(r.guest, page, 0)), ~page);
	}
	rig_check(&r);
}

/* uffd_sigbus_test: nobody reads the descriptor, each thread resolves its own. */
static void sigbus(bool wp)
{
	up_source(HOSTMM_SOURCE_SIGBUS);
	for (uint64_t page = 0; page < 8; page++)
		rig_store(rig_word(r.host, page, 0), page);
	if (wp) {
		uint64_t before = view_faults();

		check_eq(hostmm_wrprotect(r.mm, at(0), at(8)), 0);
		for (uint64_t page = 0; page < 8; page++)
			rig_store(rig_word(r.host, page, 0), 10 + page);
		check(view_faults() >= before + 8);
	}
	for (uint64_t page = 0; page < 8; page++)
		check_eq(rig_load(rig_word(r.guest, page, 0)), page + (wp ? 10 : 0));
	check_eq(r.host_fatal, 0);
}

UTEST(mm_uffd, sigbus, .fini = down)
{
	sigbus(false);
}

UTEST(mm_uffd, sigbus_wp, .fini = down)
{
	sigbus(true);
}

/* uffd_poison_test: every second page; the others are as they were, and a discard takes the poison away. */
UTEST(mm_uffd, poison, .init = up, .fini = down)
{
	uint64_t value;

	for (uint64_t page = 0; page < 8; page++) {
		put(page, page);
		if (page % 2)
			check_eq(hostmm_poison(r.mm, at(page)), 0);
	}
	for (uint64_t page = 0; page < 8; page++) {
		int rc = hostmm_read(r.mm, at(page), &value, sizeof(value));

		check_eq(rc, page % 2 ? -EHWPOISON : 0);
		if (page % 2 == 0) {
			check_eq(value, page);
			check_eq(rig_load(rig_word(r.host, page, 0)), page);
		}
	}
	check_eq(hostmm_discard(r.mm, at(0), at(8)), 0);
	for (uint64_t page = 0; page < 8; page++)
		check_eq(rig_load(rig_word(r.host, page, 0)), 0);
	check_eq(r.host_fatal, 0);
}
