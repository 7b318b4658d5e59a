// SPDX-License-Identifier: BSD-2-Clause
/*
 * KVM's access_tracking_perf_test: vCPUs populate, write and read; memory is marked idle; they write and read it again; what
 * was touched must not be idle. The kernel's test tolerates a tenth, since marking flushes no TLB; here it is known which
 * pages a TLB may hide.
 */
#include <string.h>

#include "mmu/host/hostmm_walk.h"
#include "mmu/shadow/device_priv.h"
#include "mmu/shadow/shadow_priv.h"
#include "tests/rig.h"
#include "tests/test.h"

#define VCPUS	   2u
#define VCPU_PAGES 256u
#define PAGES	   (VCPUS * VCPU_PAGES)

static struct rig r;

enum access { ACCESS_READ, ACCESS_WRITE };

struct vcpu {
	unsigned id;
	enum access access;
	unsigned stride;
};

static void *run_vcpu(void *arg)
{
	const struct vcpu *v = arg;

	for (uint64_t i = 0; i < VCPU_PAGES; i += v->stride) {
		_Atomic uint64_t *word = rig_word(r.guest, v->id * VCPU_PAGES + i, 8 * v->id);

		if (v->access == ACCESS_WRITE)
			rig_store(word, i + 1);
		else
			check_eq(rig_load(word), i + 1);
	}
	return NULL;
}

static void run_vcpus(enum access access, unsigned stride)
{
	struct vcpu vcpu[VCPUS];
	pthread_t t[VCPUS];

	for (unsigned i = 0; i < VCPUS; i++) {
		vcpu[i] = (struct vcpu){ .id = i, .access = access, .stride = stride };
		t[i] = rig_thread(run_vcpu, &vcpu[i]);
	}
	for (unsigned i = 0; i < VCPUS; i++)
		rig_join(t[i]);
}

/* Mark idle; every page that was touched since the last time, each @stride-th, was not, and no other. */
static void check_touched(unsigned stride)
{
	uint64_t used[PAGES / 64], count;

	check_eq(shadow_age(r.shadow, RIG_GFN, PAGES, used, &count), 0);
	check_eq(count, stride ? PAGES / stride : 0);
	for (uint64_t page = 0; page < PAGES; page++) {
		bool is_used = used[page / 64] >> page % 64 & 1;

		check(is_used == (stride && page % stride == 0), "page %llu",
		      (unsigned long long)page);
	}
	rig_check(&r);
}

UTEST(kvm_access_tracking, window_misses_nothing)
{
	rig_up(&r, &(struct rig_opts){ .pages = PAGES, .around = 1 });
	run_vcpus(ACCESS_WRITE, 1); /* populating memory */
	run_vcpus(ACCESS_WRITE, 1); /* writing to populated memory */
	run_vcpus(ACCESS_READ, 1);
	check_touched(1); /* mark memory idle */
	check_touched(0);
	run_vcpus(ACCESS_WRITE, 1); /* writing to idle memory */
	check_touched(1);
	run_vcpus(ACCESS_READ, 1);
	check_touched(1);
	run_vcpus(ACCESS_READ, 16);
	check_touched(16);
	run_vcpus(ACCESS_WRITE, 4);
	check_touched(4);
	check_touched(0);
	rig_down(&r);
}

struct marker {
	atomic_bool stop;
	uint64_t found;
};

static void *mark_idle(void *arg)
{
	struct marker *m = arg;
	uint64_t count;

	while (!atomic_load(&m->stop)) {
		check_eq(shadow_age(r.shadow, RIG_GFN, PAGES, NULL, &count), 0);
		m->found += count;
	}
	return NULL;
}

/* Marked all the time: nothing is lost, and no page is found that was not mapped or used. */
UTEST(kvm_access_tracking, marking_beside_running_vcpus)
{
	struct marker m = { .found = 0 };
	struct shadow_stats stats;
	uint64_t count;
	pthread_t t;

	rig_up(&r, &(struct rig_opts){ .pages = PAGES, .around = 1 });
	t = rig_thread(mark_idle, &m);
	for (int round = 0; round < 8; round++) {
		run_vcpus(ACCESS_WRITE, 1);
		run_vcpus(ACCESS_READ, 1);
	}
	atomic_store(&m.stop, true);
	rig_join(t);
	check_eq(shadow_age(r.shadow, RIG_GFN, PAGES, NULL, &count), 0);
	m.found += count;
	shadow_get_stats(r.shadow, &stats);
	check(m.found >= PAGES && m.found <= stats.faults, "%llu found, %llu faults",
	      (unsigned long long)m.found, (unsigned long long)stats.faults);
	rig_check(&r);
	rig_down(&r);
}

static uint64_t touch_by_device(struct device *dev)
{
	uint64_t value = 1;

	for (uint64_t page = 0; page < PAGES; page++)
		check_eq(device_write(dev, rig_hva(&r, page), &value, sizeof(value)), 0);
	return PAGES;
}

/* clear_young() flushes no TLB: as many pages stay idle as it has entries, at most. With the flush none. */
UTEST(kvm_access_tracking, device_misses_what_its_tlb_hides)
{
	hva_t end;
	struct device *dev;
	int64_t young;

	rig_up(&r, &(struct rig_opts){ .pages = PAGES, .no_slot = true });
	end = rig_hva(&r, PAGES);
	check_eq(device_create(&dev, device_profile("kvm"), r.mm, r.hva, PAGES), 0);
	touch_by_device(dev);
	check_eq(hostmm_age(r.mm, r.hva, end, HOSTMM_AGE_CLEAR), PAGES);
	touch_by_device(dev);
	young = hostmm_age(r.mm, r.hva, end, HOSTMM_AGE_CLEAR);
	check(young >= (int64_t)(PAGES - DEVICE_TLB_ENTRIES) && young <= (int64_t)PAGES, "%lld",
	      (long long)young);
	check(hostmm_age(r.mm, r.hva, end, HOSTMM_AGE_CLEAR_FLUSH) <= (int64_t)PAGES);
	/* What was not young above is in the TLB yet: only a flush of everything makes uses count. */
	touch_by_device(dev);
	hostmm_age(r.mm, r.hva, end, HOSTMM_AGE_CLEAR_FLUSH);
	touch_by_device(dev);
	check_eq(hostmm_age(r.mm, r.hva, end, HOSTMM_AGE_TEST), PAGES);
	check_eq(device_check(dev, NULL, NULL), 0);
	device_destroy(dev);
	rig_down(&r);
}
