/* SPDX-License-Identifier: BSD-2-Clause */
#include "mmu/host/pool_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

/* What one huge page of the system holds. */
#define BULK_FRAMES 512u

void *pool_map_sparse(size_t bytes, int fd)
{
	int flags = MAP_NORESERVE | (fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED);
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, fd, 0);

	if (p == MAP_FAILED)
		return NULL;
	/* Where the system gives huge pages unasked, one touched element would cost 2 MiB. */
	if (fd < 0)
		(void)madvise(p, bytes, MADV_NOHUGEPAGE);
	return p;
}

/*
 * A file on a tmpfs of its own, mounted nowhere and gone with the descriptor, that takes huge pages where a mapping
 * asks for them. System settings rarely allow a memfd that. Needs CAP_SYS_ADMIN and Linux 5.2; -1 without.
 */
static int open_huge_file(void)
{
	int fs, mount, fd = -1;

	fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
	if (fs < 0)
		return -1;
	if (!fsconfig(fs, FSCONFIG_SET_STRING, "huge", "advise", 0) &&
	    !fsconfig(fs, FSCONFIG_SET_STRING, "size", "0", 0) &&
	    !fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0)) {
		mount = fsmount(fs, FSMOUNT_CLOEXEC, 0);
		if (mount >= 0) {
			fd = openat(mount, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
			close(mount);
		}
	}
	close(fs);
	return fd;
}

/* VMAs of its own, which need none to go: there is no reason to refuse it twice. */
static bool unmap_whole(void *addr, size_t len)
{
	if (!munmap(addr, len))
		return true;
	return !munmap(addr, len);
}

/* A mapping of its own to populate through: a fault of the direct map must not bring in a huge page for one frame. */
static void map_bulk(struct pool_file *f)
{
	size_t len = f->nframes << PAGE_SHIFT;

	f->bulk = pool_map_sparse(len, f->fd);
	if (f->bulk && madvise(f->bulk, len, MADV_HUGEPAGE)) {
		(void)unmap_whole(f->bulk, len);
		f->bulk = NULL;
	}
}

int pool_check_size(uint64_t bytes)
{
	struct rlimit limit;

	return !getrlimit(RLIMIT_FSIZE, &limit) && bytes > limit.rlim_cur ? -EFBIG : 0;
}

/* Pages with and without rights in turn: each costs a VMA. Where there are no more, fewer are held. */
#define SPARE_VMAS 8u

static bool hold_spare(struct pool_file *f)
{
	size_t page = 1;

	if (!f->spare)
		f->spare = mmap(NULL, SPARE_VMAS << PAGE_SHIFT, PROT_NONE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (f->spare == MAP_FAILED)
		f->spare = NULL;
	while (f->spare && page < SPARE_VMAS &&
	       !mprotect(f->spare + (page << PAGE_SHIFT), PAGE_SIZE, PROT_READ))
		page += 2;
	return f->spare && page > SPARE_VMAS;
}

static void drop_spare(struct pool_file *f)
{
	if (f->spare && unmap_whole(f->spare, SPARE_VMAS << PAGE_SHIFT))
		f->spare = NULL;
}

void pool_lend_vmas(struct pool *pool)
{
	lock_acquire(&pool->lock);
	atomic_store_explicit(&pool->file.spare_whole, false, memory_order_relaxed);
	drop_spare(&pool->file);
	lock_release(&pool->lock);
}

bool pool_keep_vmas(struct pool *pool)
{
	struct pool_file *f = &pool->file;
	bool whole;

	if (atomic_load_explicit(&f->spare_whole, memory_order_relaxed))
		return true;
	lock_acquire(&pool->lock);
	drop_spare(f);
	whole = hold_spare(f);
	atomic_store_explicit(&f->spare_whole, whole, memory_order_relaxed);
	lock_release(&pool->lock);
	return whole;
}

int pool_munmap(struct pool *pool, void *addr, size_t len)
{
	int rc;

	if (!munmap(addr, len))
		return 0;
	pool_lend_vmas(pool);
	rc = munmap(addr, len) ? -errno : 0;
	(void)pool_keep_vmas(pool);
	return rc;
}

void pool_unmap_sparse(struct pool *pool, void *zeros, size_t bytes)
{
	if (pool_munmap(pool, zeros, bytes))
		(void)madvise(zeros, bytes, MADV_DONTNEED);
}

#define ARRAY_SMALL 4096u

void *page_array(uint64_t n, size_t size)
{
	return n * size <= ARRAY_SMALL ? calloc(n, size) : pool_map_sparse(n * size, -1);
}

void page_array_free(struct pool *pool, void *array, uint64_t n, size_t size)
{
	if (n * size <= ARRAY_SMALL)
		free(array);
	else if (array)
		pool_unmap_sparse(pool, array, n * size);
}

void page_array_clear(void *array, uint64_t n, size_t size)
{
	if (n * size <= ARRAY_SMALL || madvise(array, n * size, MADV_DONTNEED))
		memset(array, 0, n * size);
}

int pool_file_open(struct pool_file *f, uint64_t nframes)
{
	size_t len = nframes << PAGE_SHIFT;
	bool huge;
	int rc = pool_check_size(len);

	if (rc)
		return rc;
	*f = (struct pool_file){ .nframes = nframes, .fd = -1 };
	if (nframes >= BULK_FRAMES)
		f->fd = open_huge_file();
	huge = f->fd >= 0;
	if (!huge)
		f->fd = memfd_create("umbra-pool", MFD_CLOEXEC);
	if (f->fd < 0)
		return -errno;
	if (ftruncate(f->fd, (off_t)len))
		goto err_undo_fd;
	f->direct = pool_map_sparse(len, f->fd);
	if (!f->direct)
		goto err_undo_fd;
	if (huge)
		map_bulk(f);
	atomic_init(&f->spare_whole, hold_spare(f));
	return 0;

err_undo_fd:
	rc = -errno;
	close(f->fd);
	return rc;
}

void pool_file_close(struct pool *pool)
{
	struct pool_file *f = &pool->file;
	size_t len = f->nframes << PAGE_SHIFT;

	(void)pool_munmap(pool, f->direct, len);
	if (f->bulk)
		(void)pool_munmap(pool, f->bulk, len);
	drop_spare(f);
	close(f->fd);
}

/* Frames [first, first + n) as one huge page, if they can be one and are all holes. */
static bool populate_bulk(struct pool_file *f, fn_t first, uint64_t n)
{
#ifdef MADV_POPULATE_WRITE
	return f->bulk && n == BULK_FRAMES && first % BULK_FRAMES == 0 &&
	       !madvise(f->bulk + (first << PAGE_SHIFT), n << PAGE_SHIFT, MADV_POPULATE_WRITE);
#else
	return false;
#endif
}

/* A huge page costs a sixth of 512 single ones; fewer frames get no more than they need. */
int pool_file_fill(struct pool_file *f, fn_t first, uint64_t n)
{
	if (populate_bulk(f, first, n))
		return 0;
	while (fallocate(f->fd, FALLOC_FL_KEEP_SIZE, (off_t)(first << PAGE_SHIFT),
			 (off_t)(n << PAGE_SHIFT)))
		if (errno != EINTR) /* a signal to the thread: a kicked vCPU */
			return -errno;
	return 0;
}

bool pool_file_has(struct pool_file *f, fn_t fn)
{
	off_t at = (off_t)(fn << PAGE_SHIFT);

	return lseek(f->fd, at, SEEK_DATA) == at;
}

int pool_file_populate(struct pool_file *f, fn_t first, uint64_t n)
{
	populate_bulk(f, first, n);
#ifdef MADV_POPULATE_WRITE
	/* EINVAL: before Linux 5.14. Let the writes fault one by one. */
	if (madvise(f->direct + (first << PAGE_SHIFT), n << PAGE_SHIFT, MADV_POPULATE_WRITE) &&
	    errno != EINVAL)
		return errno == EFAULT ? -ENOMEM : -errno;
#endif
	return 0;
}

int pool_file_punch(struct pool_file *f, fn_t first, uint64_t n)
{
	return fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			 (off_t)(first << PAGE_SHIFT), (off_t)(n << PAGE_SHIFT))
		       ? -errno
		       : 0;
}
