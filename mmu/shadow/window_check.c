/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a window really maps, as the system tells in /proc/self/pagemap. A page is present only if the table has a leaf
 * for it, write-protected if the leaf is read-only, and on the frame where the direct map has the leaf's.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "mmu/base/sync.h"
#include "mmu/shadow/window_priv.h"

/* Documentation/admin-guide/mm/pagemap.rst */
#define PM_PFN_MASK ((1UL << 55) - 1) /* 0 without CAP_SYS_ADMIN */
#define PM_UFFD_WP  (1UL << 57)
#define PM_PRESENT  (1UL << 63)

/* Entries read at once. */
#define BLOCK	    512u
/* The system may move or swap a page between two looks, but not for ever. */
#define LOOKS	    16

static int pagemap_open(void)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* The entries of @n pages from @at on. False: not to be had, and none is looked at. */
static bool pagemap_read(int fd, const void *at, uint64_t n, uint64_t *entry)
{
	off_t offset = (off_t)((uintptr_t)at >> PAGE_SHIFT << 3);

	return pread(fd, entry, n * sizeof(*entry), offset) == (ssize_t)(n * sizeof(*entry));
}

static const char *check_rights(uint64_t entry, const struct backend_page *allowed)
{
	if (!(entry & PM_PRESENT))
		return NULL;
	if (allowed->fn == FN_NONE)
		return "page in the window without a leaf";
	if (!allowed->writable && !(entry & PM_UFFD_WP))
		return "page in the window not write-protected, though its leaf is read-only";
	return NULL;
}

/* Is the frame at @at in the window the pool's @fn? Both are looked at until both are there and agree, or do not. */
static bool is_frame(int fd, struct pool *pool, const void *at, fn_t fn)
{
	const char *direct = pool_direct(pool, fn);
	uint64_t here = 0, there = 0;

	for (int i = 0; i < LOOKS; i++) {
		/* A load brings the page into the direct map, where it may not have been yet. */
		(void)__atomic_load_n(direct, __ATOMIC_RELAXED);
		if (!pagemap_read(fd, direct, 1, &there) || !pagemap_read(fd, at, 1, &here))
			return true;
		if (!(here & PM_PRESENT) || !(here & PM_PFN_MASK))
			return true;
		if ((there & PM_PRESENT) && !((here ^ there) & PM_PFN_MASK))
			return true;
	}
	return false;
}

static uint64_t check_block(const struct window_check *check, int fd, uint64_t page, uint64_t n,
			    const struct backend_page *allowed)
{
	uint64_t entry[BLOCK], wrong = 0;
	const char *at = check->base + (page << PAGE_SHIFT);

	if (!pagemap_read(fd, at, n, entry))
		return 0;
	for (uint64_t i = 0; i < n; i++, at += PAGE_SIZE) {
		const char *what = check_rights(entry[i], &allowed[i]);

		if (!what && (entry[i] & PM_PRESENT) &&
		    !is_frame(fd, check->pool, at, allowed[i].fn))
			what = "page in the window on a frame that is not the leaf's";
		if (!what)
			continue;
		wrong++;
		check->wrong(check->ctx, page + i, what);
	}
	return wrong;
}

uint64_t window_check_pages(const struct window_check *check, uint64_t page, uint64_t n,
			    const struct backend_page *allowed)
{
	uint64_t wrong = 0;
	int fd = pagemap_open();

	if (fd < 0)
		return 0;
	for (uint64_t run; n; page += run, allowed += run, n -= run) {
		run = min_u64(n, BLOCK);
		wrong += check_block(check, fd, page, run, allowed);
	}
	close(fd);
	return wrong;
}

int window_can_check(void)
{
	uint64_t entry = 0;
	int fd = pagemap_open(), rc = 0;

	if (fd < 0)
		return fd;
	if (!pagemap_read(fd, &entry, 1, &entry))
		rc = -EIO;
	else if (!(entry & PM_PFN_MASK))
		rc = -EPERM;
	close(fd);
	return rc;
}
