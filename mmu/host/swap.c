/* SPDX-License-Identifier: BSD-2-Clause */
#include "mmu/host/swap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "mmu/base/sync.h"
#include "mmu/host/pool_priv.h"

/*
 * Locks used to protect members:
 *	I	immutable after create
 *	l	lock, a leaf
 *	a	atomic
 */
struct swap {
	int fd;			   /* [I] */
	uint64_t slots;		   /* [I] */
	uint64_t used;		   /* [l] */
	uint64_t next;		   /* [l] where to look for a free slot */
	uint32_t *count;	   /* [l] per slot: entries and frames that name it; sparse */
	_Atomic uint32_t *slot_of; /* [a] written under l: per frame, 0 or 1 + its slot; sparse */
	_Atomic uint64_t reads, writes; /* [a] pages */
	struct lock lock;
};

/* A file without a name, gone with the descriptor. */
static int open_own(void)
{
	const char *dir = getenv("TMPDIR");
	char path[4096];
	int fd = open(dir ? dir : "/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR))
		return fd >= 0 ? fd : -errno;
	/* A file system that has no such files. */
	if ((size_t)snprintf(path, sizeof(path), "%s/umbra-XXXXXX", dir ? dir : "/var/tmp") >=
	    sizeof(path))
		return -ENAMETOOLONG;
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0)
		return -errno;
	unlink(path);
	return fd;
}

static void free_maps(struct pool *pool, struct swap *swap)
{
	if (swap->count)
		pool_unmap_sparse(pool, swap->count, swap->slots * sizeof(*swap->count));
	if (swap->slot_of)
		pool_unmap_sparse(pool, swap->slot_of, pool_frames(pool) * sizeof(*swap->slot_of));
}

int swap_open(struct pool *pool, int fd, uint64_t slots)
{
	struct swap *swap;
	int rc;

	if (!slots || slots >= UINT32_MAX)
		return -EINVAL;
	swap = calloc(1, sizeof(*swap));
	if (!swap)
		return -ENOMEM;
	swap->slots = slots;
	rc = fd < 0 ? open_own() : fcntl(fd, F_DUPFD_CLOEXEC, 0);
	swap->fd = rc;
	if (rc < 0) {
		rc = fd < 0 ? rc : -errno;
		goto err_undo_alloc;
	}
	swap->count = pool_map_sparse(slots * sizeof(*swap->count), -1);
	swap->slot_of = pool_map_sparse(pool_frames(pool) * sizeof(*swap->slot_of), -1);
	if (!swap->count || !swap->slot_of) {
		rc = -ENOMEM;
		goto err_undo_maps;
	}
	lock_init(&swap->lock);
	pool->swap = swap;
	return 0;

err_undo_maps:
	free_maps(pool, swap);
	close(swap->fd);
err_undo_alloc:
	free(swap);
	return rc;
}

void swap_close(struct pool *pool)
{
	struct swap *swap = pool->swap;

	bug_on(swap->used);
	free_maps(pool, swap);
	close(swap->fd);
	lock_fini(&swap->lock);
	free(swap);
}

/* In a row, so that what is reclaimed together is read back together. */
int64_t swap_alloc(struct swap *swap, uint64_t want, uint64_t *slot)
{
	uint64_t n = 0;

	lock_acquire(&swap->lock);
	if (swap->used == swap->slots) {
		lock_release(&swap->lock);
		return -ENOSPC;
	}
	while (swap->count[swap->next])
		swap->next = (swap->next + 1) % swap->slots;
	*slot = swap->next;
	for (; n < want && *slot + n < swap->slots && !swap->count[*slot + n]; n++)
		swap->count[*slot + n] = 1;
	swap->used += n;
	swap->next = (*slot + n) % swap->slots;
	lock_release(&swap->lock);
	return (int64_t)n;
}

static void put_locked(struct swap *swap, uint64_t slot)
{
	bug_on(slot >= swap->slots || !swap->count[slot]);
	if (!--swap->count[slot])
		swap->used--;
}

void swap_get(struct swap *swap, uint64_t slot)
{
	lock_acquire(&swap->lock);
	bug_on(slot >= swap->slots || !swap->count[slot] || swap->count[slot] == UINT32_MAX);
	swap->count[slot]++;
	lock_release(&swap->lock);
}

void swap_put(struct swap *swap, uint64_t slot, uint64_t n)
{
	lock_acquire(&swap->lock);
	while (n--)
		put_locked(swap, slot++);
	lock_release(&swap->lock);
}

int swap_write(struct swap *swap, uint64_t slot, const void *src, uint64_t n)
{
	const char *from = src;
	size_t len = n << PAGE_SHIFT;
	off_t at = (off_t)(slot << PAGE_SHIFT);
	int rc = pool_check_size((uint64_t)at + len);

	while (!rc && len) {
		ssize_t done = pwrite(swap->fd, from, len, at);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return done ? -errno : -EIO;
		from += done;
		at += done;
		len -= (size_t)done;
	}
	if (!rc)
		atomic_fetch_add_explicit(&swap->writes, n, memory_order_relaxed);
	return rc;
}

int swap_read(struct swap *swap, uint64_t slot, void *dst, uint64_t n)
{
	char *to = dst;
	size_t len = n << PAGE_SHIFT;
	off_t at = (off_t)(slot << PAGE_SHIFT);

	while (len) {
		ssize_t done = pread(swap->fd, to, len, at);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0) /* somebody has cut the file */
			return done ? -errno : -EIO;
		to += done;
		at += done;
		len -= (size_t)done;
	}
	atomic_fetch_add_explicit(&swap->reads, n, memory_order_relaxed);
	return 0;
}

void swap_attach(struct swap *swap, fn_t fn, uint64_t slot)
{
	lock_acquire(&swap->lock);
	if (atomic_load_explicit(&swap->slot_of[fn], memory_order_relaxed))
		put_locked(swap, slot);
	else
		atomic_store_explicit(&swap->slot_of[fn], (uint32_t)slot + 1, memory_order_relaxed);
	lock_release(&swap->lock);
}

void swap_detach(struct swap *swap, fn_t fn)
{
	uint32_t was;

	/* Nobody attaches meanwhile: who does has a map, or the only reference. */
	if (!atomic_load_explicit(&swap->slot_of[fn], memory_order_relaxed))
		return;
	lock_acquire(&swap->lock);
	was = atomic_exchange_explicit(&swap->slot_of[fn], 0, memory_order_relaxed);
	if (was)
		put_locked(swap, was - 1);
	lock_release(&swap->lock);
}

bool swap_find(struct swap *swap, fn_t fn, uint64_t *slot)
{
	uint32_t has;

	lock_acquire(&swap->lock);
	has = atomic_load_explicit(&swap->slot_of[fn], memory_order_relaxed);
	if (has) {
		*slot = has - 1;
		swap->count[*slot]++;
	}
	lock_release(&swap->lock);
	return has;
}

void swap_get_stats(struct swap *swap, struct pool_swap_stats *stats)
{
	lock_acquire(&swap->lock);
	*stats = (struct pool_swap_stats){ .slots = swap->slots, .used = swap->used };
	lock_release(&swap->lock);
	stats->read = atomic_load_explicit(&swap->reads, memory_order_relaxed);
	stats->written = atomic_load_explicit(&swap->writes, memory_order_relaxed);
}
