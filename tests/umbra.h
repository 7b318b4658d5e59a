/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * umbra as a user starts it: a process of its own, what it said, how it ended, how long that took.
 * Owns: what the last run said; the next run overwrites it. Files made here go with scratch_remove().
 * Who may call: tests. A run that does not end in time is killed and fails the test.
 * May not know: anything of umbra but its name; see hv/vm.h for runs inside the test's process.
 */
#ifndef UMBRA_TESTS_UMBRA_H
#define UMBRA_TESTS_UMBRA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What one run said. */
struct said {
	int status; /* exit status; -N: ended by signal N */
	unsigned ms;
	char line[1024]; /* the words after "umbra" */
	char out[65536];
	char err[65536];
};

/*
 * Run build/umbra with the words of a line, which spaces separate; '...' keeps spaces in a word. A run
 * that takes longer than umbra_patience seconds is killed: status -SIGKILL, and the test fails.
 */
const struct said *umbra(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The same under another program, such as setpriv and its options. */
const struct said *umbra_under(const char *program, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* A limit of @ms on a real machine, as long as this host needs (test_slowness()). */
unsigned slowly(unsigned ms);

/* Fail unless the last run ended with @status; show all of what it said. */
void umbra_ended(int status);
/* The same, and at once: nothing was waited for in vain. With @says on stderr. @s: what umbra() returned. */
void umbra_ended_soon(const struct said *s, int status, const char *says);
/* Fail unless each word of @says, NULL at the end, stands in what the last run said on stdout or stderr. */
void umbra_said_out(const char *says);
void umbra_said_err(const char *says);

/* Make calls of later runs fail: rules of tests/inject/inject.c; NULL: no longer. Skips without the shim. */
void umbra_inject(const char *rules);

/* Skip the test where no guest can run. */
void need_kvm(void);
/* .init and .fini of tests that need KVM and a place for files; the second ends failures that were asked for, too. */
void kvm_setup(void);
void kvm_fini(void);

/* A directory of the test's own, and paths in it (four at a time). */
void scratch_make(void);
void scratch_remove(void);
const char *scratch(const char *name);
/* Make a file there: @len bytes of a fixed pseudo-random sequence; a copy of another file. */
const char *scratch_random(const char *name, size_t len);
const char *scratch_write(const char *name, const void *data, size_t len);
/* configs/NAME.dts compiled, so that later runs need no compiler. */
const char *scratch_dtb(const char *config);

/* Read a whole file; the caller frees it. */
void *file_read(const char *path, size_t *len);

/* The number behind "@name": in @text; fails without. */
uint64_t json_field(const char *text, const char *name);
/* Is @text one JSON value and nothing more? */
bool is_json(const char *text);

#endif
