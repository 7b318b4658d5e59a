// SPDX-License-Identifier: BSD-2-Clause
/* Rights that change page by page, and regions that become shorter and longer. */
#include <errno.h>
#include <string.h>

#include "mmu/host/hostmm_actors.h"
#include "tests/rig.h"
#include "tests/test.h"

#define RO HOSTMM_PROT_READ
#define RW (HOSTMM_PROT_READ | HOSTMM_PROT_WRITE)

static struct rig r;

static void up(void)
{
	rig_up(&r, &(struct rig_opts){ .pages = 1100, .canary = true, .around = 1 });
}

static void down(void)
{
	if (r.pool)
		rig_down(&r);
}

static int protect(uint64_t page, uint64_t end, unsigned prot)
{
	return hostmm_protect(r.mm, rig_hva(&r, page), rig_hva(&r, end), prot);
}

static int store(uint64_t page, uint64_t value)
{
	return hostmm_write(r.mm, rig_hva(&r, page), &value, sizeof(value));
}

static int load(uint64_t page, uint64_t *value)
{
	return hostmm_read(r.mm, rig_hva(&r, page), value, sizeof(*value));
}

static bool host_loads(uint64_t page, uint64_t expected)
{
	uint64_t value = ~expected;

	return rig_try_load(rig_word(r.host, page, 0), &value) && value == expected;
}

static bool host_stores(uint64_t page, uint64_t value)
{
	return rig_try_store(rig_word(r.host, page, 0), value);
}

static int gup(uint64_t page, bool write)
{
	struct gup_page found;
	int rc = hostmm_gup(r.mm, rig_hva(&r, page), 1, 0, 0, write, &found);

	if (!rc)
		hostmm_put_pages(r.mm, &found, 1);
	return rc;
}

UTEST(protect, refuses_what_is_no_range_and_no_right, .init = up, .fini = down)
{
	check_eq(protect(1, 1, RO), -EINVAL);
	check_eq(protect(2, 1, RO), -EINVAL);
	check_eq(protect(0, 1101, RO), -EINVAL);
	check_eq(protect(0, 1, HOSTMM_PROT_WRITE), -EINVAL);
	check_eq(protect(0, 1, 4), -EINVAL);
	check_eq(hostmm_protect(r.mm, r.hva + 1, r.hva + PAGE_SIZE, RO), -EINVAL);
	check_eq(hostmm_protect(r.mm, 0, PAGE_SIZE, RO), -EINVAL);
	check_eq(hostmm_truncate(r.mm, r.hva, 1101), -EINVAL);
	check_eq(hostmm_truncate(r.mm, r.hva + PAGE_SIZE, 1), -EINVAL);
	check_eq(hostmm_truncate(r.mm, 0, 0), -EINVAL);
}

UTEST(protect, read_only_pages_refuse_stores_of_all_kinds, .init = up, .fini = down)
{
	rig_store(rig_word(r.host, 4, 0), 4);
	rig_store(rig_word(r.guest, 5, 0), 5);
	check_eq(protect(4, 6, RO), 0);
	check(host_loads(4, 4) && host_loads(5, 5));
	check(!host_stores(4, 9) && !host_stores(5, 9));
	check_eq(store(4, 9), -EFAULT);
	check_eq(gup(4, true), -EFAULT);
	check_eq(gup(4, false), 0);
	check(host_stores(3, 3) && host_stores(6, 6));
	rig_check(&r);
	check_eq(protect(4, 6, RW), 0);
	check(host_stores(4, 44));
	rig_store(rig_word(r.guest, 5, 0), 55);
	check(host_loads(5, 55));
	check(!r.host_fatal);
	rig_check(&r);
}

UTEST(protect, pages_without_rights_keep_contents_and_refuse_all, .init = up, .fini = down)
{
	struct gup_page first;
	uint64_t value;

	for (uint64_t page = 0; page < 8; page++)
		rig_store(rig_word(r.host, page, 0), page + 1);
	check(hostmm_huge(r.mm, r.hva, 8, &first));
	check_eq(protect(2, 4, 0), 0);
	check(!host_loads(2, 3) && !host_stores(3, 9));
	check_eq(load(2, &value), -EFAULT);
	check_eq(gup(3, false), -EFAULT);
	check(!hostmm_huge(r.mm, r.hva, 8, &first));
	check_eq(rig_frame(&r, 2), FN_NONE);
	check(host_loads(1, 2) && host_loads(4, 5));
	rig_check(&r);
	/* What was absent stays so, and is not brought in beside others. */
	check_eq(protect(9, 10, 0), 0);
	check_eq(gup(9, false), -EFAULT);
	check_eq(protect(0, 16, RO), 0);
	check(host_loads(2, 3) && host_loads(3, 4) && host_loads(9, 0));
	check_eq(protect(0, 16, RW), 0);
	check(host_stores(2, 22) && host_loads(2, 22));
	check(!r.host_fatal);
	rig_check(&r);
}

/* Neighbours of a fault-in-advance do not come with more rights than they have. */
UTEST(protect, pages_that_come_later_have_the_rights_of_their_own, .init = up, .fini = down)
{
	struct gup_page found[8];

	check_eq(protect(2, 4, RO), 0);
	check_eq(protect(5, 6, 0), 0);
	check_eq(hostmm_gup(r.mm, r.hva, 8, 0, 7, true, found), 0);
	check(found[0].writable && found[1].writable);
	for (unsigned i = 2; i < 8; i++)
		check(found[i].fn == FN_NONE || (!found[i].writable && (i == 2 || i == 3)) ||
		      i == 4 || i > 5);
	check_eq(found[5].fn, FN_NONE);
	hostmm_put_pages(r.mm, found, 8);
	check(host_stores(4, 1) && host_stores(6, 1) && !host_stores(2, 1));
	rig_check(&r);
}

/* A page away from home has a VMA of its own: it follows too, in each order of the two. */
UTEST(protect, pages_away_from_home_follow, .init = up, .fini = down)
{
	rig_store(rig_word(r.host, 7, 0), 7);
	check_eq(hostmm_migrate(r.mm, rig_hva(&r, 7), rig_hva(&r, 8), HOSTMM_MIGRATE_AWAY), 0);
	check(host_loads(7, 7));
	check_eq(protect(6, 9, RO), 0);
	check(host_loads(7, 7) && !host_stores(7, 8));
	check_eq(hostmm_migrate(r.mm, rig_hva(&r, 7), rig_hva(&r, 8), HOSTMM_MIGRATE_HOME), 0);
	check(host_loads(7, 7) && !host_stores(7, 8));
	check_eq(hostmm_migrate(r.mm, rig_hva(&r, 7), rig_hva(&r, 8), HOSTMM_MIGRATE_AWAY), 0);
	check_eq(protect(7, 8, 0), 0);
	check_eq(hostmm_migrate(r.mm, rig_hva(&r, 7), rig_hva(&r, 8), HOSTMM_MIGRATE_HOME), 0);
	check(!host_loads(7, 7));
	check_eq(protect(6, 9, RW), 0);
	check(host_loads(7, 7) && host_stores(7, 8));
	rig_check(&r);
}

UTEST(protect, a_region_may_get_more_rights_than_it_began_with, .init = up, .fini = down)
{
	uint64_t one = 1;
	hva_t hva;

	check_eq(hostmm_map(r.mm, 4, RO, NULL, NULL, &hva), 0);
	check_eq(hostmm_write(r.mm, hva, &one, sizeof(one)), -EFAULT);
	check_eq(hostmm_protect(r.mm, hva, hva + 2 * PAGE_SIZE, RW), 0);
	check_eq(hostmm_write(r.mm, hva, &one, sizeof(one)), 0);
	check_eq(hostmm_write(r.mm, hva + 2 * PAGE_SIZE, &one, sizeof(one)), -EFAULT);
	check_eq(hostmm_unmap(r.mm, hva), 0);
}

UTEST(protect, a_child_has_the_rights_of_its_parent, .init = up, .fini = down)
{
	const struct hostmm_opts opts = { .fault_threads = 1 };
	struct hostmm *child;
	uint64_t value;
	hva_t hva;

	for (uint64_t page = 0; page < 6; page++)
		check_eq(store(page, page), 0);
	check_eq(protect(1, 2, RO), 0);
	check_eq(protect(2, 3, 0), 0);
	check_eq(hostmm_truncate(r.mm, r.hva, 1000), 0);
	check_eq(hostmm_fork(r.mm, &opts, &child), 0);
	check_eq(hostmm_fork_hva(child, r.hva, &hva), 0);
	value = 9;
	check_eq(hostmm_write(child, hva, &value, sizeof(value)), 0);
	check_eq(hostmm_write(child, hva + PAGE_SIZE, &value, sizeof(value)), -EFAULT);
	check_eq(hostmm_read(child, hva + 2 * PAGE_SIZE, &value, sizeof(value)), -EFAULT);
	check_eq(hostmm_read(child, hva + 1000 * PAGE_SIZE, &value, sizeof(value)), -EFAULT);
	check(!rig_try_load((_Atomic uint64_t *)(hva + 2 * PAGE_SIZE), &value));
	check(!rig_try_store((_Atomic uint64_t *)(hva + PAGE_SIZE), 1));
	check_eq(hostmm_protect(child, hva, hva + 3 * PAGE_SIZE, RW), 0);
	check(rig_try_load((_Atomic uint64_t *)(hva + 2 * PAGE_SIZE), &value));
	check_eq(value, 2);
	check_eq(store(2, 1), -EFAULT); /* the parent's have not changed */
	hostmm_destroy(child);
}

/* ---- Truncate ---- */

UTEST(truncate, pages_beyond_the_end_are_gone_and_come_back_new, .init = up, .fini = down)
{
	uint64_t value;

	for (uint64_t page = 1000; page < 1100; page++)
		rig_store(rig_word(r.guest, page, 0), page);
	check_eq(hostmm_truncate(r.mm, r.hva, 1050), 0);
	check_eq(pool_used(r.pool), 50);
	check_eq(load(1050, &value), -EFAULT);
	check_eq(gup(1099, false), -EFAULT);
	check(!host_loads(1050, 1050));
	check(host_loads(1049, 1049));
	rig_check(&r);
	check_eq(hostmm_truncate(r.mm, r.hva, 1050), 0);
	check_eq(hostmm_truncate(r.mm, r.hva, 1060), 0);
	check_eq(load(1059, &value), 0);
	check_eq(value, 0);
	check_eq(load(1060, &value), -EFAULT);
	check(host_loads(1055, 0) && host_stores(1055, 5));
	check_eq(rig_load(rig_word(r.guest, 1055, 0)), 5);
	check_eq(hostmm_truncate(r.mm, r.hva, 0), 0);
	check_eq(pool_used(r.pool), 0);
	check_eq(hostmm_truncate(r.mm, r.hva, 1100), 0);
	check_eq(rig_load(rig_word(r.guest, 1001, 0)), 0);
	check(!r.host_fatal);
	rig_check(&r);
}

/* Shrink and extend quickly, with somebody who still has the old frame: never old contents (A28). */
UTEST(truncate, a_slow_reader_of_the_old_page_does_not_bring_it_back, .init = up, .fini = down)
{
	struct gup_page held;
	uint64_t value;

	for (unsigned i = 0; i < 20; i++) {
		check_eq(store(7, 77 + i), 0);
		check_eq(hostmm_gup(r.mm, rig_hva(&r, 7), 1, 0, 0, false, &held), 0);
		check_eq(hostmm_truncate(r.mm, r.hva, 7), 0);
		check_eq(hostmm_truncate(r.mm, r.hva, 1100), 0);
		check_eq(load(7, &value), 0);
		check_eq(value, 0);
		hostmm_put_pages(r.mm, &held, 1);
	}
}

UTEST(truncate, rights_beyond_the_end_are_those_of_the_pages_that_come_back, .init = up,
      .fini = down)
{
	check_eq(protect(20, 30, RO), 0);
	check_eq(hostmm_truncate(r.mm, r.hva, 10), 0);
	check_eq(protect(25, 35, 0), 0); /* beyond the end: for later */
	check(!host_loads(31, 0));
	check_eq(hostmm_truncate(r.mm, r.hva, 1100), 0);
	check(host_loads(20, 0) && !host_stores(20, 1));
	check(!host_loads(25, 0) && !host_loads(34, 0));
	check(host_stores(35, 1) && host_stores(10, 1));
	rig_check(&r);
}
