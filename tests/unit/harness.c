// SPDX-License-Identifier: BSD-2-Clause
/* The test harness itself: what it must notice before anything else can be believed. */
#include "tests/leak.h"
#include "tests/test.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static int steps;

static void count_step(void)
{
	steps++;
}

static void fail_plainly(void)
{
	check(steps == 99, "%d steps", steps);
}

static void skip_plainly(void)
{
	skip_if(true, "because %d", 7);
}

static void leak_fd(void)
{
	check(open("/dev/null", O_RDONLY | O_CLOEXEC) >= 0);
}

static void leak_memfd_map(void)
{
	int fd = memfd_create("leak", MFD_CLOEXEC);

	check(fd >= 0 && !ftruncate(fd, 4096));
	check(mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0) != MAP_FAILED);
	close(fd);
}

static void *return_at_once(void *arg)
{
	return arg;
}

static void join_thread(void)
{
	pthread_t t;

	check(!pthread_create(&t, NULL, return_at_once, NULL));
	check(!pthread_join(t, NULL));
}

/* Run a test inside a child, so that this test's own record stays as it is. Returns the outcome. */
static int outcome_of(void (*body)(void))
{
	const struct utest inner = { .suite = "inner",
				     .name = "test",
				     .body = body,
				     .init = count_step,
				     .fini = count_step };
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	check(pid >= 0);
	if (!pid) {
		struct test_result r;

		unsetenv("REQUIRE_KVM");
		steps = 0;
		/* TSan starts a thread of its own with the first one of a child. */
		join_thread();
		check(!close(STDERR_FILENO) && open("/dev/null", O_WRONLY) == STDERR_FILENO);
		r = test_run(&inner);
		_exit(steps == 2 ? (int)r.outcome : 50);
	}
	check(waitpid(pid, &status, 0) == pid);
	check(WIFEXITED(status), "status %#x", (unsigned)status);
	return WEXITSTATUS(status);
}

UTEST(harness, tells_outcomes_apart)
{
	check_eq(outcome_of(count_step), 50);
	check_eq(outcome_of(join_thread), TEST_PASSED);
	check_eq(outcome_of(fail_plainly), TEST_FAILED);
	check_eq(outcome_of(skip_plainly), TEST_SKIPPED);
}

UTEST(harness, notices_leaks)
{
	check_eq(outcome_of(leak_fd), TEST_FAILED);
	check_eq(outcome_of(leak_memfd_map), TEST_FAILED);
}

#ifdef __SANITIZE_ADDRESS__
static void leak_heap(void)
{
	void *volatile p = malloc(100);

	check(p);
	p = NULL;
}

UTEST(harness, notices_lost_heap_memory)
{
	check_eq(outcome_of(leak_heap), TEST_FAILED);
}
#endif

static void call_abort(void *arg)
{
	(void)arg;
	signal(SIGABRT, SIG_DFL);
	abort();
}

static void call_nothing(void *arg)
{
	(void)arg;
}

UTEST(harness, names_the_signal)
{
	check_eq(test_signal_of(call_abort, NULL), SIGABRT);
	check_eq(test_signal_of(call_nothing, NULL), 0);
}

UTEST(harness, finds_the_build_directory)
{
	char path[4200];

	snprintf(path, sizeof(path), "%s/tests/unit/harness", test_build_dir());
	check(!access(path, X_OK), "%s", path);
	check(!access("Makefile", R_OK), "tests must run at the top of the source tree");
}
