// SPDX-License-Identifier: BSD-2-Clause
/*
 * After the kernel's mm/cow.c, with a reference of hostmm_gup() for io_uring and the GUP test device: what one side of a fork
 * stores is not seen by the other; and who has a page for stores goes on having that page. Small pages and those of a large run.
 */
#include "mmu/host/hostmm_actors.h"
#include "tests/rig_fork.h"
#include "tests/test.h"

#define PAGES 512UL
#define OLD   0x11UL
#define NEW   0x22UL

static struct rig r, child;

static void up(void)
{
	rig_up(&r, &(struct rig_opts){ .pages = PAGES, .gfn = PAGES, .canary = true });
	for (uint64_t page = 0; page < PAGES; page++)
		check_eq(hostmm_write(r.mm, rig_hva(&r, page), &(uint64_t){ OLD }, 8), 0);
}

static void up_forked(void)
{
	up();
	rig_fork(&child, &r);
}

static void down(void)
{
	if (child.pool)
		rig_fork_down(&child);
	child.pool = NULL;
	rig_down(&r);
}

static struct gup_page pin(struct rig *of, uint64_t page, bool write)
{
	struct gup_page p;

	check_eq(hostmm_gup(of->mm, rig_hva(of, page), 1, 0, 0, write, &p), 0);
	return p;
}

static uint64_t read_pin(const struct gup_page *p)
{
	return *(uint64_t *)pool_direct(r.pool, p->fn);
}

static uint64_t value_of(struct rig *of, uint64_t page)
{
	uint64_t word = 0;

	check_eq(hostmm_read(of->mm, rig_hva(of, page), &word, sizeof(word)), 0);
	return word;
}

/* do_test_cow_in_parent(), with and without mprotect() between. */
static void cow(struct rig *writer, struct rig *other, bool protect)
{
	hva_t hva = rig_hva(writer, 0), end = rig_hva(writer, PAGES);

	if (protect) {
		check_eq(hostmm_protect(writer->mm, hva, end, HOSTMM_PROT_READ), 0);
		check_eq(hostmm_protect(writer->mm, hva, end, HOSTMM_PROT_READ | HOSTMM_PROT_WRITE),
			 0);
	}
	rig_store(rig_word(writer->guest, 3, 0), NEW);
	check_eq(value_of(other, 3), OLD);
	check_eq(rig_load(rig_word(other->guest, 3, 0)), OLD);
	check_eq(value_of(writer, 3), NEW);
}

UTEST(mm_cow, basic_cow, .init = up_forked, .fini = down)
{
	cow(&r, &child, false);
}

UTEST(mm_cow, basic_cow_with_mprotect, .init = up_forked, .fini = down)
{
	cow(&r, &child, true);
}

UTEST(mm_cow, child_stores, .init = up_forked, .fini = down)
{
	cow(&child, &r, false);
}

/* do_test_ro_pin() with a fork after the pin, and before it: the pin and the page must not part. */
UTEST(mm_cow, pinned_for_stores_and_then_forked, .init = up, .fini = down)
{
	struct gup_page p = pin(&r, 3, true);

	rig_fork(&child, &r);
	hostmm_put_pages(r.mm, &p, 1);
	cow(&r, &child, false);
}

UTEST(mm_cow, forked_and_then_pinned_for_stores, .init = up_forked, .fini = down)
{
	struct gup_page p = pin(&r, 3, true);

	rig_store(rig_word(r.guest, 3, 0), NEW);
	check_eq(read_pin(&p), NEW);
	*(uint64_t *)pool_direct(r.pool, p.fn) = NEW + 1;
	check_eq(rig_load(rig_word(r.guest, 3, 0)), NEW + 1);
	check_eq(value_of(&child, 3), OLD);
	hostmm_put_pages(r.mm, &p, 1);
}

/* test_cow_with_thp, a part of which the child no longer has. */
UTEST(mm_cow, a_large_run_of_which_one_side_has_a_part, .init = up_forked, .fini = down)
{
	check_eq(hostmm_discard(child.mm, rig_hva(&child, 4), rig_hva(&child, PAGES)), 0);
	cow(&r, &child, false);
	check_eq(value_of(&r, 100), OLD);
	check_eq(value_of(&child, 100), 0);
	rig_store(rig_word(r.guest, 100, 0), NEW);
	check_eq(value_of(&child, 100), 0);
}
