// SPDX-License-Identifier: BSD-2-Clause
/* hmm-tests: memory that moves to a device and back. */
#include "tests/unit/hmm.h"

static int file_fill(void *ctx, uint64_t page, void *dst, uint64_t npages)
{
	(void)ctx, (void)page;
	memset(dst, 0x5a, npages << PAGE_SHIFT);
	return 0;
}

static const struct pager_ops file = { .fill = file_fill };

static void map_filled(uint64_t n, const struct pager_ops *pager)
{
	hmm_map(n, RW, pager, 1);
	hmm_fill(hmm.ptr, n, 1, 0);
}

static void migrate_all(uint64_t n)
{
	memset(hmm.mirror, 0xff, n << PAGE_SHIFT);
	check_eq(hmm_migrate(hmm.dev[0], 0, n), 0);
	check_eq(hmm_count_away(hmm.dev[0], n), n);
}

UTEST(hmm, migrate, .init = hmm_up, .fini = hmm_down)
{
	map_filled(HMM_BUFFER_PAGES, NULL);
	migrate_all(HMM_BUFFER_PAGES);
	hmm_expect(hmm.mirror, HMM_BUFFER_PAGES, 1, 0);
	check_eq(hmm_check(hmm.dev[0]), 0);
}

UTEST(hmm, migrate_file_private, .init = hmm_up, .fini = hmm_down)
{
	map_filled(HMM_BUFFER_PAGES, &file);
	check_eq(hostmm_discard(hmm.mm, hmm.hva, hmm_page(1)), 0); /* the store's again */
	migrate_all(HMM_BUFFER_PAGES);
	check_eq(hmm.mirror[0], 0x5a5a5a5a);
	check_eq(hmm.mirror[INTS_PER_PAGE], (int)INTS_PER_PAGE);
}

/* Half of it comes back when the CPU looks, and goes again. */
UTEST(hmm, migrate_fault, .init = hmm_up, .fini = hmm_down)
{
	map_filled(HMM_BUFFER_PAGES, NULL);
	migrate_all(HMM_BUFFER_PAGES);
	hmm_expect(hmm.mirror, HMM_BUFFER_PAGES, 1, 0);
	hmm_expect(hmm.ptr, HMM_BUFFER_PAGES / 2, 1, 0);
	check_eq(hmm_count_away(hmm.dev[0], HMM_BUFFER_PAGES), HMM_BUFFER_PAGES / 2);
	check_eq(hmm_check(hmm.dev[0]), 0);
	migrate_all(HMM_BUFFER_PAGES);
	hmm_expect(hmm.mirror, HMM_BUFFER_PAGES, 1, 0);
}

UTEST(hmm, migrate_release, .init = hmm_up, .fini = hmm_down)
{
	map_filled(HMM_BUFFER_PAGES, NULL);
	migrate_all(HMM_BUFFER_PAGES);
	check_eq(hostmm_release_device(hmm.mm, hmm.dev[0]), 0);
	check_eq(hmm_count_away(hmm.dev[0], HMM_BUFFER_PAGES), 0);
	check_eq(hmm_check(hmm.dev[0]), 0);
	hmm_expect(hmm.ptr, HMM_BUFFER_PAGES / 2, 1, 0);
}

/* Nothing is mapped shared here but what a child has too: its pages stay. */
UTEST(hmm, migrate_shared, .init = hmm_up, .fini = hmm_down)
{
	struct hostmm *child;
	hva_t hva;

	map_filled(HMM_BUFFER_PAGES, NULL);
	child = hmm_fork(&hva);
	check_eq(hmm_migrate(hmm.dev[0], 0, HMM_BUFFER_PAGES), -ENOENT);
	hostmm_destroy(child);
	check_eq(hmm_migrate(hmm.dev[0], 0, HMM_BUFFER_PAGES), 0);
}

UTEST(hmm, migrate_mixed, .init = hmm_up, .fini = hmm_down)
{
	hmm_map(6, RW, NULL, 2);
	check_eq(hmm_protect(0, 6, 0), 0);
	check_eq(hmm_migrate(hmm.dev[1], 0, 6), -EINVAL);
	/* The kernel unmaps page 1; beyond the region's end is the same. */
	check_eq(hmm_migrate(hmm.dev[1], 4, 3), -EINVAL);
	check_eq(hmm_protect(2, 1, RO), 0);
	check_eq(hostmm_map_zero(hmm.mm, hmm_page(2), hmm_page(3)), 0);
	check_eq(hmm_get(&hmm.ptr[2 * INTS_PER_PAGE]), 0);
	check_eq(hmm_protect(3, 3, RW), 0);
	for (unsigned page = 3; page < 6; page++)
		hmm_set(&hmm.ptr[page * INTS_PER_PAGE], 3);
	check_eq(hmm_protect(3, 1, RO), 0);
	check_eq(hmm_migrate(hmm.dev[1], 2, 4), 0);
	check_eq(hmm.mirror[2 * INTS_PER_PAGE], 0);
	check_eq(hmm.mirror[3 * INTS_PER_PAGE], 3);
	check_eq(hmm.mirror[5 * INTS_PER_PAGE], 3);
	/* The other device has it. */
	check_eq(hmm_migrate(hmm.dev[0], 5, 1), -ENOENT);
	check_eq(hmm_check(hmm.dev[1]), 0);
	/* Rights are kept there, too. */
	check_eq(device_write(hmm.dev[1], hmm_page(3), hmm.mirror, 8), -EFAULT);
	check_eq(device_write(hmm.dev[1], hmm_page(4), hmm.mirror, 8), 0);
}

UTEST(hmm, migrate_multiple, .init = hmm_up, .fini = hmm_down)
{
	for (int c = 0; c < NTIMES; c++) {
		map_filled(HMM_BUFFER_PAGES, NULL);
		migrate_all(HMM_BUFFER_PAGES);
		hmm_expect(hmm.mirror, HMM_BUFFER_PAGES, 1, 0);
		if (c % 2)
			check_eq(hostmm_migrate_from_device(hmm.mm, hmm.hva,
							    hmm_page(HMM_BUFFER_PAGES)),
				 0);
		hmm_expect(hmm.ptr, HMM_BUFFER_PAGES, 1, 0);
		hmm_unmap();
	}
}

/* ---- Large pages: they go page by page, and come back so ---- */

UTEST(hmm, migrate_anon_huge_empty, .init = hmm_up, .fini = hmm_down)
{
	hmm_map(HMM_LARGE_PAGES, RO, NULL, 1);
	migrate_all(HMM_LARGE_PAGES);
	hmm_expect_zeros(hmm.mirror, HMM_LARGE_PAGES);
}

UTEST(hmm, migrate_anon_huge_zero, .init = hmm_up, .fini = hmm_down)
{
	hmm_map(HMM_LARGE_PAGES, RO, NULL, 1);
	check_eq(hostmm_map_zero(hmm.mm, hmm.hva, hmm_page(HMM_LARGE_PAGES)), 0);
	check_eq(hmm_get(&hmm.ptr[0]), 0);
	migrate_all(HMM_LARGE_PAGES);
	hmm_expect_zeros(hmm.mirror, HMM_LARGE_PAGES);
	hmm_expect_zeros(hmm.ptr, HMM_LARGE_PAGES);
}

UTEST(hmm, migrate_anon_huge_free, .init = hmm_up, .fini = hmm_down)
{
	map_filled(HMM_LARGE_PAGES, NULL);
	migrate_all(HMM_LARGE_PAGES);
	hmm_expect(hmm.mirror, HMM_LARGE_PAGES, 1, 0);
	check_eq(hostmm_discard(hmm.mm, hmm.hva, hmm_page(HMM_LARGE_PAGES)), 0);
	check_eq(pool_used(hmm.pool), 0);
	check_eq(hmm_read(hmm.dev[0], HMM_LARGE_PAGES), 0);
	hmm_expect_zeros(hmm.mirror, HMM_LARGE_PAGES);
}

UTEST(hmm, migrate_anon_huge_fault, .init = hmm_up, .fini = hmm_down)
{
	uint8_t state[HMM_LARGE_PAGES];
	struct gup_page first;

	map_filled(HMM_LARGE_PAGES, NULL);
	check_eq(hostmm_collapse(hmm.mm, hmm.hva), 0);
	migrate_all(HMM_LARGE_PAGES);
	hmm_expect(hmm.mirror, HMM_LARGE_PAGES, 1, 0);
	hmm_snapshot(hmm.dev[0], HMM_LARGE_PAGES, state);
	for (unsigned i = 0; i < HMM_LARGE_PAGES; i++)
		check_eq(state[i], SNAPSHOT_LOCAL | SNAPSHOT_READ | SNAPSHOT_WRITE);
	hmm_expect(hmm.ptr, HMM_LARGE_PAGES, 1, 0);
	check(hostmm_huge(hmm.mm, hmm.hva, HMM_LARGE_PAGES, &first)); /* all at home again */
}

UTEST(hmm, migrate_partial_unmap_fault, .init = hmm_up, .fini = hmm_down)
{
	map_filled(HMM_LARGE_PAGES, NULL);
	migrate_all(HMM_LARGE_PAGES);
	check_eq(hostmm_truncate(hmm.mm, hmm.hva, HMM_LARGE_PAGES / 2), 0);
	hmm_expect(hmm.ptr, HMM_LARGE_PAGES / 2, 1, 0);
	check_eq(hmm_read(hmm.dev[0], HMM_LARGE_PAGES), -EFAULT);
	check_eq(hmm_read(hmm.dev[0], HMM_LARGE_PAGES / 2), 0);
}
