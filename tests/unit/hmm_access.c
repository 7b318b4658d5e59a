// SPDX-License-Identifier: BSD-2-Clause
/* hmm-tests: devices that load and store in memory of the host. */
#include "tests/unit/hmm.h"

static int file_fill(void *ctx, uint64_t page, void *dst, uint64_t npages)
{
	int *ptr = dst;

	(void)ctx;
	for (uint64_t i = 0; i < npages * INTS_PER_PAGE; i++)
		ptr[i] = (int)(page * INTS_PER_PAGE + i);
	return 0;
}

static const struct pager_ops file = { .fill = file_fill };

UTEST(hmm, open_close, .init = hmm_up, .fini = hmm_down)
{
	hmm_map(1, RW, NULL, 1);
}

/* The first two pages: absent, and zeros that were read. */
UTEST(hmm, anon_read, .init = hmm_up, .fini = hmm_down)
{
	uint64_t n = HMM_BUFFER_PAGES;

	hmm_map(n, RW, NULL, 1);
	for (uint64_t i = 2 * INTS_PER_PAGE; i < n * INTS_PER_PAGE; i++)
		hmm_set(&hmm.ptr[i], (int)i);
	check_eq(hmm_protect(0, n, RO), 0);
	check_eq(hostmm_map_zero(hmm.mm, hmm_page(1), hmm_page(2)), 0);
	check_eq(hmm_get(&hmm.ptr[INTS_PER_PAGE]), 0);
	check_eq(hmm_read(hmm.dev[0], n), 0);
	hmm_expect_zeros(hmm.mirror, 2);
	for (uint64_t i = 2 * INTS_PER_PAGE; i < n * INTS_PER_PAGE; i++)
		if (hmm.mirror[i] != (int)i)
			check_eq(hmm.mirror[i], (int)i);
}

UTEST(hmm, anon_read_prot, .init = hmm_up, .fini = hmm_down)
{
	uint64_t n = HMM_BUFFER_PAGES;

	hmm_map(n, RW, NULL, 1);
	hmm_fill(hmm.ptr, n, 1, 0);
	hmm_fill(hmm.mirror, n, -1, 0);
	check_eq(hmm_protect(0, n, 0), 0);
	check_eq(hmm_read(hmm.dev[0], n), -EFAULT);
	check_eq(hmm_protect(0, n, RO), 0);
	hmm_expect(hmm.ptr, n, 1, 0);
	hmm_expect(hmm.mirror, n, -1, 0); /* nothing was read */
}

UTEST(hmm, anon_write, .init = hmm_up, .fini = hmm_down)
{
	uint64_t n = HMM_BUFFER_PAGES;

	hmm_map(n, RW, NULL, 1);
	hmm_fill(hmm.mirror, n, 1, 0);
	check_eq(hmm_write(hmm.dev[0], n), 0);
	hmm_expect(hmm.ptr, n, 1, 0);
}

/* The kernel says EPERM; here a page without the right is a fault of any kind: EFAULT. */
UTEST(hmm, anon_write_prot, .init = hmm_up, .fini = hmm_down)
{
	uint64_t n = HMM_BUFFER_PAGES;

	hmm_map(n, RO, NULL, 1);
	check_eq(hostmm_map_zero(hmm.mm, hmm.hva, hmm_page(1)), 0);
	check_eq(hmm_read(hmm.dev[0], 1), 0);
	hmm_fill(hmm.mirror, n, 1, 0);
	check_eq(hmm_write(hmm.dev[0], n), -EFAULT);
	hmm_expect_zeros(hmm.ptr, n);
	check_eq(hmm_protect(0, n, RW), 0);
	check_eq(hmm_write(hmm.dev[0], n), 0);
	hmm_expect(hmm.ptr, n, 1, 0);
}

/* A child's device writes: to copies. With small pages and a large one, at home and in the device's memory. */
static void write_child(uint64_t n, bool migrate)
{
	struct device *device;
	struct hostmm *child;
	hva_t hva;

	hmm_map(n, RW, NULL, 1);
	hmm_fill(hmm.ptr, n, 1, 0);
	if (n == HMM_LARGE_PAGES)
		check_eq(hostmm_collapse(hmm.mm, hmm.hva), 0);
	if (migrate)
		check_eq(hmm_migrate(hmm.dev[0], 0, n), 0);
	hmm_fill(hmm.mirror, n, -1, 0);
	child = hmm_fork(&hva);
	hmm_expect((int *)(uintptr_t)hva, n, 1, 0);
	check_eq(device_create(&device, device_profile("hmm"), child, hva, n), 0);
	check_eq(device_write(device, hva, hmm.mirror, n << PAGE_SHIFT), 0);
	hmm_expect((int *)(uintptr_t)hva, n, -1, 0);
	check_eq(hmm_check(device), 0);
	device_destroy(device);
	hostmm_destroy(child);
	hmm_expect(hmm.ptr, n, 1, 0);
	hmm_unmap();
}

UTEST(hmm, anon_write_child, .init = hmm_up, .fini = hmm_down)
{
	write_child(HMM_BUFFER_PAGES, false);
	write_child(HMM_BUFFER_PAGES, true);
	write_child(HMM_LARGE_PAGES, false);
	write_child(HMM_LARGE_PAGES, true);
}

static void write_large(void)
{
	struct device_stats stats;

	hmm_fill(hmm.mirror, HMM_LARGE_PAGES, 1, 0);
	check_eq(hmm_write(hmm.dev[0], HMM_LARGE_PAGES), 0);
	hmm_expect(hmm.ptr, HMM_LARGE_PAGES, 1, 0);
	check_eq(hmm_read(hmm.dev[0], HMM_LARGE_PAGES), 0);
	hmm_expect(hmm.mirror, HMM_LARGE_PAGES, 1, 0);
	device_get_stats(hmm.dev[0], &stats);
	check(stats.large_fills);
}

/* What a device writes lies in a row at home, so it is a large page. */
UTEST(hmm, anon_write_huge, .init = hmm_up, .fini = hmm_down)
{
	hmm_map(2 * HMM_LARGE_PAGES, RW, NULL, 1);
	write_large();
}

/* There are no hugetlb pages; one that was large before the device came is the nearest. */
UTEST(hmm, anon_write_hugetlbfs, .init = hmm_up, .fini = hmm_down)
{
	hmm_map(HMM_LARGE_PAGES, RW, NULL, 1);
	check_eq(hostmm_collapse(hmm.mm, hmm.hva), 0);
	write_large();
}

UTEST(hmm, file_read, .init = hmm_up, .fini = hmm_down)
{
	hmm_map(HMM_BUFFER_PAGES, RO, &file, 1);
	check_eq(hmm_read(hmm.dev[0], HMM_BUFFER_PAGES), 0);
	hmm_expect(hmm.mirror, HMM_BUFFER_PAGES, 1, 0);
}

/* Nothing is written back to a pager: what the device wrote is in memory. */
UTEST(hmm, file_write, .init = hmm_up, .fini = hmm_down)
{
	hmm_map(HMM_BUFFER_PAGES, RW, &file, 1);
	hmm_fill(hmm.mirror, HMM_BUFFER_PAGES, -1, 3);
	check_eq(hmm_write(hmm.dev[0], HMM_BUFFER_PAGES), 0);
	hmm_expect(hmm.ptr, HMM_BUFFER_PAGES, -1, 3);
}

UTEST(hmm, anon_read_multiple, .init = hmm_up, .fini = hmm_down)
{
	for (int c = 0; c < NTIMES; c++) {
		hmm_map(HMM_BUFFER_PAGES, RW, NULL, 1);
		hmm_fill(hmm.ptr, HMM_BUFFER_PAGES, 1, c);
		check_eq(hmm_read(hmm.dev[0], HMM_BUFFER_PAGES), 0);
		hmm_expect(hmm.mirror, HMM_BUFFER_PAGES, 1, c);
		hmm_unmap();
	}
}

static void *unmap_half(void *arg)
{
	(void)arg;
	expect(!hostmm_truncate(hmm.mm, hmm.hva, hmm.npages / 2));
	return NULL;
}

/* All was read right, or the read fails: nothing between. */
UTEST(hmm, anon_teardown, .init = hmm_up, .fini = hmm_down)
{
	for (int c = 0; c < NTIMES; c++) {
		pthread_t thread;
		int rc;

		hmm_map(HMM_BUFFER_PAGES, RW, NULL, 1);
		hmm_fill(hmm.ptr, HMM_BUFFER_PAGES, 1, c);
		thread = rig_thread(unmap_half, NULL);
		rc = hmm_read(hmm.dev[0], HMM_BUFFER_PAGES);
		check(!rc || rc == -EFAULT);
		if (!rc)
			hmm_expect(hmm.mirror, HMM_BUFFER_PAGES, 1, c);
		rig_join(thread);
		hmm_unmap();
	}
}
