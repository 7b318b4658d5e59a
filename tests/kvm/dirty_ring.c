// SPDX-License-Identifier: BSD-2-Clause
/* Dirty rings of a real guest: a store is an entry of the vCPU that did it, whoever resolves its fault, and waits for room there. */
#include "mmu/shadow/dirty_ring.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "guest/abi.h"
#include "hv/log.h"
#include "hv/machine.h"
#include "hv/ram.h"
#include "hv/vm.h"
#include "tests/rig.h"
#include "tests/test.h"
#include "tests/umbra.h"

#define PAGES  500u
#define ROUNDS 4u
#define SIZE   256u /* less than a round: stores wait for the collector */

/* vCPU 0 stands still until vCPU 1 has done all its rounds. */
static struct {
	struct shadow *shadow;
	pthread_mutex_t drain; /* one collector a time */
	uint64_t entries[2];   /* so far */
	bool stored[PAGES];    /* by vCPU 1 in this round */
	unsigned rounds;
	bool over;
	pthread_cond_t changed;
	pthread_t collector;
	struct shadow_dirty_ring_stats stats;
} t;

static void drain(void)
{
	struct shadow_dirty_gfn e[SIZE];

	for (unsigned ring = 0; ring < 2; ring++) {
		int n = shadow_dirty_ring_collect(t.shadow, ring, e, SIZE);

		for (int i = 0; i < n; i++)
			if (ring && e[i].slot == RAM_WORK && e[i].offset < PAGES)
				t.stored[e[i].offset] = true;
		t.entries[ring] += n > 0 ? (uint64_t)n : 0;
	}
	shadow_dirty_ring_reset(t.shadow);
}

static void *collect(void *arg)
{
	while (shadow_dirty_ring_wait_full(t.shadow)) {
		pthread_mutex_lock(&t.drain);
		drain();
		pthread_mutex_unlock(&t.drain);
	}
	return arg;
}

static int start(struct ram *ram)
{
	struct ram_parts parts;
	int rc;

	ram_get_parts(ram, &parts);
	t.shadow = parts.shadow;
	rc = shadow_dirty_ring_enable(t.shadow, 2, SIZE);
	if (!rc)
		rc = ram_dirty_log(ram, RAM_WORK, RAM_DIRTY_PROTECT);
	return rc ? rc : -pthread_create(&t.collector, NULL, collect, NULL);
}

/* All pages of the round, and nothing in the other ring. */
static int end_round(void)
{
	unsigned stored = 0;

	drain();
	for (unsigned page = 0; page < PAGES; page++)
		stored += t.stored[page];
	memset(t.stored, 0, sizeof(t.stored));
	if (stored != PAGES || t.entries[0])
		return -ERANGE;
	if (++t.rounds < ROUNDS)
		return 0;
	t.over = true;
	shadow_dirty_ring_get_stats(t.shadow, &t.stats);
	shadow_dirty_ring_release(t.shadow);
	pthread_cond_broadcast(&t.changed);
	return 0;
}

static int on_phase(void *ctx, struct ram *ram, unsigned cpu, uint32_t phase,
		    const uint64_t payload[3], uint64_t *answer)
{
	int rc = 0;

	(void)ctx;
	(void)payload;
	(void)answer;
	pthread_mutex_lock(&t.drain);
	if (cpu == 0 && phase == PHASE_READY)
		while (!t.over)
			pthread_cond_wait(&t.changed, &t.drain);
	if (cpu == 1 && phase == PHASE_READY)
		rc = start(ram);
	if (cpu == 1 && phase == PHASE_END)
		rc = end_round();
	if (rc) { /* the run ends here */
		t.over = true;
		pthread_cond_broadcast(&t.changed);
	}
	pthread_mutex_unlock(&t.drain);
	if (cpu == 0 && phase == PHASE_READY && t.rounds == ROUNDS)
		rig_join(t.collector); /* while there is a shadow */
	return rc;
}

UTEST(kvm_dirty_ring, each_vcpu_has_its_own)
{
	struct vm_opts opts = { .quiet = true, .check = true, .phase = on_phase };
	char why[MACHINE_WHY_SIZE], guest[4200], args[256];
	const char *sets[] = { guest, args, "/cpus/count=2" };
	struct machine m;

	need_kvm();
	pthread_mutex_init(&t.drain, NULL);
	pthread_cond_init(&t.changed, NULL);
	snprintf(guest, sizeof(guest), "/umbra/image=%s/guest/guest.elf", test_build_dir());
	snprintf(args, sizeof(args),
		 "/chosen/bootargs=workload=touch pattern=seq op=write pages=%u rounds=%u", PAGES,
		 ROUNDS);
	check(!machine_load(&m, "configs/touch.dts", sets, 3, why, sizeof(why)), "%s", why);
	log_set_quiet(true);
	check_eq(vm_run(&m, &opts), 0);
	check_eq(t.rounds, ROUNDS);
	check(t.entries[1] >= (uint64_t)ROUNDS * PAGES);
	check_eq(t.stats.overflowed, 0);
	pthread_cond_destroy(&t.changed);
	pthread_mutex_destroy(&t.drain);
}
