// SPDX-License-Identifier: BSD-2-Clause
/*
 * After KVM's kvm_page_table_test: before there are mappings, create them, update them while stores are logged (large leaves
 * become small), adjust them when that is over (small ones become large). vCPUs run in each stage, together.
 */
#include "tests/rig.h"
#include "tests/test.h"

#define LARGE 512UL
#define PAGES (2 * LARGE)
#define VCPUS 4u

static struct rig r;
static uint64_t stage;

/* Every page: half are only read. What was stored in the stages before is there. */
static void *run_vcpu(void *arg)
{
	unsigned id = *(unsigned *)arg;

	for (uint64_t page = 0; page < PAGES; page++) {
		_Atomic uint64_t *word = rig_word(r.guest, page, 8 + 8 * id);

		expect(rig_load(rig_word(r.guest, page, 0)) == page);
		if (page % 2)
			expect(rig_add(word, 1) == stage);
		else
			expect(rig_load(word) == 0);
	}
	return NULL;
}

static struct shadow_stats run_stage(uint64_t n)
{
	unsigned id[VCPUS];
	pthread_t t[VCPUS];
	struct shadow_stats stats;

	stage = n;
	for (unsigned i = 0; i < VCPUS; i++) {
		id[i] = i;
		t[i] = rig_thread(run_vcpu, &id[i]);
	}
	for (unsigned i = 0; i < VCPUS; i++)
		rig_join(t[i]);
	rig_check(&r);
	shadow_get_stats(r.shadow, &stats);
	return stats;
}

UTEST(kvm_page_table, four_stages)
{
	struct shadow_stats stats;

	rig_up(&r, &(struct rig_opts){ .pages = PAGES, .gfn = LARGE });
	/* before */
	for (uint64_t page = 0; page < PAGES; page++)
		check_eq(hostmm_write(r.mm, rig_hva(&r, page), &page, 8), 0);
	shadow_get_stats(r.shadow, &stats);
	check_eq(stats.leaves, 0);
	/* create: large, since the host has large runs */
	stats = run_stage(0);
	check(stats.leaves_2m == 2 && stats.leaves_4k == 0 && stats.splits == 0);
	/* update: no large leaf while stores are logged */
	check_eq(shadow_set_slot_flags(r.shadow, 1, MEMSLOT_LOG_DIRTY), 0);
	stats = run_stage(1);
	check(stats.leaves_2m == 0 && stats.leaves_4k == PAGES);
	/* adjust: large again */
	check_eq(shadow_set_slot_flags(r.shadow, 1, 0), 0);
	stats = run_stage(2);
	check(stats.leaves_2m == 2 && stats.leaves_4k == 0 && stats.collapses == 2);
	rig_down(&r);
}
