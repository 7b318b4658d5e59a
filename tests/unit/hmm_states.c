// SPDX-License-Identifier: BSD-2-Clause
/* hmm-tests: snapshots, two devices, exclusive access, gup and copy-on-write of what devices have. */
#include "tests/unit/hmm.h"

#define READ_WRITE (SNAPSHOT_READ | SNAPSHOT_WRITE)

static int file_fill(void *ctx, uint64_t page, void *dst, uint64_t npages)
{
	(void)ctx, (void)page;
	memset(dst, 1, npages << PAGE_SHIFT);
	return 0;
}

static const struct pager_ops file = { .fill = file_fill };

/* The kernel maps a device's page without struct page; a page of a store that may only be read is the nearest. */
UTEST(hmm, mixedmap, .init = hmm_up, .fini = hmm_down)
{
	uint8_t state;

	hmm_map(1, RO, &file, 1);
	check_eq(hmm_read(hmm.dev[0], 1), 0);
	hmm_snapshot(hmm.dev[0], 1, &state);
	check_eq(state, SNAPSHOT_READ);
}

/* The hole, which the kernel makes by munmap(), is the truncated end here. */
UTEST(hmm, snapshot, .init = hmm_up, .fini = hmm_down)
{
	uint8_t state[8];

	hmm_map(8, RW, NULL, 2);
	check_eq(hostmm_truncate(hmm.mm, hmm.hva, 7), 0);
	check_eq(hostmm_map_zero(hmm.mm, hmm_page(2), hmm_page(3)), 0);
	check_eq(hmm_protect(0, 3, RO), 0);
	hmm_set(&hmm.ptr[3 * INTS_PER_PAGE], 3);
	check_eq(hmm_protect(3, 1, RO), 0);
	hmm_set(&hmm.ptr[4 * INTS_PER_PAGE], 3);
	check_eq(hmm_migrate(hmm.dev[0], 5, 1), 0);
	check_eq(hmm_migrate(hmm.dev[1], 6, 1), 0);
	check_eq(hmm_protect(0, 1, 0), 0);
	hmm_snapshot(hmm.dev[0], 8, state);
	check_eq(state[0], SNAPSHOT_HOLE);
	check_eq(state[2], SNAPSHOT_ZERO | SNAPSHOT_READ);
	check_eq(state[3], SNAPSHOT_READ);
	check_eq(state[4], READ_WRITE);
	check_eq(state[5], SNAPSHOT_LOCAL | READ_WRITE);
	check_eq(state[6], SNAPSHOT_REMOTE);
	check_eq(state[7], SNAPSHOT_HOLE);
	hmm_snapshot(NULL, 8, state);
	check_eq(state[5], SNAPSHOT_REMOTE);
}

UTEST(hmm, compound, .init = hmm_up, .fini = hmm_down)
{
	uint8_t state[HMM_LARGE_PAGES];

	hmm_map(HMM_LARGE_PAGES, RW, NULL, 1);
	check_eq(hostmm_collapse(hmm.mm, hmm.hva), 0);
	hmm_fill(hmm.ptr, HMM_LARGE_PAGES, 1, 0);
	hmm_snapshot(hmm.dev[0], HMM_LARGE_PAGES, state);
	for (unsigned i = 0; i < HMM_LARGE_PAGES; i++)
		check_eq(state[i], READ_WRITE | SNAPSHOT_PMD);
	check_eq(hmm_protect(0, HMM_LARGE_PAGES, RO), 0);
	hmm_snapshot(hmm.dev[0], HMM_LARGE_PAGES, state);
	for (unsigned i = 0; i < HMM_LARGE_PAGES; i++)
		check_eq(state[i], SNAPSHOT_READ | SNAPSHOT_PMD);
}

UTEST(hmm, double_map, .init = hmm_up, .fini = hmm_down)
{
	hmm_map(6, RW, NULL, 2);
	hmm_fill(hmm.ptr, 6, 1, 0);
	check_eq(hmm_protect(0, 6, RO), 0);
	for (unsigned d = 0; d < 2; d++) {
		memset(hmm.mirror, 0, 6 * PAGE_SIZE);
		check_eq(hmm_read(hmm.dev[d], 6), 0);
		hmm_expect(hmm.mirror, 6, 1, 0);
	}
	check_eq(hmm_migrate(hmm.dev[1], 0, 6), 0);
	check_eq(hmm_check(hmm.dev[0]), 0);
	memset(hmm.mirror, 0, 6 * PAGE_SIZE);
	check_eq(hmm_read(hmm.dev[0], 6), 0); /* brings them back */
	hmm_expect(hmm.mirror, 6, 1, 0);
	check_eq(hmm_count_away(hmm.dev[1], 6), 0);
}

/* ---- Exclusive ---- */

static void map_exclusive(uint64_t n)
{
	hmm_map(n, RW, NULL, 1);
	hmm_fill(hmm.ptr, n, 1, 0);
	check_eq(hmm_exclusive(hmm.dev[0], n), 0);
	hmm_expect(hmm.mirror, n, 1, 0);
	check_eq(hmm_count_away(hmm.dev[0], n), n);
	check_eq(hmm_check(hmm.dev[0]), 0);
}

static void increment(int *ptr, uint64_t n)
{
	for (uint64_t i = 0; i < n * INTS_PER_PAGE; i++)
		hmm_set(&ptr[i], hmm_get(&ptr[i]) + 1);
}

UTEST(hmm, exclusive, .init = hmm_up, .fini = hmm_down)
{
	uint64_t frames;

	map_exclusive(HMM_BUFFER_PAGES);
	frames = pool_used(hmm.pool);
	check_eq(frames, HMM_BUFFER_PAGES); /* in place */
	increment(hmm.ptr, HMM_BUFFER_PAGES);
	hmm_expect(hmm.ptr, HMM_BUFFER_PAGES, 1, 1);
	check_eq(hmm_count_away(hmm.dev[0], HMM_BUFFER_PAGES), 0); /* revoked */
	check_eq(hmm_check(hmm.dev[0]), 0);
}

UTEST(hmm, exclusive_mprotect, .init = hmm_up, .fini = hmm_down)
{
	map_exclusive(HMM_BUFFER_PAGES);
	check_eq(hmm_protect(0, HMM_BUFFER_PAGES, RO), 0);
	check_eq(hmm_write(hmm.dev[0], HMM_BUFFER_PAGES), -EFAULT);
	check_eq(hmm_count_away(hmm.dev[0], HMM_BUFFER_PAGES), 0);
}

UTEST(hmm, exclusive_cow, .init = hmm_up, .fini = hmm_down)
{
	struct hostmm *child;
	hva_t hva;
	int *ptr;

	map_exclusive(HMM_BUFFER_PAGES);
	child = hmm_fork(&hva);
	ptr = (int *)(uintptr_t)hva;
	increment(ptr, HMM_BUFFER_PAGES);
	increment(ptr, HMM_BUFFER_PAGES / 2);
	increment(hmm.ptr, HMM_BUFFER_PAGES);
	hmm_expect(ptr, HMM_BUFFER_PAGES / 2, 1, 2);
	hmm_expect(hmm.ptr, HMM_BUFFER_PAGES, 1, 1);
	hostmm_destroy(child);
}

/* Who asks again keeps what he has; who asks for what another has, gets it. */
UTEST(hmm, exclusive_twice, .init = hmm_up, .fini = hmm_down)
{
	uint64_t made;

	hmm_map(4, RW, NULL, 2);
	check_eq(hmm_exclusive(hmm.dev[0], 4), 0);
	check_eq(hmm_exclusive(hmm.dev[0], 4), 0);
	check_eq(hmm_exclusive(hmm.dev[1], 2), 0);
	check_eq(hmm_count_away(hmm.dev[0], 4), 2);
	check_eq(hmm_count_away(hmm.dev[1], 4), 2);
	check_eq(hmm_migrate(hmm.dev[0], 0, 1), -ENOENT);
	check_eq(hmm_protect(2, 1, RO), 0);
	check_eq(hostmm_make_exclusive(hmm.mm, hmm.hva, hmm_page(4), hmm.dev[0], &made), -EFAULT);
	check_eq(made, 2);
	check_eq(hostmm_make_exclusive(hmm.mm, hmm.hva, hmm.hva, hmm.dev[0], &made), -EINVAL);
	check_eq(hostmm_make_exclusive(hmm.mm, hmm.hva, hmm_page(1), NULL, &made), -EINVAL);
}

/* ---- gup, copy-on-write ---- */

UTEST(hmm, hmm_gup_test, .init = hmm_up, .fini = hmm_down)
{
	struct gup_page page[4];
	uint8_t state[4];

	hmm_map(4, RW, NULL, 1);
	hmm_fill(hmm.ptr, 4, 1, 0);
	check_eq(hmm_migrate(hmm.dev[0], 0, 4), 0);
	hmm_expect(hmm.mirror, 4, 1, 0);
	for (unsigned i = 0; i < 4; i++) {
		check_eq(hostmm_gup(hmm.mm, hmm_page(i), 1, 0, 0, i % 2, &page[i]), 0);
		check(page[i].fn != FN_NONE);
	}
	hmm_snapshot(hmm.dev[0], 4, state);
	for (unsigned i = 0; i < 4; i++)
		check_eq(state[i], READ_WRITE);
	hmm_expect(hmm.ptr, 4, 1, 0);
	for (unsigned i = 0; i < 4; i++)
		hostmm_put_pages(hmm.mm, &page[i], 1);
}

UTEST(hmm, hmm_cow_in_device, .init = hmm_up, .fini = hmm_down)
{
	struct hostmm *child;
	uint8_t state[4];
	hva_t hva;

	hmm_map(4, RW, NULL, 1);
	hmm_fill(hmm.ptr, 4, 1, 0);
	check_eq(hmm_migrate(hmm.dev[0], 0, 4), 0);
	child = hmm_fork(&hva);
	hmm_fill(hmm.ptr, 4, 1, 5);
	hmm_expect((int *)(uintptr_t)hva, 4, 1, 0);
	hostmm_destroy(child);
	hmm_snapshot(hmm.dev[0], 4, state);
	for (unsigned i = 0; i < 4; i++)
		check_eq(state[i], READ_WRITE);
}

/* ---- What the kernel's tests leave out ---- */

/* A host mm knows so many devices. */
UTEST(hmm, too_many_owners, .init = hmm_up, .fini = hmm_down)
{
	uint64_t moved;
	char owner[64];

	hmm_map(1, RW, NULL, 0);
	for (unsigned i = 0; i < 63; i++) {
		check_eq(hostmm_migrate_to_device(hmm.mm, hmm.hva, hmm_page(1), &owner[i], &moved),
			 0);
		check_eq(hmm_get(hmm.ptr), (int)i);
		hmm_set(hmm.ptr, (int)i + 1);
	}
	check_eq(hostmm_migrate_to_device(hmm.mm, hmm.hva, hmm_page(1), &owner[63], &moved),
		 -EUSERS);
	check_eq(hostmm_make_exclusive(hmm.mm, hmm.hva, hmm_page(1), &owner[63], &moved), -EUSERS);
	check_eq(hmm_get(&hmm.ptr[0]), 63);
}

/* No frame left in the middle: what has moved has moved, the rest is where it was, contents are whole. */
UTEST(hmm, migrate_without_frames, .init = hmm_up, .fini = hmm_down)
{
	uint64_t n = HMM_BUFFER_PAGES, left, moved;
	fn_t rest;
	int rc;

	hmm_map(n, RW, NULL, 1);
	hmm_fill(hmm.ptr, n, 1, 0);
	for (left = 12 * n; pool_reserve(hmm.pool, left, &rest); left--)
		;
	pool_unreserve(hmm.pool, rest, 100);
	rc = hostmm_migrate_to_device(hmm.mm, hmm.hva, hmm_page(n), hmm.dev[0], &moved);
	check_eq(rc, -ENOSPC);
	check(moved >= 100 && moved < n);
	check_eq(hmm_count_away(hmm.dev[0], n), moved);
	check_eq(hmm_check(hmm.dev[0]), 0);
	check_eq(hmm_read(hmm.dev[0], n), 0);
	hmm_expect(hmm.mirror, n, 1, 0);
	hmm_expect(hmm.ptr, n, 1, 0);
	check_eq(hmm_count_away(hmm.dev[0], n), 0);
	pool_unreserve(hmm.pool, rest + 100, left - 100);
}
