/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Half-open intervals in order of their start, those of equal start in order of insertion; which of them meet a range
 * is found in O(log n + hits). An AVL tree that knows the largest end below each node.
 * Owns no memory: nodes are members of the caller's structures. The caller's lock guards. Knows nothing of notifiers.
 */
#ifndef UMBRA_MMU_NOTIFY_INTERVAL_TREE_H
#define UMBRA_MMU_NOTIFY_INTERVAL_TREE_H

#include <stddef.h>
#include <stdint.h>

/*
 * What a search asks about a child (how far does it reach?) stands in the parent, so that it reads only nodes on its
 * path, one cache line of each where the caller aligns it. Index 0 is left, 1 is right.
 */
struct interval_node {
	uint64_t start, end; /* set by the caller before insert, then constant; start < end */
	uint64_t max_end[2]; /* the largest end in the subtree on that side; 0 without one */
	struct interval_node *child[2];
	struct interval_node *
		grandchild[2][2]; /* of the child on that side, NULL without: to be fetched early */
	struct interval_node *parent;
	uint8_t height[2]; /* of the subtree on that side; 0 without one */
};

struct interval_tree {
	struct interval_node *root;
};

static inline void interval_tree_init(struct interval_tree *tree)
{
	tree->root = NULL;
}

/* Add @node, whose start and end are set. O(log n). */
void interval_tree_insert(struct interval_tree *tree, struct interval_node *node);

/* Take @node, which is in @tree, out. O(log n). */
void interval_tree_remove(struct interval_tree *tree, struct interval_node *node);

/*
 * The first node that meets [start, end), and the one that follows @node; NULL when there is none. The tree must not
 * change between the two. start < end.
 */
struct interval_node *interval_tree_first(const struct interval_tree *tree, uint64_t start,
					  uint64_t end);
struct interval_node *interval_tree_next(struct interval_node *node, uint64_t start, uint64_t end);

/* Broken invariants end in bug_on(). Returns the number of nodes. O(n), for tests. */
size_t interval_tree_check(const struct interval_tree *tree);

#endif
