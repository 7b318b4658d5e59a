/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/bench/crowd.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#define HUGE (2UL << 20)

/* As the tree wants it: what a search reads of a node is in one cache line. */
struct crowd_sub {
	_Alignas(64) struct mmu_interval_notifier in;
};

uint64_t crowd_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static bool accept(struct mmu_interval_notifier *sub, const struct mmu_notifier_range *range,
		   uint64_t cur_seq)
{
	(void)range;
	mmu_interval_set_seq(sub, cur_seq);
	return true;
}

static const struct mmu_interval_notifier_ops accept_ops = { .invalidate = accept };

void crowd_destroy(struct crowd *c)
{
	for (uint64_t i = 0; i < c->n; i++)
		mmu_interval_notifier_remove(&c->subs[i].in);
	mmu_notifier_subscriptions_fini(c->mm);
	free(c->mm);
	free(c->subs);
}

/* Pages in random order, so that neighbours in the tree are strangers in memory. */
int crowd_create(struct crowd *c, uint64_t n)
{
	uint64_t *page = calloc(n + 1, sizeof(*page)), seed = 1;
	size_t size = ((n + 1) * sizeof(*c->subs) + HUGE - 1) / HUGE * HUGE;

	*c = (struct crowd){ .subs = aligned_alloc(HUGE, size), .mm = malloc(sizeof(*c->mm)) };
	if (!page || !c->subs || !c->mm) {
		free(page);
		free(c->subs);
		free(c->mm);
		return -ENOMEM;
	}
	madvise(c->subs, size, MADV_HUGEPAGE);
	mmu_notifier_subscriptions_init(c->mm);
	for (uint64_t i = 0; i < n; i++) {
		uint64_t at = crowd_random(&seed) % (i + 1);

		page[i] = page[at];
		page[at] = i + 1;
	}
	for (; c->n < n; c->n++) {
		struct mmu_interval_notifier *sub = &c->subs[c->n].in;
		int err;

		*sub = (struct mmu_interval_notifier){ 0 };
		err = mmu_interval_notifier_insert(sub, c->mm, page[c->n] << PAGE_SHIFT, PAGE_SIZE,
						   &accept_ops);
		if (err) {
			free(page);
			crowd_destroy(c);
			return err;
		}
	}
	free(page);
	return 0;
}

void crowd_bracket(const struct crowd *c, uint64_t i)
{
	hva_t start = (1 + i) << PAGE_SHIFT;
	struct mmu_notifier_range range;

	mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, c->mm, start, start + PAGE_SIZE);
	if (!mmu_notifier_invalidate_range_start(&range))
		mmu_notifier_invalidate_range_end(&range);
}
