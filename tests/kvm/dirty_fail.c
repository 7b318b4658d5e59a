// SPDX-License-Identifier: BSD-2-Clause
/* The dirty log of a running guest, cleared by hand; and when KVM fails: an errno, no store lost, a guest that does not notice. */
#include <errno.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "guest/abi.h"
#include "hv/log.h"
#include "hv/machine.h"
#include "hv/ram.h"
#include "hv/vm.h"
#include "tests/test.h"
#include "tests/umbra.h"

#define PAGES  1000u
#define ROUNDS 4u
#define BITS   16384u /* pages of /work */

/* Takes the place of the C library's in this program: calls of @request fail with @error while that is set. */
static struct {
	_Atomic unsigned long request;
	atomic_int error;
	atomic_bool late; /* after the kernel has done what it was asked for */
	atomic_uint seen;
} rule;

int ioctl(int fd, unsigned long request, ...)
{
	bool fails = rule.error && request == rule.request;
	va_list ap;
	void *arg;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (!fails || rule.late) {
		int rc = (int)syscall(SYS_ioctl, fd, request, arg);

		if (!fails)
			return rc;
	}
	atomic_fetch_add(&rule.seen, 1);
	errno = rule.error;
	return -1;
}

static void fail(unsigned long request, int error, bool late)
{
	rule.request = request;
	rule.late = late;
	rule.seen = 0;
	rule.error = error;
}

static void mend(void)
{
	check(rule.seen > 0, "nothing failed");
	rule.error = 0;
}

static uint64_t bitmap[BITS / 64];

static uint64_t get(struct ram *ram)
{
	uint64_t n = 0;

	memset(bitmap, 0xee, sizeof(bitmap));
	check_eq(ram_get_dirty_log(ram, RAM_WORK, bitmap), 0);
	for (unsigned i = 0; i < BITS / 64; i++)
		n += (uint64_t)__builtin_popcountl(bitmap[i]);
	return n;
}

/* What a test does at the end of each round, while the one vCPU waits. */
static void (*after_round)(struct ram *ram, uint64_t round);
static unsigned rounds_seen;

static int on_phase(void *ctx, struct ram *ram, unsigned cpu, uint32_t phase,
		    const uint64_t payload[3], uint64_t *answer)
{
	(void)ctx, (void)cpu, (void)answer;
	if (phase != PHASE_END)
		return 0;
	after_round(ram, payload[0]);
	rounds_seen++;
	return 0;
}

/* Each round stores to each of the pages; the guest checks what it has stored. */
static void run(void (*after)(struct ram *ram, uint64_t round))
{
	struct vm_opts opts = { .quiet = true, .check = true, .phase = on_phase };
	char why[MACHINE_WHY_SIZE], guest[4200];
	const char *sets[] = {
		guest,
		"/chosen/bootargs=workload=touch pattern=seq op=write pages=1000 rounds=4",
	};
	struct machine m;

	need_kvm();
	rule.error = 0;
	rounds_seen = 0;
	after_round = after;
	snprintf(guest, sizeof(guest), "/umbra/image=%s/guest/guest.elf", test_build_dir());
	check(!machine_load(&m, "configs/touch.dts", sets, 2, why, sizeof(why)), "%s", why);
	check_eq(m.work.size >> 12, BITS);
	log_set_quiet(true);
	check_eq(vm_run(&m, &opts), 0);
	check_eq(rounds_seen, ROUNDS);
}

static void begin_refused(struct ram *ram, uint64_t round)
{
	switch (round) {
	case 0:
		fail(KVM_SET_USER_MEMORY_REGION, ENOMEM, false);
		check_eq(ram_dirty_log(ram, RAM_WORK, RAM_DIRTY_KVM), -ENOMEM);
		mend();
		check_eq(ram_get_dirty_log(ram, RAM_WORK, bitmap), -ENOENT);
		break;
	case 1: /* the guest has gone on without a log; nothing is in the way of another one */
		check_eq(ram_dirty_log(ram, RAM_WORK, RAM_DIRTY_PROTECT), 0);
		check_eq(ram_dirty_log(ram, RAM_WORK, RAM_DIRTY_OFF), 0);
		check_eq(ram_dirty_log(ram, RAM_WORK, RAM_DIRTY_KVM), 0);
		break;
	default:
		check_eq(get(ram), PAGES);
	}
}

UTEST(kvm_dirty_fail, kvm_does_not_begin)
{
	run(begin_refused);
}

static void end_refused(struct ram *ram, uint64_t round)
{
	switch (round) {
	case 0:
		check_eq(ram_dirty_log(ram, RAM_WORK, RAM_DIRTY_KVM), 0);
		break;
	case 1:
		check_eq(get(ram), PAGES);
		fail(KVM_SET_USER_MEMORY_REGION, ENOMEM, false);
		check_eq(ram_dirty_log(ram, RAM_WORK, RAM_DIRTY_OFF), 0);
		mend();
		check_eq(ram_get_dirty_log(ram, RAM_WORK, bitmap), -ENOENT);
		break;
	case 2: /* KVM has logged on; what it knows from then is told as well */
		check_eq(ram_dirty_log(ram, RAM_WORK, RAM_DIRTY_KVM), 0);
		check(get(ram) <= PAGES);
		break;
	default:
		check_eq(get(ram), PAGES);
	}
}

UTEST(kvm_dirty_fail, kvm_does_not_end)
{
	run(end_refused);
}

static bool is_late;

static void get_refused(struct ram *ram, uint64_t round)
{
	if (!round) {
		check_eq(ram_dirty_log(ram, RAM_WORK, RAM_DIRTY_KVM), 0);
		return;
	}
	if (round == 1) {
		fail(KVM_GET_DIRTY_LOG, is_late ? EFAULT : ENOMEM, is_late);
		check_eq(ram_get_dirty_log(ram, RAM_WORK, bitmap), is_late ? -EFAULT : -ENOMEM);
		mend();
		check_eq(get(ram), BITS); /* nobody knows which: all */
		check_eq(get(ram), 0);
		return;
	}
	check_eq(get(ram), PAGES);
}

UTEST(kvm_dirty_fail, kvm_does_not_tell)
{
	is_late = false;
	run(get_refused);
}

/* As where it cannot copy the log out: its own is cleared by then. */
UTEST(kvm_dirty_fail, kvm_forgets_what_it_has_not_told)
{
	is_late = true;
	run(get_refused);
}

static void manual(struct ram *ram, uint64_t round)
{
	static uint64_t half[BITS / 64];

	if (!round) {
		check_eq(ram_dirty_log(ram, RAM_WORK,
				       is_late ? RAM_DIRTY_KVM_MANUAL : RAM_DIRTY_PROTECT_MANUAL),
			 0);
		return;
	}
	check_eq(get(ram), PAGES);
	check_eq(get(ram), PAGES);
	memset(half, 0xff, sizeof(half));
	check_eq(ram_clear_dirty_log(ram, RAM_WORK, 512, 64, half), 0);
	check_eq(get(ram), PAGES - 64);
	check_eq(ram_clear_dirty_log(ram, RAM_WORK, 0, BITS, half), 0);
	check_eq(get(ram), 0);
	check_eq(ram_clear_dirty_log(ram, RAM_WORK, 1, BITS, half), -EINVAL);
	check_eq(ram_clear_dirty_log(ram, RAM_INPUT, 0, BITS, half), -ENOENT);
}

UTEST(kvm_dirty_fail, cleared_by_hand)
{
	is_late = false;
	run(manual);
	is_late = true;
	run(manual);
}
