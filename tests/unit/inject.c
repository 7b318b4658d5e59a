// SPDX-License-Identifier: BSD-2-Clause
/* libinject.so, loaded into the test: rules match what they say, the others stay away. */
#include "tests/test.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void *shim;

static const char *shim_path(void)
{
	static char path[PATH_MAX + 32];

	snprintf(path, sizeof(path), "%s/tests/libinject.so", test_build_dir());
	return path;
}

static void load(const char *rules)
{
	setenv("INJECT", rules, 1);
	shim = dlopen(shim_path(), RTLD_NOW | RTLD_LOCAL);
	check(shim, "%s", dlerror());
}

static void unload(void)
{
	if (shim)
		dlclose(shim);
	shim = NULL;
	unsetenv("INJECT");
}

/* The shim's version of a function, typed like the real one. */
#define SHIM(name) ((__typeof__(&name))dlsym(shim, #name))

#define check_fails(call, error)            \
	do {                                \
		errno = 0;                  \
		check_eq((long)(call), -1); \
		check_eq(errno, error);     \
	} while (0)

UTEST(inject, path_selects_open, .fini = unload)
{
	int fd;

	load("open:/dev/kvm:ENOENT,open@*/no/such:EIO");
	check_fails(SHIM(open)("/dev/kvm", O_RDWR), ENOENT);
	check_fails(SHIM(open)("/a/no/such/file", O_RDONLY), EIO);
	check_fails(SHIM(open64)("/dev/kvm", O_RDWR), ENOENT);
	fd = SHIM(open)("/dev/null", O_RDONLY | O_CLOEXEC);
	check(fd >= 0);
	close(fd);
}

UTEST(inject, request_code_and_count_select_ioctl, .fini = unload)
{
	int n;

	load("ioctl@0xc020aa07:ENOMEM:3");
	for (int i = 1; i <= 4; i++)
		check_fails(SHIM(ioctl)(-1, UFFDIO_CONTINUE, NULL), i == 3 ? ENOMEM : EBADF);
	check_fails(SHIM(ioctl)(-1, FIONREAD, &n), EBADF);
	check_eq(UFFDIO_CONTINUE, 0xc020aa07);
}

UTEST(inject, plus_means_from_then_on, .fini = unload)
{
	char c;
	int fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);

	load("read@/dev/zero:5:2+");
	check_eq(SHIM(read)(fd, &c, 1), 1);
	check_fails(SHIM(read)(fd, &c, 1), EIO);
	check_fails(SHIM(read)(fd, &c, 1), EIO);
	check_eq(SHIM(pread)(fd, &c, 1, 0), 1);
	close(fd);
}

UTEST(inject, eof_returns_zero, .fini = unload)
{
	char c;
	int fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);

	load("pread:EOF:2");
	check_eq(SHIM(pread)(fd, &c, 1, 0), 1);
	check_eq(SHIM(pread)(fd, &c, 1, 0), 0);
	check_eq(SHIM(pread64)(fd, &c, 1, 0), 1);
	close(fd);
}

static void *return_at_once(void *arg)
{
	return arg;
}

UTEST(inject, failures_have_each_calls_own_form, .fini = unload)
{
	pthread_t t;

	load("mmap:ENOMEM,pthread_create:EAGAIN,userfaultfd:EPERM,memfd_create:EMFILE,madvise@4:EINVAL");
	check(SHIM(mmap)(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED);
	check_eq(errno, ENOMEM);
	check_eq(SHIM(pthread_create)(&t, NULL, return_at_once, NULL), EAGAIN);
	check_fails(SHIM(syscall)(SYS_userfaultfd, 0), EPERM);
	check_eq(SHIM(syscall)(SYS_getpid), getpid());
	check_fails(SHIM(memfd_create)("x", 0), EMFILE);
	check_fails(SHIM(madvise)(NULL, 4096, MADV_DONTNEED), EINVAL);
}

/* The exit status of a shell command with the shim preloaded. */
static int run_with(const char *rules, const char *command)
{
	char line[PATH_MAX + 512];
	int status;

	snprintf(line, sizeof(line), "INJECT='%s' LD_PRELOAD='%s' %s >/dev/null 2>&1", rules,
		 shim_path(), command);
	status = system(line);
	check(WIFEXITED(status), "%s: status %#x", line, (unsigned)status);
	return WEXITSTATUS(status);
}

UTEST(inject, works_preloaded)
{
	check_eq(run_with("", "head -c 1 Makefile"), 0);
	check_eq(run_with("read@/Makefile:EIO", "head -c 1 Makefile"), 1);
	check_eq(run_with("read@/nothing:EIO", "head -c 1 Makefile"), 0);
}

UTEST(inject, refuses_what_it_cannot_parse)
{
	static const char *const bad[] = { "open",	   "open:ENOSUCH",   "frob:EIO",
					   "read:EIO:0",   "read:EIO:x",     ":",
					   "read:EIO:1++", "open:/a:EIO:1:2" };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		check_eq(run_with(bad[i], "/bin/true"), 99);
}
