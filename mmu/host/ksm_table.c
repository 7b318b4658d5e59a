/* SPDX-License-Identifier: BSD-2-Clause */
/* Tables by checksum: linear probing, at most half full, which a good hash makes a look at one line of the cache. */
#include <stdlib.h>

#include "mmu/host/ksm_priv.h"

#define SMALLEST 256u

static struct ksm_node *place(const struct ksm_table *t, uint64_t i)
{
	return &t->node[i & (t->size - 1)];
}

struct ksm_node *ksm_table_next(const struct ksm_table *t, uint64_t sum, struct ksm_node *prev)
{
	uint64_t i = prev ? (uint64_t)(prev - t->node) + 1 : sum;

	if (!t->size)
		return NULL;
	for (; place(t, i)->sum; i++)
		if (place(t, i)->sum == sum)
			return place(t, i);
	return NULL;
}

static struct ksm_node *add(struct ksm_table *t, const struct ksm_node *n)
{
	uint64_t i = n->sum;

	while (place(t, i)->sum)
		i++;
	*place(t, i) = *n;
	t->count++;
	return place(t, i);
}

static bool resize(struct ksm_table *t, uint64_t size)
{
	struct ksm_table new = { .node = calloc(size, sizeof(*new.node)), .size = size };

	if (!new.node)
		return false;
	for (uint64_t i = 0; i < t->size; i++)
		if (t->node[i].sum)
			add(&new, &t->node[i]);
	free(t->node);
	*t = new;
	return true;
}

struct ksm_node *ksm_table_add(struct ksm_table *t, uint64_t sum)
{
	if (2 * (t->count + 1) > t->size && !resize(t, t->size ? 2 * t->size : SMALLEST))
		return NULL;
	return add(t, &(struct ksm_node){ .sum = sum });
}

void ksm_table_clear(struct ksm_table *t)
{
	for (uint64_t i = 0; t->count && i < t->size; i++)
		t->node[i].sum = KSM_NONE;
	t->count = 0;
}

/*
 * In place: what a hole cuts off from where its checksum points moves down into it. From behind a free place, so that no run
 * is begun in its middle.
 */
void ksm_table_keep(struct ksm_table *t, bool (*keep)(struct ksm *ksm, struct ksm_node *n),
		    struct ksm *ksm)
{
	uint64_t first = 0;

	if (!t->count)
		return;
	while (place(t, first)->sum)
		first++;
	t->count = 0;
	for (uint64_t i = first + 1; i < first + t->size; i++) {
		struct ksm_node n = *place(t, i);

		place(t, i)->sum = KSM_NONE;
		if (n.sum && keep(ksm, &n))
			add(t, &n);
	}
}

void ksm_table_fini(struct ksm_table *t)
{
	free(t->node);
}
