// SPDX-License-Identifier: BSD-2-Clause
/*
 * After KVM's demand_paging_test: vCPUs touch memory that userfaultfd brings in, each its part or all the same pages; by
 * pages that do not exist (MISSING) or that exist and are not mapped (MINOR); with one handler or several.
 */
#include "tests/rig.h"
#include "tests/test.h"

#define PAGES 256UL
#define MOST  4u

static struct rig r;

struct vcpu {
	uint64_t first, end;
	bool write;
};

static void *run_vcpu(void *arg)
{
	const struct vcpu *v = arg;

	for (uint64_t page = v->first; page < v->end; page++) {
		expect(rig_load(rig_word(r.guest, page, 0)) == page + 1);
		if (v->write)
			rig_add(rig_word(r.guest, page, 8), 1);
	}
	return NULL;
}

static int fill(void *ctx, uint64_t page, void *dst, uint64_t npages)
{
	(void)ctx;
	for (uint64_t i = 0; i < npages; i++)
		*(uint64_t *)(void *)((char *)dst + (i << PAGE_SHIFT)) = page + i + 1;
	return 0;
}

static const struct pager_ops pager = { .fill = fill };

static void run(bool minor, unsigned vcpus, unsigned handlers, bool overlap)
{
	struct vcpu vcpu[MOST];
	struct shadow_stats stats;
	pthread_t t[MOST];

	rig_up(&r, &(struct rig_opts){ .pages = PAGES,
				       .pager = &pager,
				       .threads = handlers,
				       .max_level = 1,
				       .around = overlap ? 1 : 8 });
	for (uint64_t page = 0, word; minor && page < PAGES; page++)
		check_eq(hostmm_read(r.mm, rig_hva(&r, page), &word, 8), 0);
	for (unsigned i = 0; i < vcpus; i++) {
		uint64_t part = PAGES / vcpus;

		vcpu[i] = (struct vcpu){ .first = overlap ? 0 : i * part,
					 .end = overlap ? PAGES : (i + 1) * part,
					 .write = true };
		t[i] = rig_thread(run_vcpu, &vcpu[i]);
	}
	for (unsigned i = 0; i < vcpus; i++)
		rig_join(t[i]);
	shadow_get_stats(r.shadow, &stats);
	check_eq(stats.leaves_4k, PAGES);
	/* Who comes second finds the page there (EEXIST): that is no failure, and installs nothing. */
	check_eq(stats.pages, PAGES);
	while (overlap &&
	       stats.fixed < PAGES) { /* a fault is counted after its thread has been woken */
		sched_yield();
		shadow_get_stats(r.shadow, &stats);
	}
	for (uint64_t page = 0, word; page < PAGES; page++) {
		check_eq(hostmm_read(r.mm, rig_hva(&r, page) + 8, &word, 8), 0);
		check_eq(word, overlap ? vcpus : 1);
	}
	check_eq(r.window_fatal, 0);
	rig_down(&r);
}

UTEST(kvm_demand_paging, missing)
{
	for (unsigned n = 1; n <= MOST; n *= 2)
		run(false, n, n, false);
}

UTEST(kvm_demand_paging, minor)
{
	for (unsigned n = 1; n <= MOST; n *= 2)
		run(true, n, n, false);
}

UTEST(kvm_demand_paging, overlapping_vcpus)
{
	run(false, MOST, 1, true);
	run(false, MOST, MOST, true);
	run(true, MOST, MOST, true);
}
