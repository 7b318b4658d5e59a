// SPDX-License-Identifier: BSD-2-Clause
/* The linter: what the primary may do to an entry, and what it must have told by then. Rows A17, A20; M1. */
#include "mmu/notify/lint.h"

#include <signal.h>

#include "tests/test.h"

static struct mmu_notifier_subscriptions mm;
static struct mmu_notifier_range range;

static void init(void)
{
	mmu_notifier_subscriptions_init(&mm);
	mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, &mm, 0x1000, 0x3000);
}

static void fini(void)
{
	mmu_notifier_subscriptions_fini(&mm);
}

#define CHECKED .init = init, .fini = fini

/* @fn breaks a rule, which release builds do not look at. */
static void breaks(void (*fn)(void *))
{
#ifdef UMBRA_DEBUG
	check_eq(test_signal_of(fn, NULL), SIGABRT);
#else
	check_eq(test_signal_of(fn, NULL), 0);
#endif
}

static void passes(void (*fn)(void *))
{
	check_eq(test_signal_of(fn, NULL), 0);
}

static void start(void)
{
	check(!mmu_notifier_invalidate_range_start(&range));
}

static void end(void)
{
	mmu_notifier_invalidate_range_end(&range);
}

#define PAGE 0x1000UL

static void entry(fn_t old_fn, unsigned old_rights, fn_t new_fn, unsigned new_rights)
{
	notify_lint_entry(&mm, PAGE, old_fn, old_rights, new_fn, new_rights);
}

static void set(fn_t fn)
{
	entry(FN_NONE, 0, fn, LINT_READ | LINT_WRITE);
}

static void clear(fn_t fn)
{
	entry(fn, LINT_READ | LINT_WRITE, FN_NONE, 0);
}

static void drop_tlbs(struct mmu_notifier *mn, hva_t from, hva_t to)
{
	(void)mn;
	(void)from;
	(void)to;
}

/* A TLB without start and end reaches the old frame until told. */
static void listen(void)
{
	static const struct mmu_notifier_ops ops = { .arch_invalidate_secondary_tlbs = drop_tlbs };
	static struct mmu_notifier tlb;

	tlb.ops = &ops;
	check(!mmu_notifier_register(&tlb, &mm));
}

static void tell_tlbs(void)
{
	mmu_notifier_arch_invalidate_secondary_tlbs(&mm, PAGE, PAGE + PAGE_SIZE);
}

static void more_needs_no_bracket(void *arg)
{
	(void)arg;
	set(1);
	entry(1, LINT_READ, 1, LINT_READ | LINT_WRITE);
}

static void clear_without_bracket(void *arg)
{
	(void)arg;
	clear(1);
}

static void demote_without_bracket(void *arg)
{
	(void)arg;
	entry(1, LINT_READ | LINT_WRITE, 1, LINT_READ);
}

static void clear_outside_its_bracket(void *arg)
{
	(void)arg;
	range.start = PAGE + PAGE_SIZE;
	start();
	clear(1);
}

static void repoint_in_bracket(void *arg)
{
	(void)arg;
	start();
	clear(1);
	set(2); /* nobody holds anything: start has seen to that */
	end();
}

static void change(void (*between)(void))
{
	range.event = MMU_NOTIFY_CHANGE;
	start();
	clear(1);
	between();
	set(2);
	end();
}

static void announce(void)
{
	mmu_notifier_change_pte(&mm, PAGE, 2, false);
}

static void announce_another(void)
{
	mmu_notifier_change_pte(&mm, PAGE, 3, false);
}

static void nothing(void)
{
}

static void change_announced(void *arg)
{
	(void)arg;
	change(announce);
}

static void change_in_one_step(void *arg)
{
	(void)arg;
	range.event = MMU_NOTIFY_CHANGE;
	start();
	announce();
	entry(1, LINT_READ, 2, LINT_READ);
	end();
}

static void change_put_back(void *arg)
{
	(void)arg;
	range.event = MMU_NOTIFY_CHANGE;
	start();
	clear(1);
	set(1); /* thought better of it */
	end();
}

static void change_set_first(void *arg) /* M1 */
{
	(void)arg;
	range.event = MMU_NOTIFY_CHANGE;
	start();
	entry(1, LINT_READ, 2, LINT_READ);
	announce();
	end();
}

static void change_untold(void *arg)
{
	(void)arg;
	change(nothing);
}

static void change_to_another(void *arg)
{
	(void)arg;
	change(announce_another);
}

static void change_left_cleared(void *arg)
{
	(void)arg;
	range.event = MMU_NOTIFY_CHANGE;
	start();
	clear(1);
	end();
}

static void change_without_its_bracket(void *arg)
{
	(void)arg;
	start();
	announce();
}

static void tlbs_after_clear(void *arg)
{
	(void)arg;
	listen();
	start();
	clear(1);
	tell_tlbs();
	set(2);
	entry(2, LINT_READ | LINT_WRITE, 2, LINT_READ);
	tell_tlbs(); /* rights only: may wait for the end */
	end();
}

static void tlbs_before_clear(void *arg)
{
	(void)arg;
	listen();
	start();
	tell_tlbs();
	clear(1);
	set(2);
}

static void tlbs_after_set(void *arg)
{
	(void)arg;
	listen();
	start();
	clear(1);
	set(2);
	tell_tlbs();
}

static void tlbs_forgotten(void *arg)
{
	(void)arg;
	listen();
	start();
	entry(1, LINT_READ | LINT_WRITE, 1, LINT_READ);
	end();
}

UTEST(notify_lint, loss_needs_a_bracket, CHECKED)
{
	passes(more_needs_no_bracket);
	passes(repoint_in_bracket);
	breaks(clear_without_bracket);
	breaks(demote_without_bracket);
	breaks(clear_outside_its_bracket);
}

UTEST(notify_lint, change_is_told_before_it_is_set, CHECKED)
{
	passes(change_announced);
	passes(change_in_one_step);
	passes(change_put_back);
	breaks(change_set_first);
	breaks(change_untold);
	breaks(change_to_another);
	breaks(change_left_cleared);
	breaks(change_without_its_bracket);
}

UTEST(notify_lint, tlbs_are_told_after_clear_and_before_set, CHECKED)
{
	passes(tlbs_after_clear);
	breaks(tlbs_before_clear);
	breaks(tlbs_after_set);
	breaks(tlbs_forgotten);
}
