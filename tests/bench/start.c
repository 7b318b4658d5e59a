// SPDX-License-Identifier: BSD-2-Clause
/*
 * start: from exec of umbra to the first byte of its guest, and to its end; and the private memory of the VMM when it ends, beside
 * which the guest's own is shared. Against the bare system calls that a VMM cannot leave out, and against QEMU's microvm.
 * The machine is compiled beforehand: its source would cost a run of dtc.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/bench/bench.h"
#include "tests/bench/private.h"
#include "tests/bench/start_other.h"

#define LIMIT_KIB 4096.0

static const char hello[] =
	"/dts-v1/; / { compatible = \"umbra,machine\"; model = \"hello\";\n"
	"#address-cells = <2>; #size-cells = <2>;\n"
	"chosen { bootargs = \"workload=hello\"; }; cpus { count = <1>; cpl = <3>; };\n"
	"memory@0 { device_type = \"memory\"; reg = <0 0 0 0x1000000>; }; };\n";

/* Files of the group, and programs. */
static char dir[] = "/tmp/umbra-bench-XXXXXX";
static char source[PATH_MAX], blob[PATH_MAX], kernel[PATH_MAX], umbra[PATH_MAX], self[PATH_MAX];

static char *const run_umbra_argv[] = { umbra, "run", blob, "--quiet", NULL };
static char *const floor_argv[] = { self, "floor", NULL };
static char *const dtc_argv[] = { "dtc", "-q", "-I", "dts", "-O", "dtb", "-o", blob, source, NULL };
static char *const qemu_argv[] = { "qemu-system-x86_64",
				   "-nodefaults",
				   "-no-user-config",
				   "-no-reboot",
				   "-display",
				   "none",
				   "-monitor",
				   "none",
				   "-M",
				   "microvm,accel=kvm",
				   "-cpu",
				   "host",
				   "-m",
				   "16",
				   "-serial",
				   "stdio",
				   "-kernel",
				   kernel,
				   NULL };

/* ---- A run ---- */

struct times {
	double first_ms, exit_ms; /* from before the spawn */
};

static int wait_for(pid_t pid, int *status)
{
	while (waitpid(pid, status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

/* Start @argv with stdout in a pipe, whose end is *@out. */
static int spawn(char *const *argv, pid_t *pid, int *out)
{
	posix_spawn_file_actions_t acts;
	int fd[2], err;

	if (pipe2(fd, O_CLOEXEC))
		return -errno;
	err = posix_spawn_file_actions_init(&acts);
	if (!err) {
		posix_spawn_file_actions_adddup2(&acts, fd[1], STDOUT_FILENO);
		posix_spawn_file_actions_addopen(&acts, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
		err = posix_spawnp(pid, argv[0], &acts, NULL, argv, environ);
		posix_spawn_file_actions_destroy(&acts);
	}
	close(fd[1]);
	if (err)
		close(fd[0]);
	else
		*out = fd[0];
	return -err;
}

static double ms_since(uint64_t begin)
{
	return (double)(bench_now_ns() - begin) / 1e6;
}

/* @any_status: QEMU's after a triple fault says nothing. */
static int time_run(char *const *argv, bool any_status, struct times *t)
{
	uint64_t begin = bench_now_ns();
	char buf[4096];
	int out = -1, status = 0, err;
	pid_t pid = 0;

	err = spawn(argv, &pid, &out);
	if (err)
		return err;
	if (read(out, buf, 1) != 1)
		err = -EIO;
	t->first_ms = ms_since(begin);
	while (read(out, buf, sizeof(buf)) > 0)
		;
	close(out);
	if (wait_for(pid, &status))
		err = -ECHILD;
	t->exit_ms = ms_since(begin);
	if (!err && !any_status && (!WIFEXITED(status) || WEXITSTATUS(status)))
		err = -EIO;
	return err;
}

static int first_of(char *const *argv, bool any, double *value)
{
	struct times t = { 0, 0 };
	int err = time_run(argv, any, &t);

	*value = t.first_ms;
	return err;
}

static int exit_of(char *const *argv, bool any, double *value)
{
	struct times t = { 0, 0 };
	int err = time_run(argv, any, &t);

	*value = t.exit_ms;
	return err;
}

static int umbra_first(const void *arg, double *value)
{
	(void)arg;
	return first_of(run_umbra_argv, false, value);
}

static int umbra_exit(const void *arg, double *value)
{
	(void)arg;
	return exit_of(run_umbra_argv, false, value);
}

static int floor_first(const void *arg, double *value)
{
	(void)arg;
	return first_of(floor_argv, false, value);
}

static int floor_exit(const void *arg, double *value)
{
	(void)arg;
	return exit_of(floor_argv, false, value);
}

static int qemu_first(const void *arg, double *value)
{
	(void)arg;
	return first_of(qemu_argv, true, value);
}

static int qemu_exit(const void *arg, double *value)
{
	(void)arg;
	return exit_of(qemu_argv, true, value);
}

/* ---- Memory ---- */

/* Run @pid until it is about to end, its memory still there. */
static int run_to_exit(pid_t pid)
{
	int status, err = wait_for(pid, &status);

	if (err || !WIFSTOPPED(status))
		return err ? err : -ESRCH;
	if (ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_TRACEEXIT | PTRACE_O_EXITKILL))
		return -errno;
	for (int sig = 0;;) {
		if (ptrace(PTRACE_CONT, pid, NULL, sig))
			return -errno;
		err = wait_for(pid, &status);
		if (err || !WIFSTOPPED(status))
			return err ? err : -ESRCH;
		if (status >> 8 == (SIGTRAP | PTRACE_EVENT_EXIT << 8))
			return 0;
		sig = WSTOPSIG(status) == SIGTRAP ? 0 : WSTOPSIG(status);
	}
}

static int umbra_kib(const void *arg, double *value)
{
	double bytes = 0;
	int err, status;
	pid_t pid = fork();

	(void)arg;
	if (pid < 0)
		return -errno;
	if (!pid) {
		int null = open("/dev/null", O_RDWR | O_CLOEXEC);

		if (null >= 0 && dup2(null, STDOUT_FILENO) >= 0 &&
		    !ptrace(PTRACE_TRACEME, 0, NULL, NULL))
			execv(umbra, run_umbra_argv);
		_exit(127);
	}
	err = run_to_exit(pid);
	if (!err)
		err = private_bytes_of(pid, &bytes);
	if (!err && ptrace(PTRACE_CONT, pid, NULL, 0))
		err = -errno;
	if (err)
		kill(pid, SIGKILL);
	(void)wait_for(pid, &status);
	*value = bytes / 1024;
	return err;
}

static int limit_kib(const void *arg, double *value)
{
	(void)arg;
	*value = LIMIT_KIB;
	return 0;
}

/* ---- The group ---- */

static bool is_in_path(const char *program)
{
	char line[PATH_MAX + 64];

	snprintf(line, sizeof(line), "command -v %s >/dev/null 2>&1", program);
	return !system(line); /* NOLINT(cert-env33-c): a constant name */
}

static int prepare(void)
{
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	int err, out = -1, status = 0;
	pid_t pid = 0;
	FILE *f;

	if (n < 0 || !mkdtemp(dir))
		return -errno;
	self[n] = '\0';
	/* Beside this program, as the build puts it. */
	if (snprintf(umbra, sizeof(umbra), "%.*s/umbra", (int)(strrchr(self, '/') - self), self) >=
	    (int)sizeof(umbra))
		return -ENAMETOOLONG;
	snprintf(source, sizeof(source), "%s/hello.dts", dir);
	snprintf(blob, sizeof(blob), "%s/hello.dtb", dir);
	snprintf(kernel, sizeof(kernel), "%s/kernel", dir);
	f = fopen(source, "we");
	if (!f)
		return -errno;
	fputs(hello, f);
	if (fclose(f))
		return -EIO;
	err = spawn(dtc_argv, &pid, &out);
	if (err)
		return err;
	close(out);
	err = wait_for(pid, &status);
	return err ? err : status ? -EIO : start_write_kernel(kernel);
}

static void clean_up(void)
{
	unlink(source);
	unlink(blob);
	unlink(kernel);
	rmdir(dir);
}

static int run_qemu(struct bench *b)
{
	const struct bench_case first = { .name = "first byte, against QEMU microvm",
					  .umbra = umbra_first,
					  .reference = qemu_first,
					  .target = 0.1 };
	const struct bench_case last = { .name = "to the end, against QEMU microvm",
					 .umbra = umbra_exit,
					 .reference = qemu_exit,
					 .target = 0.1 };
	int err;

	if (!is_in_path(qemu_argv[0])) {
		bench_skip(b, "QEMU microvm",
			   "no qemu-system-x86_64: apt-get install qemu-system-x86");
		return 0;
	}
	err = bench_run(b, &first);
	return err ? err : bench_run(b, &last);
}

static int run(struct bench *b)
{
	static const struct bench_case cases[] = {
		{ .name = "first byte, against bare system calls",
		  .umbra = umbra_first,
		  .reference = floor_first,
		  .target = 2 },
		{ .name = "to the end, against bare system calls",
		  .umbra = umbra_exit,
		  .reference = floor_exit,
		  .target = 2 },
		{ .name = "private memory of the VMM",
		  .umbra = umbra_kib,
		  .reference = limit_kib,
		  .unit = "KiB",
		  .target = 1 },
	};
	int err = prepare();

	if (err)
		fprintf(stderr, "bench: start: cannot prepare: %s\n", strerror(-err));
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]) && !err; i++)
		err = bench_run(b, &cases[i]);
	if (!err)
		err = run_qemu(b);
	clean_up();
	return err;
}

const struct bench_group bench_start = {
	.name = "start",
	.what = "from exec of umbra to the first byte of its guest, and to its end",
	.reference = "bare system calls, QEMU microvm, the limit",
	.unit = "ms",
	.cases = 5,
	.needs_kvm = true,
	.without_uffd = false,
	.run = run,
};
