/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A circular list through nodes that are members of something else; the head is a node, too.
 * Owns no state; the caller's lock guards. Anyone may include it. Knows nothing above mmu/base.
 */
#ifndef UMBRA_MMU_BASE_LIST_H
#define UMBRA_MMU_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list_node {
	struct list_node *next, *prev;
};

static inline void list_init(struct list_node *head)
{
	head->next = head;
	head->prev = head;
}

static inline bool list_is_empty(const struct list_node *head)
{
	return head->next == head;
}

static inline void list_add_tail(struct list_node *head, struct list_node *node)
{
	node->next = head;
	node->prev = head->prev;
	head->prev->next = node;
	head->prev = node;
}

static inline void list_del(struct list_node *node)
{
	node->prev->next = node->next;
	node->next->prev = node->prev;
}

/* The structure of @type that has @node as its @member. */
#define list_entry(node, type, member) ((type *)(void *)((char *)(node)-offsetof(type, member)))

#endif
