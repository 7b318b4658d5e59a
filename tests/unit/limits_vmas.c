// SPDX-License-Identifier: BSD-2-Clause
/*
 * vm.max_map_count, reached for real (field.md 2.13): pages that would cost a VMA go home and unshare, what is asked for by a call
 * is refused with an errno and changes nothing, and no page has lost anything.
 */
#include <errno.h>
#include <sys/mman.h>

#include "mmu/host/hostmm_actors.h"
#include "mmu/host/ksm.h"
#include "mmu/host/view.h"
#include "tests/create.h"
#include "tests/rig_fork.h"
#include "tests/test.h"
#include "tests/vmas.h"

#define PAGES  32UL
#define MOST   6u /* VMAs left, from 0 to here */
#define PLENTY 1000u

static struct rig r, child;
static struct ksm *ksm;

/* The limit that views keep to by themselves is far away: the system's own is what they meet. */
static void up_with(bool audit)
{
	skip_if(rig_source() == HOSTMM_SOURCE_MPROTECT, "its host view costs VMAs by itself");
	rig_up(&r, &(struct rig_opts){ .source = audit ? rig_source() : 0,
				       .audit = audit,
				       .pages = PAGES,
				       .pool_frames = 8 * PAGES + 1024,
				       .canary = true,
				       .around = 1 });
	view_limit_foreign(1UL << 40);
	for (uint64_t page = 0; page < PAGES; page++) {
		rig_store(rig_word(r.host, page, 0), 100 + page);
		/* There are tables from now on: for more of them there would be no memory. */
		check_eq(rig_load(rig_word(r.guest, page, 0)), 100 + page);
	}
}

static void up(void)
{
	up_with(false);
}

static void up_audited(void)
{
	up_with(true);
}

static void up_forked(void)
{
	up();
	rig_fork(&child, &r);
	check_eq(rig_load(rig_word(child.guest, 0, 0)), 100);
}

static void down(void)
{
	vmas_give_back();
	view_limit_foreign(0);
	if (ksm)
		ksm_destroy(ksm);
	ksm = NULL;
	if (child.pool)
		rig_fork_down(&child);
	child.pool = NULL;
	rig_down(&r);
}

static hva_t at(uint64_t page)
{
	return rig_hva(&r, page);
}

/* Both views show what the page has, and what each of them stores arrives. */
static void use(struct rig *of, uint64_t page, uint64_t want)
{
	check_eq(rig_load(rig_word(of->guest, page, 0)), want);
	check_eq(rig_load(rig_word(of->host, page, 0)), want);
	rig_guest_store(of, rig_word(of->guest, page, 8), page);
	rig_store(rig_word(of->host, page, 16), page + 1);
	check_eq(rig_peek(of, page), want);
	check_eq(rig_load(rig_word(of->host, page, 8)), page);
	check_eq(rig_load(rig_word(of->guest, page, 16)), page + 1);
}

/* What was stored elsewhere in the page is gone. */
static void put(uint64_t page, uint64_t value)
{
	uint64_t word[512] = { value };

	check_eq(hostmm_write(r.mm, at(page), word, sizeof(word)), 0);
}

static void check_alive(struct rig *of)
{
	check_eq(of->window_fatal, 0);
	check_eq(of->host_fatal, 0);
}

static void migrate_with(unsigned left)
{
	vmas_use_up(left);
	check_eq(hostmm_migrate(r.mm, at(0), at(PAGES), HOSTMM_MIGRATE_AWAY), 0);
	for (uint64_t page = 0; page < PAGES; page++)
		use(&r, page, 100 + page);
}

static void check_home(void)
{
	check_alive(&r);
	rig_check(&r);
	rig_check_all_home(&r);
}

UTEST(limits_vmas, pages_that_migrate_come_home, .init = up, .fini = down)
{
	for (unsigned left = 0; left <= MOST; left++) {
		migrate_with(left);
		vmas_use_up(PLENTY);
		check_home();
	}
}

/*
 * Where others' calls are followed, each change of a VMA makes an event that somebody reads before it returns: one that the system
 * refuses makes none, and must not be waited for; the way out, with the VMAs that the pool lends, is umbra's own.
 */
UTEST(limits_vmas, an_audit_tells_umbra_from_others, .init = up_audited, .fini = down)
{
	char *page3 = r.host + 3 * PAGE_SIZE;
	struct hostmm_stats s;

	for (unsigned left = 0; left <= MOST; left++) {
		migrate_with(left);
		check_eq(madvise(page3, PAGE_SIZE, MADV_DONTNEED), 0);
		use(&r, 3, 103);
		vmas_use_up(PLENTY);
		check_home();
		hostmm_audit_wait(r.mm);
		hostmm_get_stats(r.mm, &s);
		check_eq(s.raw_removes, left + 1);
		check_eq(s.raw_unmaps + s.raw_remaps + s.raw_failures, 0);
	}
	vmas_use_up(2);
	check_eq(munmap(page3, PAGE_SIZE), 0);
	hostmm_audit_wait(r.mm);
	hostmm_get_stats(r.mm, &s);
	check_eq(s.raw_unmaps, 1);
	check_eq(shadow_fault(r.shadow, RIG_GFN + 3, false), -EFAULT);
	for (uint64_t page = 4; page < PAGES; page++)
		use(&r, page, 100 + page);
	vmas_use_up(PLENTY);
	check_alive(&r);
	rig_check(&r);
}

/* change_pte: what cannot be repointed is zapped, and comes home when it is touched. */
UTEST(limits_vmas, pages_that_move_under_their_readers_come_home, .init = up, .fini = down)
{
	for (unsigned left = 0; left <= MOST; left++) {
		for (uint64_t page = 0; page < PAGES; page++)
			check_eq(rig_load(rig_word(r.guest, page, 0)), 100 + page);
		check_eq(hostmm_wrprotect(r.mm, at(0), at(PAGES)), 0);
		vmas_use_up(left);
		check_eq(hostmm_migrate(r.mm, at(0), at(PAGES), HOSTMM_MIGRATE_AWAY), 0);
		for (uint64_t page = 0; page < PAGES; page++)
			use(&r, page, 100 + page);
		vmas_use_up(PLENTY);
		check_alive(&r);
		rig_check(&r);
		rig_check_all_home(&r);
	}
}

UTEST(limits_vmas, pages_that_merge_unshare, .init = up, .fini = down)
{
	for (unsigned left = 0; left <= MOST; left++) {
		for (uint64_t page = 0; page < PAGES; page++)
			put(page, 7);
		vmas_use_up(left);
		for (uint64_t page = 1; page < PAGES; page++)
			check_eq(hostmm_merge(r.mm, at(0), r.mm, at(page)), 0);
		for (uint64_t page = 0; page < PAGES; page++)
			use(&r, page, 7);
		vmas_use_up(PLENTY);
		check_alive(&r);
		rig_check(&r);
		rig_check_all_home(&r);
	}
}

/* The service goes on, young pages and old ones; what it has merged is unshared where it is touched. */
UTEST(limits_vmas, the_service_merges_what_it_can, .init = up, .fini = down)
{
	check_eq(ksm_create(&ksm, r.pool, &(struct ksm_opts){ .use_zero_pages = true }), 0);
	check_eq(ksm_register(ksm, r.mm, at(0), at(PAGES)), 0);
	for (unsigned left = 0; left <= MOST; left++) {
		for (uint64_t page = 0; page < PAGES; page++)
			put(page, page % 3);
		ksm_pass(ksm);
		for (uint64_t page = 0; page < PAGES; page += 2)
			check_eq(rig_load(rig_word(r.guest, page, 0)), page % 3);
		vmas_use_up(left);
		ksm_pass(ksm);
		for (uint64_t page = 0; page < PAGES; page++)
			use(&r, page, page % 3);
		vmas_use_up(PLENTY);
		check_alive(&r);
		rig_check(&r);
	}
}

/* The service keeps the home frame of a page that is stored to: it lets go of it. */
UTEST(limits_vmas, a_page_comes_home_to_a_stable_frame, .init = up, .fini = down)
{
	check_eq(ksm_create(&ksm, r.pool, &(struct ksm_opts){ 0 }), 0);
	check_eq(ksm_register(ksm, r.mm, at(0), at(PAGES)), 0);
	for (uint64_t page = 0; page < PAGES; page++)
		put(page, page / 4);
	ksm_pass(ksm);
	ksm_pass(ksm);
	vmas_use_up(0);
	for (uint64_t page = 0; page < PAGES; page++)
		use(&r, page, page / 4);
	vmas_use_up(PLENTY);
	check_alive(&r);
	rig_check(&r);
}

/* Each stores to every page: the child has the parent's home frames, so who is copied may have no home to go to. */
static void both_store(struct rig *first, struct rig *second, unsigned left)
{
	vmas_use_up(left);
	for (uint64_t page = 0; page < PAGES; page += 2) /* VMAs cannot be one for all */
		use(first, page, 100 + page);
	for (uint64_t page = 0; page < PAGES; page++)
		use(second, page, 100 + page);
	for (uint64_t page = 1; page < PAGES; page += 2)
		use(first, page, 100 + page);
	vmas_use_up(PLENTY);
	check_alive(&r);
	check_alive(&child);
	rig_check(&r);
	rig_check(&child);
}

UTEST(limits_vmas, a_parent_that_stores_finds_room, .init = up_forked, .fini = down)
{
	both_store(&r, &child, 0);
}

UTEST(limits_vmas, a_child_that_stores_finds_room, .init = up_forked, .fini = down)
{
	both_store(&child, &r, 0);
}

UTEST(limits_vmas, both_sides_of_a_fork_store_with_little_room, .init = up_forked, .fini = down)
{
	both_store(&r, &child, 3);
}

/* ---- What a call asks for is refused, and nothing has changed ---- */

UTEST(limits_vmas, creation_undoes_itself, .init = up, .fini = down)
{
	unsigned made = 0, most = 0;

	for (unsigned left = 0; left <= 60; left += left < 8 ? 1 : 4) {
		uint64_t used = pool_used(r.pool);

		vmas_use_up(left);
		most = create_all(&r, ENOMEM);
		made = left ? made : most;
		check_eq(pool_used(r.pool), used);
		for (uint64_t page = 0; page < PAGES; page++)
			use(&r, page, 100 + page);
	}
	check(made < CREATE_ALL);
	check_eq(most, CREATE_ALL);
	check_alive(&r);
	rig_check(&r);
}

UTEST(limits_vmas, rights_go_back, .init = up, .fini = down)
{
	unsigned refused = 0;

	for (unsigned left = 0; left <= MOST; left++) {
		int rc;

		vmas_use_up(left);
		rc = hostmm_protect(r.mm, at(3), at(5), HOSTMM_PROT_READ);
		check(!rc || rc == -ENOMEM, "%d", rc);
		refused += rc ? 1 : 0;
		check_eq(rig_try_store(rig_word(r.host, 4, 16), 1), rc != 0);
		check_eq(rig_load(rig_word(r.guest, 4, 0)), 104);
		vmas_use_up(PLENTY);
		check_eq(hostmm_protect(r.mm, at(3), at(5), HOSTMM_PROT_READ | HOSTMM_PROT_WRITE),
			 0);
		for (uint64_t page = 0; page < PAGES; page++)
			use(&r, page, 100 + page);
	}
	check(refused > 0);
	check_alive(&r);
	rig_check(&r);
}

/* A view in the middle of one VMA: to unmap it, or to close it, makes a hole. */
UTEST(limits_vmas, what_must_go_goes, .init = up, .fini = down)
{
	struct memslot slot[3];
	uint64_t value;

	for (unsigned i = 0; i < 3; i++) {
		check_eq(shadow_add_slot(r.shadow, 2 + i, 0x10000 * (i + 1), 8, at(8 * i), 0), 0);
		check(shadow_slot(r.shadow, 0x10000 * (i + 1), &slot[i]));
	}
	for (unsigned i = 0; i < 3; i++)
		check_eq(rig_load(rig_word(window_base(&slot[i]), 0, 0)), 100 + 8 * i);
	vmas_use_up(0);
	check_eq(shadow_remove_slot(r.shadow, 3), 0);
	check(!rig_try_load(rig_word(window_base(&slot[1]), 0, 0), &value));
	check_eq(rig_load(rig_word(window_base(&slot[0]), 1, 0)), 101);
	check_eq(rig_load(rig_word(window_base(&slot[2]), 1, 0)), 117);
	window_shut(r.window);
	check(!rig_try_load(rig_word(r.guest, 0, 0), &value));
	check_eq(rig_load(rig_word(r.host, 0, 0)), 100);
}
