/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The fixture of the tests that mirror the kernel's tools/testing/selftests/mm/hmm-tests.c under their names: a host mm,
 * a buffer in it, one or two hmm devices on that. A test of the kernel's that makes its buffer anew makes a fixture anew.
 * Owns what hmm_up() and hmm_map() make, until hmm_down(). Who may call: tests/unit/hmm_*.c.
 */
#ifndef UMBRA_TESTS_UNIT_HMM_H
#define UMBRA_TESTS_UNIT_HMM_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mmu/host/hostmm_actors.h"
#include "mmu/host/hostmm_device.h"
#include "mmu/shadow/device.h"
#include "mmu/shadow/snapshot.h"
#include "tests/rig.h"
#include "tests/test.h"

#define RO		 HOSTMM_PROT_READ
#define RW		 (HOSTMM_PROT_READ | HOSTMM_PROT_WRITE)

#define HMM_BUFFER_PAGES 1024UL
#define HMM_LARGE_PAGES	 512UL
#define NTIMES		 10
#define INTS_PER_PAGE	 (PAGE_SIZE / sizeof(int))

struct hmm {
	struct pool *pool;
	struct hostmm *mm;
	hva_t hva;
	uint64_t npages;
	int *ptr;    /* the buffer, in the host view */
	int *mirror; /* what a device read, or is about to write */
	struct device *dev[2];
};

static struct hmm hmm;

static inline void hmm_up(void)
{
	const struct hostmm_opts opts = { .fault_threads = 2 };
	int rc;

	memset(&hmm, 0, sizeof(hmm));
	(void)rig_now(); /* takes rig.c along, which starts a sanitizer's thread before the first test */
	check_eq(pool_create(&hmm.pool, 12 * HMM_BUFFER_PAGES, true), 0);
	rc = hostmm_create(&hmm.mm, hmm.pool, &opts);
	if (rc == -EPERM || rc == -ENOSYS || rc == -EOPNOTSUPP) {
		pool_destroy(hmm.pool);
		hmm.pool = NULL;
		test_skip("userfaultfd: %s", strerror(-rc));
	}
	check_eq(rc, 0);
}

/* mmap() of the test, and open() of as many devices. */
static inline void hmm_map(uint64_t npages, unsigned prot, const struct pager_ops *pager,
			   unsigned devices)
{
	hmm.npages = npages;
	check_eq(hostmm_map(hmm.mm, npages, prot, pager, NULL, &hmm.hva), 0);
	hmm.ptr = (int *)(uintptr_t)hmm.hva;
	hmm.mirror = calloc(npages, PAGE_SIZE);
	check(hmm.mirror);
	for (unsigned d = 0; d < devices; d++)
		check_eq(device_create(&hmm.dev[d], device_profile("hmm"), hmm.mm, hmm.hva, npages),
			 0);
}

static inline uint64_t hmm_check(struct device *dev)
{
	return device_check(dev, NULL, NULL);
}

/* munmap(), close(). What devices say is held against the primary first. */
static inline void hmm_unmap(void)
{
	for (unsigned d = 0; d < 2; d++) {
		if (!hmm.dev[d])
			continue;
		check_eq(hmm_check(hmm.dev[d]), 0);
		device_destroy(hmm.dev[d]);
		hmm.dev[d] = NULL;
	}
	if (hmm.npages)
		check_eq(hostmm_unmap(hmm.mm, hmm.hva), 0);
	free(hmm.mirror);
	hmm.mirror = NULL;
	hmm.npages = 0;
}

static inline void hmm_down(void)
{
	if (!hmm.pool)
		return;
	hmm_unmap();
	hostmm_destroy(hmm.mm);
	check_eq(pool_used(hmm.pool), 0);
	pool_destroy(hmm.pool);
	hmm.pool = NULL;
}

static inline hva_t hmm_page(uint64_t page)
{
	return hmm.hva + (page << PAGE_SHIFT);
}

/* Loads and stores of the CPU: instructions, as in rig_load(). */
static inline int hmm_get(const int *at)
{
	int value;

	__asm__ volatile("movl (%1), %0" : "=r"(value) : "r"(at) : "memory");
	return value;
}

static inline void hmm_set(int *at, int value)
{
	__asm__ volatile("movl %1, (%0)" : : "r"(at), "r"(value) : "memory");
}

static inline int hmm_value(uint64_t i, int sign, int add)
{
	int n = (int)i;

	return sign * n + add;
}

/* ptr[i] = sign * i + add, for all of @npages. */
static inline void hmm_fill(int *ptr, uint64_t npages, int sign, int add)
{
	for (uint64_t i = 0; i < npages * INTS_PER_PAGE; i++)
		hmm_set(&ptr[i], hmm_value(i, sign, add));
}

static inline void hmm_expect(const int *ptr, uint64_t npages, int sign, int add)
{
	for (uint64_t i = 0; i < npages * INTS_PER_PAGE; i++)
		if (hmm_get(&ptr[i]) != hmm_value(i, sign, add))
			check_eq(hmm_get(&ptr[i]), hmm_value(i, sign, add));
}

static inline void hmm_expect_zeros(const int *ptr, uint64_t npages)
{
	hmm_expect(ptr, npages, 0, 0);
}

static inline int hmm_protect(uint64_t page, uint64_t n, unsigned prot)
{
	return hostmm_protect(hmm.mm, hmm_page(page), hmm_page(page + n), prot);
}

/* HMM_DMIRROR_READ, _WRITE of the first @npages. */
static inline int hmm_read(struct device *dev, uint64_t npages)
{
	return device_read(dev, hmm.hva, hmm.mirror, npages << PAGE_SHIFT);
}

static inline int hmm_write(struct device *dev, uint64_t npages)
{
	return device_write(dev, hmm.hva, hmm.mirror, npages << PAGE_SHIFT);
}

/* HMM_DMIRROR_MIGRATE_TO_DEV: all @n pages go, and are read where they are then. */
static inline int hmm_migrate(struct device *dev, uint64_t page, uint64_t n)
{
	uint64_t moved;
	int rc = hostmm_migrate_to_device(hmm.mm, hmm_page(page), hmm_page(page + n), dev, &moved);

	if (rc)
		return rc;
	check_eq(moved, n);
	return device_read(dev, hmm_page(page), hmm.mirror + page * INTS_PER_PAGE, n << PAGE_SHIFT);
}

/* HMM_DMIRROR_EXCLUSIVE. */
static inline int hmm_exclusive(struct device *dev, uint64_t n)
{
	uint64_t made;
	int rc = hostmm_make_exclusive(hmm.mm, hmm.hva, hmm_page(n), dev, &made);

	check(rc || made == n);
	return rc ? rc : hmm_read(dev, n);
}

/* HMM_DMIRROR_SNAPSHOT, one state a page. */
static inline void hmm_snapshot(struct device *dev, uint64_t n, uint8_t *state)
{
	check_eq(mirror_snapshot(hmm.mm, hmm.hva, n, dev, state), 0);
}

/* How many of the first @n pages @dev has, in memory of its own or exclusively? */
static inline uint64_t hmm_count_away(struct device *dev, uint64_t n)
{
	struct gup_page page;
	uint64_t away = 0;

	for (uint64_t i = 0; i < n; i++)
		away += hostmm_peek_owner(hmm.mm, dev, hmm_page(i), &page) &&
			!hostmm_peek(hmm.mm, hmm_page(i), &page);
	return away;
}

/* A child of fork(), and where its buffer is. */
static inline struct hostmm *hmm_fork(hva_t *hva)
{
	const struct hostmm_opts opts = { .fault_threads = 2 };
	struct hostmm *child;

	check_eq(hostmm_fork(hmm.mm, &opts, &child), 0);
	check_eq(hostmm_fork_hva(child, hmm.hva, hva), 0);
	return child;
}

#endif
