// SPDX-License-Identifier: BSD-2-Clause
/*
 * A pool whose file system is full, for real: each call says so and changes nothing, what waits is failed and not left waiting, what
 * is there stays, and with room everything goes on.
 */
#include <errno.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "mmu/host/hostmm_actors.h"
#include "mmu/host/hostmm_reclaim.h"
#include "tests/rig_fork.h"
#include "tests/test.h"

#define PAGES 64UL
#define ROOM  32UL /* pages that the file system has */

/* The pool has a tmpfs of its own, of any size: in this program it gets one of ROOM pages. */
int fsconfig(int fd, unsigned cmd, const char *key, const void *value, int aux)
{
	bool size = cmd == FSCONFIG_SET_STRING && key && !strcmp(key, "size");

	return (int)syscall(SYS_fsconfig, fd, cmd, key, size ? "128k" : value, aux);
}

static struct rig r, child;

static void up(void)
{
	struct statfs fs;

	rig_up(&r,
	       &(struct rig_opts){ .pages = PAGES, .pool_frames = 8 * PAGES + 1024, .around = 1 });
	check_eq(fstatfs(pool_fd(r.pool), &fs), 0);
	if (fs.f_blocks == ROOM)
		return;
	rig_down(&r);
	r.pool = NULL;
	test_skip("the pool has no file system of its own (CAP_SYS_ADMIN)");
}

static void down(void)
{
	if (child.pool)
		rig_fork_down(&child);
	child.pool = NULL;
	rig_down(&r);
}

static hva_t at(uint64_t page)
{
	return rig_hva(&r, page);
}

/* Full is ENOSPC where memory is asked for in advance, ENOMEM where a page cannot be made to exist. */
static bool is_full(int rc)
{
	check(!rc || rc == -ENOSPC || rc == -ENOMEM, "%d", rc);
	return rc;
}

static int put(struct rig *of, uint64_t page, uint64_t value)
{
	return hostmm_write(of->mm, rig_hva(of, page), &value, sizeof(value));
}

/* Store to pages from @page on until there is no room; the first that has none. */
static uint64_t fill(uint64_t page)
{
	while (page < PAGES && !is_full(put(&r, page, 100 + page)))
		page++;
	check(page < PAGES);
	return page;
}

static void check_pages(struct rig *of, uint64_t end)
{
	for (uint64_t page = 0; page < end; page++)
		check_eq(rig_peek(of, page), 100 + page);
}

UTEST(limits_pool, a_store_that_finds_no_room_changes_nothing, .init = up, .fini = down)
{
	uint64_t end = fill(0), value;

	check_eq(end, ROOM);
	check_eq(pool_used(r.pool), ROOM);
	check(is_full(hostmm_read(r.mm, at(end), &value, sizeof(value))));
	check(is_full(shadow_fault(r.shadow, RIG_GFN + end, false)));
	check(is_full(hostmm_prefault(r.mm, at(end), at(end + 1), true)));
	check_eq(pool_used(r.pool), ROOM);
	check_pages(&r, end);
	rig_check(&r);
	check_eq(hostmm_discard(r.mm, at(0), at(4)), 0);
	for (uint64_t page = 0; page < 4; page++)
		rig_store(rig_word(r.guest, end + page, 0), page);
	for (uint64_t page = 4; page < end; page++)
		check_eq(rig_load(rig_word(r.host, page, 0)), 100 + page);
	check(!r.window_fatal && !r.host_fatal);
}

/* Nobody reads zeros, and nobody waits. */
UTEST(limits_pool, a_guest_that_finds_no_room_is_stopped, .init = up, .fini = down)
{
	uint64_t end = fill(0), value;

	check(!rig_try_load(rig_word(r.guest, end, 0), &value));
	rig_wait(&r.window_fatal);
	check(is_full(r.window_error));
	check(!rig_try_load(rig_word(r.guest, 0, 0), &value));
	check_eq(r.host_fatal, 0);
	check_pages(&r, end);
	check_eq(rig_load(rig_word(r.host, 3, 0)), 103);
}

UTEST(limits_pool, a_host_thread_that_finds_no_room_is_stopped, .init = up, .fini = down)
{
	uint64_t end = fill(0);

	check(!rig_try_store(rig_word(r.host, end, 0), 1));
	if (rig_source() == HOSTMM_SOURCE_UFFD) {
		rig_wait(&r.host_fatal);
		check(is_full(-r.host_error));
	}
	check_eq(r.window_fatal, 0);
	check_pages(&r, end);
	check_eq(rig_load(rig_word(r.guest, 3, 0)), 103);
}

UTEST(limits_pool, copies_that_find_no_room_leave_pages_shared, .init = up, .fini = down)
{
	const uint64_t n = 3 * ROOM / 4;
	uint64_t stored = 0;

	for (uint64_t page = 0; page < n; page++)
		check_eq(put(&r, page, 100 + page), 0);
	rig_fork(&child, &r);
	for (uint64_t page = 0; page < n; page++) {
		int rc = put(&r, page, 500 + page);

		if (!is_full(rc))
			stored++;
		check_eq(rig_peek(&r, page), rc ? 100 + page : 500 + page);
		check_eq(rig_peek(&child, page), 100 + page);
	}
	check(stored > 0 && stored < n);
	check_pages(&child, n);
	rig_check(&r);
	rig_check(&child);
	/* The child's end is room. */
	rig_fork_down(&child);
	child.pool = NULL;
	for (uint64_t page = 0; page < n; page++)
		check_eq(put(&r, page, 600 + page), 0);
}

UTEST(limits_pool, what_moves_stays_where_it_finds_no_room, .init = up, .fini = down)
{
	const uint64_t n = ROOM - 1;

	for (uint64_t page = 0; page < n; page++)
		check_eq(put(&r, page, 7), 0);
	/* One frame is free: page after page goes through it. */
	check_eq(hostmm_migrate(r.mm, at(0), at(n), HOSTMM_MIGRATE_AWAY), 0);
	check_eq(put(&r, n, 7), 0);
	check(is_full(hostmm_migrate(r.mm, at(0), at(n), HOSTMM_MIGRATE_AWAY)));
	for (uint64_t page = 0; page <= n; page++)
		check_eq(rig_peek(&r, page), 7);
	rig_check(&r);
	/* Merging needs none. */
	for (uint64_t page = 1; page <= n; page++)
		check_eq(hostmm_merge(r.mm, at(0), r.mm, at(page)), 0);
	check_eq(pool_used(r.pool), 1);
	check_eq(put(&r, 3, 8), 0);
	check_eq(rig_peek(&r, 2), 7);
}

/* Out to a file and back: what has no room to come back stays in its slot. */
UTEST(limits_pool, reclaim_makes_room, .init = up, .fini = down)
{
	struct pool_swap_stats stats;
	uint64_t end, value;

	check_eq(pool_swapon(r.pool, -1, PAGES), 0);
	end = fill(0);
	check_eq(hostmm_reclaim(r.mm, at(0), at(8), &value), 0);
	check_eq(value, 8);
	for (uint64_t page = end; page < end + 8; page++)
		check_eq(put(&r, page, 100 + page), 0);
	check(is_full(hostmm_read(r.mm, at(2), &value, sizeof(value))));
	check(is_full(shadow_fault(r.shadow, RIG_GFN + 2, true)));
	check(pool_get_swap_stats(r.pool, &stats));
	check_eq(stats.used, 8);
	check_eq(hostmm_reclaim(r.mm, at(20), at(30), NULL), 0);
	check_pages(&r, 8);
	rig_check(&r);
}
