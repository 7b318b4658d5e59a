// SPDX-License-Identifier: BSD-2-Clause
/*
 * After KVM's mmu_stress_test: vCPUs write all of many slots; the mappings are thrown away; they write again, read; the host
 * forbids stores under running writers, until each has failed; allows them again; half the slots go, half of the memory is
 * unmapped, and the machine ends as it is. Devices are the vCPUs, so that a store that fails returns.
 */
#include <errno.h>

#include "mmu/shadow/device.h"
#include "tests/rig.h"
#include "tests/test.h"

#define SLOTS	   16u
#define SLOT_PAGES 64UL
#define PAGES	   (SLOTS * SLOT_PAGES)
#define VCPUS	   3u

static struct rig r;
static struct device *dev[VCPUS];
static atomic_uint refused;

static void up(void)
{
	rig_up(&r, &(struct rig_opts){ .pages = PAGES, .no_slot = true });
	for (unsigned i = 0; i < VCPUS; i++) {
		struct shadow *shadow;

		check_eq(device_create(&dev[i], device_profile("kvm"), r.mm, r.hva, PAGES), 0);
		shadow = device_get_shadow(dev[i]);
		check_eq(shadow_remove_slot(shadow, 0), 0);
		for (unsigned id = 0; id < SLOTS; id++) {
			hva_t hva = rig_hva(&r, id * SLOT_PAGES);

			check_eq(shadow_add_slot(shadow, id, hva >> PAGE_SHIFT, SLOT_PAGES, hva, 0),
				 0);
		}
	}
}

static void down(void)
{
	for (unsigned i = 0; i < VCPUS; i++) {
		if (dev[i])
			device_destroy(dev[i]);
		dev[i] = NULL;
	}
	rig_down(&r);
}

struct vcpu {
	unsigned id;
	int (*stage)(unsigned id, uint64_t page);
};

/* Each vCPU has a word of each page. */
static hva_t word_of(unsigned id, uint64_t page)
{
	return rig_hva(&r, page) + 8UL * id;
}

static int write_page(unsigned id, uint64_t page)
{
	uint64_t value = page + 1;

	return device_write(dev[id], word_of(id, page), &value, sizeof(value));
}

static int read_page(unsigned id, uint64_t page)
{
	uint64_t value = 0;
	int rc = device_read(dev[id], word_of(id, page), &value, sizeof(value));

	return rc ? rc : value == page + 1 ? 0 : -EIO;
}

/* Until the store fails: the host is about to forbid it. */
static int write_until_refused(unsigned id, uint64_t page)
{
	int rc;

	while (!(rc = write_page(id, page)))
		sched_yield();
	atomic_fetch_add(&refused, 1);
	return rc == -EFAULT ? 0 : rc;
}

static void *run_vcpu(void *arg)
{
	const struct vcpu *v = arg;

	for (uint64_t page = 0; page < PAGES; page++)
		expect(v->stage(v->id, page) == 0, "page %lu", page);
	return NULL;
}

static void start(struct vcpu *vcpu, pthread_t *t, int (*stage)(unsigned id, uint64_t page))
{
	for (unsigned i = 0; i < VCPUS; i++) {
		vcpu[i] = (struct vcpu){ .id = i, .stage = stage };
		t[i] = rig_thread(run_vcpu, &vcpu[i]);
	}
}

static void run(int (*stage)(unsigned id, uint64_t page))
{
	struct vcpu vcpu[VCPUS];
	pthread_t t[VCPUS];

	start(vcpu, t, stage);
	for (unsigned i = 0; i < VCPUS; i++)
		rig_join(t[i]);
}

static void check_all(void)
{
	for (unsigned i = 0; i < VCPUS; i++)
		check_eq(device_check(dev[i], NULL, NULL), 0);
}

static void read_only_until_all_fail(void)
{
	struct vcpu vcpu[VCPUS];
	pthread_t t[VCPUS];

	atomic_store(&refused, 0);
	start(vcpu, t, write_until_refused);
	check_eq(hostmm_protect(r.mm, r.hva, rig_hva(&r, PAGES), HOSTMM_PROT_READ), 0);
	for (unsigned i = 0; i < VCPUS; i++)
		rig_join(t[i]);
	check_eq(refused, VCPUS * PAGES);
	check_all();
	run(read_page);
	check_eq(hostmm_protect(r.mm, r.hva, rig_hva(&r, PAGES),
				HOSTMM_PROT_READ | HOSTMM_PROT_WRITE),
		 0);
}

UTEST(kvm_mmu_stress, all_stages, .init = up, .fini = down)
{
	run(write_page);
	for (unsigned i = 0; i < VCPUS; i++)
		check_eq(shadow_zap_all(device_get_shadow(dev[i])), 0);
	run(write_page);
	run(read_page);
	check_all();
	read_only_until_all_fail();
	run(write_page);
	check_all();
	for (unsigned i = 0; i < VCPUS; i++)
		for (unsigned id = 0; id < SLOTS; id += 2)
			check_eq(shadow_remove_slot(device_get_shadow(dev[i]), id), 0);
	for (uint64_t page = 0; page < PAGES; page++)
		check_eq(read_page(0, page), page / SLOT_PAGES % 2 ? 0 : -ENXIO);
	/* The half without slots, and some of what has one. */
	check_eq(hostmm_truncate(r.mm, r.hva, PAGES / 2), 0);
	for (uint64_t page = 0; page < PAGES; page++)
		check_eq(read_page(1, page), !(page / SLOT_PAGES % 2) ? -ENXIO
					     : page < PAGES / 2	      ? 0
								      : -EFAULT);
	check_all();
}
