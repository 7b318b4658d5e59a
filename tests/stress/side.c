// SPDX-License-Identifier: BSD-2-Clause
/*
 * The side region: pages that lose contents and rights. One change at a time, by actors; devices look on. A page has a
 * word for what it holds, with a count of changes around it that is odd while one is under way. A reader that finds the same
 * even count before and after must have read exactly that:
 *
 *	actor				reader
 *	changes++ (odd)			count = changes (even, or no check)
 *	discard, move, store ...	load through a device
 *	value = what it holds now	changes == count: what was loaded is value
 *	changes++
 */
#include "tests/stress/side.h"

#include <errno.h>
#include <string.h>

#define TAIL_WORD 511

int side_create(struct world *w)
{
	bool audit = w->scenario->audit && w->o->source != HOSTMM_SOURCE_MPROTECT;

	return hostmm_map_source(w->mm, SIDE_PAGES, HOSTMM_PROT_READ | HOSTMM_PROT_WRITE, NULL,
				 NULL, w->o->source, audit, &w->side);
}

void side_destroy(struct world *w)
{
	hostmm_unmap(w->mm, w->side);
}

void side_begin(struct world *w, uint64_t page, uint64_t end)
{
	for (; page < end; page++)
		atomic_fetch_add(&w->side_page[page].changes, 1);
}

void side_end(struct world *w, uint64_t page, uint64_t end)
{
	for (; page < end; page++)
		atomic_fetch_add(&w->side_page[page].changes, 1);
}

void side_hold(struct world *w, uint64_t page, uint64_t end, uint64_t value)
{
	for (; page < end; page++)
		atomic_store(&w->side_page[page].value, value);
}

void side_pick(uint64_t *random, uint64_t most, uint64_t *page, uint64_t *end)
{
	uint64_t n = 1 + play_random(random) % most;

	*page = play_random(random) % (SIDE_PAGES - n + 1);
	*end = *page + n;
}

/* A new value through the host view, the direct map or a device: whoever stores, all must see it. */
static int store(struct world *w, uint64_t page, uint64_t value, uint64_t *random)
{
	uint64_t which = play_random(random) % (w->players + 2);
	hva_t head = side_hva(w, page), tail = head + TAIL_WORD * sizeof(value);
	int rc;

	if (which < w->players && w->player[which].side) {
		rc = device_write(w->player[which].side, tail, &value, sizeof(value));
		return rc ?: device_write(w->player[which].side, head, &value, sizeof(value));
	}
	if (which == w->players) {
		rc = hostmm_write(w->mm, tail, &value, sizeof(value));
		return rc ?: hostmm_write(w->mm, head, &value, sizeof(value));
	}
	if (!access_store((void *)(uintptr_t)tail, value) ||
	    !access_store((void *)(uintptr_t)head, value))
		fail(ORACLE_ERROR, w->pages + page, "side: the host view was shut");
	return 0;
}

int side_store(struct world *w, uint64_t page, uint64_t end, uint64_t *random)
{
	int rc = 0;

	for (; !rc && page < end; page++) {
		uint64_t value = SIDE_STAMP | ++w->side_stamp;

		if (atomic_load(&w->side_page[page].value) == SIDE_BAD)
			continue;
		side_begin(w, page, page + 1);
		rc = store(w, page, value, random);
		side_hold(w, page, page + 1, value);
		side_end(w, page, page + 1);
	}
	return rc;
}

void side_read(struct player *p, uint64_t *random)
{
	uint64_t page = play_random(random) % SIDE_PAGES, got = 0, value, changes;
	unsigned word = play_random(random) & 1 ? TAIL_WORD : 0;
	struct side_page *s = &p->w->side_page[page];
	int rc, want;

	changes = atomic_load(&s->changes);
	value = atomic_load(&s->value);
	atomic_store_explicit(&p->page, p->w->pages + page, memory_order_relaxed);
	rc = device_read(p->side, side_hva(p->w, page) + word * sizeof(got), &got, sizeof(got));
	if ((changes & 1) || atomic_load(&s->changes) != changes)
		return;
	want = value == SIDE_NONE ? -EFAULT : value == SIDE_BAD ? -EHWPOISON : 0;
	if (rc != want || (!rc && got != value))
		fail(ORACLE_SIDE, p->w->pages + page,
		     "%s: side page %lu, word %u: found %#lx (%s), must be %#lx (%s)", p->name,
		     page, word, got, strerror(-rc), want ? 0 : value, strerror(-want));
}
