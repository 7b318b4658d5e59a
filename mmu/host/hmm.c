/* SPDX-License-Identifier: BSD-2-Clause */
/* Pages that go to devices and come back. */
#include <errno.h>

#include "mmu/base/mutant.h"
#include "mmu/host/hostmm_device.h"
#include "mmu/host/hostmm_priv.h"

unsigned hostmm_owner(struct hostmm *mm, const void *owner)
{
	for (unsigned i = 1; owner && i < HPTE_OWNERS; i++)
		if (sync_load(&mm->owner[i]) == owner)
			return i;
	return 0;
}

/* Numbers are taken in order and never given back, so that all who come with an owner find the same. 0: none is left. */
static unsigned number_owner(struct hostmm *mm, const void *owner)
{
	for (unsigned i = 1; i < HPTE_OWNERS; i++) {
		const void *has = NULL;

		if (sync_cas(&mm->owner[i], &has, owner) || has == owner)
			return i;
	}
	return 0;
}

/* ---- Back ---- */

/* The owner and everybody have let go, and are told again where TLBs are all that they have. */
static int pull_page(struct region *r, uint64_t page)
{
	uint64_t hpte = hpte_read(r, page);
	fn_t fn, old;
	int rc;

	if (hpte & HPTE_EXCL) {
		hpte_tell_tlbs(r, page, page + 1);
		hpte_reclaim(r, page);
	}
	if (!(hpte & HPTE_DEVICE))
		return 0;
	rc = frame_for_copy(r, page, &fn);
	if (rc)
		return rc;
	hpte_tell_tlbs(r, page, page + 1); /* before the copy, lest a store be lost */
	pool_copy(r->pool, fn, hpte_fn(hpte));
	old = hpte_take(r, page);
	hpte_tell_tlbs(r, page, page + 1);
	hpte_give(r, page, fn, hpte & HPTE_WRITE);
	pool_put(r->pool, old, 1);
	return 0;
}

/* Kernel: migrate_to_ram(), remove_device_exclusive_entry(). */
static int pull_bracket(struct region *r, uint64_t page)
{
	bool exclusive = hpte_peek(r, page) & HPTE_EXCL; /* for the event: a hint */
	struct chunk_lock *chunk = region_chunk(r, page);
	struct mmu_notifier_range range;
	int rc;

	bracket_start(&range, r, page, page + 1,
		      exclusive ? MMU_NOTIFY_EXCLUSIVE : MMU_NOTIFY_MIGRATE);
	lock_acquire(&chunk->lock);
	hpte_wait_idle(r, page, page + 1);
	rc = pull_page(r, page);
	lock_release(&chunk->lock);
	bracket_end(&range);
	return rc;
}

static int pull_owned(struct region *r, uint64_t page, uint64_t end, unsigned owner)
{
	int rc = 0;

	if (!sync_load(&r->has_away))
		return 0;
	for (; !rc && page < end; page++) {
		uint64_t hpte = hpte_peek(r, page);

		if ((hpte & HPTE_AWAY) && (!owner || hpte_owner(hpte) == owner))
			rc = pull_bracket(r, page);
	}
	return rc;
}

int device_pull(struct region *r, uint64_t page, uint64_t end)
{
	rwlock_assert_held(&r->mm->mmap_lock);
	return pull_owned(r, page, end, 0);
}

int hostmm_migrate_from_device(struct hostmm *mm, hva_t start, hva_t end)
{
	struct region *r;
	int rc = -EINVAL;

	if (!is_page_aligned(start | end) || start >= end)
		return -EINVAL;
	rwlock_read_acquire(&mm->mmap_lock);
	r = hostmm_region(mm, start);
	if (r && end <= r->end)
		rc = device_pull(r, region_page(r, start), region_page(r, end));
	rwlock_read_release(&mm->mmap_lock);
	return rc;
}

int hostmm_release_device(struct hostmm *mm, void *owner)
{
	unsigned number = hostmm_owner(mm, owner);
	int rc = 0;

	rwlock_read_acquire(&mm->mmap_lock);
	for (struct region *r = mm->regions; number && r && !rc; r = r->next)
		rc = pull_owned(r, 0, region_pages(r), number);
	rwlock_read_release(&mm->mmap_lock);
	return rc;
}

/* ---- To a device ---- */

static void move_out(struct region *r, uint64_t page, fn_t fn, unsigned owner)
{
	bool writable = hpte_read(r, page) & HPTE_WRITE;
	fn_t old;

	hpte_hide(r, page, page + 1);
	hpte_tell_tlbs(r, page, page + 1);
	pool_copy(r->pool, fn, hpte_fn(hpte_read(r, page)));
	old = hpte_take(r, page);
	hpte_tell_tlbs(r, page, page + 1);
	hpte_give_device(r, page, fn, writable, owner);
	pool_put(r->pool, old, 1);
}

/* Chunk lock held, the page not busy. Adds to *@moved if it is the owner's afterwards. */
static int send_page(struct region *r, uint64_t page, unsigned owner, uint64_t *moved)
{
	uint64_t hpte = hpte_read(r, page);
	fn_t fn;
	int rc;

	if ((hpte & HPTE_DEVICE) && hpte_owner(hpte) == owner) {
		++*moved;
		return 0;
	}
	if (hpte & (HPTE_AWAY | HPTE_SOFT) || (!hpte && r->pager))
		return 0;
	if (hpte && hpte_is_shared(r, page) && !pool_is_zero(r->pool, hpte_fn(hpte)))
		return 0;
	rc = pool_alloc_loose(r->pool, &fn);
	if (rc)
		return rc;
	rc = hpte ? pool_populate(r->pool, fn, 1) : pool_zero(r->pool, fn, 1);
	if (rc) {
		pool_put(r->pool, fn, 1);
		return rc;
	}
	sync_store(&r->has_away, true);
	if (hpte) {
		move_out(r, page, fn, owner);
	} else {
		hpte_take_empty(r, page);
		hpte_give_device(r, page, fn, true, owner);
	}
	++*moved;
	return 0;
}

/* What only a pager has comes in first: that sleeps. Page by page, since one that fails is the caller's to know. */
static int bring_in(struct region *r, uint64_t page, uint64_t last)
{
	uint64_t hpte;
	int rc = 0;

	for (; !rc && page < last; page++) {
		struct chunk_lock *chunk = region_chunk(r, page);
		uint64_t is = hpte_peek(r, page);

		if ((is & HPTE_AWAY) || (!r->pager && !(is & HPTE_SWAP)))
			continue;
		lock_acquire(&chunk->lock);
		rc = cow_get(r, page, chunk_end(page, last), false, &hpte);
		lock_release(&chunk->lock);
	}
	return rc;
}

static int send_range(struct region *r, uint64_t page, uint64_t last, void *owner, uint64_t *moved)
{
	unsigned number = number_owner(r->mm, owner);
	struct mmu_notifier_range range;
	int rc;

	for (uint64_t i = page; i < last; i++)
		if (!(region_prot(r, i) & HOSTMM_PROT_READ))
			return -EINVAL;
	if (!number)
		return -EUSERS;
	rc = bring_in(r, page, last);
	if (rc)
		return rc;
	bracket_start_owner(&range, r, page, last, MMU_NOTIFY_MIGRATE, owner);
	for (uint64_t end; !rc && page < last; page = end) {
		struct chunk_lock *chunk = region_chunk(r, page);

		end = chunk_end(page, last);
		lock_acquire(&chunk->lock);
		hpte_wait_idle(r, page, end);
		for (; !rc && page < end; page++)
			rc = send_page(r, page, number, moved);
		lock_release(&chunk->lock);
	}
	bracket_end(&range);
	return rc;
}

int hostmm_migrate_to_device(struct hostmm *mm, hva_t start, hva_t end, void *owner,
			     uint64_t *moved)
{
	struct region *r;
	uint64_t n = 0;
	int rc = -EINVAL;

	if (!owner || !is_page_aligned(start | end) || start >= end)
		return -EINVAL;
	rwlock_read_acquire(&mm->mmap_lock);
	r = hostmm_region(mm, start);
	if (r && end <= r->end)
		rc = send_range(r, region_page(r, start), region_page(r, end), owner, &n);
	rwlock_read_release(&mm->mmap_lock);
	if (moved)
		*moved = n;
	return rc || n ? rc : -ENOENT;
}

/* ---- Exclusive ---- */

/* Present, writable and alone when the lock is dropped; what happens then is for lend() to see. */
static int make_writable(struct region *r, uint64_t page, unsigned owner, bool *done)
{
	struct chunk_lock *chunk = region_chunk(r, page);
	uint64_t hpte;
	int rc = 0;

	lock_acquire(&chunk->lock);
	hpte = hpte_read(r, page);
	*done = (hpte & HPTE_EXCL) && hpte_owner(hpte) == owner;
	if (!*done)
		rc = cow_get(r, page, page + 1, true, &hpte);
	lock_release(&chunk->lock);
	return rc;
}

static bool lend(struct region *r, uint64_t page, unsigned number, void *owner)
{
	struct chunk_lock *chunk = region_chunk(r, page);
	struct mmu_notifier_range range;
	uint64_t hpte;
	bool lent;

	bracket_start_owner(&range, r, page, page + 1, MMU_NOTIFY_EXCLUSIVE, owner);
	lock_acquire(&chunk->lock);
	hpte_wait_idle(r, page, page + 1);
	hpte = hpte_read(r, page);
	lent = hpte_is_usable(hpte) && (hpte & HPTE_WRITE);
	if (lent) {
		sync_store(&r->has_away, true);
		hpte_hide(r, page, page + 1);
		hpte_lend(r, page, number);
		hpte_tell_tlbs(r, page, page + 1);
	}
	lock_release(&chunk->lock);
	bracket_end(&range);
	return lent;
}

static int make_exclusive(struct region *r, uint64_t page, void *owner)
{
	unsigned number = number_owner(r->mm, owner);
	bool done = false;
	int rc = number ? 0 : -EUSERS;

	while (!rc && !done) {
		rc = make_writable(r, page, number, &done);
		if (!rc && !done)
			done = lend(r, page, number, owner);
	}
	return rc;
}

int hostmm_make_exclusive(struct hostmm *mm, hva_t start, hva_t end, void *owner, uint64_t *made)
{
	struct region *r;
	uint64_t n = 0;
	int rc = -EINVAL;

	if (!owner || !is_page_aligned(start | end) || start >= end)
		return -EINVAL;
	rwlock_read_acquire(&mm->mmap_lock);
	r = hostmm_region(mm, start);
	if (r && end <= r->end) {
		uint64_t page = region_page(r, start), last = region_page(r, end);

		for (rc = 0; !rc && page + n < last; n += !rc)
			rc = make_exclusive(r, page + n, owner);
	}
	rwlock_read_release(&mm->mmap_lock);
	if (made)
		*made = n;
	return rc;
}
