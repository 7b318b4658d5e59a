// SPDX-License-Identifier: BSD-2-Clause
/* Dirty tracking when memory runs out or the backend's own log fails: an errno, everything as it was, no store lost. */
#include <errno.h>
#include <string.h>

#include "mmu/shadow/dirty_range.h"
#include "mmu/shadow/dirty_ring.h"
#include "mmu/shadow/shadow_priv.h"
#include "tests/rig.h"
#include "tests/test.h"
#include "tests/unit/fake_calloc.h"

#define ID	1u
#define PAGES	200u
#define WORDS	((PAGES + 63) / 64)
#define KVM_ID	7u
#define KVM_GFN 0x9000UL

static struct rig r;

/* ---- Memory runs out ---- */

static void up(void)
{
	rig_up(&r, &(struct rig_opts){ .pages = PAGES, .around = 1 });
	rig_store(rig_word(r.guest, 3, 0), 1);
}

static void down(void)
{
	rig_down(&r);
}

static int own(void)
{
	return shadow_own_slot(r.shadow, ID, &(struct shadow_owner){ .lock = NULL });
}

static int enable(void)
{
	return shadow_dirty_ring_enable(r.shadow, 3, 8);
}

static int turn_on(void)
{
	return shadow_set_slot_flags(r.shadow, ID, MEMSLOT_LOG_DIRTY);
}

/* Each allocation of a call fails in turn, until the call works. How many did; @same looks whether anything has changed. */
static unsigned fail_each(int (*call)(void), void (*same)(void))
{
	for (unsigned n = 1;; n++) {
		bool failed;
		int rc;

		fake_calloc_at = n;
		rc = call();
		failed = !fake_calloc_at;
		fake_calloc_at = 0;
		if (!failed) {
			check_eq(rc, 0);
			return n - 1;
		}
		check_eq(rc, -ENOMEM);
		same();
		rig_check(&r);
	}
}

static void is_not_owned(void)
{
	check_eq(shadow_disown_slot(r.shadow, ID), -ENOENT);
	check_eq(shadow_wrprotect_range(r.shadow, RIG_GFN, PAGES), -EPERM);
}

UTEST(dirty_fail, no_memory_for_an_owner, .init = up, .fini = down)
{
	check_eq(fail_each(own, is_not_owned), 2); /* the owner, the pages that zaps spill */
	check_eq(shadow_wrprotect_range(r.shadow, RIG_GFN, PAGES), 1);
	check_eq(shadow_disown_slot(r.shadow, ID), 0);
}

static void has_no_ring(void)
{
	struct shadow_dirty_gfn e;

	check_eq(shadow_dirty_ring_collect(r.shadow, 0, &e, 1), -EINVAL);
}

UTEST(dirty_fail, no_memory_for_rings, .init = up, .fini = down)
{
	struct shadow_dirty_gfn e[2];

	check_eq(fail_each(enable, has_no_ring), 4); /* the rings, the entries of each */
	check_eq(turn_on(), 0);
	rig_store(rig_word(r.guest, 3, 0), 2);
	check_eq(shadow_dirty_ring_collect(r.shadow, 0, e, 2), 1);
	check_eq(e[0].offset, 3);
}

static void does_not_log(void)
{
	uint64_t b[WORDS];

	check_eq(shadow_get_dirty_log(r.shadow, ID, b), -ENOENT);
	check(spte_is_writable(ept_peek(&r.shadow->ept, RIG_GFN + 3, NULL)));
}

UTEST(dirty_fail, no_memory_to_turn_it_on, .init = up, .fini = down)
{
	uint64_t b[WORDS];

	check(fail_each(turn_on, does_not_log) >= 2); /* the slot, its log */
	rig_store(rig_word(r.guest, 3, 0), 2);
	check_eq(shadow_get_dirty_log(r.shadow, ID, b), 0);
	check_eq(b[0], 1UL << 3);
}

/* ---- The backend's log fails ---- */

/* What KVM would be. */
static struct {
	struct window *window;
	struct shadow *shadow;
	uint64_t stored[WORDS]; /* not told yet */
	bool logs;
	int log_error, collect_error;
	bool forgets; /* it fails when it has cleared its log already */
} kvm;

static int log_dirty(void *ctx, unsigned id, bool on)
{
	(void)ctx;
	check_eq(id, KVM_ID);
	if (kvm.log_error)
		return kvm.log_error;
	kvm.logs = on;
	return 0;
}

static int collect_dirty(void *ctx, unsigned id, uint64_t *bitmap)
{
	(void)ctx;
	check_eq(id, KVM_ID);
	if (kvm.collect_error && !kvm.forgets)
		return kvm.collect_error;
	if (!kvm.collect_error)
		memcpy(bitmap, kvm.stored, sizeof(kvm.stored));
	memset(kvm.stored, 0, sizeof(kvm.stored));
	return kvm.collect_error;
}

static void kvm_up(void)
{
	struct window_opts window = {
		.fault_threads = 1,
		.log_dirty = log_dirty,
		.collect_dirty = collect_dirty,
	};

	rig_up(&r, &(struct rig_opts){ .pages = PAGES });
	memset(&kvm, 0, sizeof(kvm));
	check_eq(window_create(&kvm.window, r.pool, &window), 0);
	check_eq(shadow_create(&kvm.shadow, r.mm, &window_ops, kvm.window,
			       &(struct shadow_opts){ .fault_around = 1 }),
		 0);
	check_eq(shadow_add_slot(kvm.shadow, KVM_ID, KVM_GFN, PAGES, r.hva, 0), 0);
	check_eq(shadow_dirty_configure(kvm.shadow, SHADOW_DIRTY_BACKEND), 0);
}

static void kvm_down(void)
{
	if (!r.pool)
		return;
	shadow_destroy(kvm.shadow);
	window_destroy(kvm.window);
	rig_down(&r);
}

static int kvm_turn(bool on)
{
	return shadow_set_slot_flags(kvm.shadow, KVM_ID, on ? MEMSLOT_LOG_DIRTY : 0);
}

static uint64_t kvm_get(uint64_t bitmap[WORDS])
{
	uint64_t n = 0;

	memset(bitmap, 0xee, WORDS * sizeof(*bitmap));
	check_eq(shadow_get_dirty_log(kvm.shadow, KVM_ID, bitmap), 0);
	for (unsigned i = 0; i < WORDS; i++)
		n += (uint64_t)__builtin_popcountl(bitmap[i]);
	return n;
}

UTEST(dirty_fail, a_backend_that_cannot_begin, .init = kvm_up, .fini = kvm_down)
{
	uint64_t b[WORDS];

	kvm.log_error = -ENOMEM;
	check_eq(kvm_turn(true), -ENOMEM);
	check_eq(shadow_get_dirty_log(kvm.shadow, KVM_ID, b), -ENOENT);
	check_eq(shadow_dirty_configure(kvm.shadow, 0), 0); /* no slot logs */
	check_eq(shadow_dirty_configure(kvm.shadow, SHADOW_DIRTY_BACKEND), 0);
	kvm.log_error = 0;
	check_eq(kvm_turn(true), 0);
	check(kvm.logs);
	kvm.stored[1] = 4;
	check_eq(kvm_get(b), 1);
	check_eq(b[1], 4);
	/* It goes on logging what nobody asks for. */
	kvm.log_error = -ENOMEM;
	check_eq(kvm_turn(false), 0);
	check_eq(shadow_get_dirty_log(kvm.shadow, KVM_ID, b), -ENOENT);
}

/* Whether it has cleared its log before it failed or not: all pages are in the next get, and only in that one. */
UTEST(dirty_fail, a_backend_that_cannot_tell, .init = kvm_up, .fini = kvm_down)
{
	uint64_t b[WORDS];

	check_eq(kvm_turn(true), 0);
	for (unsigned i = 0; i < 2; i++) {
		kvm.stored[0] = 8;
		kvm.forgets = i;
		kvm.collect_error = -EFAULT;
		memset(b, 0xee, sizeof(b));
		check_eq(shadow_get_dirty_log(kvm.shadow, KVM_ID, b), -EFAULT);
		check(!b[0] && !b[WORDS - 1]);
		kvm.collect_error = 0;
		kvm.stored[1] |= 2;
		check_eq(kvm_get(b), PAGES);
		check_eq(kvm_get(b), 0);
	}
	kvm.stored[2] = 1;
	check_eq(kvm_get(b), 1);
	check_eq(b[2], 1);
}
