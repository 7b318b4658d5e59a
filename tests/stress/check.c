// SPDX-License-Identifier: BSD-2-Clause
/* Sums, tables and frames, held against each other while nobody changes anything. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hv/ram.h"
#include "tests/stress/stress.h"
#include "tests/stress/vcpus.h"

static uint64_t host_counter(const struct world *w, uint64_t page)
{
	hva_t at = world_hva(w, page) + PLAY_COUNTER * sizeof(uint64_t);
	uint64_t value = 0;

	if (!access_load((const void *)(uintptr_t)at, &value))
		fail(ORACLE_ERROR, page, "the host view was shut");
	return value;
}

/* What the host sees, all devices see. */
static void check_devices_see(struct world *w, uint64_t page, uint64_t value)
{
	hva_t at = world_hva(w, page) + PLAY_COUNTER * sizeof(uint64_t);

	for (unsigned i = 0; i < w->players; i++) {
		uint64_t found = 0;

		if (!w->player[i].dev || device_read(w->player[i].dev, at, &found, sizeof(found)))
			continue; /* its slot may be away */
		if (found != value)
			fail((enum oracle)PLAY_STALE, page,
			     "%s: counter of page %lu: found %lu, the host has %lu",
			     w->player[i].name, page, found, value);
	}
}

void check_sums(struct world *w)
{
	uint64_t sum = 0, want = 0;

	for (uint64_t page = 0; page < w->keep; page++) {
		uint64_t value = host_counter(w, page);

		sum += value;
		if (page % 16 == 0)
			check_devices_see(w, page, value);
	}
	for (unsigned i = 0; i < w->players; i++)
		want += atomic_load(&w->player[i].adds);
	if (sum != want)
		fail(ORACLE_SUM, 0, "%lu increments, but the pages hold %lu", want, sum);
}

static void shadow_differs(void *ctx, gfn_t gfn, uint64_t spte, const char *what)
{
	(void)ctx;
	/* What is counted is of no page. */
	fail(ORACLE_CHECKER, gfn < STRESS_GFN ? 0 : gfn - STRESS_GFN, "guest, gfn %#lx: %s (%#lx)",
	     gfn, what, spte);
}

static void device_differs(void *ctx, hva_t addr, fn_t fn, const char *what)
{
	const struct player *p = ctx;

	fail(ORACLE_CHECKER, (addr - p->w->hva) >> PAGE_SHIFT, "%s, %#lx: %s (%#lx)", p->name, addr,
	     what, fn);
}

void check_tables(struct world *w)
{
	shadow_check(w->shadow, shadow_differs, NULL);
	for (unsigned i = 0; i < w->players; i++) {
		struct player *p = &w->player[i];

		if (p->dev)
			device_check(p->dev, device_differs, p);
		if (p->side)
			device_check(p->side, device_differs, p);
	}
}

/* ---- Frames ---- */

struct frames {
	struct world *w;
	uint8_t *seen;
	uint64_t n;
};

static void count_region(struct frames *f, hva_t hva, uint64_t pages)
{
	struct gup_page p;

	for (; pages--; hva += PAGE_SIZE) {
		if (!hostmm_peek(f->w->mm, hva, &p) || p.fn == FN_NONE ||
		    pool_is_zero(f->w->pool, p.fn))
			continue;
		if (!pool_refs(f->w->pool, p.fn) ||
		    pool_refs(f->w->pool, p.fn) < pool_maps(f->w->pool, p.fn))
			fail(ORACLE_ACCOUNT, (hva - f->w->hva) >> PAGE_SHIFT,
			     "frame %#lx of %#lx: %u references, %u maps", p.fn, hva,
			     pool_refs(f->w->pool, p.fn), pool_maps(f->w->pool, p.fn));
		f->n += !f->seen[p.fn];
		f->seen[p.fn] = 1;
	}
}

/* Bad frames, and those of zeros, have a reference for good and do not count as used. */
static void report_frames(const struct frames *f, uint64_t used)
{
	struct pool *pool = f->w->pool;
	fn_t fn = 0;

	while (fn + 1 < pool_frames(pool) && (f->seen[fn] || !pool_refs(pool, fn) ||
					      pool_is_bad(pool, fn) || pool_is_zero(pool, fn)))
		fn++;
	fail(ORACLE_ACCOUNT, 0,
	     "%lu frames are in use, but pages have %lu; frame %#lx: %u references, %u maps%s",
	     used, f->n, fn, pool_refs(pool, fn), pool_maps(pool, fn),
	     pool_is_stable(pool, fn) ? ", merged" : "");
}

/* A frame that is in use is a page's: else somebody has kept it, or has forgotten to give it back. */
void check_frames(struct world *w)
{
	struct frames f = { .w = w, .seen = calloc(pool_frames(w->pool), 1) };
	uint64_t used = pool_used(w->pool);

	if (!f.seen)
		return;
	count_region(&f, w->hva, w->pages);
	if (w->side)
		count_region(&f, w->side, SIDE_PAGES);
	for (enum ram_region i = 0; w->guest && i < RAM_REGIONS; i++) {
		struct ram_slot slot;

		if (i != RAM_WORK && ram_slot(vcpus_ram(w->guest), i, &slot))
			count_region(&f, (hva_t)(uintptr_t)ram_host_view(vcpus_ram(w->guest), i),
				     slot.size >> PAGE_SHIFT);
	}
	if (f.n != used)
		report_frames(&f, used);
	free(f.seen);
}
