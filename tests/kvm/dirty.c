// SPDX-License-Identifier: BSD-2-Clause
/* The dirty log of a real guest: pages write-protected in the window, and KVM's own log, one against the other. */
#include <errno.h>
#include <string.h>

#include "guest/abi.h"
#include "hv/log.h"
#include "hv/machine.h"
#include "hv/ram.h"
#include "hv/vm.h"
#include "tests/test.h"
#include "tests/umbra.h"

#define PAGES  1000u
#define WORDS  (PAGES / 64 + 1)
#define ROUNDS 6u

struct rounds {
	enum ram_dirty how;
	uint64_t size; /* pages of /work */
	uint64_t bitmap[ROUNDS][WORDS];
	uint64_t faults[ROUNDS];
	unsigned seen;
};

/* On from the start; after each round, what was stored to in it. The one vCPU waits here meanwhile. */
static int on_phase(void *ctx, struct ram *ram, unsigned cpu, uint32_t phase,
		    const uint64_t payload[3], uint64_t *answer)
{
	static uint64_t whole[16384 / 64];
	struct rounds *r = ctx;
	struct ram_stats stats;
	int rc;

	(void)cpu;
	(void)answer;
	if (phase == PHASE_READY)
		return ram_dirty_log(ram, RAM_WORK, r->how);
	if (phase != PHASE_END || payload[0] >= ROUNDS)
		return 0;
	rc = ram_get_dirty_log(ram, RAM_WORK, whole);
	memcpy(r->bitmap[payload[0]], whole, sizeof(r->bitmap[0]));
	for (unsigned i = WORDS; i < 16384 / 64; i++)
		if (whole[i])
			return -ERANGE; /* no page there was touched */
	ram_get_stats(ram, &stats);
	r->faults[payload[0]] = stats.faults;
	r->seen++;
	return rc;
}

static void run(struct rounds *r, enum ram_dirty how, const char *bootargs)
{
	struct vm_opts opts = { .quiet = true, .check = true, .phase = on_phase, .phase_ctx = r };
	char why[MACHINE_WHY_SIZE], guest[4200], args[256];
	const char *sets[] = { guest, args };
	struct machine m;

	*r = (struct rounds){ .how = how };
	snprintf(guest, sizeof(guest), "/umbra/image=%s/guest/guest.elf", test_build_dir());
	snprintf(args, sizeof(args), "/chosen/bootargs=%s", bootargs);
	check(!machine_load(&m, "configs/touch.dts", sets, 2, why, sizeof(why)), "%s", why);
	check_eq(m.work.size >> 12, 16384);
	log_set_quiet(true);
	check_eq(vm_run(&m, &opts), 0);
	check_eq(r->seen, ROUNDS);
}

static uint64_t weight(const uint64_t *bitmap)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < WORDS; i++)
		n += (uint64_t)__builtin_popcountl(bitmap[i]);
	return n;
}

static struct rounds protect, kvm;

static void both(const char *bootargs)
{
	need_kvm();
	run(&protect, RAM_DIRTY_PROTECT, bootargs);
	run(&kvm, RAM_DIRTY_KVM, bootargs);
}

UTEST(kvm_dirty, every_page_written_is_logged_each_round)
{
	both("workload=touch pattern=random op=write pages=1000 rounds=6");
	for (unsigned n = 0; n < ROUNDS; n++) {
		check_eq(weight(protect.bitmap[n]), PAGES);
		check_eq(weight(kvm.bitmap[n]), PAGES);
	}
	/* Each page protected faults once a round; with KVM's log nothing comes to umbra. */
	check(protect.faults[5] - protect.faults[4] >= PAGES);
	check(kvm.faults[5] - kvm.faults[4] < 16, "%lu", kvm.faults[5] - kvm.faults[4]);
}

/* KVM takes a page's first load, if it may be written, for a store: it knows more than was stored, never less. */
UTEST(kvm_dirty, both_logs_tell_the_same)
{
	both("workload=touch pattern=seq op=mixed pages=1000 rounds=6");
	for (unsigned n = 0; n < ROUNDS; n++) {
		check(weight(protect.bitmap[n]) < PAGES / 2);
		for (unsigned i = 0; i < WORDS; i++)
			check(!(protect.bitmap[n][i] & ~kvm.bitmap[n][i]), "round %u, word %u", n,
			      i);
		if (n)
			check_eq(weight(protect.bitmap[n]), weight(kvm.bitmap[n]));
	}
}

UTEST(kvm_dirty, loads_are_not_logged)
{
	both("workload=touch pattern=seq op=read pages=1000 rounds=6");
	for (unsigned n = 0; n < ROUNDS; n++)
		check_eq(weight(protect.bitmap[n]), 0);
	check_eq(weight(kvm.bitmap[ROUNDS - 1]), 0);
}
