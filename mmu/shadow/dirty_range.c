/* SPDX-License-Identifier: BSD-2-Clause */
#include "mmu/shadow/dirty_range.h"

#include <errno.h>
#include <stdlib.h>

#include "mmu/base/mutant.h"
#include "mmu/shadow/dirty_priv.h"
#include "mmu/shadow/shadow_priv.h"

#if defined(UMBRA_DEBUG) || defined(UMBRA_EXPLORER)
#define OWNER_CHECKED 1
#else
#define OWNER_CHECKED 0
#endif

/* Immutable but for next, which slots_lock guards; readers in an RCU section. */
struct dirty_owner {
	struct dirty_owner *_Atomic next;
	unsigned id;
	struct shadow_owner owner;
	_Atomic uint64_t *spill; /* a: pages whose leaf went with D, until the next clean */
};

/* ---- Who owns what ---- */

static struct dirty_owner *find_owner(struct shadow *sh, unsigned id)
{
	struct dirty_owner *o = sync_load_acquire(&sh->dirty.owners);

	while (o && o->id != id)
		o = sync_load_acquire(&o->next);
	return o;
}

static int own_locked(struct shadow *sh, struct dirty_owner *o)
{
	const struct memslot *slot = dirty_slot(sh, o->id);

	if (!slot)
		return -ENOENT;
	if (find_owner(sh, o->id))
		return -EEXIST;
	if (slot->dirty || (slot->flags & MEMSLOT_READONLY))
		return -EPERM;
	o->spill = calloc(shadow_dirty_words(slot->npages), sizeof(*o->spill));
	if (!o->spill)
		return -ENOMEM;
	sync_store(&o->next, sync_load(&sh->dirty.owners));
	sync_store_release(&sh->dirty.owners, o); /* pairs with find_owner() */
	return 0;
}

/*
 *	fault					shadow_own_slot(), the owner's first call
 *	RCU section: finds no owner
 *						publish the owner
 *						sync_rcu_wait()
 *	installs W, with no word to the owner
 *	section ends
 *						returns; lock, protect the range
 *	next fault finds the owner
 *
 * Without the wait the range could be protected before the first fault sets W: writable, and not in the book. The same holds
 * for shadow_recover(), which could put a large leaf there, and for shadow_write().
 */
int shadow_own_slot(struct shadow *sh, unsigned id, const struct shadow_owner *owner)
{
	struct dirty_owner *o;
	int rc;

	if (!owner->lock && owner->mkwrite)
		return -EINVAL;
	o = calloc(1, sizeof(*o));
	if (!o)
		return -ENOMEM;
	o->id = id;
	o->owner = *owner;
	lock_acquire(&sh->slots_lock);
	rc = own_locked(sh, o);
	lock_release(&sh->slots_lock);
	if (rc)
		free(o);
	else
		sync_rcu_wait();
	return rc;
}

int shadow_disown_slot(struct shadow *sh, unsigned id)
{
	struct dirty_owner *_Atomic *link = &sh->dirty.owners;
	struct dirty_owner *o;

	lock_acquire(&sh->slots_lock);
	for (o = sync_load(link); o && o->id != id; o = sync_load(link))
		link = &o->next;
	if (o)
		sync_store_release(link, sync_load(&o->next));
	lock_release(&sh->slots_lock);
	if (!o)
		return -ENOENT;
	sync_rcu_wait();
	free(o->spill);
	free(o);
	return 0;
}

bool dirty_is_owned(struct shadow *sh, unsigned id)
{
	return find_owner(sh, id);
}

bool dirty_is_asked(struct shadow *sh, unsigned id)
{
	const struct dirty_owner *o = find_owner(sh, id);

	return o && o->owner.mkwrite;
}

void dirty_owners_fini(struct shadow *sh)
{
	struct dirty_owner *next, *o = sync_load(&sh->dirty.owners);

	for (; o; o = next) {
		next = sync_load(&o->next);
		free(o->spill);
		free(o);
	}
}

/*
 *	fault					shadow_wrprotect_range(), lock held
 *	lock
 *	mkwrite(): the page is in the book
 *	W is set
 *	unlock
 *						takes the book, takes W
 *
 * If the lock were free between the two, the range could be protected there: the page has left the book, and W is set.
 */
int shadow_dirty_store_begin(struct shadow *sh, const struct memslot *slot, gfn_t gfn,
			     struct lock **held)
{
	struct dirty_owner *o = find_owner(sh, slot->id);
	int rc = 0;

	*held = NULL;
	if (!o || !o->owner.lock)
		return 0;
	lock_acquire(o->owner.lock);
	if (o->owner.mkwrite)
		rc = o->owner.mkwrite(o->owner.ctx, gfn);
	/* His own matter, and no reason for the fault to ask again or to wait for a slot. */
	if (rc == -EAGAIN || rc == -ENXIO)
		rc = -EIO;
	if (rc || mutant(1122))
		lock_release(o->owner.lock);
	else
		*held = o->owner.lock;
	return rc;
}

void shadow_dirty_store_end(struct lock *held)
{
	if (held)
		lock_release(held);
}

void dirty_spill(struct shadow *sh, const struct memslot *slot, gfn_t gfn)
{
	struct dirty_owner *o = find_owner(sh, slot->id);
	uint64_t page = gfn - slot->gfn;

	if (o)
		sync_fetch_or(&o->spill[page / 64], 1UL << page % 64);
}

/* ---- The ranges ---- */

struct range {
	struct shadow *sh;
	const struct memslot *slot;
	struct dirty_owner *owner;
	gfn_t gfn, end;
	/* clean: */
	gfn_t bitmap_gfn; /* of bit 0 */
	uint64_t *bitmap, start, last;
	bool refused;
};

static void check_leaf(void *ctx, gfn_t gfn, uint64_t spte, int level)
{
	struct range *r = ctx;
	struct pool *pool = hostmm_pool(r->sh->mm);

	(void)gfn;
	if (!(spte & SPTE_HOST_WRITABLE))
		r->refused = true;
	for (uint64_t i = 0; i < spte_level_pages(level); i++)
		if (pool_maps(pool, spte_fn(spte) + i) > 1)
			r->refused = true;
}

/* Find out whether the call may be made, before anything changes. RCU section. */
static int range_begin(struct range *r, struct shadow *sh, gfn_t first, uint64_t npages)
{
	const struct memslot *slot = memslots_find(slots_get(&sh->slots), first);
	struct dirty_owner *o;

	if (!slot || (slot->flags & MEMSLOT_INVALID))
		return -ENOENT;
	if (npages > memslot_end(slot) - first)
		return -EINVAL;
	o = find_owner(sh, slot->id);
	if (!o && !mutant(116))
		return -EPERM;
	if (OWNER_CHECKED && o && o->owner.lock && !mutant(1164))
		lock_assert_held(o->owner.lock);
	*r = (struct range){
		.sh = sh,
		.slot = slot,
		.owner = o,
		.gfn = first,
		.end = first + npages,
	};
	return 0;
}

/* Entries are stable but for faults that add to them, A and D: brackets are kept out. Under dirty_lock(). */
static int range_check(struct range *r)
{
	ept_for_each(&r->sh->ept, r->gfn, r->end, check_leaf, r);
	if (r->refused && !mutant(116))
		return -EPERM;
	return dirty_split(r->sh, r->gfn, r->end);
}

static int64_t wrprotect_locked(struct range *r)
{
	struct ept_span span;
	bool exclusive;
	int rc;

	exclusive = dirty_lock(r->sh, r->gfn, r->end);
	rc = range_check(r);
	if (!rc) {
		dirty_flush_begin(r->sh);
		span = ept_wrprotect(&r->sh->ept, r->gfn, r->end, EPT_WP_LOG);
		dirty_flush_end(r->sh, r->slot, span, r->gfn, r->end);
	}
	dirty_unlock(r->sh, exclusive);
	return rc ? rc : (int64_t)span.count;
}

int64_t shadow_wrprotect_range(struct shadow *sh, gfn_t first, uint64_t npages)
{
	struct range r;
	int64_t rc;

	sync_rcu_read_lock();
	rc = range_begin(&r, sh, first, npages);
	if (!rc)
		rc = wrprotect_locked(&r);
	sync_rcu_read_unlock();
	return rc;
}

/* Did a zap take @gfn with D? Not any more. */
static bool take_spill(const struct range *r, gfn_t gfn)
{
	uint64_t page = gfn - r->slot->gfn, bit = 1UL << page % 64;
	_Atomic uint64_t *word;

	if (!r->owner)
		return false;
	word = &r->owner->spill[page / 64];
	return (sync_load(word) & bit) && (sync_fetch_and(word, ~bit) & bit);
}

static void record(void *ctx, gfn_t gfn, uint64_t npages)
{
	struct range *r = ctx;

	for (uint64_t i = 0; i < npages; i++) {
		uint64_t bit = gfn + i - (mutant(110) ? r->gfn : r->bitmap_gfn);

		/* Dirtied, zapped, and dirtied again: one page. */
		(void)take_spill(r, gfn + i);
		r->bitmap[bit / 64] |= 1UL << bit % 64;
		r->start = min_u64(r->start, bit);
		r->last = max_u64(r->last, bit + 1);
	}
}

/* What zaps took with D. After the table: a zap moves it from there to here, and is kept out meanwhile. */
static uint64_t take_spilled(struct range *r)
{
	uint64_t n = 0;

	for (gfn_t gfn = r->gfn; gfn < r->end; gfn++) {
		if (!take_spill(r, gfn))
			continue;
		record(r, gfn, 1);
		n++;
	}
	return n;
}

static int64_t clean_locked(struct range *r)
{
	struct ept_span span;
	uint64_t n = 0;
	bool exclusive;
	int rc;

	exclusive = dirty_lock(r->sh, r->gfn, r->end);
	rc = range_check(r);
	if (!rc && mutant(111)) { /* flush, then clean */
		span = (struct ept_span){ .start = r->gfn, .end = r->end, .count = 1 };
		dirty_flush_begin(r->sh);
		dirty_flush_end(r->sh, r->slot, span, r->gfn, r->end);
		n = ept_clear_dirty(&r->sh->ept, r->gfn, r->end, record, r).count;
	} else if (!rc) {
		dirty_flush_begin(r->sh);
		span = ept_clear_dirty(&r->sh->ept, r->gfn, r->end, record, r);
		dirty_flush_end(r->sh, r->slot, span, r->gfn, r->end);
		n = span.count + take_spilled(r);
	}
	dirty_unlock(r->sh, exclusive);
	return rc ? rc : (int64_t)n;
}

int64_t shadow_clean_record_range(struct shadow *sh, gfn_t first, uint64_t npages, gfn_t bitmap_gfn,
				  uint64_t *bitmap, uint64_t *start, uint64_t *end)
{
	bool none_set = *start >= *end;
	struct range r;
	int64_t rc;

	if (!dirty_by_d_bit(sh))
		return -EOPNOTSUPP;
	if (bitmap_gfn > first)
		return -EINVAL;
	sync_rcu_read_lock();
	rc = range_begin(&r, sh, first, npages);
	if (!rc) {
		r.bitmap_gfn = bitmap_gfn;
		r.bitmap = bitmap;
		r.start = none_set ? UINT64_MAX : *start;
		r.last = none_set ? 0 : *end;
		rc = clean_locked(&r);
	}
	sync_rcu_read_unlock();
	if (rc > 0) {
		*start = r.start;
		*end = r.last;
	}
	return rc;
}
