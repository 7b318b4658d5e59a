// SPDX-License-Identifier: BSD-2-Clause
/*
 * Every profile beside every actor of the primary, one cell at a time, with the same oracle: no load finds an older
 * version than the last store, no store is lost or reaches another page. Good profiles pass in each cell; a known bad one
 * is caught where the table says so, and passes elsewhere: that is part of what is known of it.
 * UMBRA_MATRIX=1 prints the matrix (docs/testing.md).
 */
#include <stdio.h>
#include <stdlib.h>

#include "mmu/host/hostmm_actors.h"
#include "mmu/host/hostmm_device.h"
#include "tests/unit/device_cell.h"
#include "tests/unit/device_evict.h"

/* ---- The actors. Before run the device has loaded and stored what before left it to ---- */

static void discard(struct cell *c)
{
	check_eq(hostmm_discard(c->r.mm, hva(c, P), hva(c, P + 1)), 0);
	must(c, dev_load(c, P) == 0, "the device reads what was discarded");
	both_ways(c, P);
}

static void discard_all(struct cell *c)
{
	check_eq(hostmm_discard(c->r.mm, hva(c, 0), hva(c, c->r.pages)), 0);
	must(c, dev_load(c, P) == 0, "the device reads what was discarded");
	both_ways(c, P);
}

/* A25: the frame stays, so a late device is right by accident. */
static void zap(struct cell *c)
{
	check_eq(hostmm_zap(c->r.mm, hva(c, P), hva(c, P + 1)), 0);
	both_ways(c, P);
}

/* page_mkclean(): a store from here on must be seen to come, or the page is taken for clean. */
static void wrprotect(struct cell *c)
{
	struct gup_page page;

	check_eq(hostmm_wrprotect(c->r.mm, hva(c, P), hva(c, P + 1)), 0);
	dev_store(c, P, 2);
	check(hostmm_peek(c->r.mm, hva(c, P), &page));
	must(c, page.writable, "a store is missed: the page counts as clean");
}

static void migrate_away(struct cell *c)
{
	check_eq(hostmm_migrate(c->r.mm, hva(c, P), hva(c, P + 1), HOSTMM_MIGRATE_AWAY), 0);
	both_ways(c, P);
}

static void touch_away(struct cell *c)
{
	check_eq(hostmm_migrate(c->r.mm, hva(c, P), hva(c, P + 1), HOSTMM_MIGRATE_AWAY), 0);
	touch(c);
}

static void migrate_home(struct cell *c)
{
	check_eq(hostmm_migrate(c->r.mm, hva(c, P), hva(c, P + 1), HOSTMM_MIGRATE_HOME), 0);
	both_ways(c, P);
}

static uint64_t child_load(struct cell *c, uint64_t page)
{
	uint64_t value;
	hva_t at;

	check_eq(hostmm_fork_hva(c->child, hva(c, page), &at), 0);
	check_eq(hostmm_read(c->child, at, &value, sizeof(value)), 0);
	return value;
}

static void do_fork(struct cell *c)
{
	const struct hostmm_opts opts = { .fault_threads = 1 };

	check_eq(hostmm_fork(c->r.mm, &opts, &c->child), 0);
}

static void run_fork(struct cell *c)
{
	do_fork(c);
	dev_store(c, P, 2);
	must(c, child_load(c, P) == 1, "the parent's device stores into the child");
	must(c, host_load(&c->r, P) == 2, "the device's store is lost");
}

static void touch_forked(struct cell *c)
{
	touch(c);
	do_fork(c);
	device_run_deferred(c->dev);
	must(c, dev_load(c, P) == 1, "the device reads an old version");
}

static void cow(struct cell *c)
{
	host_store(c, P, 2);
	must(c, dev_load(c, P) == 2, "the device reads the frame before the copy");
	must(c, child_load(c, P) == 1, "a store reaches the child");
	both_ways(c, P);
}

static void merge(struct cell *c)
{
	check_eq(hostmm_merge(c->r.mm, hva(c, P), c->r.mm, hva(c, P + 1)), 0);
	dev_store(c, P, 2);
	must(c, host_load(&c->r, P + 1) == 1, "a store to one page appears in the other");
	must(c, dev_load(c, P + 1) == 1, "a store to one page appears in the other");
	both_ways(c, P + 1);
}

static void touch_merged(struct cell *c)
{
	host_store(c, P, 1);
	host_store(c, P + 1, 1);
	check_eq(hostmm_merge(c->r.mm, hva(c, P), c->r.mm, hva(c, P + 1)), 0);
	device_run_deferred(c->dev);
	must(c, dev_load(c, P + 1) == 1, "the device reads an old version");
}

static void unmerge(struct cell *c)
{
	check_eq(hostmm_unmerge(c->r.mm, hva(c, P + 1)), 0);
	host_store(c, P + 1, 2);
	must(c, dev_load(c, P + 1) == 2, "the device reads the frame before the copy");
	must(c, host_load(&c->r, P) == 1, "a store to one page appears in the other");
	both_ways(c, P + 1);
}

static void is_refused(struct cell *c, const char *what, bool store)
{
	uint64_t value = 9;
	int rc = store ? device_write(c->dev, hva(c, P), &value, sizeof(value))
		       : device_read(c->dev, hva(c, P), &value, sizeof(value));

	must(c, rc < 0, what);
}

static void unmap(struct cell *c)
{
	check_eq(hostmm_unmap(c->r.mm, c->r.hva), 0);
	is_refused(c, "the device loads from what was unmapped", false);
}

static void protect_read(struct cell *c)
{
	check_eq(hostmm_protect(c->r.mm, hva(c, P), hva(c, P + 1), HOSTMM_PROT_READ), 0);
	is_refused(c, "the device stores to what may only be read", true);
	must(c, dev_load(c, P) == 1, "the device reads another version");
}

static void protect_none(struct cell *c)
{
	check_eq(hostmm_protect(c->r.mm, hva(c, P), hva(c, P + 1), 0), 0);
	is_refused(c, "the device loads what nobody may", false);
}

static void truncate_extend(struct cell *c)
{
	check_eq(hostmm_truncate(c->r.mm, c->r.hva, P), 0);
	is_refused(c, "the device loads beyond the end", false);
	check_eq(hostmm_truncate(c->r.mm, c->r.hva, c->r.pages), 0);
	must(c, dev_load(c, P) == 0, "old contents are back");
	both_ways(c, P);
}

/* ---- Large pages ---- */

static void collapse(struct cell *c)
{
	check_eq(hostmm_collapse(c->r.mm, c->r.hva), 0);
	both_ways(c, P);
	both_ways(c, P + 1);
}

static void split(struct cell *c)
{
	check_eq(hostmm_split_huge(c->r.mm, c->r.hva, HOSTMM_SPLIT_LOCKED), 0);
	must(c, dev_load(c, P) == 1, "the device reads another version");
	check_eq(hostmm_migrate(c->r.mm, hva(c, P), hva(c, P + 1), HOSTMM_MIGRATE_AWAY), 0);
	both_ways(c, P);
}

static void touch_zeros(struct cell *c)
{
	check_eq(hostmm_discard(c->r.mm, c->r.hva, hva(c, c->r.pages)), 0);
	check_eq(hostmm_map_zero(c->r.mm, c->r.hva, hva(c, c->r.pages)), 0);
	must(c, dev_load(c, P) == 0, "the zero page is not zero");
	must(c, dev_load(c, P + 1) == 0, "the zero page is not zero");
}

/* A3, A4: one of 512 zero pages is replaced. */
static void zero_store(struct cell *c)
{
	host_store(c, P, 2);
	must(c, dev_load(c, P) == 2, "the device reads the zeros that were there");
	must(c, dev_load(c, P + 1) == 0, "the zero page is not zero");
	both_ways(c, P);
}

/* A2, A6: the same behind a split that is told at its end. */
static void zero_split_store(struct cell *c)
{
	check_eq(hostmm_split_huge(c->r.mm, c->r.hva, HOSTMM_SPLIT_LATE), 0);
	zero_store(c);
}

/* ---- mremap(): the frame goes along ---- */

static void touch_moved(struct cell *c)
{
	dev_store(c, P, 1);
	dev_store(c, P + 1, 7);
	if (c->r.pages > LARGE)
		dev_store(c, P + LARGE, 7);
}

static void moved(struct cell *c, uint64_t from, uint64_t to, uint64_t n, uint64_t at)
{
	check_eq(hostmm_move(c->r.mm, hva(c, from), hva(c, from + n), hva(c, to)), 0);
	must(c, dev_load(c, P) == 0, "the device reads what was moved away");
	must(c, dev_load(c, at) == 1, "the device reads what was there before the move");
	both_ways(c, P);
	both_ways(c, at);
}

static void move_page(struct cell *c)
{
	moved(c, P, P + 1, 1, P + 1);
}

static void move_block(struct cell *c)
{
	moved(c, 0, LARGE, LARGE, P + LARGE);
}

/* ---- Pages that another device takes for itself ---- */

static char other;

static void to_private(struct cell *c)
{
	check_eq(hostmm_migrate_to_device(c->r.mm, hva(c, P), hva(c, P + 1), &other, NULL), 0);
	both_ways(c, P);
}

/* The frame stays, so it is the store that must be seen: it ends what the other device has. */
static void exclusive(struct cell *c)
{
	struct gup_page page;

	check_eq(hostmm_make_exclusive(c->r.mm, hva(c, P), hva(c, P + 1), &other, NULL), 0);
	dev_store(c, P, 2);
	must(c, hostmm_peek(c->r.mm, hva(c, P), &page),
	     "the device stores to what another has for itself");
	both_ways(c, P);
}

/* ---- The matrix ---- */

/*
 * LATE, SMALL: which known bad profile is caught, the one that defers, the one that ignores what is smaller than its
 * entry of 2M. HUGE: only where the region has 2M. STORE: the region has a store.
 */
enum { LATE = 1, SMALL = 2, HUGE = 4, STORE = 8 };

static const struct actor {
	const char *name;
	void (*before)(struct cell *c);
	void (*run)(struct cell *c);
	unsigned flags;
} actors[] = {
	{ "discard", touch, discard, LATE | SMALL },
	{ "discard-all", touch, discard_all, LATE },
	{ "zap", touch, zap, 0 }, /* swap, and the frame stays (A25) */
	{ "wrprotect", touch, wrprotect, LATE | SMALL },
	{ "migrate-away", touch, migrate_away, LATE | SMALL },
	{ "migrate-home", touch_away, migrate_home,
	  LATE },			   /* no 2M entry over a page that is away */
	{ "fork", touch, run_fork, LATE }, /* told of all its pages */
	{ "cow", touch_forked, cow, LATE | SMALL },
	{ "merge", touch, merge, LATE | SMALL },
	{ "unmerge", touch_merged, unmerge, LATE },
	{ "unmap", touch, unmap, LATE },
	{ "protect-read", touch, protect_read, LATE | SMALL },
	{ "protect-none", touch, protect_none, LATE | SMALL },
	{ "truncate", touch, truncate_extend, LATE | SMALL },
	{ "move", touch_moved, move_page, LATE | SMALL },
	{ "move-2m", touch_moved, move_block, LATE | HUGE },
	{ "to-private", touch, to_private, LATE | SMALL },
	{ "exclusive", touch, exclusive, LATE | SMALL },
	{ "collapse", touch_away, collapse, LATE | HUGE },
	{ "split", touch, split, LATE | HUGE },
	{ "zero-store", touch_zeros, zero_store, LATE | SMALL },
	{ "zero-split", touch_zeros, zero_split_store, LATE | HUGE },
	{ "reclaim", touch_swap, reclaim, LATE | SMALL },
	{ "writeback", touch_store, writeback, LATE | SMALL | STORE },
	{ "poison", touch, poison, LATE | SMALL },
	{ "ksm-old", touch, ksm_old, LATE | SMALL },
	{ "ksm-young", touch, ksm_young, LATE | SMALL },
	{ "ksm-unmerge", touch_shared, ksm_unmerge, LATE },
};

#define ACTORS (sizeof(actors) / sizeof(actors[0]))

/* All pages are present, so that a profile with entries of 2M has one, or of 4K if the region is too short for that. */
static void up_cell(struct cell *c, const struct actor *a, const struct device_profile *p,
		    uint64_t pages)
{
	static struct gup_page found[2 * LARGE];

	memset(c, 0, sizeof(*c));
	rig_up(&c->r, &(struct rig_opts){ .pages = pages,
					  .pool_frames = 8 * LARGE,
					  .pager = a->flags & STORE ? &store_ops : NULL,
					  .no_slot = true,
					  .canary = true });
	check_eq(hostmm_gup(c->r.mm, c->r.hva, pages, 0, pages - 1, true, found), 0);
	hostmm_put_pages(c->r.mm, found, pages);
	check_eq(device_create(&c->dev, p, c->r.mm, c->r.hva, pages), 0);
}

static void found_wrong(void *ctx, hva_t addr, fn_t fn, const char *what)
{
	(void)addr;
	(void)fn;
	must(ctx, false, what);
}

static const char *run_cell(const struct actor *a, const struct device_profile *p, uint64_t pages)
{
	static struct cell c;

	up_cell(&c, a, p, pages);
	a->before(&c);
	a->run(&c);
	device_check(c.dev, found_wrong, &c);
	device_run_deferred(c.dev);
	device_destroy(c.dev);
	if (c.ksm)
		ksm_destroy(c.ksm);
	if (c.child)
		hostmm_destroy(c.child);
	rig_down(&c.r);
	return c.wrong;
}

static void run_matrix(uint64_t pages)
{
	bool print = getenv("UMBRA_MATRIX");
	unsigned unexpected = 0;

	for (unsigned i = 0; print && i < ACTORS; i++)
		printf("%*s%s", i ? 1 : 17, "", actors[i].name);
	if (print)
		printf("\n");
	for (const struct device_profile *p = device_profiles; p->name; p++) {
		unsigned bad = (p->defers ? LATE : 0) |
			       (p->part == DEVICE_PART_IGNORED && pages >= LARGE ? SMALL : 0);

		if (print)
			printf("%-16s", p->name);
		for (unsigned i = 0; i < ACTORS; i++) {
			bool skip = (actors[i].flags & HUGE) && pages < LARGE;
			const char *wrong = skip ? NULL : run_cell(&actors[i], p, pages);

			if (print)
				printf(" %-*s", (int)strlen(actors[i].name),
				       skip    ? "-"
				       : wrong ? "CAUGHT"
					       : "ok");
			if (skip)
				continue;
			if (!wrong == !(bad & actors[i].flags))
				continue;
			unexpected++;
			test_note_failure(__FILE__, __LINE__, "a cell", " %s, %s: %s", p->name,
					  actors[i].name, wrong ? wrong : "not caught");
		}
		if (print)
			printf("\n");
	}
	check_eq(unexpected, 0);
}

UTEST(device_actors, with_entries_of_4k)
{
	run_matrix(PAGES);
}

UTEST(device_actors, with_entries_of_2m)
{
	run_matrix(2 * LARGE);
}
