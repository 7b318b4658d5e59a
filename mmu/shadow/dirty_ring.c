/* SPDX-License-Identifier: BSD-2-Clause */
#include "mmu/shadow/dirty_ring.h"

#include <errno.h>
#include <stdlib.h>

#include "mmu/base/mutant.h"
#include "mmu/shadow/dirty_priv.h"
#include "mmu/shadow/shadow_priv.h"

/* Entries kept for faults that passed the test for room side by side. Kernel: KVM_DIRTY_RING_RSVD_ENTRIES. */
#define RESERVED_MAX 64u

/* Kernel: KVM_DIRTY_GFN_F_DIRTY, _RESET. */
enum { GFN_FREE, GFN_DIRTY, GFN_RESET };

struct entry {
	unsigned state;
	struct shadow_dirty_gfn gfn;
};

/* Indices count up for ever; reset <= fetch <= dirty <= reset + size. */
struct ring {
	uint64_t dirty, fetch, reset; /* [r] */
	struct entry *entry;	      /* [r] of size */
};

/*
 * Locks used to protect members:
 *	I	immutable once published in shadow->dirty.rings
 *	r	lock, a leaf: under mmu_lock, or alone
 */
struct dirty_rings {
	unsigned count, size, soft_limit; /* [I] */
	struct lock lock;
	struct cond changed;		      /* room, a full ring, or released */
	bool released;			      /* [r] */
	struct shadow_dirty_ring_stats stats; /* [r] */
	struct ring ring[];
};

static void rings_free(struct dirty_rings *rings)
{
	for (unsigned i = 0; i < rings->count; i++)
		free(rings->ring[i].entry);
	cond_fini(&rings->changed);
	lock_fini(&rings->lock);
	free(rings);
}

static struct dirty_rings *rings_alloc(unsigned count, unsigned size)
{
	struct dirty_rings *rings = calloc(1, sizeof(*rings) + count * sizeof(rings->ring[0]));

	if (!rings)
		return NULL;
	rings->count = count;
	rings->size = size;
	rings->soft_limit = size - (size / 2 < RESERVED_MAX ? size / 2 : RESERVED_MAX);
	lock_init(&rings->lock);
	cond_init(&rings->changed);
	for (unsigned i = 0; i < count; i++) {
		rings->ring[i].entry = calloc(size, sizeof(struct entry));
		if (!rings->ring[i].entry) {
			rings_free(rings);
			return NULL;
		}
	}
	return rings;
}

static int enable_locked(struct shadow *sh, unsigned count, unsigned size)
{
	struct dirty_rings *rings;

	if (sync_load(&sh->dirty.rings))
		return -EEXIST;
	if (dirty_some_slot_logs(sh))
		return -EBUSY;
	rings = rings_alloc(count, size);
	if (!rings)
		return -ENOMEM;
	sync_store_release(&sh->dirty.rings, rings); /* pairs with get_rings() */
	return 0;
}

int shadow_dirty_ring_enable(struct shadow *sh, unsigned rings, unsigned size)
{
	int rc;

	if (!rings || rings > SHADOW_DIRTY_RINGS_MAX || size < SHADOW_DIRTY_RING_MIN ||
	    size > SHADOW_DIRTY_RING_MAX || (size & (size - 1)))
		return -EINVAL;
	if (dirty_by_d_bit(sh))
		return -EOPNOTSUPP;
	lock_acquire(&sh->slots_lock);
	rc = enable_locked(sh, rings, size);
	lock_release(&sh->slots_lock);
	return rc;
}

void dirty_rings_fini(struct shadow *sh)
{
	struct dirty_rings *rings = sync_load(&sh->dirty.rings);

	if (rings)
		rings_free(rings);
}

static struct dirty_rings *get_rings(struct shadow *sh)
{
	return sync_load_acquire(&sh->dirty.rings);
}

int shadow_dirty_ring_bind(struct shadow *sh, unsigned ring, uint32_t tid)
{
	if (ring >= SHADOW_DIRTY_RINGS_MAX)
		return -EINVAL;
	atomic_store_explicit(&sh->dirty.producer[ring], tid, memory_order_relaxed);
	return 0;
}

unsigned shadow_dirty_ring_of(struct shadow *sh, uint32_t tid)
{
	_Atomic uint32_t *producer = sh->dirty.producer;

	if (!tid || !get_rings(sh))
		return 0;
	for (unsigned i = 0; i < SHADOW_DIRTY_RINGS_MAX; i++)
		if (atomic_load_explicit(&producer[i], memory_order_relaxed) == tid)
			return i;
	return 0;
}

static bool is_soft_full(const struct dirty_rings *rings, const struct ring *ring)
{
	return ring->dirty - ring->reset >= rings->soft_limit;
}

static bool is_some_full(const struct dirty_rings *rings)
{
	for (unsigned i = 0; i < rings->count; i++)
		if (is_soft_full(rings, &rings->ring[i]))
			return true;
	return false;
}

/* False: not an entry of a ring. */
static bool push(struct dirty_rings *rings, unsigned n, const struct memslot *slot, gfn_t gfn)
{
	struct ring *ring = &rings->ring[n];
	struct entry *entry = &ring->entry[ring->dirty % rings->size];

	lock_assert_held(&rings->lock);
	if (ring->dirty - ring->reset >= rings->size && !mutant(1162)) {
		rings->stats.overflowed++;
		return false;
	}
	if (!mutant(1162))
		bug_on(entry->state != GFN_FREE);
	*entry = (struct entry){ .state = GFN_DIRTY,
				 .gfn = { .slot = slot->id, .offset = gfn - slot->gfn } };
	ring->dirty++;
	rings->stats.pushed++;
	if (is_soft_full(rings, ring))
		cond_broadcast(&rings->changed);
	return true;
}

void shadow_mark_dirty_ring(struct shadow *sh, const struct memslot *slot, gfn_t gfn, unsigned ring)
{
	struct dirty_rings *rings = slot->dirty ? get_rings(sh) : NULL;
	bool pushed = false;

	if (rings && ring < rings->count) {
		lock_acquire(&rings->lock);
		pushed = push(rings, ring, slot, gfn);
		lock_release(&rings->lock);
	}
	if (!pushed)
		shadow_mark_dirty(slot, gfn);
}

int shadow_dirty_wait_room(struct shadow *sh, unsigned ring, bool may_wait)
{
	struct dirty_rings *rings = get_rings(sh);
	int rc = 0;

	if (!rings || ring >= rings->count)
		return 0;
	lock_acquire(&rings->lock);
	if (mutant(1166)) /* any ring that is full */
		while (is_some_full(rings) && !rings->released)
			cond_wait(&rings->changed, &rings->lock);
	if (is_soft_full(rings, &rings->ring[ring]) && !rings->released && !mutant(1161)) {
		rings->stats.waits += may_wait;
		if (!may_wait)
			rc = -EBUSY;
		while (may_wait && is_soft_full(rings, &rings->ring[ring]) && !rings->released)
			cond_wait(&rings->changed, &rings->lock);
	}
	lock_release(&rings->lock);
	return rc;
}

int shadow_dirty_ring_collect(struct shadow *sh, unsigned ring, struct shadow_dirty_gfn *to,
			      unsigned max)
{
	struct dirty_rings *rings = get_rings(sh);
	struct ring *from;
	unsigned got = 0;

	if (!rings || ring >= rings->count || max > INT32_MAX)
		return -EINVAL;
	from = &rings->ring[ring];
	lock_acquire(&rings->lock);
	for (; got < max && from->fetch < from->dirty; got++) {
		struct entry *entry = &from->entry[from->fetch++ % rings->size];

		bug_on(entry->state != GFN_DIRTY);
		entry->state = GFN_RESET;
		to[got] = entry->gfn;
	}
	lock_release(&rings->lock);
	return (int)got;
}

/* Pages of one slot near each other: bit n of mask is page offset + n. */
struct group {
	unsigned slot;
	uint64_t offset, mask;
};

/* Does the page fit into the group? It may lie before its first one. Kernel: the same in kvm_dirty_ring_reset(). */
static bool join(struct group *g, const struct shadow_dirty_gfn *gfn)
{
	int64_t delta = (int64_t)(gfn->offset - g->offset);

	if (!g->mask) {
		*g = (struct group){ .slot = gfn->slot, .offset = gfn->offset, .mask = 1 };
		return true;
	}
	if (gfn->slot != g->slot || delta <= -64 || delta >= 64)
		return false;
	if (delta >= 0) {
		g->mask |= 1UL << delta;
		return true;
	}
	if (g->mask << -delta >> -delta != g->mask)
		return false;
	g->offset = gfn->offset;
	g->mask = g->mask << -delta | 1;
	return true;
}

/*
 * Free the next collected entries that fit into one group. Before their pages are protected: a page makes no second entry
 * until then.
 */
static unsigned take_group(struct dirty_rings *rings, struct ring *ring, struct group *g)
{
	unsigned taken = 0;

	lock_acquire(&rings->lock);
	for (; ring->reset < ring->fetch; ring->reset++, taken++) {
		struct entry *entry = &ring->entry[ring->reset % rings->size];

		bug_on(entry->state != GFN_RESET);
		if (!join(g, &entry->gfn))
			break;
		entry->state = GFN_FREE;
	}
	rings->stats.reset += taken;
	rings->stats.protect_calls += taken > 0;
	lock_release(&rings->lock);
	return taken;
}

/* slots_lock keeps the slot. It may have gone, or be another with the id, since the page was stored to. */
static void protect_group(struct shadow *sh, const struct group *g)
{
	const struct memslot *slot = dirty_slot(sh, g->slot);
	uint64_t last = 63 - (unsigned)__builtin_clzl(g->mask);
	bool exclusive;
	gfn_t gfn;

	if (!slot || !slot->dirty || g->offset >= slot->npages ||
	    last >= slot->npages - g->offset || mutant(1163))
		return;
	gfn = slot->gfn + g->offset;
	exclusive = dirty_lock(sh, gfn, gfn + last + 1);
	dirty_protect_mask(sh, slot, g->offset, g->mask);
	dirty_unlock(sh, exclusive);
}

unsigned shadow_dirty_ring_reset(struct shadow *sh)
{
	struct dirty_rings *rings = get_rings(sh);
	unsigned total = 0;

	if (!rings)
		return 0;
	lock_acquire(&sh->slots_lock);
	for (unsigned i = 0; i < rings->count; i++)
		for (;;) {
			struct group g = { .mask = 0 };
			unsigned taken = take_group(rings, &rings->ring[i], &g);

			if (!taken)
				break;
			protect_group(sh, &g);
			total += taken;
		}
	lock_release(&sh->slots_lock);
	lock_acquire(&rings->lock);
	if (!mutant(1165))
		cond_broadcast(&rings->changed);
	lock_release(&rings->lock);
	return total;
}

bool shadow_dirty_ring_wait_full(struct shadow *sh)
{
	struct dirty_rings *rings = get_rings(sh);
	bool released;

	if (!rings)
		return false;
	lock_acquire(&rings->lock);
	while (!is_some_full(rings) && !rings->released)
		cond_wait(&rings->changed, &rings->lock);
	released = rings->released;
	lock_release(&rings->lock);
	return !released;
}

void shadow_dirty_ring_release(struct shadow *sh)
{
	struct dirty_rings *rings = get_rings(sh);

	if (!rings)
		return;
	lock_acquire(&rings->lock);
	rings->released = true;
	cond_broadcast(&rings->changed);
	lock_release(&rings->lock);
}

void shadow_dirty_ring_get_stats(struct shadow *sh, struct shadow_dirty_ring_stats *stats)
{
	struct dirty_rings *rings = get_rings(sh);

	*stats = (struct shadow_dirty_ring_stats){ 0 };
	if (!rings)
		return;
	lock_acquire(&rings->lock);
	*stats = rings->stats;
	lock_release(&rings->lock);
}
