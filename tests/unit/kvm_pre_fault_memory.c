// SPDX-License-Identifier: BSD-2-Clause
/*
 * After KVM's pre_fault_memory_test: a whole range, one of which the tail has no slot (what there is, and how much is left),
 * one without any (ENOENT); then the guest reads all of it, without a fault.
 */
#include <errno.h>

#include "tests/rig.h"
#include "tests/test.h"

#define PAGES 514UL /* 2 MiB and two pages */

static struct rig r;

static void prefault(gfn_t gfn, uint64_t n, uint64_t left, int error)
{
	uint64_t at = 0, done = 1;
	int rc = 0;

	/* As the kernel's test: on until it fails or all is done. */
	while (at < n && done && !rc) {
		rc = shadow_prefault(r.shadow, gfn + at, n - at, &done);
		at += done;
	}
	check_eq(rc, error);
	check_eq(n - at, left);
}

static void run(gfn_t gfn, unsigned max_level)
{
	struct shadow_stats before, after;

	rig_up(&r, &(struct rig_opts){ .pages = PAGES, .gfn = gfn, .max_level = max_level });
	prefault(gfn, 512, 0, 0);
	prefault(gfn + 512, 4, 2, -ENOENT);
	prefault(gfn + PAGES, 1, 1, -ENOENT);
	prefault(0, 1, 1, -ENOENT);
	shadow_get_stats(r.shadow, &before);
	for (uint64_t page = 0; page < PAGES; page++)
		check_eq(rig_load(rig_word(r.guest, page, 0)), 0);
	shadow_get_stats(r.shadow, &after);
	check_eq(after.faults, before.faults);
	prefault(gfn, PAGES, 0, 0); /* what is there already */
	shadow_get_stats(r.shadow, &after);
	check_eq(after.faults, before.faults);
	rig_down(&r);
}

UTEST(kvm_pre_fault_memory, in_pieces)
{
	run(0x400, 1);
	run(0x400, 0);
	run(RIG_GFN, 0);
}
