// SPDX-License-Identifier: BSD-2-Clause
/*
 * A host that fails: each call of a run, made to fail in turn. The run ends with 125 and a reason, or as if nothing
 * had happened; it does not hang, crash, blame the guest, or show a wrong value.
 */
#include "tests/test.h"

#include <linux/kvm.h>
#include <linux/userfaultfd.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/umbra.h"

/* A call site is met often; the first ones set up, the last ones tear down. */
#define FIRST_CALLS 10u

struct fault {
	const char *call;
	unsigned long code; /* of an ioctl or madvise; 0: none */
	const char *error;
	bool for_good; /* a host in this state stays in it: fail all later calls, too */
};

/* Errors that the kernel documents for the call; a permanent EAGAIN or EINTR does not exist. */
static const struct fault faults[] = {
	{ "mmap", 0, "ENOMEM", true },
	{ "mprotect", 0, "ENOMEM", true },
	{ "madvise", 4, "EAGAIN", false },
	{ "madvise", 23, "ENOMEM", true },
	{ "madvise", 23, "EAGAIN", false },
	{ "read@userfaultfd", 0, "EIO", true },
	{ "read@userfaultfd", 0, "EAGAIN", false },
	{ "poll", 0, "ENOMEM", true },
	{ "poll", 0, "EINTR", false },
	{ "pread", 0, "EIO", true },
	{ "pread", 0, "EINTR", false },
	{ "memfd_create", 0, "EMFILE", true },
	{ "ftruncate", 0, "EFBIG", true },
	{ "fallocate", 0, "ENOSPC", true },
	{ "pthread_create", 0, "EAGAIN", true },
	{ "eventfd", 0, "EMFILE", true },
	{ "userfaultfd", 0, "EMFILE", true },
	{ "open", 0, "EMFILE", true },
	{ "ioctl", UFFDIO_API, "EINVAL", true },
	{ "ioctl", UFFDIO_REGISTER, "ENOMEM", true },
	{ "ioctl", UFFDIO_CONTINUE, "ENOMEM", true },
	{ "ioctl", UFFDIO_CONTINUE, "EAGAIN", false },
	{ "ioctl", UFFDIO_WRITEPROTECT, "ENOMEM", true },
	{ "ioctl", UFFDIO_WRITEPROTECT, "EAGAIN", false },
	{ "ioctl", KVM_GET_API_VERSION, "EINVAL", true },
	{ "ioctl", KVM_CHECK_EXTENSION, "EINVAL", true },
	{ "ioctl", KVM_CREATE_VM, "ENOMEM", true },
	{ "ioctl", KVM_SET_IDENTITY_MAP_ADDR, "EINVAL", true },
	{ "ioctl", KVM_SET_TSS_ADDR, "EINVAL", true },
	{ "ioctl", KVM_SET_USER_MEMORY_REGION, "ENOMEM", true },
	{ "ioctl", KVM_CREATE_VCPU, "ENOMEM", true },
	{ "ioctl", KVM_GET_VCPU_MMAP_SIZE, "EINVAL", true },
	{ "ioctl", KVM_GET_SUPPORTED_CPUID, "E2BIG", true },
	{ "ioctl", KVM_SET_CPUID2, "E2BIG", true },
	{ "ioctl", KVM_GET_SREGS, "EINVAL", true },
	{ "ioctl", KVM_SET_SREGS, "EINVAL", true },
	{ "ioctl", KVM_SET_REGS, "EINVAL", true },
	{ "ioctl", KVM_RUN, "ENOMEM", true },
	{ "ioctl", KVM_RUN, "EFAULT", true },
	{ "ioctl", KVM_RUN, "EINTR", false },
};

static char command[768];
static char right[256]; /* what a run that is not disturbed prints on stdout */
static unsigned most;	/* calls to fail at each site */

static void make_rule(char *rule, size_t size, const struct fault *f, unsigned n, const char *plus)
{
	if (f->code)
		snprintf(rule, size, "%s@%#lx:%s:%u%s", f->call, f->code, f->error, n, plus);
	else
		snprintf(rule, size, "%s:%s:%u%s", f->call, f->error, n, plus);
}

/* How many calls match @f in a run in which none fails. */
static unsigned count_calls(const struct fault *f)
{
	char rule[128], *text;
	unsigned n;

	make_rule(rule, sizeof(rule), f, 1000000000, "");
	unlink(scratch("seen"));
	setenv("INJECT_SEEN", scratch("seen"), 1);
	umbra_inject(rule);
	umbra("%s", command);
	unsetenv("INJECT_SEEN");
	umbra_ended(0);
	text = file_read(scratch("seen"), NULL);
	n = (unsigned)strtoul(text, NULL, 10);
	free(text);
	return n;
}

static void check_run(const char *rule)
{
	const struct said *s;

	umbra_inject(rule);
	s = umbra("%s", command);
	if (s->status == 0) {
		expect(!*right || !strcmp(s->out, right), "%s: says %s", rule, s->out);
		expect(*right || strstr(s->out, " 0 wrong"), "%s: says %s", rule, s->out);
		return;
	}
	expect(s->status == 125, "%s: ended with %d; it said: %s%s", rule, s->status, s->out,
	       s->err);
	expect(strstr(s->err, ": "), "%s: no reason: %s", rule, s->err);
	expect(s->ms < slowly(20000), "%s: took %u ms: %s", rule, s->ms, s->err);
	/* Nothing that a wrong value would lead to. */
	expect(!strstr(s->out, "want") && !strstr(s->out, "disagree") && !strstr(s->err, "stale"),
	       "%s: %s%s", rule, s->out, s->err);
}

static void fail_each_call(const struct fault *f)
{
	unsigned calls = count_calls(f), step, later = test_slowness() > 1 ? 1 : 3;
	char rule[128];

	for (unsigned n = 1; n <= calls; n += step) {
		step = n < most ? 1 : calls > n + later ? (calls - n) / later : 1;
		/* On a slow host one of the two is enough. */
		if (test_slowness() == 1 || !f->for_good || n > most) {
			make_rule(rule, sizeof(rule), f, n, "");
			check_run(rule);
		}
		if (!f->for_good || n > most)
			continue;
		make_rule(rule, sizeof(rule), f, n, "+");
		check_run(rule);
	}
}

static void fail_all_calls(void)
{
	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		fail_each_call(&faults[i]);
	umbra_inject(NULL);
}

/* With a check all is taken apart at the end. */
UTEST(fault, digest, .init = kvm_setup, .fini = kvm_fini)
{
	scratch_random("input", 70000);
	snprintf(command, sizeof(command),
		 "run %s --input %s --check --timeout %u --set /umbra/image=%s/guest/guest.elf",
		 scratch_dtb("digest"), scratch("input"), slowly(40000) / 1000, test_build_dir());
	most = test_slowness() > 1 ? 1 : FIRST_CALLS;
	umbra("%s", command);
	umbra_ended(0);
	snprintf(right, sizeof(right), "%.200s", umbra("%s", command)->out);
	check(strlen(right) > 34, "%s", right);
	fail_all_calls();
}

/* Frames that live away from home, host threads, pages that come and go. */
UTEST(fault, churn, .init = kvm_setup, .fini = kvm_fini)
{
	snprintf(
		command, sizeof(command),
		"run %s --timeout %u --set /umbra/image=%s/guest/guest.elf --set /umbra/churn/enabled=1 "
		"--set /umbra/churn/period-us=20 --set /work/reg=0x80000000,128K "
		"--set /umbra/host/threads=1 "
		"--set '/chosen/bootargs=workload=touch pattern=random op=mixed rounds=%u'",
		scratch_dtb("touch-2"), slowly(40000) / 1000, test_build_dir(),
		test_slowness() > 1 ? 3u : 40u);
	most = test_slowness() > 1 ? 1 : 3;
	fail_all_calls();
}
