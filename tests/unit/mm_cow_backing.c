// SPDX-License-Identifier: BSD-2-Clause
/*
 * More after the kernel's mm/cow.c: its R/O pins, large pages that are collapsed before or after a fork, and what is no ordinary memory: the zero page,
 * the huge zero page, a file (memfd). A reference of hostmm_gup() is the pin; it lasts for a fault, so what counts is that it and the page
 * do not part while nobody else has the page, and that it shows neither the other side's stores nor anything freed.
 */
#include "mmu/host/hostmm_actors.h"
#include "tests/rig_fork.h"
#include "tests/test.h"

#define LARGE 512UL
#define PAGES (2 * LARGE)
#define OLD   0x11UL
#define NEW   0x22UL

static struct rig r, child;

static void put(struct rig *of, uint64_t page, uint64_t value)
{
	check_eq(hostmm_write(of->mm, rig_hva(of, page), &value, sizeof(value)), 0);
}

static int fill_old(void *ctx, uint64_t page, void *dst, uint64_t npages)
{
	(void)ctx;
	(void)page;
	for (uint64_t i = 0; i < npages; i++)
		*(uint64_t *)((char *)dst + (i << 12)) = OLD;
	return 0;
}

static const struct pager_ops file = { .fill = fill_old };

static void up_on(const struct pager_ops *pager)
{
	rig_up(&r, &(struct rig_opts){ .pages = PAGES,
				       .gfn = PAGES,
				       .pool_frames = 12 * LARGE,
				       .pager = pager,
				       .canary = true });
}

static void up(void)
{
	up_on(NULL);
	for (uint64_t page = 0; page < PAGES; page++)
		put(&r, page, OLD);
}

static void up_empty(void)
{
	up_on(NULL);
}

static void up_file(void)
{
	up_on(&file);
}

static void fork_it(void)
{
	rig_fork(&child, &r);
}

static void end_child(void)
{
	rig_fork_down(&child);
	child.pool = NULL;
}

static void down(void)
{
	if (child.pool)
		end_child();
	rig_down(&r);
}

static struct gup_page pin(uint64_t page)
{
	struct gup_page p;

	check_eq(hostmm_gup(r.mm, rig_hva(&r, page), 1, 0, 0, false, &p), 0);
	return p;
}

static uint64_t read_pin(const struct gup_page *p)
{
	return *(uint64_t *)pool_direct(r.pool, p->fn);
}

/* The page is stored to, by the guest, and both sides' pages are looked at by all means. */
static void store_and_look(struct rig *writer, struct rig *other, uint64_t page, uint64_t old)
{
	rig_guest_store(writer, rig_word(writer->guest, page, 0), NEW);
	check_eq(rig_peek(writer, page), NEW);
	check_eq(rig_load(rig_word(writer->host, page, 0)), NEW);
	if (!other)
		return;
	check_eq(rig_peek(other, page), old);
	check_eq(rig_load(rig_word(other->guest, page, 0)), old);
	check_eq(rig_load(rig_word(other->host, page, 0)), old);
}

/* ---- R/O pins ---- */

UTEST(mm_cow_backing, ro_pin_on_shared_page, .init = up, .fini = down)
{
	struct gup_page p;

	fork_it();
	p = pin(3);
	store_and_look(&child, &r, 3, OLD);
	check_eq(read_pin(&p), OLD);
	store_and_look(&r, NULL, 3, OLD);
	check(read_pin(&p) == OLD || p.fn == rig_frame(&r, 3));
	hostmm_put_pages(r.mm, &p, 1);
}

UTEST(mm_cow_backing, ro_pin_on_previously_shared_page, .init = up, .fini = down)
{
	struct gup_page p;

	fork_it();
	end_child();
	p = pin(3);
	store_and_look(&r, NULL, 3, OLD);
	check_eq(read_pin(&p), NEW);
	hostmm_put_pages(r.mm, &p, 1);
}

UTEST(mm_cow_backing, ro_pin_on_exclusive_page, .init = up, .fini = down)
{
	struct gup_page p = pin(3);

	store_and_look(&r, NULL, 3, OLD);
	check_eq(read_pin(&p), NEW);
	hostmm_put_pages(r.mm, &p, 1);
}

/* ---- Collapse ---- */

/* Pages that lie elsewhere come together: there is something to collapse. */
static void scatter(struct rig *of, uint64_t page, uint64_t end)
{
	check_eq(hostmm_migrate(of->mm, rig_hva(of, page), rig_hva(of, end), HOSTMM_MIGRATE_AWAY),
		 0);
}

UTEST(mm_cow_backing, collapse_before_fork, .init = up, .fini = down)
{
	scatter(&r, 5, 50);
	check_eq(hostmm_collapse(r.mm, r.hva), 0);
	fork_it();
	store_and_look(&r, &child, 7, OLD);
	store_and_look(&child, &r, 100, OLD);
}

/* The child's part of the pages is [page, end): the rest is its own. Its large page is collapsed; then both store. */
static void collapse_shared(uint64_t page, uint64_t end)
{
	fork_it();
	for (uint64_t i = 0; i < LARGE; i++)
		if (i < page || i >= end)
			put(&child, i, OLD);
	check_eq(hostmm_collapse(child.mm, child.hva), 0);
	for (uint64_t i = 0; i < LARGE; i += 37)
		check_eq(rig_peek(&child, i), OLD);
	store_and_look(&child, &r, 3, OLD);
	store_and_look(&r, &child, LARGE - 3, OLD);
	rig_check(&r);
	rig_check(&child);
}

UTEST(mm_cow_backing, collapse_after_fork_fully_shared, .init = up, .fini = down)
{
	collapse_shared(0, LARGE);
}

UTEST(mm_cow_backing, collapse_after_fork_lower_shared, .init = up, .fini = down)
{
	collapse_shared(0, LARGE / 2);
}

UTEST(mm_cow_backing, collapse_after_fork_upper_shared, .init = up, .fini = down)
{
	collapse_shared(LARGE / 2, LARGE);
}

/* ---- Zeros, files ---- */

/* test_ro_pin, test_cow of run_with_zeropage() and _huge_zeropage(). */
static void zeros(uint64_t end)
{
	struct gup_page p;

	check_eq(hostmm_map_zero(r.mm, r.hva, rig_hva(&r, end)), 0);
	p = pin(3);
	check(!p.writable);
	fork_it();
	store_and_look(&r, &child, 3, 0);
	check_eq(read_pin(&p), 0);
	store_and_look(&child, NULL, 3, 0);
	check_eq(read_pin(&p), 0);
	check_eq(rig_peek(&r, 2), 0);
	check_eq(rig_load(rig_word(child.guest, 4, 0)), 0);
	hostmm_put_pages(r.mm, &p, 1);
	rig_check(&r);
}

UTEST(mm_cow_backing, zero_page, .init = up_empty, .fini = down)
{
	zeros(8);
}

UTEST(mm_cow_backing, huge_zero_page, .init = up_empty, .fini = down)
{
	zeros(LARGE);
}

/* run_with_memfd(), MAP_PRIVATE: what a store makes is not seen in the file, nor by who maps it, too. */
UTEST(mm_cow_backing, memfd, .init = up_file, .fini = down)
{
	struct gup_page p = pin(3);

	fork_it();
	store_and_look(&r, &child, 3, OLD);
	check(read_pin(&p) == OLD || p.fn == rig_frame(&r, 3));
	store_and_look(&child, &r, 9, OLD);
	hostmm_put_pages(r.mm, &p, 1);
	check_eq(hostmm_discard(r.mm, rig_hva(&r, 3), rig_hva(&r, 4)), 0);
	check_eq(rig_load(rig_word(r.guest, 3, 0)), OLD);
}
