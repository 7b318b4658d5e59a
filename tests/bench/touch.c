/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/bench/touch.h"

#include "mmu/base/addr.h"
#include "tests/bench/crew.h"

struct toucher {
	const char *base;
	uint64_t pages;
	enum touch_pattern pattern;
};

/* A load that nobody may leave out. */
static void load(const struct toucher *t, uint64_t page)
{
	(void)__atomic_load_n((const uint64_t *)(const void *)(t->base + (page << PAGE_SHIFT)),
			      __ATOMIC_RELAXED);
}

/* guest/touch.c has the same orders. */
static void touch_random(const struct toucher *t, unsigned thread)
{
	uint64_t seed = (thread + 1) * 0x9e3779b97f4a7c15u, mask = 0, page = 0;

	while (mask + 1 < t->pages)
		mask = mask * 2 + 1;
	for (uint64_t i = 0; i < t->pages; i++) {
		load(t, page);
		do
			page = (page * 5 + (seed >> 32 | 1)) & mask;
		while (page >= t->pages);
	}
}

static void touch_steps(const struct toucher *t, uint64_t step)
{
	for (uint64_t first = 0; first < min_u64(step, t->pages); first++)
		for (uint64_t page = first; page < t->pages; page += step)
			load(t, page);
}

static int touch(void *ctx, unsigned thread)
{
	const struct toucher *t = ctx;

	if (t->pattern == TOUCH_RANDOM)
		touch_random(t, thread);
	else
		touch_steps(t, t->pattern == TOUCH_STRIDE ? TOUCH_STRIDE_PAGES : 1);
	return 0;
}

int touch_all(const void *base, uint64_t pages, enum touch_pattern pattern, unsigned threads,
	      uint64_t *ns)
{
	struct toucher t = { .base = base, .pages = pages, .pattern = pattern };

	return crew_time(&(struct crew_work){ .work = touch, .ctx = &t }, threads, 1, ns);
}
