/* SPDX-License-Identifier: BSD-2-Clause */
#include "mmu/shadow/slot.h"

#include <stdlib.h>

#include "mmu/base/list.h"

/* A slot in its trees: a node for each set, so that one set can be changed beside readers of the other. */
struct entry {
	struct memslot slot;
	struct interval_node gfn[2], hva[2];
	struct interval_node id;
};

void slots_init(struct slots *slots)
{
	for (unsigned i = 0; i < 2; i++) {
		slots->set[i].index = i;
		interval_tree_init(&slots->set[i].gfns);
		interval_tree_init(&slots->set[i].hvas);
		atomic_init(&slots->set[i].changing, false);
	}
	interval_tree_init(&slots->ids);
	slots->count = 0;
	atomic_init(&slots->current, &slots->set[0]);
}

void slots_fini(struct slots *slots)
{
	bug_on(slots->count || slots->set[0].gfns.root || slots->set[1].gfns.root);
}

const struct memslots *slots_get(struct slots *slots)
{
	return sync_load_acquire(&slots->current); /* pairs with slots_publish() */
}

/* ---- Readers ---- */

static struct entry *entry_of(const struct memslot *slot)
{
	return list_entry((uintptr_t)slot, struct entry, slot);
}

static const struct memslot *by_gfn(const struct memslots *all, struct interval_node *node)
{
	return node ? &list_entry(node, struct entry, gfn[all->index])->slot : NULL;
}

static const struct memslot *by_hva(const struct memslots *all, struct interval_node *node)
{
	return node ? &list_entry(node, struct entry, hva[all->index])->slot : NULL;
}

const struct memslot *memslots_first_gfn(const struct memslots *all, gfn_t start, gfn_t end)
{
	bug_on(sync_load(&all->changing));
	return by_gfn(all, interval_tree_first(&all->gfns, start, end));
}

const struct memslot *memslots_next_gfn(const struct memslots *all, const struct memslot *slot,
					gfn_t start, gfn_t end)
{
	bug_on(sync_load(&all->changing));
	return by_gfn(all, interval_tree_next(&entry_of(slot)->gfn[all->index], start, end));
}

const struct memslot *memslots_first_hva(const struct memslots *all, hva_t start, hva_t end)
{
	bug_on(sync_load(&all->changing));
	return by_hva(all, interval_tree_first(&all->hvas, start, end));
}

const struct memslot *memslots_next_hva(const struct memslots *all, const struct memslot *slot,
					hva_t start, hva_t end)
{
	bug_on(sync_load(&all->changing));
	return by_hva(all, interval_tree_next(&entry_of(slot)->hva[all->index], start, end));
}

const struct memslot *memslots_find(const struct memslots *all, gfn_t gfn)
{
	return memslots_first_gfn(all, gfn, gfn + 1);
}

/* ---- The writer ---- */

struct memslot *slots_first_id(struct slots *slots, unsigned id)
{
	struct interval_node *node = interval_tree_first(&slots->ids, id, 1UL << 32);

	return node ? &list_entry(node, struct entry, id)->slot : NULL;
}

struct memslot *slots_find_id(struct slots *slots, unsigned id)
{
	struct memslot *slot = slots_first_id(slots, id);

	return slot && slot->id == id ? slot : NULL;
}

bool slots_overlap(struct slots *slots, gfn_t gfn, gfn_t end, const struct memslot *except)
{
	const struct memslots *all = slots_get(slots);
	const struct memslot *slot = memslots_first_gfn(all, gfn, end);

	if (slot && slot == except)
		slot = memslots_next_gfn(all, slot, gfn, end);
	return slot;
}

struct memslot *memslot_alloc(const struct memslot *like)
{
	struct entry *entry = calloc(1, sizeof(*entry));

	if (!entry)
		return NULL;
	entry->slot = *like;
	for (unsigned i = 0; i < 2; i++) {
		entry->gfn[i].start = like->gfn;
		entry->gfn[i].end = memslot_end(like);
		entry->hva[i].start = like->hva;
		entry->hva[i].end = memslot_hva_end(like);
	}
	entry->id.start = like->id;
	entry->id.end = (uint64_t)like->id + 1;
	return &entry->slot;
}

void memslot_free(struct memslot *slot)
{
	if (slot)
		free(entry_of(slot));
}

static void change_set(struct memslots *set, struct memslot *old, struct memslot *new)
{
	sync_store(&set->changing, true);
	if (old) {
		interval_tree_remove(&set->gfns, &entry_of(old)->gfn[set->index]);
		interval_tree_remove(&set->hvas, &entry_of(old)->hva[set->index]);
	}
	if (new) {
		interval_tree_insert(&set->gfns, &entry_of(new)->gfn[set->index]);
		interval_tree_insert(&set->hvas, &entry_of(new)->hva[set->index]);
	}
	sync_store(&set->changing, false);
}

static struct memslots *other_set(struct slots *slots)
{
	return &slots->set[!slots_get(slots)->index];
}

void slots_stage(struct slots *slots, struct memslot *old, struct memslot *next)
{
	if (old)
		interval_tree_remove(&slots->ids, &entry_of(old)->id);
	if (next)
		interval_tree_insert(&slots->ids, &entry_of(next)->id);
	slots->count += (next != NULL) - (old != NULL);
	change_set(other_set(slots), old, next);
}

void slots_publish(struct slots *slots)
{
	/* Release: pairs with slots_get(), whose caller finds the trees changed. */
	sync_store_release(&slots->current, other_set(slots));
}

void slots_mirror(struct slots *slots, struct memslot *old, struct memslot *next)
{
	change_set(other_set(slots), old, next);
}
