/* SPDX-License-Identifier: BSD-2-Clause */
#include "mmu/shadow/slot.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct memslots *memslots_alloc(unsigned count)
{
	struct memslots *all = malloc(sizeof(*all) + count * sizeof(all->slot[0]));

	if (all)
		all->count = count;
	return all;
}

int slots_init(struct slots *slots)
{
	struct memslots *none = memslots_alloc(0);

	atomic_init(&slots->current, none);
	return none ? 0 : -ENOMEM;
}

void slots_fini(struct slots *slots)
{
	free(sync_load(&slots->current));
}

const struct memslots *slots_get(struct slots *slots)
{
	return sync_load_acquire(&slots->current); /* pairs with slots_publish() */
}

/* Index of the first slot that ends after @gfn. */
static unsigned first_after(const struct memslots *all, gfn_t gfn)
{
	unsigned low = 0, high = all->count;

	while (low < high) {
		unsigned middle = low + (high - low) / 2;

		if (memslot_end(&all->slot[middle]) <= gfn)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

const struct memslot *memslots_find(const struct memslots *all, gfn_t gfn)
{
	unsigned i = first_after(all, gfn);

	return i < all->count && all->slot[i].gfn <= gfn ? &all->slot[i] : NULL;
}

/* Index of slot @id, or count. */
static unsigned find_id(const struct memslots *all, unsigned id)
{
	unsigned at;

	for (at = 0; at < all->count && all->slot[at].id != id; at++)
		;
	return at;
}

struct memslots *slots_publish(struct slots *slots, struct memslots *next)
{
	return sync_exchange(&slots->current, next);
}

int slots_with(struct slots *slots, const struct memslot *slot, struct memslots **next)
{
	const struct memslots *old = slots_get(slots);
	unsigned at = first_after(old, slot->gfn);
	struct memslots *new;

	if (at < old->count && old->slot[at].gfn < memslot_end(slot))
		return -EEXIST;
	if (find_id(old, slot->id) < old->count)
		return -EEXIST;
	new = memslots_alloc(old->count + 1);
	if (!new)
		return -ENOMEM;
	memcpy(new->slot, old->slot, at * sizeof(*slot));
	new->slot[at] = *slot;
	memcpy(new->slot + at + 1, old->slot + at, (old->count - at) * sizeof(*slot));
	*next = new;
	return 0;
}

int slots_without(struct slots *slots, unsigned id, struct memslots **next)
{
	const struct memslots *old = slots_get(slots);
	unsigned at = find_id(old, id);
	struct memslots *new;

	if (at == old->count)
		return -ENOENT;
	new = memslots_alloc(old->count - 1);
	if (!new)
		return -ENOMEM;
	memcpy(new->slot, old->slot, at * sizeof(new->slot[0]));
	memcpy(new->slot + at, old->slot + at + 1, (old->count - at - 1) * sizeof(new->slot[0]));
	*next = new;
	return 0;
}

int slots_invalid(struct slots *slots, unsigned id, struct memslots **next)
{
	const struct memslots *old = slots_get(slots);
	unsigned at = find_id(old, id);
	struct memslots *new;

	if (at == old->count)
		return -ENOENT;
	new = memslots_alloc(old->count);
	if (!new)
		return -ENOMEM;
	memcpy(new->slot, old->slot, old->count * sizeof(new->slot[0]));
	new->slot[at].flags |= MEMSLOT_INVALID;
	*next = new;
	return 0;
}
