// SPDX-License-Identifier: BSD-2-Clause
/*
 * Frames under raw system calls: whose they are afterwards, for stores, children, and a pool without room; and what umbra keeps its
 * hands off while nobody has followed yet.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "mmu/host/hostmm_actors.h"
#include "mmu/host/hostmm_reclaim.h"
#include "tests/rig_audit.h"
#include "tests/test.h"

#define BOTH (HOSTMM_PROT_READ | HOSTMM_PROT_WRITE)

static uint64_t stored; /* what the store has of its only page */

static int store_fill(void *ctx, uint64_t page, void *dst, uint64_t npages)
{
	(void)ctx;
	(void)page;
	memset(dst, 0, npages << PAGE_SHIFT);
	memcpy(dst, &stored, sizeof(stored));
	return 0;
}

static int store_writeback(void *ctx, uint64_t page, const void *src, uint64_t npages)
{
	(void)ctx;
	(void)page;
	(void)npages;
	memcpy(&stored, src, sizeof(stored));
	return 0;
}

static const struct pager_ops store = { .fill = store_fill, .writeback = store_writeback };

/* The page was clean: a frame that is dropped would be read from the store again. */
ATEST(what_is_removed_comes_from_no_store)
{
	hva_t hva;

	stored = 7;
	check_eq(hostmm_map(audited.mm, 1, BOTH, &store, NULL, &hva), 0);
	check_eq(load_from((char *)hva, 0), 7);
	check_eq(madvise((void *)hva, PAGE_SIZE, MADV_REMOVE), 0);
	check_eq(raw_stats().raw_removes, 1);
	check_eq(load_from((char *)hva, 0), 0);
	check_eq(hostmm_reclaim(audited.mm, hva, hva + PAGE_SIZE, NULL), 0);
	check_eq(load_from((char *)hva, 0), 0);
	check_eq(hostmm_unmap(audited.mm, hva), 0);
}

/* What the memory showed before it was moved, it shows no more: the first store at its new place is asked for, and copied. */
ATEST(a_child_keeps_what_was_moved)
{
	const struct hostmm_opts opts = { .fault_threads = 1 };
	char *to = anon_pages(1);
	struct hostmm *child;
	uint64_t value = 0;
	hva_t hva;

	stamp_pages(0, 4);
	check(mremap(host_page(2), PAGE_SIZE, PAGE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
	check_eq(raw_stats().raw_remaps, 1);
	check_eq(hostmm_fork(audited.mm, &opts, &child), 0);
	store_to(to, 0, 9);
	check_eq(hostmm_fork_hva(child, (hva_t)to, &hva), 0);
	check_eq(hostmm_read(child, hva, &value, sizeof(value)), 0);
	check_eq(value, 102);
	check_eq(hostmm_read(audited.mm, (hva_t)to, &value, sizeof(value)), 0);
	check_eq(value, 9);
	hostmm_destroy(child);
	check_eq(hostmm_unmap(audited.mm, (hva_t)to), 0);
}

/* Somebody else's for a while, then another page's: the place is the region's again. */
ATEST(a_place_that_comes_back)
{
	stamp_pages(0, 8);
	check(mmap(host_page(2), PAGE_SIZE, PROT_NONE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) == host_page(2));
	check(mremap(host_page(5), PAGE_SIZE, PAGE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED,
		     host_page(2)) == host_page(2));
	check_eq(raw_stats().raw_remaps, 1);
	check_there(2, 105);
	store_to(audited.host, 2, 7);
	check_there(2, 7);
	check_there(3, 103);
	check_gone(5);
}

/* Memory that no region can be made for is closed, and who lost it is told. */
ATEST(a_move_without_room_is_closed)
{
	hva_t hva[16];
	char *to = anon_pages(64);
	struct hostmm_stats s;
	uint64_t value;
	unsigned n = 0;

	stamp_pages(0, 64);
	while (!hostmm_map(audited.mm, 64, BOTH, NULL, NULL, &hva[n]))
		check(++n < 16);
	check(mremap(host_page(0), 64 * PAGE_SIZE, 64 * PAGE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED,
		     to) == to);
	s = raw_stats();
	check_eq(s.raw_remaps, 1);
	check_eq(s.raw_failures, 1);
	check_eq(audited.host_fatal, 1);
	check(!rig_try_load(rig_word(to, 3, 0), &value));
	check_eq(munmap(to, 64 * PAGE_SIZE), 0);
	while (n)
		check_eq(hostmm_unmap(audited.mm, hva[--n]), 0);
	audited.host_fatal = 0;
	audited.damaged = true;
}

/* ---- What has happened, and has not been followed yet ---- */

static struct gate in_fill = GATE_INIT;

static int slow_fill(void *ctx, uint64_t page, void *dst, uint64_t npages)
{
	(void)ctx;
	(void)page;
	gate_pass(&in_fill);
	memset(dst, 0, npages << PAGE_SHIFT);
	return 0;
}

static const struct pager_ops slow_pager = { .fill = slow_fill };

static void *read_slowly(void *arg)
{
	uint64_t value;

	check_eq(hostmm_read(audited.mm, *(hva_t *)arg, &value, sizeof(value)), 0);
	return NULL;
}

/* A discard that waits for a pager is in hand: what comes after it waits, and operations do not. */
ATEST(what_is_unmapped_is_left_alone_at_once)
{
	hva_t slow, start = rig_hva(&audited, 0), end = rig_hva(&audited, 16);
	unsigned char *mine = host_page(8);
	pthread_t t;

	stamp_pages(0, 16);
	check_eq(hostmm_map(audited.mm, 1, BOTH, &slow_pager, NULL, &slow), 0);
	gate_arm(&in_fill);
	t = rig_thread(read_slowly, &slow);
	gate_wait(&in_fill);
	check_eq(madvise((void *)slow, PAGE_SIZE, MADV_DONTNEED), 0);
	check(mmap(mine, 2 * PAGE_SIZE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == mine);
	memset(mine, 0x5a, 2 * PAGE_SIZE);
	check_eq(hostmm_wrprotect(audited.mm, start, end), 0);
	check_eq(hostmm_zap(audited.mm, start, end), 0);
	check_eq(hostmm_prefault(audited.mm, (hva_t)mine, (hva_t)mine + PAGE_SIZE, true), -EFAULT);
	check_eq(hostmm_migrate(audited.mm, start, end, HOSTMM_MIGRATE_AWAY), 0);
	check_eq(hostmm_prefault(audited.mm, (hva_t)mine + PAGE_SIZE, (hva_t)mine + 2 * PAGE_SIZE,
				 false),
		 -EFAULT);
	gate_open(&in_fill);
	rig_join(t);
	check(raw_stats().raw_unmaps);
	for (unsigned i = 0; i < 2 * PAGE_SIZE; i++)
		check_eq(mine[i], 0x5a);
	check_gone(8);
	check_there(7, 107);
	check_eq(hostmm_unmap(audited.mm, slow), 0);
	check_eq(munmap(mine, 2 * PAGE_SIZE), 0);
}
