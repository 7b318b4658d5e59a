/* SPDX-License-Identifier: BSD-2-Clause */
/* Tables as memory: taken in chunks, dead ones used again after a grace period. */
#include <stdlib.h>
#include <string.h>

#include "mmu/shadow/ept_priv.h"

/*
 * What the C library puts beside an aligned page costs another page, so it gives many at a time. One by one where a use after
 * the free is to be seen.
 */
#if defined(UMBRA_EXPLORER) || defined(UMBRA_SANITIZED)
#define CHUNK_TABLES 1u
#else
#define CHUNK_TABLES 32u
#endif

/* Tables between the root and a page: what a first fault needs. */
#define FIRST_TABLES 3u

/* In entry 1 of a dead root: it is not one of the tables. Any address will do. */
#define ROOT_MARK    (SPTE_FROZEN | PAGE_SIZE)

struct ept_chunk {
	struct ept_chunk *next;
	unsigned left;		/* the last so many tables have never been used, nor touched */
	struct ept_page *table; /* opts.chunk of them */
};

static bool chunk_add(struct ept *ept)
{
	struct ept_chunk *chunk = malloc(sizeof(*chunk));
	struct ept_page *table = aligned_alloc(PAGE_SIZE, ept->opts.chunk * sizeof(*table));

	if (!chunk || !table) {
		free(chunk);
		free(table);
		return false;
	}
	*chunk = (struct ept_chunk){ .next = ept->chunks, .left = ept->opts.chunk, .table = table };
	ept->chunks = chunk;
	return true;
}

static struct ept_page *take(struct ept *ept)
{
	struct ept_page *table = ept->free;

	lock_assert_held(&ept->mem_lock);
	if (table) {
		ept->free = (struct ept_page *)(uintptr_t)sync_load(&table->spte[0]);
		return table;
	}
	if ((!ept->chunks || !ept->chunks->left) && !chunk_add(ept))
		return NULL;
	return &ept->chunks->table[ept->opts.chunk - ept->chunks->left--];
}

struct ept_page *table_alloc(struct ept *ept)
{
	struct ept_page *table;

	if (ept->opts.chunk == 1) {
		table = aligned_alloc(PAGE_SIZE, sizeof(*table));
	} else {
		lock_acquire(&ept->mem_lock);
		table = take(ept);
		lock_release(&ept->mem_lock);
	}
	if (!table)
		return NULL;
	memset(table, 0, sizeof(*table));
	atomic_fetch_add_explicit(&ept->table_pages, 1, memory_order_relaxed);
	return table;
}

void table_free(struct ept *ept, struct ept_page *table)
{
	atomic_fetch_sub_explicit(&ept->table_pages, 1, memory_order_relaxed);
	if (ept->opts.chunk == 1) {
		free(table);
		return;
	}
	lock_acquire(&ept->mem_lock);
	sync_store(&table->spte[0], (uint64_t)(uintptr_t)ept->free);
	ept->free = table;
	lock_release(&ept->mem_lock);
}

/* One at a time: there is one, and for a while another. */
struct ept_page *ept_root_alloc(struct ept *ept)
{
	struct ept_root *root = aligned_alloc(PAGE_SIZE, sizeof(*root));

	if (!root)
		return NULL;
	memset(root, 0, sizeof(*root));
	atomic_fetch_add_explicit(&ept->table_pages, 1, memory_order_relaxed);
	return &root->page;
}

void ept_root_free(struct ept *ept, struct ept_page *root)
{
	atomic_fetch_sub_explicit(&ept->table_pages, 1, memory_order_relaxed);
	free(root);
}

/* A stack without a lock: only ept_reap() takes off, and takes all. The link lies in a frozen entry. */
void table_is_dead(struct ept *ept, struct ept_page *table)
{
	uint64_t head = sync_load(&ept->dead);

	/* Before another can reap it. */
	atomic_fetch_add_explicit(&ept->dead_pages, 1, memory_order_relaxed);
	do
		sync_store(&table->spte[0], SPTE_FROZEN | head);
	while (!sync_cas(&ept->dead, &head, (uint64_t)(uintptr_t)table));
}

void root_is_dead(struct ept *ept, struct ept_page *root)
{
	sync_store(&root->spte[1], ROOT_MARK);
	table_is_dead(ept, root);
}

static void free_dead(struct ept *ept, uint64_t head)
{
	while (head) {
		struct ept_page *table = (struct ept_page *)(uintptr_t)head;

		head = sync_load(&table->spte[0]) & SPTE_ADDR_MASK;
		if (sync_load(&table->spte[1]) == ROOT_MARK)
			ept_root_free(ept, table);
		else
			table_free(ept, table);
		/* Release: pairs with ept_check(). */
		atomic_fetch_sub_explicit(&ept->dead_pages, 1, memory_order_release);
	}
}

void ept_reap(struct ept *ept)
{
	uint64_t head;

	if (!sync_load(&ept->dead))
		return;
	head = sync_exchange(&ept->dead, 0);
	if (!mutant(51))
		sync_rcu_wait();
	free_dead(ept, head);
}

/* So that the first fault does not wait for the system to find memory. If there is none yet, it asks again. */
static void prepare_first(struct ept *ept)
{
	if (ept->opts.chunk <= FIRST_TABLES || !chunk_add(ept))
		return;
	for (unsigned i = 0; i < FIRST_TABLES; i++)
		atomic_init(&ept->chunks->table[i].spte[0], 0);
}

void mem_init(struct ept *ept)
{
	lock_init(&ept->mem_lock);
	if (!ept->opts.chunk)
		ept->opts.chunk = CHUNK_TABLES;
	prepare_first(ept);
}

void mem_fini(struct ept *ept)
{
	free_dead(ept, sync_exchange(&ept->dead, 0));
	while (ept->chunks) {
		struct ept_chunk *chunk = ept->chunks;

		ept->chunks = chunk->next;
		free(chunk->table);
		free(chunk);
	}
	lock_fini(&ept->mem_lock);
}
