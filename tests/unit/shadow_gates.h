/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The machine of the tests of the fault path, shadow*.c: threads stop at a few gates, of the pager, of the first subscriber, of the
 * backend, so schedules leave nothing to chance.
 * Owns what up_with() builds, until down(). Who may call: tests/unit/shadow*.c, each a program of its own.
 */
#ifndef UMBRA_TESTS_UNIT_SHADOW_GATES_H
#define UMBRA_TESTS_UNIT_SHADOW_GATES_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "mmu/shadow/shadow_priv.h"
#include "tests/rig.h"
#include "tests/test.h"

static struct rig r;

/* A pager whose fill of one page stops at a gate. */
static struct {
	struct gate gate;
	_Atomic uint64_t stop_at; /* page + 1 */
} pager;

static inline int pager_fill(void *ctx, uint64_t page, void *dst, uint64_t npages)
{
	uint64_t stop_at = atomic_load(&pager.stop_at);

	(void)ctx;
	if (page < stop_at && stop_at <= page + npages)
		gate_pass(&pager.gate);
	memset(dst, 0, npages << PAGE_SHIFT);
	return 0;
}

static const struct pager_ops pager_ops = { .fill = pager_fill };

/* A subscriber that comes before the shadow in each traversal, and may stop there. */
static struct {
	struct mmu_notifier mn;
	struct gate start, end;
} first;

static inline int first_start(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	(void)mn;
	(void)range;
	gate_pass(&first.start);
	return 0;
}

static inline void first_end(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	(void)mn;
	(void)range;
	gate_pass(&first.end);
}

static const struct mmu_notifier_ops first_ops = { .invalidate_range_start = first_start,
						   .invalidate_range_end = first_end };

static inline void up_with(struct rig_opts opts)
{
	pager.gate = first.start = first.end = (struct gate)GATE_INIT;
	atomic_store(&pager.stop_at, 0);
	opts.canary = true;
	opts.pager = &pager_ops;
	rig_up(&r, &opts);
	first.mn.ops = &first_ops;
	check_eq(hostmm_subscribe(r.mm, &first.mn), 0);
}

static inline void down(void)
{
	mmu_notifier_unregister(&first.mn);
	rig_down(&r);
}

static inline uint64_t retries(void)
{
	struct shadow_stats stats;

	shadow_get_stats(r.shadow, &stats);
	return stats.retries;
}

static inline void *load_guest(void *arg)
{
	return (void *)(uintptr_t)rig_load(rig_word(r.guest, (uint64_t)(uintptr_t)arg, 0));
}

static inline void *try_load(void *arg)
{
	uint64_t value;

	return rig_try_load(arg, &value) ? (void *)"loaded" : NULL;
}

struct change {
	int (*fn)(struct hostmm *, hva_t, hva_t);
	uint64_t page, end;
};

static inline void *run_change(void *arg)
{
	struct change *c = arg;

	expect(c->fn(r.mm, rig_hva(&r, c->page), rig_hva(&r, c->end)) == 0);
	return NULL;
}

static inline int migrate_away(struct hostmm *mm, hva_t start, hva_t end)
{
	return hostmm_migrate(mm, start, end, HOSTMM_MIGRATE_AWAY);
}

static inline pthread_t begin_change(struct change *c)
{
	return rig_thread(run_change, c);
}

#endif
