/* SPDX-License-Identifier: BSD-2-Clause */
#include "mmu/host/pool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <unistd.h>

#include "mmu/base/sync.h"

/* What one huge page of the system holds. */
#define BULK_FRAMES  512u

/* Frame flags. Zero is the state of a frame never used: the array is sparse. */
#define FRAME_FILLED (1u << 0) /* has memory with old contents: not known to be zero */
#define FRAME_LOOSE  (1u << 1) /* of no region: unreserve with the last reference */

struct frame {
	_Atomic uint32_t refs;
	_Atomic uint32_t maps; /* hptes that have it; at most refs */
	_Atomic uint32_t
		flags; /* written by the owner of the frame: its filler, or who drops the last reference */
};

/* A run of frames that nobody has reserved. */
struct extent {
	struct extent *next; /* by address */
	fn_t start, end;
};

/*
 * Locks used to protect members:
 *	I	immutable after create
 *	l	lock
 *	a	atomic
 */
struct pool {
	int fd;		       /* [I] */
	bool canary;	       /* [I] */
	uint64_t nframes;      /* [I] */
	char *direct;	       /* [I] */
	char *bulk;	       /* [I] only to populate; NULL: huge pages are not to be had */
	struct frame *frames;  /* [I] members [a] */
	_Atomic uint64_t used; /* [a] */
	struct lock lock;
	struct extent *free; /* [l] */
};

static void *map_sparse(size_t bytes, int fd)
{
	int flags = MAP_NORESERVE | (fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED);
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, fd, 0);

	return p == MAP_FAILED ? NULL : p;
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

/* A mapping of its own to populate through: a fault of the direct map must not bring in a huge page for one frame. */
static void map_bulk(struct pool *pool)
{
	size_t len = pool->nframes << PAGE_SHIFT;

	pool->bulk = map_sparse(len, pool->fd);
	if (pool->bulk && madvise(pool->bulk, len, MADV_HUGEPAGE)) {
		munmap(pool->bulk, len);
		pool->bulk = NULL;
	}
}

static int open_file(struct pool *pool)
{
	bool huge;

	pool->fd = pool->nframes >= BULK_FRAMES ? open_huge_file() : -1;
	huge = pool->fd >= 0;
	if (!huge)
		pool->fd = memfd_create("umbra-pool", MFD_CLOEXEC);
	if (pool->fd < 0)
		return -errno;
	if (ftruncate(pool->fd, (off_t)(pool->nframes << PAGE_SHIFT))) {
		int rc = -errno;

		close(pool->fd);
		return rc;
	}
	if (huge)
		map_bulk(pool);
	return 0;
}

int pool_create(struct pool **out, uint64_t frames, bool canary)
{
	struct pool *pool;
	int rc;

	if (!frames || frames >= (uint64_t)1 << 32)
		return -EINVAL;
	pool = calloc(1, sizeof(*pool));
	if (!pool)
		return -ENOMEM;
	pool->nframes = frames;
	pool->canary = canary;
	lock_init(&pool->lock);

	rc = open_file(pool);
	if (rc)
		goto err_undo_alloc;
	pool->direct = map_sparse(frames << PAGE_SHIFT, pool->fd);
	if (!pool->direct) {
		rc = -errno;
		goto err_undo_fd;
	}
	pool->frames = map_sparse(frames * sizeof(struct frame), -1);
	if (!pool->frames) {
		rc = -errno;
		goto err_undo_direct;
	}
	pool->free = malloc(sizeof(*pool->free));
	if (!pool->free) {
		rc = -ENOMEM;
		goto err_undo_frames;
	}
	*pool->free = (struct extent){ .start = 0, .end = frames };
	*out = pool;
	return 0;

err_undo_frames:
	munmap(pool->frames, frames * sizeof(struct frame));
err_undo_direct:
	munmap(pool->direct, frames << PAGE_SHIFT);
err_undo_fd:
	if (pool->bulk)
		munmap(pool->bulk, frames << PAGE_SHIFT);
	close(pool->fd);
err_undo_alloc:
	lock_fini(&pool->lock);
	free(pool);
	return rc;
}

void pool_destroy(struct pool *pool)
{
	bug_on(!pool->free || pool->free->next || pool->free->start != 0 ||
	       pool->free->end != pool->nframes);
	free(pool->free);
	munmap(pool->frames, pool->nframes * sizeof(struct frame));
	munmap(pool->direct, pool->nframes << PAGE_SHIFT);
	if (pool->bulk)
		munmap(pool->bulk, pool->nframes << PAGE_SHIFT);
	close(pool->fd);
	lock_fini(&pool->lock);
	free(pool);
}

int pool_fd(const struct pool *pool)
{
	return pool->fd;
}

uint64_t pool_frames(const struct pool *pool)
{
	return pool->nframes;
}

void *pool_direct(const struct pool *pool, fn_t fn)
{
	bug_on(fn >= pool->nframes);
	sync_touch(&pool->frames[fn]);
	return pool->direct + (fn << PAGE_SHIFT);
}

static void drop_if_empty(struct extent **link)
{
	struct extent *e = *link;

	if (e->start == e->end) {
		*link = e->next;
		free(e);
	}
}

/* Regions grow from the bottom, loose frames from the top, so that these do not fragment those. */
int pool_reserve(struct pool *pool, uint64_t n, fn_t *first)
{
	struct extent **link, *e;
	int rc = -ENOSPC;

	if (!n)
		return -EINVAL;
	lock_acquire(&pool->lock);
	for (link = &pool->free; (e = *link); link = &e->next) {
		if (e->end - e->start < n)
			continue;
		*first = e->start;
		e->start += n;
		drop_if_empty(link);
		rc = 0;
		break;
	}
	lock_release(&pool->lock);
	return rc;
}

static int reserve_top(struct pool *pool, fn_t *fn)
{
	struct extent **link, **last = NULL;
	int rc = -ENOSPC;

	lock_acquire(&pool->lock);
	for (link = &pool->free; *link; link = &(*link)->next)
		last = link;
	if (last) {
		*fn = --(*last)->end;
		drop_if_empty(last);
		rc = 0;
	}
	lock_release(&pool->lock);
	return rc;
}

void pool_unreserve(struct pool *pool, fn_t first, uint64_t n)
{
	struct extent **link, *e, *next;
	fn_t end = first + n;

	bug_on(!n || end < first || end > pool->nframes);
	lock_acquire(&pool->lock);
	for (link = &pool->free; *link && (*link)->end < first; link = &(*link)->next)
		;
	e = *link;
	if (e && e->end == first) {
		e->end = end;
	} else if (e && e->start == end) {
		e->start = first;
	} else {
		bug_on(e && e->start < end);
		struct extent *fresh = malloc(sizeof(*fresh));

		bug_on(!fresh); /* 24 bytes; losing frames for ever would be the alternative */
		*fresh = (struct extent){ .next = e, .start = first, .end = end };
		*link = fresh;
		e = fresh;
	}
	next = e->next;
	if (next && next->start == e->end) {
		e->end = next->end;
		e->next = next->next;
		free(next);
	}
	lock_release(&pool->lock);
}

/* A frame that its region gave back may still have a slow reader: keep it aside while looking for another. */
int pool_alloc_loose(struct pool *pool, fn_t *fn)
{
	fn_t used;
	int rc = reserve_top(pool, fn);

	if (rc)
		return rc;
	if (!pool_get_unless_used(pool, *fn)) {
		used = *fn;
		rc = pool_alloc_loose(pool, fn);
		pool_unreserve(pool, used, 1);
		return rc;
	}
	atomic_fetch_or_explicit(&pool->frames[*fn].flags, FRAME_LOOSE, memory_order_relaxed);
	return 0;
}

static void set_unfilled(struct pool *pool, fn_t fn, fn_t end)
{
	for (; fn < end; fn++)
		atomic_fetch_and_explicit(&pool->frames[fn].flags, ~FRAME_FILLED,
					  memory_order_relaxed);
}

/* Frames [first, first + n) as one huge page, if they can be one and are all holes. */
static bool populate_bulk(struct pool *pool, fn_t first, uint64_t n)
{
#ifdef MADV_POPULATE_WRITE
	return pool->bulk && n == BULK_FRAMES && first % BULK_FRAMES == 0 &&
	       !madvise(pool->bulk + (first << PAGE_SHIFT), n << PAGE_SHIFT, MADV_POPULATE_WRITE);
#else
	return false;
#endif
}

/*
 * Memory for frames that are holes, zeroed by the system. A huge page costs a sixth of 512 single ones; fewer frames
 * get no more than they need.
 */
static int fill_holes(struct pool *pool, fn_t first, uint64_t n)
{
	if (populate_bulk(pool, first, n))
		return 0;
	while (fallocate(pool->fd, FALLOC_FL_KEEP_SIZE, (off_t)(first << PAGE_SHIFT),
			 (off_t)(n << PAGE_SHIFT)))
		if (errno != EINTR) /* a signal to the thread: a kicked vCPU */
			return -errno;
	return 0;
}

int pool_zero(struct pool *pool, fn_t first, uint64_t n)
{
	fn_t fn, hole = first;
	int rc;

	/* Fresh frames come zeroed from the system, in bulk; used ones are cleared by hand. */
	for (fn = first; fn <= first + n; fn++) {
		bool filled = fn == first + n ||
			      (atomic_fetch_or_explicit(&pool->frames[fn].flags, FRAME_FILLED,
							memory_order_relaxed) &
			       FRAME_FILLED);

		if (!filled)
			continue;
		rc = fn > hole ? fill_holes(pool, hole, fn - hole) : 0;
		if (rc) {
			/* They still have no memory: clearing them by hand next time would be SIGBUS. */
			set_unfilled(pool, hole, fn);
			return rc;
		}
		if (fn < first + n)
			memset(pool_direct(pool, fn), 0, PAGE_SIZE);
		hole = fn + 1;
	}
	return 0;
}

int pool_populate(struct pool *pool, fn_t first, uint64_t n)
{
	populate_bulk(pool, first, n);
#ifdef MADV_POPULATE_WRITE
	/* EINVAL: before Linux 5.14. Let the writes fault one by one. */
	if (madvise(pool_direct(pool, first), n << PAGE_SHIFT, MADV_POPULATE_WRITE) &&
	    errno != EINVAL)
		return errno == EFAULT ? -ENOMEM : -errno;
#endif
	for (fn_t fn = first; fn < first + n; fn++)
		atomic_fetch_or_explicit(&pool->frames[fn].flags, FRAME_FILLED,
					 memory_order_relaxed);
	return 0;
}

void pool_copy(struct pool *pool, fn_t to, fn_t from)
{
	atomic_fetch_or_explicit(&pool->frames[to].flags, FRAME_FILLED, memory_order_relaxed);
	memcpy(pool_direct(pool, to), pool_direct(pool, from), PAGE_SIZE);
}

void pool_get(struct pool *pool, fn_t fn)
{
	sync_touch(&pool->frames[fn]);
	bug_on(atomic_fetch_add_explicit(&pool->frames[fn].refs, 1, memory_order_relaxed) == 0);
}

bool pool_get_unless_used(struct pool *pool, fn_t fn)
{
	uint32_t none = 0;

	bug_on(fn >= pool->nframes);
	sync_touch(&pool->frames[fn]);
	/* Acquire: pairs with the release of the last pool_put(), so that its canary is seen to be complete. */
	if (!atomic_compare_exchange_strong_explicit(&pool->frames[fn].refs, &none, 1,
						     memory_order_acquire, memory_order_relaxed))
		return false;
	bug_on(pool_maps(pool, fn)); /* freed while mapped */
	atomic_fetch_add_explicit(&pool->used, 1, memory_order_relaxed);
	return true;
}

static void fill_canary(struct pool *pool, fn_t fn)
{
	uint64_t *word = pool_direct(pool, fn);

	for (unsigned i = 0; i < PAGE_SIZE / sizeof(*word); i++)
		word[i] = POOL_CANARY;
}

static void drop_contents(struct pool *pool, fn_t first, uint64_t n)
{
	if (pool->canary) {
		/* A frame that never got memory has no contents to hide, and must stay a hole. */
		for (fn_t fn = first; fn < first + n; fn++)
			if (atomic_load_explicit(&pool->frames[fn].flags, memory_order_relaxed) &
			    FRAME_FILLED)
				fill_canary(pool, fn);
		return;
	}
	/* A hole that cannot be punched costs memory, not correctness: FRAME_FILLED stays. */
	if (fallocate(pool->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		      (off_t)(first << PAGE_SHIFT), (off_t)(n << PAGE_SHIFT)))
		return;
	set_unfilled(pool, first, first + n);
}

/* The frames of [first, first + n) are at their last reference: free them in one go, then let it be seen. */
static void free_run(struct pool *pool, fn_t first, uint64_t n)
{
	drop_contents(pool, first, n);
	atomic_fetch_sub_explicit(&pool->used, n, memory_order_relaxed);
	for (fn_t fn = first; fn < first + n; fn++) {
		bool loose = atomic_fetch_and_explicit(&pool->frames[fn].flags, ~FRAME_LOOSE,
						       memory_order_relaxed) &
			     FRAME_LOOSE;

		atomic_store_explicit(&pool->frames[fn].refs, 0, memory_order_release);
		if (loose)
			pool_unreserve(pool, fn, 1);
	}
}

/*
 * The dying frame keeps its reference until its contents are gone, or a page-in could take the frame and lose what it
 * put there:
 *
 *	pool_put()			page-in
 *	refs 1 -> 0
 *					pool_get_unless_used()
 *					fill
 *	punch hole			<- would be lost
 *
 * So the last reference is recognised by value 1: nobody else can raise it, since raising needs a reference.
 */
void pool_put(struct pool *pool, fn_t first, uint64_t n)
{
	fn_t fn, run = first;

	for (fn = first; fn < first + n; fn++) {
		sync_touch(&pool->frames[fn]);
		uint32_t refs = atomic_load_explicit(&pool->frames[fn].refs, memory_order_acquire);

		bug_on(!refs);
		while (refs > 1 && !atomic_compare_exchange_weak_explicit(
					   &pool->frames[fn].refs, &refs, refs - 1,
					   memory_order_acq_rel, memory_order_acquire))
			;
		if (refs == 1)
			continue;
		if (fn > run)
			free_run(pool, run, fn - run);
		run = fn + 1;
	}
	if (fn > run)
		free_run(pool, run, fn - run);
}

void pool_map(struct pool *pool, fn_t fn)
{
	bug_on(!pool_refs(pool, fn));
	sync_fetch_add(&pool->frames[fn].maps, 1);
}

void pool_unmap(struct pool *pool, fn_t fn)
{
	/* Release: pairs with pool_maps() of who is then alone, and may write. */
	bug_on(!sync_fetch_sub(&pool->frames[fn].maps, 1));
}

uint32_t pool_maps(struct pool *pool, fn_t fn)
{
	return sync_load_acquire(&pool->frames[fn].maps);
}

uint32_t pool_refs(const struct pool *pool, fn_t fn)
{
	return atomic_load_explicit(&pool->frames[fn].refs, memory_order_relaxed);
}

uint64_t pool_used(const struct pool *pool)
{
	return atomic_load_explicit(&pool->used, memory_order_relaxed);
}
