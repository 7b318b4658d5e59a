/* SPDX-License-Identifier: BSD-2-Clause */
#include "mmu/notify/interval_tree.h"

#include <stdbool.h>
#include <string.h>

#include "mmu/base/bug.h"

static uint64_t max3(uint64_t a, uint64_t b, uint64_t c)
{
	uint64_t ab = a > b ? a : b;

	return ab > c ? ab : c;
}

/* The largest end in the subtree of @node. */
static uint64_t reach(const struct interval_node *node)
{
	return max3(node->end, node->max_end[0], node->max_end[1]);
}

static uint8_t height(const struct interval_node *node)
{
	return 1 + (node->height[0] > node->height[1] ? node->height[0] : node->height[1]);
}

/* What @node knows of its child on @side becomes true again. */
static void refresh(struct interval_node *node, int side)
{
	const struct interval_node *child = node->child[side];

	node->max_end[side] = child ? reach(child) : 0;
	node->height[side] = child ? height(child) : 0;
	for (int i = 0; i < 2; i++)
		node->grandchild[side][i] = child ? child->child[i] : NULL;
}

static void set_child(struct interval_node *node, int side, struct interval_node *child)
{
	node->child[side] = child;
	if (child)
		child->parent = node;
}

/* @new, or nothing, takes the place of @old under its parent. */
static void replace(struct interval_tree *tree, const struct interval_node *old,
		    struct interval_node *new)
{
	struct interval_node *parent = old->parent;

	if (parent) {
		set_child(parent, parent->child[1] == old, new);
		return;
	}
	tree->root = new;
	if (new)
		new->parent = NULL;
}

/* The child on @side takes the place of @node, and @node becomes its child on the other side. */
static struct interval_node *rotate(struct interval_tree *tree, struct interval_node *node,
				    int side)
{
	struct interval_node *up = node->child[side];

	replace(tree, node, up);
	set_child(node, side, up->child[!side]);
	set_child(up, !side, node);
	refresh(node, side);
	refresh(up, !side);
	return up;
}

static struct interval_node *balance(struct interval_tree *tree, struct interval_node *node)
{
	int high = node->height[1] > node->height[0];
	struct interval_node *child = node->child[high];

	if (node->height[high] <= node->height[!high] + 1)
		return node;
	if (child->height[!high] > child->height[high])
		rotate(tree, child, !high);
	return rotate(tree, node, high);
}

/* A child of @node is another than before: put everything right from here to the root. */
static void fix_up(struct interval_tree *tree, struct interval_node *node)
{
	if (!node)
		return;
	refresh(node, 0);
	refresh(node, 1);
	for (;;) {
		node = balance(tree, node);
		if (!node->parent)
			return;
		refresh(node->parent, node->parent->child[1] == node);
		node = node->parent;
	}
}

void interval_tree_insert(struct interval_tree *tree, struct interval_node *node)
{
	struct interval_node *parent = NULL;
	int side = 0;

	bug_on(node->start >= node->end);
	for (struct interval_node *at = tree->root; at; at = at->child[side]) {
		parent = at;
		side = node->start >= at->start;
	}
	set_child(node, 0, NULL);
	set_child(node, 1, NULL);
	refresh(node, 0);
	refresh(node, 1);
	node->parent = parent;
	if (parent)
		parent->child[side] = node;
	else
		tree->root = node;
	fix_up(tree, parent);
}

void interval_tree_remove(struct interval_tree *tree, struct interval_node *node)
{
	struct interval_node *from = node->parent, *next = node->child[1];

	if (!node->child[0] || !next) {
		replace(tree, node, next ? next : node->child[0]);
		fix_up(tree, from);
		return;
	}
	/* The next node has no left child: take it out and put it where @node is. */
	while (next->child[0])
		next = next->child[0];
	from = next->parent == node ? next : next->parent;
	replace(tree, next, next->child[1]);
	for (int side = 0; side < 2; side++) {
		set_child(next, side, node->child[side]);
		next->max_end[side] = node->max_end[side];
		next->height[side] = node->height[side];
		memcpy(next->grandchild[side], node->grandchild[side],
		       sizeof(next->grandchild[side]));
	}
	replace(tree, node, next);
	fix_up(tree, from);
}

/*
 * Step down. Both nodes that may come after the next one are fetched beside it: below what the cache holds, two levels cost
 * one wait for memory.
 */
static struct interval_node *descend(const struct interval_node *node, int side)
{
	__builtin_prefetch(node->grandchild[side][0]);
	__builtin_prefetch(node->grandchild[side][1]);
	return node->child[side];
}

/*
 * The first hit in the subtree of @node, some end in which is above @start. Where some end on the left is, the answer is there,
 * or nowhere: if that interval is no hit, it starts at or after @end, and so do all that follow.
 */
static struct interval_node *first_below(struct interval_node *node, uint64_t start, uint64_t end)
{
	for (;;) {
		if (node->max_end[0] > start) {
			node = descend(node, 0);
			continue;
		}
		if (node->start >= end)
			return NULL;
		if (node->end > start)
			return node;
		if (node->max_end[1] <= start)
			return NULL;
		node = descend(node, 1);
	}
}

struct interval_node *interval_tree_first(const struct interval_tree *tree, uint64_t start,
					  uint64_t end)
{
	if (!tree->root || reach(tree->root) <= start)
		return NULL;
	return first_below(tree->root, start, end);
}

struct interval_node *interval_tree_next(struct interval_node *node, uint64_t start, uint64_t end)
{
	for (;;) {
		const struct interval_node *below;

		if (node->max_end[1] > start)
			return first_below(node->child[1], start, end);
		do {
			below = node;
			node = node->parent;
			if (!node)
				return NULL;
		} while (below == node->child[1]);
		if (node->start >= end)
			return NULL;
		if (node->end > start)
			return node;
	}
}

size_t interval_tree_check(const struct interval_tree *tree)
{
	const struct interval_node *node = tree->root, *from = NULL, *prev = NULL;
	size_t count = 0;

	bug_on(node && node->parent);
	/* In order, without recursion: @from is the neighbour that the walk comes from. */
	while (node) {
		const struct interval_node *to = node->parent;

		if (from == node->parent && node->child[0]) {
			to = node->child[0];
		} else if (from == node->parent || from == node->child[0]) {
			bug_on(prev && prev->start > node->start);
			prev = node;
			count++;
			to = node->child[1] ? node->child[1] : node->parent;
		}
		if (to == node->parent)
			for (int side = 0; side < 2; side++) {
				const struct interval_node *child = node->child[side];

				bug_on(child && child->parent != node);
				bug_on(node->max_end[side] != (child ? reach(child) : 0));
				bug_on(node->height[side] != (child ? height(child) : 0));
				for (int i = 0; i < 2; i++)
					bug_on(node->grandchild[side][i] !=
					       (child ? child->child[i] : NULL));
				bug_on(node->height[side] > node->height[!side] + 1);
			}
		from = node;
		node = to;
	}
	return count;
}
