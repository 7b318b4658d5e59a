// SPDX-License-Identifier: BSD-2-Clause
#include "tests/test.h"
#include "tests/leak.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define EXIT_TIMED_OUT	 98
#define EXIT_CHILD_CHECK 99

/* The test in progress. One at a time, so one static record. */
static struct {
	const struct utest *test;
	pthread_t thread;
	pid_t pid;
	sigjmp_buf leave;
	pthread_mutex_t lock;	   /* guards result */
	struct test_result result; /* first failure wins */
} now = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void record(enum test_outcome outcome, const char *why)
{
	pthread_mutex_lock(&now.lock);
	if (now.result.outcome == TEST_PASSED ||
	    (now.result.outcome == TEST_SKIPPED && outcome == TEST_FAILED)) {
		now.result.outcome = outcome;
		snprintf(now.result.why, sizeof(now.result.why), "%s", why);
	}
	pthread_mutex_unlock(&now.lock);
}

static void describe(char *buf, size_t len, const char *file, int line, const char *what,
		     const char *fmt, va_list ap)
{
	int n = snprintf(buf, len, "%s:%d: check(%s) failed", file, line, what);

	if (n < 0 || (size_t)n >= len || !strcmp(fmt, " "))
		return;
	if (len - (size_t)n > 1) {
		buf[n++] = ':';
		buf[n] = '\0';
	}
	vsnprintf(buf + n, len - (size_t)n, fmt, ap);
}

void test_fail(const char *file, int line, const char *what, const char *fmt, ...)
{
	char why[sizeof(now.result.why)];
	va_list ap;

	va_start(ap, fmt);
	describe(why, sizeof(why), file, line, what, fmt, ap);
	va_end(ap);
	fprintf(stderr, "%s\n", why);
	if (getpid() != now.pid)
		_exit(EXIT_CHILD_CHECK);
	/* Nobody waits for a thread that left its protocol half-way: better a crash than a hang. */
	if (!pthread_equal(pthread_self(), now.thread))
		abort();
	record(TEST_FAILED, why);
	siglongjmp(now.leave, 1);
}

void test_note_failure(const char *file, int line, const char *what, const char *fmt, ...)
{
	char why[sizeof(now.result.why)];
	va_list ap;

	va_start(ap, fmt);
	describe(why, sizeof(why), file, line, what, fmt, ap);
	va_end(ap);
	fprintf(stderr, "%s\n", why);
	if (getpid() != now.pid)
		_exit(EXIT_CHILD_CHECK);
	record(TEST_FAILED, why);
}

void test_skip(const char *fmt, ...)
{
	const char *require = getenv("REQUIRE_KVM");
	char why[256], refused[sizeof(why) + 64];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	if (require && !strcmp(require, "1")) {
		snprintf(refused, sizeof(refused), "skip refused (REQUIRE_KVM=1): %s", why);
		record(TEST_FAILED, refused);
	} else {
		record(TEST_SKIPPED, why);
	}
	siglongjmp(now.leave, 1);
}

static void say(const char *text)
{
	if (write(STDERR_FILENO, text, strlen(text)) < 0)
		_exit(EXIT_TIMED_OUT);
}

static void on_deadline(int sig)
{
	(void)sig;
	say("test timed out: ");
	say(now.test->suite);
	say("::");
	say(now.test->name);
	say("\n");
	_exit(EXIT_TIMED_OUT);
}

/* Call @fn; when it leaves through check() or skip_if(), come back here. */
static bool run_step(void (*fn)(void))
{
	if (sigsetjmp(now.leave, 1))
		return false;
	if (fn)
		fn();
	return true;
}

unsigned test_slowness(void)
{
	const char *text = getenv("SLOW_HOST");
	unsigned long n = text ? strtoul(text, NULL, 10) : 1;

	return n < 1 ? 1 : n > 1000 ? 1000 : (unsigned)n;
}

struct test_result test_run(const struct utest *t)
{
	struct sigaction deadline = { .sa_handler = on_deadline };
	struct leak_snapshot before;
	char why[sizeof(now.result.why)];

	now.test = t;
	now.thread = pthread_self();
	now.pid = getpid();
	now.result = (struct test_result){ .outcome = TEST_PASSED };
	sigaction(SIGALRM, &deadline, NULL);
	alarm((t->timeout ? t->timeout : TEST_TIMEOUT_DEFAULT) * test_slowness());

	leak_snapshot(&before);
	if (run_step(t->init))
		run_step(t->body);
	run_step(t->fini);
	if (now.result.outcome == TEST_PASSED && !t->may_leak &&
	    !leak_check(&before, why, sizeof(why)))
		record(TEST_FAILED, why);
	alarm(0);
	return now.result;
}

int test_signal_of(void (*fn)(void *arg), void *arg)
{
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	check(pid >= 0, "fork");
	if (!pid) {
		fn(arg);
		_exit(0);
	}
	check(waitpid(pid, &status, 0) == pid);
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

const char *test_build_dir(void)
{
	static char dir[PATH_MAX];
	char *tests;
	ssize_t n;

	n = readlink("/proc/self/exe", dir, sizeof(dir) - 1);
	check(n > 0, "readlink /proc/self/exe");
	dir[n] = '\0';
	tests = strstr(dir, "/tests/unit/");
	if (!tests)
		tests = strstr(dir, "/tests/kvm/");
	check(tests, "test binary %s is not under BUILD/tests/", dir);
	*tests = '\0';
	return dir;
}

#ifdef UMBRA_PLAIN_TESTS

static struct utest *all_tests, **all_tail = &all_tests;

void test_register(struct utest *t)
{
	*all_tail = t;
	all_tail = &t->next;
}

static const char *const words[] = { "ok", "FAILED: ", "skipped: " };

#ifdef UMBRA_SANITIZED
/* In this process: the thread sanitizer's runtime lives through no fork() that is meant to go on. */
static struct test_result run_one(const struct utest *t, struct test_result *shared)
{
	(void)shared;
	return test_run(t);
}
#else
static void finish(struct test_result *r, pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status)) {
		r->outcome = TEST_FAILED;
		snprintf(r->why, sizeof(r->why), "killed by signal %d", WTERMSIG(status));
	} else if (WEXITSTATUS(status)) {
		r->outcome = TEST_FAILED;
		snprintf(r->why, sizeof(r->why), "%s %d",
			 WEXITSTATUS(status) == EXIT_TIMED_OUT ? "timed out: exit" : "exit",
			 WEXITSTATUS(status));
	}
}

/* Each in a process of its own, as Criterion's; but forked and not executed anew, which is most of a test on a slow machine. */
static struct test_result run_one(const struct utest *t, struct test_result *shared)
{
	pid_t pid;

	*shared = (struct test_result){ .outcome = TEST_FAILED, .why = "no result" };
	pid = fork();
	if (pid < 0) {
		snprintf(shared->why, sizeof(shared->why), "fork: %s", strerror(errno));
		return *shared;
	}
	if (!pid) {
		*shared = test_run(t);
		fflush(NULL);
		_exit(0);
	}
	finish(shared, pid);
	return *shared;
}
#endif

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/*
 * Run every test, or those whose "suite::name" contains an argument; Criterion's options are accepted and
 * ignored, but for --verbose: a time on each line. The last line is the count.
 */
int main(int argc, char **argv)
{
	struct test_result *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
					  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	bool verbose = argc > 1 && !strcmp(argv[1], "--verbose");
	unsigned count[3] = { 0 };

	if (shared == MAP_FAILED)
		return 1;
	for (struct utest *t = all_tests; t; t = t->next) {
		struct test_result r;
		char name[256];
		bool wanted = argc < 2 || argv[argc - 1][0] == '-';
		double begin = now_s();

		snprintf(name, sizeof(name), "%s::%s", t->suite, t->name);
		for (int i = 1; i < argc; i++)
			wanted |= strstr(name, argv[i]) != NULL;
		if (!wanted)
			continue;
		r = run_one(t, shared);
		printf("%s: %s%s\n", name, words[r.outcome], r.why);
		if (verbose && r.outcome == TEST_PASSED)
			printf("[PASS] %s: (%.2fs)\n", name, now_s() - begin);
		fflush(stdout);
		count[r.outcome]++;
	}
	printf("%u passed, %u failed, %u skipped\n", count[TEST_PASSED], count[TEST_FAILED],
	       count[TEST_SKIPPED]);
	return count[TEST_FAILED] || !(count[TEST_PASSED] + count[TEST_SKIPPED]);
}

#endif
