// SPDX-License-Identifier: BSD-2-Clause
/*
 * Bad images, machines, inputs, hosts and guests: each is refused or stopped within a second, with a status and a
 * message that say whose fault it is, and leaves nothing behind.
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

static void setup(void)
{
	need_kvm();
	scratch_make();
}

static void fini(void)
{
	umbra_inject(NULL);
	scratch_remove();
}

static void check_last(const struct said *s, int status, const char *says)
{
	umbra_ended(status);
	umbra_said_err(says);
	check(s->ms < slowly(1000), "umbra %s: took %u ms", s->line, s->ms);
}

/* Images. */

static Elf64_Ehdr *image;
static size_t image_size;

static Elf64_Phdr *phdr(unsigned i)
{
	return (Elf64_Phdr *)((char *)image + image->e_phoff) + i;
}

static void setup_image(void)
{
	char path[4096];

	setup();
	snprintf(path, sizeof(path), "%s/guest/guest.elf", test_build_dir());
	image = file_read(path, &image_size);
}

static void fini_image(void)
{
	free(image);
	image = NULL;
	fini();
}

static void check_image(size_t size, const char *says)
{
	scratch_write("bad.elf", image, size);
	check_last(umbra("run configs/hello.dts --set /umbra/image=%s", scratch("bad.elf")), 126,
		   says);
	umbra_said_err("bad.elf: ");
	umbra_said_err("vm: load: ");
}

UTEST(bad, image_truncated, .init = setup_image, .fini = fini_image)
{
	check_image(0, "too short");
	check_image(10, "too short");
	check_image(sizeof(*image), "truncated?");
	check_image(phdr(0)->p_offset + 100, "truncated?");
}

UTEST(bad, image_not_elf, .init = setup_image, .fini = fini_image)
{
	memset(image, '#', 4);
	check_image(image_size, "not an ELF file");
}

UTEST(bad, image_32_bit, .init = setup_image, .fini = fini_image)
{
	image->e_ident[EI_CLASS] = ELFCLASS32;
	check_image(image_size, "not a 64-bit");
}

UTEST(bad, image_of_another_machine, .init = setup_image, .fini = fini_image)
{
	image->e_machine = EM_AARCH64;
	check_image(image_size, "not for x86-64");
}

UTEST(bad, image_overlapping, .init = setup_image, .fini = fini_image)
{
	Elf64_Phdr *first = NULL;

	for (unsigned i = 0; i < image->e_phnum; i++) {
		if (phdr(i)->p_type != PT_LOAD || !phdr(i)->p_memsz)
			continue;
		if (first)
			phdr(i)->p_vaddr = first->p_vaddr;
		else
			first = phdr(i);
	}
	check_image(image_size, "overlap");
}

UTEST(bad, image_oversized, .init = setup_image, .fini = fini_image)
{
	for (unsigned i = 0; i < image->e_phnum; i++)
		if (phdr(i)->p_type == PT_LOAD)
			phdr(i)->p_memsz = 1ull << 40;
	check_image(image_size, "does not fit");
}

UTEST(bad, image_that_is_no_file, .init = setup, .fini = fini)
{
	check_last(umbra("run configs/hello.dts --set /umbra/image=/no/such/file"), 126,
		   "/no/such/file: cannot open the image: No such file");
	umbra_said_err("name another in /umbra/image");
	check_last(umbra("run configs/hello.dts --set /umbra/image=/tmp"), 126,
		   "/tmp: not a regular file");
}

/* Machines: tests/unit/machine.c has the details; these show that the reason arrives. */

UTEST(bad, machines, .init = setup, .fini = fini)
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
		check_last(umbra("run configs/touch.dts --set /umbra/churn/enabled=1 --set '%s'",
				 bad[i].set),
			   126, bad[i].says);
	check_last(umbra("run configs/counter.dts --set /umbra/host/seconds=0"), 126,
		   "workload=counter then never ends");
	dtb = file_read(scratch_dtb("touch"), &len);
	for (size_t n = 0; n < len; n += len / 5)
		check_last(umbra("run %s", scratch_write("cut.dtb", dtb, n)), 126, "cut.dtb: ");
	free(dtb);
}

/* Inputs. */

UTEST(bad, input_missing, .init = setup, .fini = fini)
{
	check_last(umbra("run configs/digest.dts --input %s", scratch("none")), 126,
		   "cannot be opened: No such file or directory; give a file");
	check_last(umbra("run configs/digest.dts"), 126, "name it with --input FILE");
	check_last(umbra("run configs/hello.dts --input Makefile"), 126, "no input region");
	check_last(umbra("run configs/digest.dts --input /tmp"), 126, "is a directory");
	check_last(umbra("run configs/digest.dts --input /dev/zero"), 126, "not a regular file");
	check(!mkfifo(scratch("fifo"), 0600));
	check_last(umbra("run configs/digest.dts --input %s", scratch("fifo")), 126,
		   "not a regular file");
}

UTEST(bad, input_unreadable, .init = setup, .fini = fini)
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
UTEST(bad, input_that_shrinks, .init = setup, .fini = fini)
{
	char *path = strdup(scratch_random("input", 8 << 20));
	struct vm_opts opts = { .input = path, .phase = shrink, .phase_ctx = path };

	check_eq(run_here("digest", NULL, &opts), 125);
	free(path);
}

/* The message of the same, from outside: the input ends early for pread(). */
UTEST(bad, input_that_shrinks_is_named, .init = setup, .fini = fini)
{
	const struct said *s;

	scratch_random("input", 1 << 20);
	umbra_inject("pread@input:EOF:2+");
	s = umbra("run %s --input %s --set /umbra/image=%s/guest/guest.elf", scratch_dtb("digest"),
		  scratch("input"), test_build_dir());
	umbra_inject(NULL);
	check_last(s, 125, "can no longer be read; was the file cut short");
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
UTEST(bad, stdout_that_does_not_block, .init = setup, .fini = fini)
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
UTEST(bad, runs_leave_nothing_behind, .init = setup, .fini = fini)
{
	static const struct {
		const char *config, *set;
		int status;
	} run[] = {
		{ "hello-2", NULL, 0 },
		{ "touch-2", "/umbra/churn/enabled=1", 0 },
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

UTEST(bad, no_kvm, .init = scratch_make, .fini = fini)
{
	umbra_inject("open:/dev/kvm:ENOENT");
	check_last(umbra("run configs/hello.dts"), 125,
		   "vm: kvm: /dev/kvm: No such file or directory: ");
	umbra_inject("open:/dev/kvm:EACCES");
	check_last(umbra("run configs/hello.dts"), 125,
		   "/dev/kvm: Permission denied: run as root or join the group kvm");
}

/* A file of that name that is no KVM, as some containers have it. */
UTEST(bad, kvm_that_is_no_kvm, .init = setup, .fini = fini)
{
	char rule[64];

	snprintf(rule, sizeof(rule), "ioctl@%#x:ENOTTY", KVM_GET_API_VERSION);
	umbra_inject(rule);
	check_last(umbra("run configs/hello.dts"), 125,
		   "vm: kvm: /dev/kvm is not KVM (KVM_GET_API_VERSION: Inappropriate ioctl");
}

UTEST(bad, no_userfaultfd, .init = scratch_make, .fini = fini)
{
	umbra_inject("userfaultfd:EPERM,open:/dev/userfaultfd:EACCES");
	check_last(umbra("run configs/hello.dts"), 125,
		   "no permission for userfaultfd; run as root");
	umbra_said_err("vm.unprivileged_userfaultfd");
	umbra_inject("userfaultfd:ENOSYS");
	check_last(umbra("run configs/hello.dts"), 125, "this kernel's userfaultfd lacks");
}

UTEST(bad, no_userfaultfd_for_nobody, .init = setup, .fini = fini)
{
	FILE *f = fopen("/proc/sys/vm/unprivileged_userfaultfd", "re");
	char c = f ? (char)fgetc(f) : '?';

	if (f)
		fclose(f);
	skip_if(geteuid(), "needs root, to become nobody");
	skip_if(c != '0', "vm.unprivileged_userfaultfd is %c: anybody may", c);
	check_last(umbra_under(NOBODY, "run configs/hello.dts"), 125,
		   "no permission for userfaultfd");
}

UTEST(bad, no_descriptors, .init = setup, .fini = fini)
{
	char *dtb = strdup(scratch_dtb("hello"));

	for (int n = 4; n <= 12; n++) {
		char under[64];

		snprintf(under, sizeof(under), "prlimit --nofile=%d", n);
		umbra_under(under, "run %s --trace %s", dtb, scratch("trace"));
		umbra_ended(125);
		umbra_said_err("Too many open files");
		umbra_said_err("allow more open files (ulimit -n)");
	}
	free(dtb);
}

/* Missing pages must not read as zeros: the machine stops, whichever read it is that fails. */
UTEST(bad, fault_thread_that_dies, .init = setup, .fini = fini)
{
	char rule[64];

	scratch_random("input", 200000);
	for (unsigned n = 1; n <= 6; n++) {
		const struct said *s;

		snprintf(rule, sizeof(rule), "read@userfaultfd:EIO:%u", n);
		umbra_inject(rule);
		s = umbra("run %s --input %s --set /umbra/image=%s/guest/guest.elf",
			  scratch_dtb("digest"), scratch("input"), test_build_dir());
		check_last(s, 125, "memory: stop: a fault thread ended: Input/output error");
		check_str(s->out, "");
	}
}

/* Guests. */

static void check_guest(const char *kind, const char *says)
{
	for (int cpus = 1; cpus <= 2; cpus++)
		check_last(umbra("run configs/hello.dts --set /cpus/count=%d --set "
				 "'/chosen/bootargs=workload=bad kind=%s'",
				 cpus, kind),
			   127, says);
	umbra_said_err("guest: stop: vCPU ");
}

/* What stops at an exit has its registers. */
static void check_stopped(const char *kind, const char *says)
{
	check_guest(kind, says);
	umbra_said_err(", near rip 0x");
}

/* What crashes may have lost them: then umbra shows none, and the doctor says so. */
static void check_crashed(const char *kind)
{
	bool knows = strstr(umbra("doctor")->out, "ok        kvm.crash ");

	check_guest(kind, "triple fault");
	umbra_said_err(knows ? ", near rip 0x20" : ", at a rip that this host's KVM forgets");
}

UTEST(bad, triple_fault, .init = need_kvm)
{
	check_crashed("triple");
}

UTEST(bad, wild_hypercall_page, .init = need_kvm)
{
	check_stopped("wildhc", "hypercall page at gpa 0xffffffff000 is outside guest memory");
}

UTEST(bad, load_from_a_hole, .init = need_kvm)
{
	check_stopped("hole",
		      "load of 8 bytes at guest physical 0xfec00000, where it has no memory");
	check_stopped("hole at=0x70000000", "guest physical 0x70000000, where it has no memory");
}

UTEST(bad, store_to_a_hole, .init = need_kvm)
{
	check_stopped("store", "store of 8 bytes at guest physical 0xfec00000, where it has no "
			       "writable memory");
}

UTEST(bad, store_to_the_input, .init = need_kvm)
{
	for (int cpl = 0; cpl <= 3; cpl += 3) {
		check_last(umbra("run configs/digest.dts --input Makefile --set /cpus/cpl=%d --set "
				 "'/chosen/bootargs=workload=bad kind=input'",
				 cpl),
			   127,
			   "guest: stop: vCPU 0: store of 8 bytes at guest physical 0x100000000");
		umbra_said_err("no writable memory, near rip 0x");
	}
}

UTEST(bad, ports_that_mean_nothing, .init = need_kvm)
{
	check_stopped("in", "in from port 0xe0, 4 bytes: only a 32-bit out to port 0xe0");
	check_stopped("port", "out to port 0x80, 4 bytes: only");
	check_stopped("byte", "out to port 0xe0, 1 bytes: only");
}

UTEST(bad, halt, .init = need_kvm)
{
	check_crashed("hlt");
	check_last(
		umbra("run configs/hello-cpl0.dts --set '/chosen/bootargs=workload=bad kind=hlt'"),
		127, "guest: stop: vCPU 0: halted with interrupts off: it can never run again");
}

UTEST(bad, load_beyond_the_map, .init = need_kvm)
{
	check_crashed("far");
}

UTEST(bad, malformed_hypercalls_are_answered, .init = need_kvm)
{
	const struct said *s;

	s = umbra("run configs/hello-2.dts --set '/chosen/bootargs=workload=bad kind=malformed'");
	umbra_ended(0);
	umbra_said_out("bad: wilddesc: status -14, right\n");
	check(!strstr(s->out, "wrong") && !strstr(s->out, "never to be seen"), "%s", s->out);
}

UTEST(bad, loop_without_output, .init = need_kvm)
{
	for (int cpus = 1; cpus <= 2; cpus++) {
		const struct said *s =
			umbra("run configs/hello.dts --timeout 0.3 --set /cpus/count=%d --set "
			      "'/chosen/bootargs=workload=bad kind=spin'",
			      cpus);

		check_last(s, 127, "guest: stop: still running after 300 ms");
		check(s->ms >= 300, "%u ms", s->ms);
	}
	check_last(umbra("run configs/idle.dts --timeout 0.2"), 127, "--timeout");
	check_last(umbra("run configs/touch-2.dts --timeout 0.2 --set /umbra/churn/enabled=1 --set "
			 "'/chosen/bootargs=workload=touch rounds=0 op=mixed'"),
		   127, "still running after 200 ms");
}
