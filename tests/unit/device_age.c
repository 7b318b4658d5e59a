// SPDX-License-Identifier: BSD-2-Clause
/* Every profile beside aging: who has marks and who has none, what clears them, what they cost, and that nothing else changes. */
#include <string.h>

#include "mmu/host/hostmm_actors.h"
#include "mmu/host/hostmm_walk.h"
#include "tests/unit/device_cell.h"

#define FAR 12UL /* no stream of faults leads there from P */

static bool is_young(struct cell *c, enum hostmm_age how, uint64_t page)
{
	return hostmm_age(c->r.mm, hva(c, page), hva(c, page + 1), how);
}

static uint64_t flushes(struct cell *c)
{
	struct device_stats stats;

	device_get_stats(c->dev, &stats);
	return stats.flushes;
}

static void for_each_profile(void (*fn)(struct cell *c, const struct device_profile *p))
{
	for (const struct device_profile *p = device_profiles; p->name; p++) {
		struct cell c = { 0 };

		rig_up(&c.r, &(struct rig_opts){ .pages = 16, .no_slot = true });
		check_eq(device_create(&c.dev, p, c.r.mm, c.r.hva, 16), 0);
		fn(&c, p);
		device_run_deferred(c.dev);
		check(!c.wrong, "%s: %s", p->name, c.wrong);
		check_eq(device_check(c.dev, NULL, NULL), 0);
		device_destroy(c.dev);
		rig_down(&c.r);
	}
}

static void use(struct cell *c, const struct device_profile *p)
{
	check(!is_young(c, HOSTMM_AGE_TEST, P));
	dev_load(c, P);
	check_eq(is_young(c, HOSTMM_AGE_TEST, P), has_marks(p));
	check_eq(is_young(c, HOSTMM_AGE_TEST, P), has_marks(p));
	check(!is_young(c, HOSTMM_AGE_TEST, P - 1));
	check(!is_young(c, HOSTMM_AGE_TEST, P + 1));
	dev_store(c, FAR, 1);
	check_eq(is_young(c, HOSTMM_AGE_TEST, FAR), has_marks(p));
	check_eq(hostmm_age(c->r.mm, c->r.hva, hva(c, 16), HOSTMM_AGE_CLEAR), has_marks(p) ? 2 : 0);
	check_eq(hostmm_age(c->r.mm, c->r.hva, hva(c, 16), HOSTMM_AGE_CLEAR), 0);
}

UTEST(device_age, a_use_is_seen)
{
	for_each_profile(use);
}

/* Hardware with A answers from its TLB and is not seen, unless that was flushed. */
static void use_again(struct cell *c, const struct device_profile *p)
{
	uint64_t before;

	dev_store(c, P, 7);
	before = flushes(c);
	check_eq(is_young(c, HOSTMM_AGE_CLEAR, P), has_marks(p));
	check_eq(flushes(c) - before, p->no_ad);
	check(dev_load(c, P) == 7);
	check_eq(is_young(c, HOSTMM_AGE_TEST, P), p->no_ad);

	is_young(c, HOSTMM_AGE_CLEAR, P);
	before = flushes(c);
	check(!is_young(c, HOSTMM_AGE_CLEAR_FLUSH, P));
	check_eq(flushes(c), before);
}

UTEST(device_age, clear_young_leaves_tlbs_alone)
{
	for_each_profile(use_again);
}

static void use_after_flush(struct cell *c, const struct device_profile *p)
{
	uint64_t before;

	dev_store(c, P, 7);
	for (unsigned i = 0; i < 3; i++) {
		before = flushes(c);
		check_eq(is_young(c, HOSTMM_AGE_CLEAR_FLUSH, P), has_marks(p));
		check_eq(flushes(c) - before, has_marks(p));
		check(!is_young(c, HOSTMM_AGE_TEST, P));
		check(dev_load(c, P) == 7);
		check_eq(is_young(c, HOSTMM_AGE_TEST, P), has_marks(p));
	}
	both_ways(c, P);
}

UTEST(device_age, a_use_is_seen_after_a_flush)
{
	for_each_profile(use_after_flush);
}

/* What takes the page away takes the mark. Who is late (xpmem-async) still has both. */
static void lose(struct cell *c, const struct device_profile *p)
{
	dev_store(c, P, 7);
	check_eq(hostmm_migrate(c->r.mm, hva(c, P), hva(c, P + 1), HOSTMM_MIGRATE_AWAY), 0);
	device_run_deferred(c->dev);
	check(!is_young(c, HOSTMM_AGE_TEST, P));
	check(dev_load(c, P) == 7);
	check_eq(is_young(c, HOSTMM_AGE_TEST, P), has_marks(p));
	check_eq(hostmm_discard(c->r.mm, hva(c, P), hva(c, P + 1)), 0);
	device_run_deferred(c->dev);
	check(!is_young(c, HOSTMM_AGE_TEST, P));
	check(dev_load(c, P) == 0);
	check_eq(is_young(c, HOSTMM_AGE_TEST, P), has_marks(p));
}

UTEST(device_age, a_mark_goes_with_its_page)
{
	for_each_profile(lose);
}

/* A holder may go on: what a mirror's TLB loses, its table has. */
static void hold(struct cell *c, const struct device_profile *p)
{
	if (p->walk != DEVICE_WALK_MIRROR)
		return;
	dev_store(c, P, 7);
	device_hold(c->dev);
	check_eq(is_young(c, HOSTMM_AGE_CLEAR_FLUSH, P), has_marks(p));
	check(dev_load(c, P) == 7);
	device_resume(c->dev);
	check_eq(is_young(c, HOSTMM_AGE_TEST, P), has_marks(p));
}

UTEST(device_age, waits_for_no_holder)
{
	for_each_profile(hold);
}

/* A cache that follows is told of another frame and reaches it without the host; young is what was used since. */
UTEST(device_age, a_refilled_cache_is_old)
{
	struct cell c = { 0 };
	struct device_stats before, after;

	rig_up(&c.r, &(struct rig_opts){ .pages = 16, .no_slot = true });
	check_eq(device_create(&c.dev, device_profile("pfn-cache"), c.r.mm, c.r.hva, 16), 0);
	dev_store(&c, P, 1);
	dev_store(&c, P + 1, 1);
	check(is_young(&c, HOSTMM_AGE_TEST, P + 1));
	check_eq(hostmm_merge(c.r.mm, hva(&c, P), c.r.mm, hva(&c, P + 1)), 0);
	check(!is_young(&c, HOSTMM_AGE_TEST, P + 1));
	device_get_stats(c.dev, &before);
	check(dev_load(&c, P + 1) == 1);
	device_get_stats(c.dev, &after);
	check_eq(after.faults, before.faults);
	check(is_young(&c, HOSTMM_AGE_TEST, P + 1));
	check_eq(device_check(c.dev, NULL, NULL), 0);
	device_destroy(c.dev);
	rig_down(&c.r);
}
