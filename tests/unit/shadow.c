// SPDX-License-Identifier: BSD-2-Clause
/*
 * The fault path beside invalidations and slot changes, in schedules that leave nothing to chance. One file, long as it
 * is: every test stops threads at the same few gates (of the pager, of the first subscriber, of the backend).
 */
#include "mmu/shadow/shadow.h"

#include <errno.h>
#include <sys/mman.h>
#include <stdlib.h>
#include <string.h>

#include "mmu/shadow/shadow_priv.h"
#include "tests/rig.h"
#include "tests/test.h"

static struct rig r;

/* A pager whose fill of one page stops at a gate. */
static struct {
	struct gate gate;
	_Atomic uint64_t stop_at; /* page + 1 */
} pager;

static int pager_fill(void *ctx, uint64_t page, void *dst, uint64_t npages)
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

static int first_start(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	(void)mn;
	(void)range;
	gate_pass(&first.start);
	return 0;
}

static void first_end(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	(void)mn;
	(void)range;
	gate_pass(&first.end);
}

static const struct mmu_notifier_ops first_ops = { .invalidate_range_start = first_start,
						   .invalidate_range_end = first_end };

static void up_with(struct rig_opts opts)
{
	pager.gate = first.start = first.end = (struct gate)GATE_INIT;
	atomic_store(&pager.stop_at, 0);
	opts.canary = true;
	opts.pager = &pager_ops;
	rig_up(&r, &opts);
	first.mn.ops = &first_ops;
	check_eq(hostmm_subscribe(r.mm, &first.mn), 0);
}

static void down(void)
{
	mmu_notifier_unregister(&first.mn);
	rig_down(&r);
}

static uint64_t retries(void)
{
	struct shadow_stats stats;

	shadow_get_stats(r.shadow, &stats);
	return stats.retries;
}

static void *load_guest(void *arg)
{
	return (void *)(uintptr_t)rig_load(rig_word(r.guest, (uint64_t)(uintptr_t)arg, 0));
}

static void *try_load(void *arg)
{
	uint64_t value;

	return rig_try_load(arg, &value) ? (void *)"loaded" : NULL;
}

struct change {
	int (*fn)(struct hostmm *, hva_t, hva_t);
	uint64_t page, end;
};

static void *run_change(void *arg)
{
	struct change *c = arg;

	expect(c->fn(r.mm, rig_hva(&r, c->page), rig_hva(&r, c->end)) == 0);
	return NULL;
}

static int migrate_away(struct hostmm *mm, hva_t start, hva_t end)
{
	return hostmm_migrate(mm, start, end, HOSTMM_MIGRATE_AWAY);
}

static pthread_t begin_change(struct change *c)
{
	return rig_thread(run_change, c);
}

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
	check_eq(hostmm_wrprotect(r.mm, rig_hva(&r, 0), rig_hva(&r, 8)), 0);
	shadow_get_stats(r.shadow, &s);
	check(s.leaves == 0 && s.zapped == 8 && s.flushes == 1 && s.invalidations == 1);
	check_eq(shadow_fault(r.shadow, RIG_GFN + 1, false), SHADOW_FIXED);
	check_eq(shadow_fault(r.shadow, RIG_GFN + 1, true), SHADOW_FIXED);
	shadow_get_stats(r.shadow, &s);
	check_eq(s.upgrades, 1);
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

/* ---- A fault beside a bracket ---- */

/*
 * The fault has looked up page 511 and sleeps in the fill of page 512, which is in the next chunk; a change of page
 * 511 runs, as far as @open says. The fault then goes on, with a frame of 511 that is no longer the host's.
 */
struct overlap {
	struct change change;
	pthread_t fault, changer;
	fn_t frame;
};

static void overlap_begin(struct overlap *o, uint64_t fault_page)
{
	up_with((struct rig_opts){ .pages = 1024, .around = 512 });
	rig_store(rig_word(r.host, 510, 0), 510);
	rig_store(rig_word(r.host, 511, 0), 511);
	o->frame = rig_frame(&r, 511);
	o->change = (struct change){ .fn = migrate_away, .page = 511, .end = 512 };
	gate_arm(&pager.gate);
	atomic_store(&pager.stop_at, 512 + 1);
	o->fault = rig_thread(load_guest, (void *)(uintptr_t)fault_page);
	gate_wait(&pager.gate);
	check_eq(pool_refs(r.pool, o->frame), 2); /* the lookup has it */
}

static void overlap_end(struct overlap *o)
{
	check_eq(rig_load(rig_word(r.guest, 511, 0)), 511);
	check(rig_frame(&r, 511) != o->frame);
	check_eq(pool_refs(r.pool, o->frame), 0);
	rig_check(&r);
	check_eq(r.window_fatal, 0);
	down();
}

/* (1) The bracket lies between lookup and check: only the sequence tells (M4, rows A32..A35). */
UTEST(shadow, a_whole_bracket_between_lookup_and_check_is_noticed)
{
	struct overlap o;

	overlap_begin(&o, 511);
	run_change(&o.change);
	gate_open(&pager.gate);
	check_eq((uint64_t)(uintptr_t)rig_join(o.fault), 511);
	check(retries() > 0);
	overlap_end(&o);
}

/* (2) The bracket is open at the check: only the range in progress tells. */
UTEST(shadow, an_open_bracket_is_noticed)
{
	struct overlap o;

	overlap_begin(&o, 511);
	gate_arm(&first.end);
	o.changer = begin_change(&o.change);
	gate_wait(&first.end);
	gate_open(&pager.gate);
	while (!retries())
		sched_yield();
	check_eq(ept_peek(&r.shadow->ept, RIG_GFN + 511, NULL), SPTE_NONE);
	gate_open(&first.end);
	rig_join(o.changer);
	check_eq((uint64_t)(uintptr_t)rig_join(o.fault), 511);
	overlap_end(&o);
}

/*
 * M7: the fault is for 510, which nothing changes; 511 comes along in its block, and is being changed. The fault must
 * not install 511; nor need it wait for 511, once it goes alone.
 */
UTEST(shadow, an_open_bracket_of_a_neighbour_is_noticed)
{
	struct overlap o;

	overlap_begin(&o, 510);
	gate_arm(&first.end);
	o.changer = begin_change(&o.change);
	gate_wait(&first.end);
	gate_open(&pager.gate);
	check_eq((uint64_t)(uintptr_t)rig_join(o.fault), 510);
	check_eq(ept_peek(&r.shadow->ept, RIG_GFN + 511, NULL), SPTE_NONE);
	gate_open(&first.end);
	rig_join(o.changer);
	overlap_end(&o);
}

/* (4) The bracket starts when the entry is in the table but not yet in the window: the lock orders them. */
static struct gate map_gate;

static void stop_in_map(struct rig *rig, uint64_t page, uint64_t n)
{
	(void)rig;
	(void)page;
	(void)n;
	gate_pass(&map_gate);
}

UTEST(shadow, a_bracket_waits_for_an_install)
{
	struct change change = { .fn = migrate_away, .page = 3, .end = 4 };
	pthread_t fault, changer;
	fn_t frame;

	map_gate = (struct gate)GATE_INIT;
	up_with((struct rig_opts){ .pages = 16, .around = 1 });
	rig_store(rig_word(r.host, 3, 0), 33);
	frame = rig_frame(&r, 3);
	r.before_map = stop_in_map;
	gate_arm(&map_gate);
	fault = rig_thread(load_guest, (void *)3);
	gate_wait(&map_gate);
	changer = begin_change(&change);
	/* It queues for the lock: then not even a reader gets it. */
	while (!pthread_rwlock_tryrdlock(&r.shadow->mmu_lock.shard[0].rwlock)) {
		pthread_rwlock_unlock(&r.shadow->mmu_lock.shard[0].rwlock);
		sched_yield();
	}
	check_eq(rig_frame(&r, 3), frame);
	gate_open(&map_gate);
	check_eq((uint64_t)(uintptr_t)rig_join(fault), 33);
	rig_join(changer);
	check(rig_frame(&r, 3) != frame);
	rig_store(rig_word(r.host, 3, 0), 34);
	check_eq(rig_load(rig_word(r.guest, 3, 0)), 34);
	rig_check(&r);
	down();
}

/* A fault deferred by a bracket is taken up at its end, without any other event (field.md 2.3). */
UTEST(shadow, a_deferred_fault_is_not_forgotten)
{
	struct change change = { .fn = hostmm_zap, .page = 0, .end = 16 };
	pthread_t changer, fault[3];

	up_with((struct rig_opts){ .pages = 16, .around = 1 });
	rig_store(rig_word(r.host, 3, 0), 33);
	gate_arm(&first.end);
	changer = begin_change(&change);
	gate_wait(&first.end);
	for (int i = 0; i < 3; i++)
		fault[i] = rig_thread(load_guest, (void *)3);
	while (retries() < 3)
		sched_yield();
	gate_open(&first.end);
	for (int i = 0; i < 3; i++)
		check_eq((uint64_t)(uintptr_t)rig_join(fault[i]), 33);
	rig_join(changer);
	/* They slept: a retry each, two at most for one that came late. */
	check(retries() <= 9, "%lu retries", retries());
	down();
}

/* A bracket elsewhere holds nobody up. */
UTEST(shadow, a_bracket_elsewhere_is_no_reason_to_wait)
{
	struct change change = { .fn = hostmm_zap, .page = 0, .end = 2 };
	pthread_t changer;

	up_with((struct rig_opts){ .pages = 64, .around = 16 });
	rig_store(rig_word(r.host, 40, 0), 4);
	gate_arm(&first.end);
	changer = begin_change(&change);
	gate_wait(&first.end);
	check_eq(rig_load(rig_word(r.guest, 40, 0)), 4);
	/* A neighbour in the same block. */
	check_eq(rig_load(rig_word(r.guest, 3, 0)), 0);
	gate_open(&first.end);
	rig_join(changer);
	down();
}

/* M21, M24: the window lets go under the lock, and while the frame is still the page's. */
static fn_t zap_frame;
static atomic_uint zap_wrong;

static void check_zap(struct rig *rig, uint64_t page, uint64_t n)
{
	(void)page;
	(void)n;
	if (!rwlock_is_held_write(&rig->shadow->mmu_lock) || pool_refs(rig->pool, zap_frame) != 1)
		atomic_fetch_add(&zap_wrong, 1);
}

UTEST(shadow, flushes_before_unlock_and_before_free)
{
	up_with((struct rig_opts){ .pages = 16, .around = 1 });
	r.before_zap = check_zap;
	r.after_zap = check_zap;
	rig_store(rig_word(r.guest, 5, 0), 1);
	zap_frame = rig_frame(&r, 5);
	check_eq(hostmm_discard(r.mm, rig_hva(&r, 4), rig_hva(&r, 8)), 0);
	check_eq(r.zaps, 1);
	check_eq(zap_wrong, 0);
	check_eq(pool_refs(r.pool, zap_frame), 0);
	check_eq(rig_load(rig_word(r.guest, 5, 0)), 0);
	r.before_zap = NULL;
	r.after_zap = NULL;
	down();
}

/* ---- Slots beside brackets and faults ---- */

static void *add_slot(void *arg)
{
	expect(shadow_add_slot(r.shadow, 1, RIG_GFN, r.pages, r.hva, 0) == 0);
	return arg;
}

static void *remove_slot(void *arg)
{
	expect(shadow_remove_slot(r.shadow, 1) == 0);
	return arg;
}

/* M9: a slot appears or goes between two brackets, never inside one. */
UTEST(shadow, slots_change_between_brackets)
{
	struct change change = { .fn = hostmm_zap, .page = 0, .end = 16 };
	pthread_t changer, adder;
	struct memslot slot;

	up_with((struct rig_opts){ .pages = 16, .no_slot = true });
	for (int round = 0; round < 2; round++) {
		gate_arm(&first.end);
		changer = begin_change(&change);
		gate_wait(&first.end);
		adder = rig_thread(round ? remove_slot : add_slot, NULL);
		for (int i = 0; i < 2000; i++)
			sched_yield();
		check(shadow_slot(r.shadow, RIG_GFN, &slot) == (round == 1));
		gate_open(&first.end);
		rig_join(changer);
		rig_join(adder);
		check(shadow_slot(r.shadow, RIG_GFN, &slot) == (round == 0));
		run_change(&change);
		check_eq(r.shadow->invalidate_in_progress, 0);
		check_eq(r.shadow->mn_active, 0);
	}
	down();
}

/* The slot goes while a fault of it sleeps in a fill: the removal waits for the fault, and takes back what it did. */
UTEST(shadow, a_slot_goes_under_a_fault)
{
	pthread_t fault, remover;
	struct memslot slot;

	up_with((struct rig_opts){ .pages = 16, .around = 1 });
	gate_arm(&pager.gate);
	atomic_store(&pager.stop_at, 3 + 1);
	fault = rig_thread(try_load, rig_word(r.guest, 3, 0));
	gate_wait(&pager.gate);
	remover = rig_thread(remove_slot, NULL);
	while (shadow_slot(r.shadow, RIG_GFN, &slot))
		sched_yield();
	gate_open(&pager.gate);
	rig_join(remover);
	check(rig_join(fault)); /* its load came before the removal */
	check_eq(r.window_fatal, 0);
	check_eq(ept_peek(&r.shadow->ept, RIG_GFN + 3, NULL), SPTE_NONE);
	add_slot(NULL);
	check(shadow_slot(r.shadow, RIG_GFN, &slot));
	rig_store(rig_word(window_base(&slot), 3, 0), 3);
	check_eq(rig_load(rig_word(r.host, 3, 0)), 3);
	rig_check(&r);
	down();
}

/* A fault that meets a slot on its way out waits, and fails when it is gone. */
static struct gate zap_gate;

static void stop_in_zap(struct rig *rig, uint64_t page, uint64_t n)
{
	(void)rig;
	(void)page;
	(void)n;
	gate_pass(&zap_gate);
}

UTEST(shadow, a_fault_waits_for_a_slot_on_its_way_out)
{
	pthread_t fault, remover;

	zap_gate = (struct gate)GATE_INIT;
	up_with((struct rig_opts){ .pages = 16, .around = 1 });
	rig_store(rig_word(r.guest, 3, 0), 3);
	r.before_zap = stop_in_zap;
	gate_arm(&zap_gate);
	remover = rig_thread(remove_slot, NULL);
	gate_wait(&zap_gate);
	fault = rig_thread(try_load, rig_word(r.guest, 4, 0));
	while (!retries())
		sched_yield();
	check_eq(rig_load(rig_word(r.guest, 3, 0)), 3); /* still there: the zap has not begun */
	gate_open(&zap_gate);
	rig_join(remover);
	check(!rig_join(fault));
	check_eq(r.window_fatal, 0);
	check_eq(retries(), 1);
	down();
}

/* memslot_modification_stress_test: another slot comes and goes beside faults and brackets. */
static atomic_bool stop;

static void *keep_loading(void *arg)
{
	uint64_t seed = (uint64_t)(uintptr_t)arg + 5, loads = 0;

	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		uint64_t page = rig_random(&seed) % r.pages;

		loads++;
		if (rig_load(rig_word(r.guest, page, 0)) != page)
			expect(!"the page has its number");
	}
	return (void *)(uintptr_t)loads;
}

static void *keep_zapping(void *arg)
{
	struct change *c = arg;
	uint64_t seed = 99;

	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		c->page = rig_random(&seed) % r.pages;
		c->end = c->page + 1;
		run_change(c);
	}
	return NULL;
}

UTEST(shadow, slots_come_and_go_beside_faults)
{
	struct change change = { .fn = hostmm_zap };
	pthread_t t[3];
	unsigned swaps = 0;
	double until;

	up_with((struct rig_opts){ .pages = 64 });
	for (uint64_t page = 0; page < 64; page++)
		rig_store(rig_word(r.host, page, 0), page);
	atomic_store(&stop, false);
	t[0] = rig_thread(keep_loading, (void *)0);
	t[1] = rig_thread(keep_loading, (void *)1);
	t[2] = rig_thread(keep_zapping, &change);
	for (until = rig_now() + rig_seconds(0.7); rig_now() < until; swaps++) {
		struct memslot slot;

		check_eq(shadow_add_slot(r.shadow, 7, 0x100000, 32, rig_hva(&r, 16), 0), 0);
		check(shadow_slot(r.shadow, 0x100000, &slot));
		check_eq(rig_load(rig_word(window_base(&slot), 3, 0)), 19);
		check_eq(shadow_remove_slot(r.shadow, 7), 0);
	}
	atomic_store(&stop, true);
	for (int i = 0; i < 3; i++)
		rig_join(t[i]);
	check(swaps > 5 / test_slowness(), "%u swaps", swaps);
	check_eq(r.window_fatal, 0);
	rig_check(&r);
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
