// SPDX-License-Identifier: BSD-2-Clause
/* Devices in the middle of something: what they refuse, what waits for them, what they look up again. */
#include <errno.h>
#include <sched.h>

#include "tests/unit/device.h"

/* ---- Ranges that must not block ---- */

static int announce(struct rig *r, struct mmu_notifier_range *range, uint64_t page, bool blockable)
{
	mmu_notifier_range_init(range, MMU_NOTIFY_CLEAR, hostmm_subscriptions(r->mm),
				rig_hva(r, page), rig_hva(r, page + 1));
	if (!blockable)
		range->flags &= ~MMU_NOTIFIER_RANGE_BLOCKABLE;
	return mmu_notifier_invalidate_range_start(range);
}

UTEST(device_busy, gru_refuses_while_held_what_may_not_block)
{
	struct mmu_notifier_range range;
	struct device *dev;
	struct rig r;

	up(&r, &dev, "gru");
	store(&r, dev, 0, 1);
	device_hold(dev);
	check_eq(announce(&r, &range, 0, false), -EAGAIN);
	check_eq(stats(dev).refused, 1);
	check_eq(stats(dev).dropped, 0);
	check_eq(load(&r, dev, 0), 1);
	device_resume(dev);
	check_eq(announce(&r, &range, 0, false), 0);
	check_eq(stats(dev).dropped, 1);
	mmu_notifier_invalidate_range_end(&range);
	check_eq(load(&r, dev, 0), 1);
	check_eq(mmu_notifier_misuses(hostmm_subscriptions(r.mm)), 0);
	down(&r, dev);
}

/* One that sleeps in its callback cannot take such a range at all; one with an end has no way to refuse. */
UTEST(device_busy, who_may_sleep_refuses_what_may_not_block)
{
	struct mmu_notifier_range range;
	struct device *dev;
	struct rig r;

	up(&r, &dev, "hmm");
	store(&r, dev, 0, 1);
	check_eq(announce(&r, &range, 0, false), -EAGAIN);
	check_eq(announce(&r, &range, 0, true), 0);
	mmu_notifier_invalidate_range_end(&range);
	check_eq(stats(dev).refused, 1);
	check_eq(stats(dev).dropped, 1);
	down(&r, dev);

	up(&r, &dev, "xpmem");
	store(&r, dev, 0, 1);
	check_eq(announce(&r, &range, 0, false), 0);
	mmu_notifier_invalidate_range_end(&range);
	check_eq(stats(dev).refused, 0);
	down(&r, dev);
}

static void *discard_page_0(void *arg)
{
	struct rig *r = arg;

	check_eq(hostmm_discard(r->mm, rig_hva(r, 0), rig_hva(r, 1)), 0);
	return NULL;
}

static void await_waiter(struct device *dev)
{
	unsigned waiters;

	do {
		sched_yield();
		lock_acquire(&dev->lock);
		waiters = dev->waiters;
		lock_release(&dev->lock);
	} while (!waiters);
}

/* What may block waits for the instruction in flight, and the page is the device's until then. */
UTEST(device_busy, flush_waits_for_who_holds_the_device)
{
	for (const struct device_profile *p = device_profiles; p->name; p++) {
		struct device *dev;
		pthread_t t;
		struct rig r;

		if (p->defers || p->subscription == DEVICE_SECONDARY_TLB)
			continue;
		up(&r, &dev, p->name);
		store(&r, dev, 0, 1);
		device_hold(dev);
		t = rig_thread(discard_page_0, &r);
		await_waiter(dev);
		check_eq(load(&r, dev, 0), 1);
		store(&r, dev, 0, 2);
		check_eq(load(&r, dev, 0), 2);
		device_resume(dev);
		rig_join(t);
		check_eq(load(&r, dev, 0), 0);
		down(&r, dev);
	}
}

/* ---- Retry ---- */

static struct gate in_fill = GATE_INIT;

static int slow_fill(void *ctx, uint64_t page, void *dst, uint64_t npages)
{
	(void)ctx;
	memset(dst, 0, npages << PAGE_SHIFT);
	if (page == 0)
		gate_pass(&in_fill);
	return 0;
}

static const struct pager_ops slow_pager = { .fill = slow_fill };

struct access {
	struct rig *r;
	struct device *dev;
};

static void *load_page_0(void *arg)
{
	struct access *a = arg;

	check_eq(load(a->r, a->dev, 0), 0);
	return NULL;
}

/* A lookup that a bracket overlaps is thrown away, for each kind of subscriber (A32; M4). */
UTEST(device_busy, lookup_that_a_bracket_overlaps_is_repeated)
{
	for (const struct device_profile *p = device_profiles; p->name; p++) {
		struct shadow_stats sh = { .retries = 0 };
		struct access a;
		pthread_t t;
		struct rig r;

		rig_up(&r,
		       &(struct rig_opts){ .pages = PAGES, .pager = &slow_pager, .no_slot = true });
		a = (struct access){ .r = &r, .dev = device_up(&r, p->name) };
		store(&r, a.dev, 1, 1);
		gate_arm(&in_fill);
		t = rig_thread(load_page_0, &a);
		gate_wait(&in_fill);
		check_eq(hostmm_zap(r.mm, rig_hva(&r, 1), rig_hva(&r, 2)), 0);
		gate_open(&in_fill);
		rig_join(t);
		if (device_get_shadow(a.dev))
			shadow_get_stats(device_get_shadow(a.dev), &sh);
		check_eq(stats(a.dev).retries + sh.retries, 1);
		down(&r, a.dev);
	}
}
