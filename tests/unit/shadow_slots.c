// SPDX-License-Identifier: BSD-2-Clause
/* Slots that come and go beside brackets and faults. */
#include "mmu/shadow/shadow.h"

#include "tests/unit/shadow_gates.h"

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
	r.before_zap = rig_stop;
	gate_arm(&r.in_backend);
	remover = rig_thread(remove_slot, NULL);
	while (shadow_slot(r.shadow, RIG_GFN, &slot))
		sched_yield();
	gate_open(&pager.gate);
	gate_wait(&r.in_backend);
	/* Woken while the page is in reach: the window's zap waits for its load. */
	check(rig_join(fault));
	gate_open(&r.in_backend);
	rig_join(remover);
	check_eq(r.window_fatal, 0);
	check_eq(ept_peek(&r.shadow->ept, RIG_GFN + 3, NULL), SPTE_NONE);
	add_slot(NULL);
	check(shadow_slot(r.shadow, RIG_GFN, &slot));
	rig_store(rig_word(window_base(&slot), 3, 0), 3);
	check_eq(rig_load(rig_word(r.host, 3, 0)), 3);
	rig_check(&r);
	down();
}

/* Nobody may find a way in that was opened after the others were shut. */
UTEST(shadow, a_pane_that_comes_to_a_shut_window_is_shut)
{
	struct memslot slot;
	uint64_t value;
	void *base;

	up_with((struct rig_opts){ .pages = 16 });
	rig_store(rig_word(r.guest, 3, 0), 3);
	window_shut(r.window);
	check(!rig_try_load(rig_word(r.guest, 3, 0), &value));
	check_eq(shadow_add_slot(r.shadow, 2, 2 * RIG_GFN, 16, r.hva, 0), 0);
	check(shadow_slot(r.shadow, 2 * RIG_GFN, &slot));
	base = window_base(&slot);
	check(!rig_try_load(rig_word(base, 3, 0), &value));
	check(!rig_try_store(rig_word(base, 4, 0), 1));
	check_eq(r.window_fatal, 0);
	down();
}

/* A fault that meets a slot on its way out waits, and fails when it is gone. */
UTEST(shadow, a_fault_waits_for_a_slot_on_its_way_out)
{
	pthread_t fault, remover;

	up_with((struct rig_opts){ .pages = 16, .around = 1 });
	rig_store(rig_word(r.guest, 3, 0), 3);
	r.before_zap = rig_stop;
	gate_arm(&r.in_backend);
	remover = rig_thread(remove_slot, NULL);
	gate_wait(&r.in_backend);
	fault = rig_thread(try_load, rig_word(r.guest, 4, 0));
	while (!retries())
		sched_yield();
	check_eq(rig_load(rig_word(r.guest, 3, 0)), 3); /* still there: the zap has not begun */
	gate_open(&r.in_backend);
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
	for (until = rig_now() + rig_seconds(0.7); swaps < 5 || rig_now() < until; swaps++) {
		struct memslot slot;

		check_eq(shadow_add_slot(r.shadow, 7, 0x100000, 32, rig_hva(&r, 16), 0), 0);
		check(shadow_slot(r.shadow, 0x100000, &slot));
		check_eq(rig_load(rig_word(window_base(&slot), 3, 0)), 19);
		check_eq(shadow_remove_slot(r.shadow, 7), 0);
	}
	atomic_store(&stop, true);
	for (int i = 0; i < 3; i++)
		rig_join(t[i]);
	check_eq(r.window_fatal, 0);
	rig_check(&r);
	down();
}
