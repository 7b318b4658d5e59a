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
	struct gate end;
	bool early; /* a snapshot did not wait for the end */
} stop;

static atomic_bool has_looked;

static int stop_start(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	(void)mn;
	(void)range;
	gate_pass(&stop.start);
	return 0;
}

static bool is_waiting(void)
{
	bool waiting;

	lock_acquire(&r.shadow->mn_lock);
	waiting = r.shadow->retry_waiters;
	lock_release(&r.shadow->mn_lock);
	return waiting;
}

/* The shadow has heard of the start, and not yet of the end: a snapshot that begins now waits. */
static void stop_end(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	(void)mn;
	(void)range;
	gate_pass(&stop.end);
	while (!is_waiting() && !atomic_load(&has_looked))
		sched_yield();
	stop.early = atomic_load(&has_looked);
}

static const struct mmu_notifier_ops stop_ops = { .invalidate_range_start = stop_start };
static const struct mmu_notifier_ops stop_end_ops = { .invalidate_range_end = stop_end };

static void *discard_two(void *arg)
{
	(void)arg;
	check_eq(hostmm_discard(r.mm, r.hva, rig_hva(&r, 2)), 0);
	return NULL;
}

static void *look_at_table(void *arg)
{
	check_eq(shadow_snapshot(r.shadow, RIG_GFN, 2, arg), 0);
	atomic_store(&has_looked, true);
	return NULL;
}

UTEST(snapshot, table_waits_for_an_open_bracket)
{
	uint8_t state[2] = { 0x55, 0x55 };
	pthread_t change, looker;

	stop.end = (struct gate)GATE_INIT;
	atomic_store(&has_looked, false);
	rig_up(&r, &(struct rig_opts){ .pages = 16, .pager = &pager });
	rig_store(rig_word(r.guest, 0, 0), 1);
	rig_store(rig_word(r.guest, 1, 0), 1);
	stop.mn.ops = &stop_end_ops;
	check_eq(hostmm_subscribe(r.mm, &stop.mn), 0);
	gate_arm(&stop.end);
	change = rig_thread(discard_two, NULL);
	gate_wait(&stop.end);
	looker = rig_thread(look_at_table, state);
	gate_open(&stop.end);
	rig_join(change);
	rig_join(looker);
	check(!stop.early);
	check_eq(state[0], SNAPSHOT_NONE);
	check_eq(state[1], SNAPSHOT_NONE);
	mmu_notifier_unregister(&stop.mn);
	rig_down(&r);
}

struct look {
	struct gate about;
	uint8_t state[2];
};

static void *look(void *arg)
{
	struct look *l = arg;

	gate_pass(&l->about);
	check_eq(mirror_snapshot(r.mm, r.hva, 2, NULL, l->state), 0);
	return NULL;
}

/* While a bracket is open over the range there is nothing to say: the snapshot comes after it. */
UTEST(snapshot, mirror_waits_for_an_open_bracket)
{
	struct look l = { .about = GATE_INIT };
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
	check_eq(l.state[0], SNAPSHOT_NONE);
	check_eq(l.state[1], SNAPSHOT_NONE);
	rig_check(&r);
	mmu_notifier_unregister(&stop.mn);
	rig_down(&r);
}

/* ---- A slot on its way out ---- */

static struct gate filling = GATE_INIT;

static int slow_fill(void *ctx, uint64_t page, void *dst, uint64_t npages)
{
	gate_pass(&filling);
	return fill(ctx, page, dst, npages);
}

static void *fault_zero(void *arg)
{
	(void)arg;
	(void)shadow_fault(r.shadow, RIG_GFN, false);
	return NULL;
}

static void *remove_slot(void *arg)
{
	(void)arg;
	check_eq(shadow_remove_slot(r.shadow, 1), 0);
	return NULL;
}

/* While the removal waits for a fault, faults of others find nothing there. */
UTEST(snapshot, table_sees_a_hole_where_a_slot_goes)
{
	static const struct pager_ops slow = { .fill = slow_fill };
	struct memslot slot;
	pthread_t faulter, remover;
	uint8_t state;

	rig_up(&r, &(struct rig_opts){ .pages = 4, .pager = &slow, .around = 1 });
	gate_arm(&filling);
	faulter = rig_thread(fault_zero, NULL);
	gate_wait(&filling);
	check_eq(shadow_snapshot(r.shadow, RIG_GFN, 1, &state), 0);
	check_eq(state, SNAPSHOT_NONE);
	remover = rig_thread(remove_slot, NULL);
	while (shadow_slot(r.shadow, RIG_GFN, &slot))
		sched_yield();
	check_eq(shadow_snapshot(r.shadow, RIG_GFN, 1, &state), 0);
	check_eq(state, SNAPSHOT_HOLE);
	gate_open(&filling);
	rig_join(faulter);
	rig_join(remover);
	rig_down(&r);
}
