// SPDX-License-Identifier: BSD-2-Clause
/* The interval tree beside a sorted array. */
#include "mmu/notify/interval_tree.h"

#include "tests/rig.h"
#include "tests/test.h"

#define NODES 512
#define SPAN  2048

static struct interval_node nodes[NODES];
static struct interval_node *sorted[NODES]; /* by start, then in order of insertion */
static unsigned count;
static struct interval_tree tree;

static void model_insert(struct interval_node *node)
{
	unsigned at = count++;

	for (; at && sorted[at - 1]->start > node->start; at--)
		sorted[at] = sorted[at - 1];
	sorted[at] = node;
}

static void model_remove(const struct interval_node *node)
{
	unsigned at = 0;

	while (sorted[at] != node)
		at++;
	for (count--; at < count; at++)
		sorted[at] = sorted[at + 1];
}

static void compare(uint64_t start, uint64_t end)
{
	struct interval_node *hit = interval_tree_first(&tree, start, end);

	for (unsigned i = 0; i < count; i++) {
		if (sorted[i]->start >= end || sorted[i]->end <= start)
			continue;
		check(hit == sorted[i], "[%lu, %lu)", start, end);
		hit = interval_tree_next(hit, start, end);
	}
	check(!hit, "[%lu, %lu)", start, end);
}

UTEST(interval_tree, agrees_with_a_sorted_array)
{
	uint64_t seed = 1;
	bool is_in[NODES] = { false };

	interval_tree_init(&tree);
	count = 0;
	for (unsigned step = 0; step < 60000; step++) {
		unsigned i = rig_random(&seed) % NODES;
		/* Grow to all nodes, shrink to none, and so on. */
		bool grow = step / 4000 % 2 ? rig_random(&seed) % 4 == 0 : rig_random(&seed) % 4;
		uint64_t start = rig_random(&seed) % SPAN;

		if (!is_in[i] && grow) {
			uint64_t longest = rig_random(&seed) % 8 ? 16 : SPAN;

			nodes[i].start = start;
			nodes[i].end = start + 1 + rig_random(&seed) % longest;
			interval_tree_insert(&tree, &nodes[i]);
			model_insert(&nodes[i]);
			is_in[i] = true;
		} else if (is_in[i] && !grow) {
			interval_tree_remove(&tree, &nodes[i]);
			model_remove(&nodes[i]);
			is_in[i] = false;
		}
		compare(start, start + 1 + rig_random(&seed) % 64);
		if (step % 64 == 0) {
			check_eq(interval_tree_check(&tree), count);
			compare(0, UINT64_MAX);
		}
	}
}

static unsigned tree_height(void)
{
	return 1 + (tree.root->height[0] > tree.root->height[1] ? tree.root->height[0]
								: tree.root->height[1]);
}

/* At most 1.44 * log2(n): the worst orders of insertion and removal. */
UTEST(interval_tree, stays_low)
{
	enum { MANY = 1 << 16 };
	struct interval_node *many = calloc(MANY, sizeof(*many));

	check(many);
	for (int down = 0; down < 2; down++) {
		interval_tree_init(&tree);
		for (uint64_t i = 0; i < MANY; i++) {
			uint64_t start = down ? MANY - i : i;

			many[i].start = start;
			many[i].end = start + 1;
			interval_tree_insert(&tree, &many[i]);
		}
		check(tree_height() <= 23, "%u", tree_height());
		check_eq(interval_tree_check(&tree), MANY);
		for (uint64_t i = 0; i < MANY - 256; i++)
			interval_tree_remove(&tree, &many[i]);
		check_eq(interval_tree_check(&tree), 256);
		check(tree_height() <= 11, "%u", tree_height());
	}
	free(many);
}

UTEST(interval_tree, ends_are_half_open)
{
	struct interval_node a = { .start = 10, .end = 20 }, b = { .start = 20, .end = 21 },
			     last = { .start = 30, .end = UINT64_MAX };

	interval_tree_init(&tree);
	check(!interval_tree_first(&tree, 0, UINT64_MAX));
	interval_tree_insert(&tree, &b);
	interval_tree_insert(&tree, &a);
	interval_tree_insert(&tree, &last);
	check(!interval_tree_first(&tree, 0, 10));
	check(interval_tree_first(&tree, 0, 11) == &a);
	check(interval_tree_first(&tree, 19, 20) == &a);
	check(!interval_tree_next(&a, 19, 20));
	check(interval_tree_first(&tree, 20, 21) == &b);
	check(interval_tree_first(&tree, 21, 30) == NULL);
	check(interval_tree_first(&tree, UINT64_MAX - 1, UINT64_MAX) == &last);
	check(interval_tree_next(&b, 0, UINT64_MAX) == &last);
}

UTEST(interval_tree, equals_come_in_order_of_insertion)
{
	static struct interval_node same[100];
	int at = 1;

	interval_tree_init(&tree);
	for (int i = 0; i < 100; i++) {
		same[i] = (struct interval_node){ .start = 7, .end = 8 + (uint64_t)(i % 3) };
		interval_tree_insert(&tree, &same[i]);
	}
	for (int i = 0; i < 100; i += 2)
		interval_tree_remove(&tree, &same[i]);
	for (struct interval_node *n = interval_tree_first(&tree, 7, 8); n;
	     n = interval_tree_next(n, 7, 8), at += 2)
		check(n == &same[at]);
	check_eq(at, 101);
}
