// SPDX-License-Identifier: BSD-2-Clause
/* Snapshots: every state of a page, of the primary and of the table; bad ranges; brackets that get in the way. */
#include "mmu/shadow/snapshot.h"

#include <errno.h>
#include <string.h>

#include "mmu/shadow/shadow_priv.h"
#include "tests/rig.h"
#include "tests/test.h"

#define READ	   SNAPSHOT_READ
#define READ_WRITE (SNAPSHOT_READ | SNAPSHOT_WRITE)
#define ZERO	   (SNAPSHOT_ZERO | SNAPSHOT_READ)

static struct rig r;

static int fill(void *ctx, uint64_t page, void *dst, uint64_t npages)
{
	(void)ctx;
	(void)page;
	memset(dst, 7, npages << PAGE_SHIFT);
	return 0;
}

static const struct pager_ops pager = { .fill = fill };

static void check_states(const uint8_t *got, const uint8_t *want, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		check(got[i] == want[i], "page %u: %#x, want %#x", i, got[i], want[i]);
}

/* ---- The primary ---- */

UTEST(snapshot, mirror_sees_hole_zero_read_only_and_writable)
{
	const uint8_t want[5] = { SNAPSHOT_HOLE, ZERO, READ_WRITE, READ, ZERO };
	uint64_t used;
	uint8_t state[5];

	rig_up(&r, &(struct rig_opts){ .pages = 16, .no_slot = true });
	rig_store(rig_word(r.host, 1, 0), 1);
	rig_store(rig_word(r.host, 2, 0), 2);
	check_eq(hostmm_wrprotect(r.mm, rig_hva(&r, 2), rig_hva(&r, 3)), 0);
	used = pool_used(r.pool);
	check_eq(mirror_snapshot(r.mm, rig_hva(&r, 0) - PAGE_SIZE, 5, NULL, state), 0);
	check_states(state, want, 5);
	check_eq(pool_used(r.pool), used); /* nothing was faulted in */
	rig_down(&r);
}

UTEST(snapshot, mirror_sees_none_where_a_pager_would_be_asked)
{
	const uint8_t want[3] = { SNAPSHOT_NONE, READ_WRITE, SNAPSHOT_NONE };
	uint8_t state[3];

	rig_up(&r, &(struct rig_opts){ .pages = 16, .pager = &pager, .around = 1 });
	check_eq(rig_load(rig_word(r.guest, 1, 0)), 0x0707070707070707UL);
	check_eq(mirror_snapshot(r.mm, r.hva, 3, NULL, state), 0);
	check_states(state, want, 3);
	check_eq(hostmm_discard(r.mm, rig_hva(&r, 1), rig_hva(&r, 2)), 0);
	check_eq(mirror_snapshot(r.mm, r.hva, 2, NULL, state), 0);
	check_eq(state[1], SNAPSHOT_NONE);
	rig_down(&r);
}

/* The level is that of the entry which the frames allow: one page elsewhere, or of another right, and it is 4K. */
UTEST(snapshot, mirror_sees_large_pages)
{
	uint64_t first;
	uint8_t state;
	fn_t fn;

	rig_up(&r, &(struct rig_opts){ .pages = 1536, .no_slot = true });
	first = (((r.hva + (2UL << 20) - 1) & ~((2UL << 20) - 1)) - r.hva) >> PAGE_SHIFT;
	for (uint64_t page = first; page < first + 512; page++)
		rig_store(rig_word(r.host, page, 0), 1);
	fn = rig_frame(&r, first);
	check_eq(mirror_snapshot(r.mm, rig_hva(&r, first + 100), 1, NULL, &state), 0);
	check_eq(state, fn % 512 ? READ_WRITE : READ_WRITE | SNAPSHOT_PMD);
	check_eq(hostmm_wrprotect(r.mm, rig_hva(&r, first + 511), rig_hva(&r, first + 512)), 0);
	check_eq(mirror_snapshot(r.mm, rig_hva(&r, first + 100), 1, NULL, &state), 0);
	check_eq(state, READ_WRITE);
	rig_down(&r);
}

UTEST(snapshot, mirror_refuses_bad_ranges)
{
	uint8_t state[2] = { 0x55, 0x55 };

	rig_up(&r, &(struct rig_opts){ .pages = 16, .no_slot = true });
	check_eq(mirror_snapshot(r.mm, r.hva + 1, 1, NULL, state), -EINVAL);
	check_eq(mirror_snapshot(r.mm, r.hva, 0, NULL, state), -EINVAL);
	check_eq(mirror_snapshot(r.mm, r.hva, 1UL << 52, NULL, state), -EINVAL);
	check_eq(mirror_snapshot(r.mm, 0UL - PAGE_SIZE, 2, NULL, state), -EINVAL);
	check_eq(hostmm_walk(r.mm, r.hva + 1, 1, NULL, state), -EINVAL);
	check_eq(hostmm_walk(r.mm, r.hva, 0, NULL, state), -EINVAL);
	check_eq(hostmm_walk(r.mm, 0UL - PAGE_SIZE, 2, NULL, state), -EINVAL);
	check_eq(state[0], 0x55);
	check_eq(state[1], 0x55);
	/* Outside every region is no error. */
	check_eq(mirror_snapshot(r.mm, PAGE_SIZE, 2, NULL, state), 0);
	check_eq(state[0], SNAPSHOT_HOLE);
	check_eq(state[1], SNAPSHOT_HOLE);
	rig_down(&r);
}

/* ---- The table ---- */

UTEST(snapshot, table_sees_hole_none_read_only_and_writable)
{
	const uint8_t want[5] = { SNAPSHOT_HOLE, SNAPSHOT_NONE, READ_WRITE, READ, SNAPSHOT_NONE };
	uint8_t state[5];

	rig_up(&r, &(struct rig_opts){ .pages = 4, .around = 1 });
	rig_store(rig_word(r.guest, 1, 0), 1);
	check_eq(hostmm_wrprotect(r.mm, rig_hva(&r, 2), rig_hva(&r, 3)), 0);
	rig_store(rig_word(r.host, 2, 0), 1);
	check_eq(hostmm_wrprotect(r.mm, rig_hva(&r, 2), rig_hva(&r, 3)), 0);
	check_eq(rig_load(rig_word(r.guest, 2, 0)), 1);
	check_eq(shadow_snapshot(r.shadow, RIG_GFN - 1, 5, state), 0);
	check_states(state, want, 5);
	/* Beyond the slot. */
	check_eq(shadow_snapshot(r.shadow, RIG_GFN + 3, 2, state), 0);
	check_eq(state[0], SNAPSHOT_NONE);
	check_eq(state[1], SNAPSHOT_HOLE);
	/* Without any. */
	check_eq(shadow_remove_slot(r.shadow, 1), 0);
	check_eq(shadow_snapshot(r.shadow, RIG_GFN + 1, 1, state), 0);
	check_eq(state[0], SNAPSHOT_HOLE);
	rig_down(&r);
}

UTEST(snapshot, table_refuses_bad_ranges)
{
	const gfn_t limit = 1UL << SPTE_GFN_BITS;
	uint8_t state[2] = { 0x55, 0x55 };

	rig_up(&r, &(struct rig_opts){ .pages = 4 });
	check_eq(shadow_snapshot(r.shadow, RIG_GFN, 0, state), -EINVAL);
	check_eq(shadow_snapshot(r.shadow, limit, 1, state), -EINVAL);
	check_eq(shadow_snapshot(r.shadow, limit - 1, 2, state), -EINVAL);
	check_eq(shadow_snapshot(r.shadow, UINT64_MAX, 2, state), -EINVAL);
	check_eq(shadow_snapshot(r.shadow, 1, UINT64_MAX, state), -EINVAL);
	check_eq(state[0], 0x55);
	check_eq(state[1], 0x55);
	check_eq(shadow_snapshot(r.shadow, limit - 1, 1, state), 0);
	check_eq(state[0], SNAPSHOT_HOLE);
	rig_down(&r);
}

/* ---- Brackets ---- */

/* A subscriber older than the others in each traversal stops a bracket while it is open. */
static struct {
	struct mmu_notifier mn;
	struct gate start;
} stop;

static int stop_start(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	(void)mn;
	(void)range;
	gate_pass(&stop.start);
	return 0;
}

static const struct mmu_notifier_ops stop_ops = { .invalidate_range_start = stop_start };

static void *discard_two(void *arg)
{
	(void)arg;
	check_eq(hostmm_discard(r.mm, r.hva, rig_hva(&r, 2)), 0);
	return NULL;
}

struct look {
	struct gate about;
	bool table;
	uint8_t state[2];
};

static void *look(void *arg)
{
	struct look *l = arg;

	gate_pass(&l->about);
	check_eq(l->table ? shadow_snapshot(r.shadow, RIG_GFN, 2, l->state)
			  : mirror_snapshot(r.mm, r.hva, 2, NULL, l->state),
		 0);
	return NULL;
}

/* While a bracket is open over the range there is nothing to say: the snapshot comes after it. */
static void snapshot_in_a_bracket(bool table, uint8_t want)
{
	struct look l = { .about = GATE_INIT, .table = table };
	pthread_t change, looker;
	uint8_t state[2];

	stop.start = (struct gate)GATE_INIT;
	rig_up(&r, &(struct rig_opts){ .pages = 16, .pager = &pager });
	rig_store(rig_word(r.guest, 0, 0), 1);
	rig_store(rig_word(r.guest, 1, 0), 1);
	check_eq(mirror_snapshot(r.mm, r.hva, 2, NULL, state), 0);
	check_eq(state[0], READ_WRITE);
	stop.mn.ops = &stop_ops;
	check_eq(hostmm_subscribe(r.mm, &stop.mn), 0);

	gate_arm(&stop.start);
	change = rig_thread(discard_two, NULL);
	gate_wait(&stop.start);
	looker = rig_thread(look, &l);
	gate_wait(&l.about);
	gate_open(&stop.start);
	rig_join(change);
	rig_join(looker);
	check(l.state[0] == l.state[1], "%#x beside %#x", l.state[0], l.state[1]);
	/* The table's snapshot may come before the bracket: the shadow has not heard of it when the gate opens. */
	check(l.state[0] == want || (table && l.state[0] == READ_WRITE), "%#x", l.state[0]);
	rig_check(&r);
	mmu_notifier_unregister(&stop.mn);
	rig_down(&r);
}

UTEST(snapshot, mirror_waits_for_an_open_bracket)
{
	snapshot_in_a_bracket(false, SNAPSHOT_NONE);
}

UTEST(snapshot, table_waits_for_an_open_bracket)
{
	snapshot_in_a_bracket(true, SNAPSHOT_NONE);
}
