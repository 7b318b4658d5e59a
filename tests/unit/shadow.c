// SPDX-License-Identifier: BSD-2-Clause
/* What a fault comes to, what lost entries are, and backends that fail. */
#include "mmu/shadow/shadow.h"

#include "tests/unit/shadow_gates.h"

UTEST(shadow, refuses_bad_options)
{
	struct shadow_opts opts = { .fault_around = 3 };
	struct shadow *sh;

	check_eq(shadow_create(&sh, NULL, NULL, NULL, &opts), -EINVAL);
	opts.fault_around = 1024;
	check_eq(shadow_create(&sh, NULL, NULL, NULL, &opts), -EINVAL);
}

UTEST(shadow, says_what_a_fault_came_to)
{
	struct shadow_stats s;

	up_with((struct rig_opts){ .pages = 64, .around = 8 });
	check_eq(shadow_fault(r.shadow, RIG_GFN - 1, false), -ENXIO);
	check_eq(shadow_fault(r.shadow, RIG_GFN + 64, false), -ENXIO);
	check_eq(shadow_fault(r.shadow, RIG_GFN + 2, false), SHADOW_FIXED);
	check_eq(shadow_fault(r.shadow, RIG_GFN + 2, true), SHADOW_SPURIOUS);
	check_eq(shadow_fault(r.shadow, RIG_GFN + 7, true), SHADOW_SPURIOUS);
	shadow_get_stats(r.shadow, &s);
	/* Page 2 and what lies ahead of it in its block. */
	check(s.pages == 6 && s.batches == 1 && s.leaves == 6, "%lu pages", s.pages);
	check_eq(shadow_fault(r.shadow, RIG_GFN + 0, true), SHADOW_FIXED);
	shadow_get_stats(r.shadow, &s);
	check(s.leaves == 8 && s.fixed == 2 && s.spurious == 2 && s.faults == 6);
	/* Who only loads is not disturbed. */
	check_eq(hostmm_wrprotect(r.mm, rig_hva(&r, 0), rig_hva(&r, 8)), 0);
	shadow_get_stats(r.shadow, &s);
	check(s.leaves == 8 && s.zapped == 0 && s.flushes == 1 && s.invalidations == 1);
	check_eq(shadow_fault(r.shadow, RIG_GFN + 1, false), SHADOW_SPURIOUS);
	check_eq(shadow_fault(r.shadow, RIG_GFN + 1, true), SHADOW_FIXED);
	shadow_get_stats(r.shadow, &s);
	check_eq(s.upgrades, 1);
	check_eq(hostmm_zap(r.mm, rig_hva(&r, 0), rig_hva(&r, 8)), 0);
	shadow_get_stats(r.shadow, &s);
	check(s.leaves == 0 && s.zapped == 8 && s.flushes == 2 && s.invalidations == 2);
	rig_check(&r);
	down();
}

/* What the system does to a window when it splits a huge page: the leaves stay, the entries are gone. One fault mends all. */
UTEST(shadow, lost_entries_are_mapped_again)
{
	const uint64_t pages = 64;
	struct shadow_stats before, after;

	up_with((struct rig_opts){ .pages = pages });
	for (uint64_t page = 0; page < pages; page++)
		rig_store(rig_word(r.guest, page, 0), page + 1);
	shadow_get_stats(r.shadow, &before);
	check_eq(madvise(r.guest, pages << PAGE_SHIFT, MADV_DONTNEED), 0);
	check_eq(rig_load(rig_word(r.guest, 20, 0)), 21);
	for (uint64_t page = 0; page < pages; page++)
		check_eq(rig_load(rig_word(r.guest, page, 0)), page + 1);
	shadow_get_stats(r.shadow, &after);
	check_eq(after.faults - before.faults, 1);
	check_eq(after.leaves, before.leaves);
	rig_check(&r);
	down();
}

UTEST(shadow, a_read_only_slot_is_read_only)
{
	uint64_t value = 3;

	up_with((struct rig_opts){ .pages = 8, .slot_flags = MEMSLOT_READONLY });
	rig_store(rig_word(r.host, 2, 0), 7);
	check_eq(rig_load(rig_word(r.guest, 2, 0)), 7);
	check_eq(shadow_fault(r.shadow, RIG_GFN + 2, true), -EACCES);
	check_eq(shadow_write(r.shadow, (RIG_GFN + 2) << PAGE_SHIFT, &value, 8), -EFAULT);
	check_eq(shadow_read(r.shadow, (RIG_GFN + 2) << PAGE_SHIFT, &value, 8), 0);
	check_eq(value, 7);
	rig_check(&r);
	check(!rig_try_store(rig_word(r.guest, 2, 0), 8));
	rig_wait(&r.window_fatal);
	check_eq(r.window_error, -EACCES);
	check_eq(rig_load(rig_word(r.host, 2, 0)), 7);
	down();
}

UTEST(shadow, copies_over_slots_whole_or_not_at_all)
{
	char in[200], out[200] = "";
	gpa_t seam = (RIG_GFN + 8) << PAGE_SHIFT;

	up_with((struct rig_opts){ .pages = 16, .no_slot = true });
	check_eq(shadow_add_slot(r.shadow, 1, RIG_GFN, 8, rig_hva(&r, 8), 0), 0);
	check_eq(shadow_add_slot(r.shadow, 2, RIG_GFN + 8, 8, rig_hva(&r, 0), 0), 0);
	memset(in, 'x', sizeof(in));
	check_eq(shadow_write(r.shadow, seam - 77, in, sizeof(in)), 0);
	check_eq(shadow_read(r.shadow, seam - 77, out, sizeof(out)), 0);
	check(!memcmp(in, out, sizeof(in)));
	check(r.host[(16 << PAGE_SHIFT) - 77] == 'x' && r.host[(16 << PAGE_SHIFT) - 78] == 0);
	check(r.host[122] == 'x' && r.host[123] == 0);
	check_eq(shadow_write(r.shadow, seam + (8 << PAGE_SHIFT) - 100, in, sizeof(in)), -EFAULT);
	check_eq(r.host[(8 << PAGE_SHIFT) - 100], 0);
	check_eq(shadow_read(r.shadow, 0, out, 1), -EFAULT);
	check_eq(shadow_read(r.shadow, seam, out, 0), 0);
	check_eq(shadow_remove_slot(r.shadow, 1), 0);
	check_eq(shadow_write(r.shadow, seam - 77, in, sizeof(in)), -EFAULT);
	down();
}

/* ---- Backends that fail ---- */

static atomic_uint again;

static void fail_for_a_while(struct rig *rig, uint64_t page, uint64_t n)
{
	(void)page;
	(void)n;
	if (atomic_fetch_add(&again, 1) == 2)
		rig->map_error = 0;
}

UTEST(shadow, a_backend_that_asks_for_time_gets_it)
{
	up_with((struct rig_opts){ .pages = 16 });
	r.map_error = -EAGAIN;
	r.before_map = fail_for_a_while;
	check_eq(shadow_fault(r.shadow, RIG_GFN + 3, true), SHADOW_FIXED);
	check(retries() >= 2);
	check_eq(rig_load(rig_word(r.guest, 3, 0)), 0);
	rig_check(&r);
	down();
}

static void fail_more_than_one(struct rig *rig, uint64_t page, uint64_t n)
{
	check_eq(n, atomic_load(&again) ? 1 : 8);
	check(page <= 3 && 3 < page + n);
	atomic_fetch_add(&again, 1);
	rig->map_error = 0;
}

/* The pages around are mapped by the way: when they cannot be, the page itself is tried alone. */
UTEST(shadow, a_neighbour_that_cannot_be_mapped_does_no_harm)
{
	up_with((struct rig_opts){ .pages = 16, .around = 8, .canary = true });
	for (uint64_t page = 0; page < 16; page++)
		rig_store(rig_word(r.host, page, 0), page);
	again = 0;
	r.map_error = -ENOMEM;
	r.map_half = true;
	r.before_map = fail_more_than_one;
	check_eq(rig_load(rig_word(r.guest, 3, 0)), 3);
	check_eq(again, 2);
	check_eq(r.window_fatal, 0);
	check_eq(ept_peek(&r.shadow->ept, RIG_GFN + 2, NULL), SPTE_NONE);
	rig_check(&r);
	r.before_map = NULL;
	for (uint64_t page = 0; page < 16; page++)
		check_eq(rig_load(rig_word(r.guest, page, 0)), page);
	rig_check(&r);
	down();
}

/* What could not be mapped is not in the table, and the window fails closed: nobody reads zeros. */
UTEST(shadow, a_backend_that_fails_closes_the_window)
{
	uint64_t value;

	up_with((struct rig_opts){ .pages = 32, .around = 16 });
	rig_store(rig_word(r.guest, 20, 0), 1);
	r.map_error = -ENOMEM;
	check_eq(shadow_fault(r.shadow, RIG_GFN + 3, true), -ENOMEM);
	check_eq(ept_peek(&r.shadow->ept, RIG_GFN + 3, NULL), SPTE_NONE);
	check_eq(r.window_fatal, 0);
	check(!rig_try_load(rig_word(r.guest, 3, 0), &value));
	rig_wait(&r.window_fatal);
	check_eq(r.window_error, -ENOMEM);
	r.map_error = 0;
	for (uint64_t page = 0; page < 32; page++)
		check(!rig_try_load(rig_word(r.guest, page, 0), &value));
	check_eq(hostmm_zap(r.mm, rig_hva(&r, 0), rig_hva(&r, 32)), 0);
	for (uint64_t page = 0; page < 32; page++)
		check(!rig_try_load(rig_word(r.guest, page, 0), &value));
	check_eq(rig_load(rig_word(r.host, 20, 0)), 1);
	down();
}

/* M17 beyond the table's own check: the checker sees a leaf that the host does not back. */
static void ignore(void *ctx, gfn_t gfn, uint64_t spte, const char *what)
{
	(void)gfn;
	(void)spte;
	(void)what;
	atomic_fetch_add((atomic_uint *)ctx, 1);
}

UTEST(shadow, the_checker_finds_what_is_wrong)
{
	atomic_uint reports = 0;

	up_with((struct rig_opts){ .pages = 16, .around = 1 });
	rig_store(rig_word(r.guest, 3, 0), 3);
	check_eq(shadow_check(r.shadow, ignore, &reports), 0);
	check_eq(ept_populate(&r.shadow->ept, ept_root(&r.shadow->ept), 0, 1, 1), 0);
	check(ept_install(&r.shadow->ept, ept_root(&r.shadow->ept), 0, 1, SPTE_NONE,
			  spte_make_leaf(1, false)));
	check(ept_install(&r.shadow->ept, ept_root(&r.shadow->ept), RIG_GFN + 9, 1, SPTE_NONE,
			  spte_make_leaf(1, false)));
	check_eq(shadow_check(r.shadow, ignore, &reports), 2);
	check_eq(reports, 2);
	ept_zap(&r.shadow->ept, 0, 1);
	ept_zap(&r.shadow->ept, RIG_GFN + 9, RIG_GFN + 10);
	check_eq(ept_zap(&r.shadow->ept, RIG_GFN + 3, RIG_GFN + 4).count, 1);
	check(ept_install(&r.shadow->ept, ept_root(&r.shadow->ept), RIG_GFN + 3, 1, SPTE_NONE,
			  spte_make_leaf(40, true)));
	check_eq(shadow_check(r.shadow, NULL, NULL), 2); /* the window is still on the old frame */
	r.damaged = true;
	down();
}
