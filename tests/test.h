/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One way to write a test, two ways to run it: under Criterion, or as a plain binary (TSan).
 * Owns: the test in progress (its name, deadline, first failure).
 * Who may call: tests only. check() ends the test, so only the test's own thread returns from it.
 * May not know: anything of umbra; it serves the library's tests and the black-box ones alike.
 *
 *	#include "tests/test.h"
 *
 *	UTEST(pool, gives_frames_back)
 *	{
 *		check(pool_free_count(p) == 8, "%zu left", pool_free_count(p));
 *	}
 *
 *	UTEST(vm, boots, .timeout = 5, .init = setup, .fini = teardown)
 *	{
 *		skip_if(access("/dev/kvm", R_OK | W_OK), "no access to /dev/kvm");
 *	}
 *
 * Tests run with the top of the source tree as working directory, each in a process of its own under
 * Criterion; built with -DUMBRA_PLAIN_TESTS forked and not executed anew, or under TSan in turn in one process.
 */
#ifndef UMBRA_TESTS_TEST_H
#define UMBRA_TESTS_TEST_H

#include <stdbool.h>
#include <stddef.h>
/* Criterion brings these along; so that a file that compiles with it also compiles without. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEST_TIMEOUT_DEFAULT 300 /* seconds: a hang, not a slow machine */

/* One test. Fields after @body are options, written after the name in UTEST(). */
struct utest {
	const char *suite;
	const char *name;
	void (*body)(void);

	void (*init)(void); /* before the body, may skip or fail the test */
	void (*fini)(void); /* after the body, also when that skipped or failed */
	unsigned timeout;   /* seconds until the process is ended; 0 = TEST_TIMEOUT_DEFAULT */
	bool may_leak;	    /* do not compare fds, threads and mappings before and after */

	struct utest *next; /* plain build: the list of all tests */
};

enum test_outcome { TEST_PASSED, TEST_FAILED, TEST_SKIPPED };

/* What test_run() found. @why is the first failure ("file:line: ...") or the reason of the skip. */
struct test_result {
	enum test_outcome outcome;
	char why[512];
};

/* Run @t in this thread: leak snapshot, init, body, fini, leak check. Never exits early but by timeout. */
struct test_result test_run(const struct utest *t);

/* Fail the test in progress and leave it; from another thread or process: print and end that process. */
void test_fail(const char *file, int line, const char *what, const char *fmt, ...)
	__attribute__((noreturn, format(printf, 4, 5)));

/* Fail the test in progress and go on. Any thread of the test's process may call. */
void test_note_failure(const char *file, int line, const char *what, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* Skip the test in progress and leave it. With REQUIRE_KVM=1 in the environment this is a failure. */
void test_skip(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* The signal that ends a forked child which calls @fn(@arg); 0 when it exits, whatever its status. */
int test_signal_of(void (*fn)(void *arg), void *arg);

/*
 * How many times slower than a real machine this host is: SLOW_HOST of the environment, else 1. A test's deadline and
 * every other limit of time is that many times longer.
 */
unsigned test_slowness(void);

/* The build directory this test binary is part of ("/x/build", "/x/build/asan"): has umbra in it. */
const char *test_build_dir(void);

/* check(cond) or check(cond, "format", ...): a false condition fails the test and leaves it. */
#define check(cond, ...)                                                       \
	do {                                                                   \
		if (!(cond))                                                   \
			test_fail(__FILE__, __LINE__, #cond, " " __VA_ARGS__); \
	} while (0)

/* Like check(), but the test goes on; usable in helper threads. */
#define expect(cond, ...)                                                              \
	do {                                                                           \
		if (!(cond))                                                           \
			test_note_failure(__FILE__, __LINE__, #cond, " " __VA_ARGS__); \
	} while (0)

/* check_eq(got, want): integers of any type up to 64 bits, shown in decimal and in hex. */
#define check_eq(got, want)                                                                    \
	do {                                                                                   \
		long long got_ = (long long)(got), want_ = (long long)(want);                  \
		if (got_ != want_)                                                             \
			test_fail(__FILE__, __LINE__, #got " == " #want,                       \
				  " got %lld (%#llx), want %lld (%#llx)", got_,                \
				  (unsigned long long)got_, want_, (unsigned long long)want_); \
	} while (0)

/* check_str(got, want): strings, both shown when they differ. */
#define check_str(got, want)                                                                  \
	do {                                                                                  \
		const char *got_ = (got), *want_ = (want);                                    \
		if (!got_ || strcmp(got_, want_))                                             \
			test_fail(__FILE__, __LINE__, #got " == " #want,                      \
				  " got \"%s\", want \"%s\"", got_ ? got_ : "(null)", want_); \
	} while (0)

#define skip_if(cond, ...)                      \
	do {                                    \
		if (cond)                       \
			test_skip(__VA_ARGS__); \
	} while (0)

#ifdef UMBRA_PLAIN_TESTS

void test_register(struct utest *t);

#define TEST_REGISTER(suite, name)                                               \
	__attribute__((constructor)) static void suite##_##name##_register(void) \
	{                                                                        \
		test_register(&suite##_##name##_utest);                          \
	}

#else

#include <criterion/criterion.h>

#define TEST_REGISTER(suite, name)                                         \
	Test(suite, name)                                                  \
	{                                                                  \
		struct test_result r_ = test_run(&suite##_##name##_utest); \
		if (r_.outcome == TEST_SKIPPED)                            \
			cr_skip_test("%s", r_.why);                        \
		cr_assert(r_.outcome == TEST_PASSED, "%s", r_.why);        \
	}

#endif

#define UTEST(suite_, name_, ...)                                                         \
	static void suite_##_##name_##_body(void);                                        \
	static struct utest suite_##_##name_##_utest = { .suite = #suite_,                \
							 .name = #name_,                  \
							 .body = suite_##_##name_##_body, \
							 ##__VA_ARGS__ };                 \
	TEST_REGISTER(suite_, name_)                                                      \
	static void suite_##_##name_##_body(void)

#endif
