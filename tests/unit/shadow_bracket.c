// SPDX-License-Identifier: BSD-2-Clause
/* The fault path beside invalidations: the four ways to overlap (docs/locking.md), and who waits for whom. */
#include "mmu/shadow/shadow.h"

#include "tests/unit/shadow_gates.h"

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
	/* The lookup has it, and a reference if it is the page that was asked for. */
	check_eq(pool_refs(r.pool, o->frame), fault_page == 511 ? 2 : 1);
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
UTEST(shadow, a_bracket_waits_for_an_install)
{
	struct change change = { .fn = migrate_away, .page = 3, .end = 4 };
	pthread_t fault, changer;
	fn_t frame;

	up_with((struct rig_opts){ .pages = 16, .around = 1 });
	rig_store(rig_word(r.host, 3, 0), 33);
	frame = rig_frame(&r, 3);
	r.before_map = rig_stop;
	gate_arm(&r.in_backend);
	fault = rig_thread(load_guest, (void *)3);
	gate_wait(&r.in_backend);
	changer = begin_change(&change);
	rig_wait_writer(&r.shadow->mmu_lock);
	check_eq(rig_frame(&r, 3), frame);
	gate_open(&r.in_backend);
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
