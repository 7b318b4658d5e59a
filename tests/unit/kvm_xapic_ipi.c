// SPDX-License-Identifier: BSD-2-Clause
/*
 * After KVM's xapic_ipi_test with page migration: one vCPU sends, another handles, through a page whose frame the consumer keeps
 * at hand (the APIC page there, the pfn-cache profile here), while the host moves it from frame to frame. Nothing is sent in
 * vain, nothing is handled twice (M18). A given number of moves, not a time.
 */
#include "mmu/shadow/device.h"
#include "tests/rig.h"
#include "tests/test.h"

#define MOVES 300u
#define IPI   0x0UL /* sent */
#define EOI   0x8UL /* handled */

static struct rig r;
static struct device *sender, *halter;
static atomic_bool stop;
static uint64_t sent, handled;

static uint64_t load(struct device *dev, uint64_t offset)
{
	uint64_t word = 0;

	expect(device_read(dev, rig_hva(&r, 0) + offset, &word, sizeof(word)) == 0);
	return word;
}

static void *send(void *arg)
{
	while (!atomic_load(&stop)) {
		uint64_t old;

		expect(device_add(sender, rig_hva(&r, 0) + IPI, 1, &old) == 0);
		expect(old == sent);
		sent++;
		while (load(sender, EOI) != sent && !atomic_load(&stop))
			sched_yield();
	}
	return arg;
}

static void *halt(void *arg)
{
	for (;;) {
		bool last = atomic_load(&stop);
		uint64_t ipi = load(halter, IPI);

		expect(ipi == handled || ipi == handled + 1);
		if (ipi == handled + 1) {
			handled = ipi;
			expect(device_write(halter, rig_hva(&r, 0) + EOI, &ipi, sizeof(ipi)) == 0);
		} else if (last) {
			return arg;
		} else {
			sched_yield();
		}
	}
}

static void run(const char *by)
{
	pthread_t s, h;

	sent = handled = 0;
	atomic_store(&stop, false);
	rig_up(&r, &(struct rig_opts){ .pages = 4, .canary = true });
	check_eq(device_create(&sender, device_profile(by), r.mm, r.hva, 4), 0);
	check_eq(device_create(&halter, device_profile("pfn-cache"), r.mm, r.hva, 4), 0);
	s = rig_thread(send, NULL);
	h = rig_thread(halt, NULL);
	for (unsigned i = 0; i < MOVES; i++) {
		uint64_t seen = load(sender, EOI);

		check_eq(hostmm_migrate(r.mm, r.hva, rig_hva(&r, 1),
					i % 2 ? HOSTMM_MIGRATE_HOME : HOSTMM_MIGRATE_AWAY),
			 0);
		/* Some come through between two moves: who never gets on has lost one. */
		while (load(sender, EOI) < seen + 2)
			sched_yield();
	}
	atomic_store(&stop, true);
	rig_join(s);
	rig_join(h);
	check(sent >= 2 * MOVES);
	check_eq(handled, sent);
	check_eq(device_check(sender, NULL, NULL), 0);
	check_eq(device_check(halter, NULL, NULL), 0);
	device_destroy(sender);
	device_destroy(halter);
	rig_down(&r);
}

UTEST(kvm_xapic_ipi, migrating_under_a_kvm)
{
	run("kvm");
}

UTEST(kvm_xapic_ipi, migrating_under_two_caches)
{
	run("pfn-cache");
}
