// SPDX-License-Identifier: BSD-2-Clause
/*
 * Bad machines, inputs and hosts: each is refused or stopped at once, with a status and a message that say whose fault it
 * is, and leaves nothing behind. bad_image.c and bad_guest.c have the rest.
 */
#include "tests/test.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <linux/kvm.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guest/abi.h"
#include "hv/machine.h"
#include "hv/vm.h"
#include "tests/leak.h"
#include "tests/umbra.h"

#define NOBODY "setpriv --reuid=65534 --regid=65534 --clear-groups"

/* Machines: tests/unit/machine.c has the details; these show that the reason arrives. */

UTEST(bad, machines, .init = kvm_setup, .fini = kvm_fini)
{
	static const struct {
		const char *set, *says;
	} bad[] = {
		{ "/cpus/count=many", "/cpus/count" },
		{ "/cpus/count=-1", "/cpus/count" },
		{ "/memory/reg=0,-4096", "/memory" },
		{ "/memory/reg=<1 2 3>", "/memory" },
		{ "/memory/reg=0,1M", "too little memory" },
		{ "/work/reg=0x400000,1M", "overlap" },
		{ "/work/reg=0x80000000,123", "/work" },
		{ "/umbra/fualt-around=8", "did you mean" },
		{ "/umbra/churn/ops=everything", "/umbra/churn/ops" },
		{ "/work/fill=zero", "/umbra/churn/ops: update needs pages with stamps" },
		{ "/chosen/bootargs=workload=counter increments=9",
		  "discard drops what workload=counter stores" },
		{ "/chosen/bootargs=workload=verify", "discard drops what workload=verify stores" },
	};
	size_t len;
	char *dtb;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		umbra_ended_soon(
			umbra("run configs/touch.dts --set /umbra/churn/enabled=1 --set '%s'",
			      bad[i].set),
			126, bad[i].says);
	umbra_ended_soon(umbra("run configs/counter.dts --set /umbra/host/seconds=0"), 126,
			 "workload=counter then never ends");
	dtb = file_read(scratch_dtb("touch"), &len);
	for (size_t n = 0; n < len; n += len / 5)
		umbra_ended_soon(umbra("run %s", scratch_write("cut.dtb", dtb, n)), 126,
				 "cut.dtb: ");
	free(dtb);
}

/* Inputs. */

UTEST(bad, input_missing, .init = kvm_setup, .fini = kvm_fini)
{
	umbra_ended_soon(umbra("run configs/digest.dts --input %s", scratch("none")), 126,
			 "cannot be opened: No such file or directory; give a file");
	umbra_ended_soon(umbra("run configs/digest.dts"), 126, "name it with --input FILE");
	umbra_ended_soon(umbra("run configs/hello.dts --input Makefile"), 126, "no input region");
	umbra_ended_soon(umbra("run configs/digest.dts --input /tmp"), 126, "is a directory");
	umbra_ended_soon(umbra("run configs/digest.dts --input /dev/zero"), 126,
			 "not a regular file");
	check(!mkfifo(scratch("fifo"), 0600));
	umbra_ended_soon(umbra("run configs/digest.dts --input %s", scratch("fifo")), 126,
			 "not a regular file");
}

UTEST(bad, input_unreadable, .init = kvm_setup, .fini = kvm_fini)
{
	scratch_write("secret", "x", 1);
	check(!chmod(scratch("secret"), 0));
	if (geteuid())
		umbra("run configs/digest.dts --input %s", scratch("secret"));
	else
		umbra_under(NOBODY, "run configs/digest.dts --input %s", scratch("secret"));
	umbra_ended(126);
	umbra_said_err("cannot be opened: Permission denied");
}

/* Runs inside this process. */

static int shrink(void *path, struct ram *ram, unsigned cpu, uint32_t phase,
		  const uint64_t payload[3], uint64_t *answer)
{
	(void)ram;
	(void)cpu;
	(void)payload;
	(void)answer;
	return phase == PHASE_READY && truncate(path, 5000) ? -errno : 0;
}

static int run_here(const char *config, const char *set, const struct vm_opts *opts)
{
	char why[MACHINE_WHY_SIZE], guest[4200], path[256];
	const char *sets[] = { guest, set };
	struct machine m;

	snprintf(guest, sizeof(guest), "/umbra/image=%s/guest/guest.elf", test_build_dir());
	snprintf(path, sizeof(path), "configs/%s.dts", config);
	check(!machine_load(&m, path, sets, set ? 2 : 1, why, sizeof(why)), "%s", why);
	return vm_run(&m, opts);
}

/* What the guest has not read yet is gone: it must not read zeros there. */
UTEST(bad, input_that_shrinks, .init = kvm_setup, .fini = kvm_fini)
{
	char *path = strdup(scratch_random("input", 8 << 20));
	struct vm_opts opts = { .input = path, .phase = shrink, .phase_ctx = path };

	check_eq(run_here("digest", NULL, &opts), 125);
	free(path);
}

/* The message of the same, from outside: the input ends early for pread(). */
UTEST(bad, input_that_shrinks_is_named, .init = kvm_setup, .fini = kvm_fini)
{
	const struct said *s;

	scratch_random("input", 1 << 20);
	umbra_inject("pread@input:EOF:2+");
	s = umbra("run %s --input %s --set /umbra/image=%s/guest/guest.elf", scratch_dtb("digest"),
		  scratch("input"), test_build_dir());
	umbra_inject(NULL);
	umbra_ended_soon(s, 125, "can no longer be read; was the file cut short");
	umbra_said_err("/input: byte ");
	check_str(s->out, "");
}

struct reader {
	int fd;
	size_t len;
	char text[65536];
};

/* Late and slowly, to the end. */
static void *read_all(void *arg)
{
	struct reader *r = arg;
	ssize_t n;

	do {
		usleep(20000);
		n = read(r->fd, r->text + r->len, 1000);
		r->len += n > 0 ? (size_t)n : 0;
	} while (n);
	return NULL;
}

/* Somebody made the pipe non-blocking: all that the guest says arrives nevertheless. */
UTEST(bad, stdout_that_does_not_block, .init = kvm_setup, .fini = kvm_fini)
{
	static const char set[] = "/chosen/bootargs=workload=bad kind=malformed", fill[4096] = "";
	const struct vm_opts none = { 0 };
	struct reader reader = { .len = 0 };
	int fds[2], saved = dup(STDOUT_FILENO), status;
	pthread_t thread;

	check(!pipe(fds) && fcntl(fds[1], F_SETPIPE_SZ, 4096) == 4096, "pipe");
	check_eq(write(fds[1], fill, sizeof(fill)), (ssize_t)sizeof(fill));
	check(!fcntl(fds[1], F_SETFL, O_NONBLOCK));
	reader.fd = fds[0];
	check(!pthread_create(&thread, NULL, read_all, &reader));
	dup2(fds[1], STDOUT_FILENO);
	close(fds[1]);
	status = run_here("hello", set, &none);
	dup2(saved, STDOUT_FILENO);
	close(saved);
	pthread_join(thread, NULL);
	close(fds[0]);
	check_eq(status, 0);
	check_str(reader.text + sizeof(fill), umbra("run configs/hello.dts --set '%s'", set)->out);
}

static int fail_phase(void *ctx, struct ram *ram, unsigned cpu, uint32_t phase,
		      const uint64_t payload[3], uint64_t *answer)
{
	(void)ctx;
	(void)ram;
	(void)cpu;
	(void)phase;
	(void)payload;
	(void)answer;
	return -EIO;
}

static void check_same(const struct leak_snapshot *before, const char *what)
{
	char why[256];

	check(leak_check(before, why, sizeof(why)), "%s: %s", what, why);
}

/* Good and bad ends alike, again and again in one process. */
UTEST(bad, runs_leave_nothing_behind, .init = kvm_setup, .fini = kvm_fini)
{
	static const struct {
		const char *config, *set;
		int status;
	} run[] = {
		{ "hello-2", NULL, 0 },
		{ "touch-2", "/work/reg=0x80000000,1M", 0 },
		{ "counter-2", "/umbra/host/seconds=1", 0 },
		{ "hello", "/chosen/bootargs=workload=bad kind=triple", 127 },
		{ "hello-2", "/chosen/bootargs=workload=bad kind=wildhc", 127 },
		{ "hello-2", "/chosen/bootargs=workload=bad kind=hole", 127 },
		{ "hello", "/umbra/image=/no/such/file", 126 },
		{ "digest", NULL, 126 },
	};
	const struct vm_opts none = { 0 }, failing = { .phase = fail_phase };

	for (size_t i = 0; i < sizeof(run) / sizeof(run[0]); i++) {
		struct leak_snapshot before;

		/* The first run of each may load what stays: libraries, arenas. */
		for (int n = 0; n < (test_slowness() > 1 ? 3 : 5); n++) {
			check_eq(run_here(run[i].config, run[i].set, &none), run[i].status);
			if (n == 0)
				leak_snapshot(&before);
		}
		check_same(&before, run[i].config);
	}
	for (int n = 0; n < 3; n++)
		check_eq(run_here("hello-2", NULL, &failing), 125);
}

/* Hosts. */

UTEST(bad, no_kvm, .init = scratch_make, .fini = kvm_fini)
{
	umbra_inject("open:/dev/kvm:ENOENT");
	umbra_ended_soon(umbra("run configs/hello.dts"), 125,
			 "vm: kvm: /dev/kvm: No such file or directory: ");
	umbra_inject("open:/dev/kvm:EACCES");
	umbra_ended_soon(umbra("run configs/hello.dts"), 125,
			 "/dev/kvm: Permission denied: run as root or join the group kvm");
}

/* A file of that name that is no KVM, as some containers have it. */
UTEST(bad, kvm_that_is_no_kvm, .init = kvm_setup, .fini = kvm_fini)
{
	char rule[64];

	snprintf(rule, sizeof(rule), "ioctl@%#x:ENOTTY", KVM_GET_API_VERSION);
	umbra_inject(rule);
	umbra_ended_soon(umbra("run configs/hello.dts"), 125,
			 "vm: kvm: /dev/kvm is not KVM (KVM_GET_API_VERSION: Inappropriate ioctl");
}

UTEST(bad, no_userfaultfd, .init = scratch_make, .fini = kvm_fini)
{
	umbra_inject("userfaultfd:EPERM,open:/dev/userfaultfd:EACCES");
	umbra_ended_soon(umbra("run configs/hello.dts"), 125,
			 "no permission for userfaultfd; run as root");
	umbra_said_err("vm.unprivileged_userfaultfd");
	umbra_inject("userfaultfd:ENOSYS");
	umbra_ended_soon(umbra("run configs/hello.dts"), 125, "this kernel's userfaultfd lacks");
}

UTEST(bad, no_userfaultfd_for_nobody, .init = kvm_setup, .fini = kvm_fini)
{
	FILE *f = fopen("/proc/sys/vm/unprivileged_userfaultfd", "re");
	char c = f ? (char)fgetc(f) : '?';

	if (f)
		fclose(f);
	skip_if(geteuid(), "needs root, to become nobody");
	skip_if(c != '0', "vm.unprivileged_userfaultfd is %c: anybody may", c);
	umbra_ended_soon(umbra_under(NOBODY, "run configs/hello.dts"), 125,
			 "no permission for userfaultfd");
}

/* One more each time, until there are enough. */
UTEST(bad, no_descriptors, .init = kvm_setup, .fini = kvm_fini)
{
	char *dtb = strdup(scratch_dtb("hello")), under[64];
	int n = 4;

	for (;; n++) {
		snprintf(under, sizeof(under), "prlimit --nofile=%d", n);
		if (umbra_under(under, "run %s --trace %s", dtb, scratch("trace"))->status == 0)
			break;
		umbra_ended(125);
		umbra_said_err("Too many open files");
		umbra_said_err("allow more open files (ulimit -n)");
	}
	check(n > 9 && n < 30, "%d are enough", n);
	free(dtb);
}

/* Missing pages must not read as zeros: the machine stops, whichever read it is that fails. */
UTEST(bad, fault_thread_that_dies, .init = kvm_setup, .fini = kvm_fini)
{
	char rule[64];

	scratch_random("input", 200000);
	for (unsigned n = 1; n <= 6; n++) {
		const struct said *s;

		snprintf(rule, sizeof(rule), "read@userfaultfd:EIO:%u", n);
		umbra_inject(rule);
		s = umbra("run %s --input %s --set /umbra/image=%s/guest/guest.elf "
			  "--set /umbra/fault-around=1",
			  scratch_dtb("digest"), scratch("input"), test_build_dir());
		umbra_ended_soon(s, 125, "memory: stop: a fault thread ended: Input/output error");
		check_str(s->out, "");
	}
}
