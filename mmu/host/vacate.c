/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A page comes home, though others have its home frame: a child that was forked while it lay there, pages that were merged with it. The
 * way out when there are no more VMAs, since at home a page costs none: memory is unshared rather than an access refused.
 */
#include <errno.h>
#include <sched.h>

#include "mmu/host/hostmm_priv.h"

struct squat {
	fn_t fn;
	uint64_t moved;
};

/* The sharer is copied as by a store, but keeps its rights: home if it can, where it costs no VMA either. */
static int move_one(struct region *r, uint64_t page, void *ctx)
{
	struct squat *s = ctx;
	struct chunk_lock *chunk = region_chunk(r, page);
	struct mmu_notifier_range range;
	uint64_t hpte;
	int rc = 0;
	fn_t to;

	bracket_start(&range, r, page, page + 1, MMU_NOTIFY_CLEAR);
	lock_acquire(&chunk->lock);
	hpte_wait_idle(r, page, page + 1);
	hpte = hpte_read(r, page);
	if ((hpte & HPTE_PRESENT) && hpte_fn(hpte) == s->fn && s->fn != r->home + page) {
		rc = frame_for_copy(r, page, &to);
		if (!rc)
			bracket_move(&range, r, page, to);
		s->moved += !rc;
	}
	lock_release(&chunk->lock);
	bracket_end(&range);
	return rc;
}

/* Who gets the frame meanwhile gets it from one that has it, and is met by the next walk. */
static int vacate(struct hostmm *mm, fn_t fn)
{
	struct squat s = { .fn = fn };
	uint64_t before;
	int rc;

	do {
		before = s.moved;
		rc = rmap_walk(mm->pool, fn, move_one, &s);
	} while (!rc && s.moved != before);
	if (pool_is_stable(mm->pool, fn))
		ksm_let_go(mm);
	return rc;
}

/* 0: it is at home, or nowhere; -EBUSY: *@home is somebody else's. */
static int try_home(struct hostmm *mm, hva_t hva, fn_t *home)
{
	struct region *r;
	int rc = -EFAULT;

	rwlock_read_acquire(&mm->mmap_lock);
	r = hostmm_region(mm, hva);
	if (r) {
		uint64_t page = region_page(r, hva), hpte;

		*home = r->home + page;
		rc = migrate_home(r, page);
		hpte = hpte_read(r, page);
		if (!rc && (hpte & HPTE_PRESENT) && hpte_fn(hpte) != *home)
			rc = -EBUSY;
	}
	rwlock_read_release(&mm->mmap_lock);
	return rc;
}

/* References of faults that are under way are gone soon. */
#define TRIES 1000

int hostmm_bring_home(struct hostmm *mm, hva_t hva)
{
	fn_t home;
	int rc;

	if (!is_page_aligned(hva))
		return -EINVAL;
	for (unsigned tries = 0; tries < TRIES; tries++) {
		rc = try_home(mm, hva, &home);
		if (rc != -EBUSY)
			return rc;
		rc = vacate(mm, home);
		if (rc)
			return rc;
		sched_yield();
	}
	return -ENOMEM;
}
