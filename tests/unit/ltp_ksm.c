// SPDX-License-Identifier: BSD-2-Clause
/*
 * After LTP's ksm01 and ksm05: three processes fill their memory with a byte each, the service merges, and its figures are exact. An
 * address space on the pool stands for a process.
 */
#include <errno.h>

#include "mmu/host/ksm.h"
#include "tests/rig.h"
#include "tests/test.h"

#define TASKS 3u
#define PAGES 128UL /* each; the kernel's has 32 MiB */
#define TOTAL (TASKS * PAGES)

static struct pool *pool;
static struct ksm *ksm;
static struct hostmm *mm[TASKS];
static hva_t hva[TASKS];

static int task_create(unsigned i)
{
	const struct hostmm_opts opts = { .fault_threads = 1, .source = rig_source() };
	int rc = hostmm_create(&mm[i], pool, &opts);

	if (rc)
		return rc;
	check_eq(hostmm_map(mm[i], PAGES, HOSTMM_PROT_READ | HOSTMM_PROT_WRITE, NULL, NULL,
			    &hva[i]),
		 0);
	check_eq(ksm_register(ksm, mm[i], hva[i], hva[i] + PAGES * PAGE_SIZE), 0);
	return 0;
}

static void up(void)
{
	int rc;

	/* No pages are left alone because too many share: LTP sets max_page_sharing to all there are. */
	check_eq(pool_create(&pool, 3 * TOTAL, true), 0);
	check_eq(ksm_create(&ksm, pool, &(struct ksm_opts){ .max_page_sharing = TOTAL }), 0);
	for (unsigned i = 0; i < TASKS; i++) {
		rc = task_create(i);
		if (!rc)
			continue;
		ksm_destroy(ksm);
		pool_destroy(pool);
		pool = NULL;
		test_skip("userfaultfd: %s", strerror(-rc));
	}
}

static void down(void)
{
	if (!pool)
		return;
	for (unsigned i = 0; i < TASKS; i++)
		if (mm[i])
			hostmm_destroy(mm[i]);
	ksm_destroy(ksm);
	check_eq(pool_used(pool), 0);
	pool_destroy(pool);
}

/* ksm_child_memset(), and verify(). */
static void fill(unsigned i, char byte)
{
	char page[PAGE_SIZE];

	memset(page, byte, sizeof(page));
	for (uint64_t n = 0; n < PAGES; n++)
		check_eq(hostmm_write(mm[i], hva[i] + n * PAGE_SIZE, page, sizeof(page)), 0);
}

static void verify(unsigned i, char byte, uint64_t npages)
{
	char page[PAGE_SIZE];

	for (uint64_t n = 0; n < npages; n++) {
		check_eq(hostmm_read(mm[i], hva[i] + n * PAGE_SIZE, page, sizeof(page)), 0);
		for (unsigned k = 0; k < sizeof(page); k++)
			check(page[k] == byte, "task %u, page %lu, byte %u", i, n, k);
	}
}

/* ksm_group_check() */
static void group_check(uint64_t shared, uint64_t sharing, uint64_t volatiles, uint64_t unshared)
{
	struct ksm_stats s;

	for (unsigned pass = 0; pass < 3; pass++)
		ksm_pass(ksm);
	ksm_get_stats(ksm, &s);
	check_eq(s.pages_shared, shared);
	check_eq(s.pages_sharing, sharing);
	check_eq(s.pages_volatile, volatiles);
	check_eq(s.pages_unshared, unshared);
	check_eq(pool_used(pool), shared + unshared);
}

UTEST(ltp_ksm, ksm01, .init = up, .fini = down)
{
	const char *const bytes[] = { "caa", "cba", "ddd" };
	const uint64_t shared[] = { 2, 3, 1 };
	struct ksm_stats s;

	for (unsigned step = 0; step < 3; step++) {
		for (unsigned i = 0; i < TASKS; i++)
			fill(i, bytes[step][i]);
		group_check(shared[step], TOTAL - shared[step], 0, 0);
		for (unsigned i = 0; i < TASKS; i++)
			verify(i, bytes[step][i], PAGES);
	}
	/* One page differs, in its last byte. */
	check_eq(hostmm_write(mm[1], hva[1] + PAGES * PAGE_SIZE - 1, "e", 1), 0);
	group_check(1, TOTAL - 2, 0, 1);
	verify(1, 'd', PAGES - 1);
	verify(0, 'd', PAGES);
	/* "2" to run: unmerge, and "0": stop. */
	for (unsigned i = 0; i < TASKS; i++)
		check_eq(ksm_unregister(ksm, mm[i], hva[i], hva[i] + PAGES * PAGE_SIZE), 0);
	ksm_get_stats(ksm, &s);
	check_eq(s.pages_shared + s.pages_sharing, 0);
	check_eq(pool_used(pool), TOTAL);
	check_eq(ksm_scan(ksm, 100), 0);
	verify(0, 'd', PAGES);
	verify(2, 'd', PAGES);
}

/* Processes that end while they are scanned (CVE-2011-2183), with stable frames that others go on having. */
UTEST(ltp_ksm, ksm05, .init = up, .fini = down)
{
	double until = rig_now() + rig_seconds(0.5);

	fill(0, 'a');
	check_eq(ksm_start(ksm), 0);
	for (unsigned n = 0; n < 10 || rig_now() < until; n++) {
		for (unsigned i = 1; i < TASKS; i++) {
			fill(i, 'a');
			if (n % 2)
				ksm_pass(ksm);
			hostmm_destroy(mm[i]);
			mm[i] = NULL;
			check_eq(task_create(i), 0);
		}
		verify(0, 'a', PAGES);
	}
	ksm_stop(ksm);
}

/* The same data stored again and again: each store takes the page out, and no other store is seen in it. */
struct rewriter {
	unsigned task;
	atomic_bool stop;
};

static void *rewrite(void *arg)
{
	struct rewriter *w = arg;

	while (!atomic_load(&w->stop))
		fill(w->task, 'a');
	return NULL;
}

UTEST(ltp_ksm, identical_data_rewritten, .init = up, .fini = down)
{
	struct rewriter w = { .task = 1 };
	double until = rig_now() + rig_seconds(0.5);
	struct ksm_stats s;
	pthread_t t;

	for (unsigned i = 0; i < TASKS; i++)
		fill(i, 'a');
	t = rig_thread(rewrite, &w);
	do {
		ksm_pass(ksm);
		ksm_get_stats(ksm, &s);
		for (unsigned i = 0; i < TASKS; i++)
			verify(i, 'a', PAGES);
	} while (rig_now() < until || s.full_scans < 6);
	atomic_store(&w.stop, true);
	rig_join(t);
	check(s.pages_sharing >= PAGES); /* the two that stand still */
	group_check(1, TOTAL - 1, 0, 0);
}
