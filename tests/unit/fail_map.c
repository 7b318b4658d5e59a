// SPDX-License-Identifier: BSD-2-Clause
/*
 * Calls that change the layout, and fail: munmap(), after which nothing may be reached nor lost, and MADV_DONTFORK of a VMA that is
 * not watched yet.
 */
#include <errno.h>
#include <signal.h>
#include <sys/mman.h>

#include "mmu/host/hostmm_actors.h"
#include "mmu/host/pool_priv.h"
#include "mmu/host/view.h"
#include "tests/rig.h"
#include "tests/test.h"
#include "tests/unit/fail_calls.h"

#define PAGES 32UL
#define LARGE 600UL /* a region with arrays of its own, and a view with room around it */
#define BOTH  (HOSTMM_PROT_READ | HOSTMM_PROT_WRITE)

static struct rig r;

static void up_with(bool audit)
{
	rule_clear();
	rig_up(&r, &(struct rig_opts){ .pages = PAGES,
				       .pool_frames = 4096,
				       .around = 1,
				       .source = HOSTMM_SOURCE_UFFD,
				       .audit = audit });
	for (uint64_t page = 0; page < PAGES; page++)
		rig_store(rig_word(r.host, page, 0), 100 + page);
}

static void up(void)
{
	up_with(false);
}

static void up_audited(void)
{
	up_with(true);
}

static void down(void)
{
	rule_clear();
	rig_down(&r);
}

static void check_rest(void)
{
	rule_clear();
	for (uint64_t page = 0; page < PAGES; page++) {
		check_eq(rig_load(rig_word(r.guest, page, 0)), 100 + page);
		check_eq(rig_load(rig_word(r.host, page, 0)), 100 + page);
	}
	check(!r.window_fatal && !r.host_fatal);
	rig_check(&r);
}

/* ---- munmap() ---- */

/* A region and a slot over it come and go; of the calls that unmap, @from to @to are refused. How many there were. */
static unsigned come_and_go(bool audit, unsigned from, unsigned to)
{
	struct memslot slot;
	uint64_t value;
	char *host, *guest;
	hva_t hva;

	check_eq(hostmm_map_source(r.mm, LARGE, BOTH, NULL, NULL, HOSTMM_SOURCE_UFFD, audit, &hva),
		 0);
	check_eq(shadow_add_slot(r.shadow, 2, 0x10000, LARGE, hva, 0), 0);
	check(shadow_slot(r.shadow, 0x10000, &slot));
	host = (char *)(uintptr_t)hva;
	guest = window_base(&slot);
	for (uint64_t page = 0; page < LARGE; page += 100) {
		rig_store(rig_word(host, page, 0), page);
		check_eq(rig_load(rig_word(guest, page, 0)), page);
	}
	rule_set(MUNMAP, 0, ENOMEM, from, to);
	check_eq(shadow_remove_slot(r.shadow, 2), 0);
	check_eq(hostmm_unmap(r.mm, hva), 0);
	from = rule_seen();
	rule_clear();
	for (uint64_t page = 0; page < LARGE; page += 100) {
		check(!rig_try_load(rig_word(host, page, 0), &value));
		check(!rig_try_load(rig_word(guest, page, 0), &value));
	}
	return from;
}

/* One is refused, or it and the one that would give the pool's VMAs: it is done all the same. */
static void each_munmap_fails(bool audit)
{
	unsigned calls = come_and_go(audit, ~0u, ~0u);
	long before = bytes_mapped;
	struct hostmm_stats s;

	check(calls >= 4); /* two views, entries and links of a region */
	for (unsigned n = 1; n <= calls; n++)
		for (unsigned more = 0; more < 2; more++) {
			check(come_and_go(audit, n, n + more) > calls);
			check_eq(bytes_mapped, before);
			check_rest();
		}
	hostmm_get_stats(r.mm, &s);
	check_eq(s.raw_unmaps, 0);
}

UTEST(fail_map, what_is_unmapped_goes, .init = up, .fini = down)
{
	each_munmap_fails(false);
}

UTEST(fail_map, what_is_unmapped_goes_with_an_audit, .init = up_audited, .fini = down)
{
	each_munmap_fails(true);
}

static void destroy_view(void *arg)
{
	view_destroy(arg);
}

/* A view whose frames are about to be somebody else's must not stay. */
UTEST(fail_map, a_view_that_stays_is_a_bug, .init = up, .fini = down)
{
	struct uffd u;
	struct view *view;
	fn_t home;

	check_eq(uffd_open(&u, 0), 0);
	check_eq(pool_reserve(r.pool, 8, &home), 0);
	check_eq(view_create(&view, r.pool, &u, 8, home), 0);
	rule_set(MUNMAP, 0, ENOMEM, 1, ~0u);
	check_eq(test_signal_of(destroy_view, view), SIGABRT);
	rule_clear();
	view_destroy(view);
	uffd_close(&u);
	pool_unreserve(r.pool, home, 8);
}

/* Zeros that nobody needs any more cost no memory, whatever becomes of their addresses. */
UTEST(fail_map, arrays_that_stay_are_empty, .init = up, .fini = down)
{
	size_t bytes = 64 * PAGE_SIZE;
	char *zeros = pool_map_sparse(bytes, -1);

	check(zeros != NULL);
	memset(zeros, 7, bytes);
	rule_set(MUNMAP, 0, ENOMEM, 1, ~0u);
	pool_unmap_sparse(r.pool, zeros, bytes);
	check(rule_seen() >= 2);
	rule_clear();
	for (size_t i = 0; i < bytes; i += PAGE_SIZE)
		check_eq(zeros[i], 0);
	check_eq(munmap(zeros, bytes), 0);
	check_rest();
}

/* ---- MADV_DONTFORK, in the gap ---- */

/* The rights of the VMA over @addr, as /proc/self/maps shows them. */
static void rights_at(const void *addr, char rights[5])
{
	FILE *f = fopen("/proc/self/maps", "re");
	char line[512];

	check(f != NULL);
	strcpy(rights, "-");
	while (fgets(line, sizeof(line), f)) {
		char *rest;
		uintptr_t start = strtoul(line, &rest, 16), end = strtoul(rest + 1, &rest, 16);

		if (start <= (uintptr_t)addr && (uintptr_t)addr < end)
			snprintf(rights, 5, "%.4s", rest + 1);
	}
	fclose(f);
}

static void move_away(uint64_t page)
{
	check_eq(hostmm_migrate(r.mm, rig_hva(&r, page), rig_hva(&r, page + 1),
				HOSTMM_MIGRATE_AWAY),
		 0);
}

/* Tried again, as is EAGAIN everywhere. */
UTEST(fail_map, dont_fork_again_is_tried_again, .init = up_audited, .fini = down)
{
	move_away(3);
	rule_set(MADVISE, MADV_DONTFORK, EAGAIN, 1, 20);
	check_eq(rig_load(rig_word(r.host, 3, 0)), 103);
	check(rule_seen() > 20);
	check_rest();
}

/*
 * A VMA that shows a frame already and cannot be kept from children is not watched: nobody may reach the page through it, for it
 * would keep the frame when the page gets another.
 */
UTEST(fail_map, what_children_would_get_is_closed, .init = up_audited, .fini = down)
{
	char rights[5];

	move_away(3);
	rule_set(MADVISE, MADV_DONTFORK, ENOMEM, 1, ~0u); /* away, and at home */
	check_eq(hostmm_prefault(r.mm, rig_hva(&r, 3), rig_hva(&r, 4), false), -ENOMEM);
	check(rule_seen() >= 2);
	rights_at(r.host + 3 * PAGE_SIZE, rights);
	check_str(rights, "---s");
	rule_clear();
	check_eq(hostmm_prefault(r.mm, rig_hva(&r, 3), rig_hva(&r, 4), false), 0);
	check_rest();
}
