/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a process holds from the kernel, counted: open fds, threads, mappings.
 * Owns: nothing; a snapshot is plain numbers.
 * Who may call: tests. test_run() does so around every test; long tests may do so in between.
 * May not know: umbra. The heap is LeakSanitizer's work, asked here when it is linked in (make check-asan).
 */
#ifndef UMBRA_TESTS_LEAK_H
#define UMBRA_TESTS_LEAK_H

#include <stdbool.h>
#include <stddef.h>

struct leak_snapshot {
	unsigned fds;
	unsigned threads;
	unsigned shared_maps; /* VMAs mapped MAP_SHARED: the pool, its views, /dev/kvm */
	unsigned anon_maps; /* all other unnamed VMAs; the C library keeps stacks and arenas here */
};

/* Count what this process holds now. */
void leak_snapshot(struct leak_snapshot *s);

/*
 * Compare with @before, and in an ASan build look for lost heap memory. What is being torn down gets a second to go, threads half a minute.
 * Returns true when nothing is left behind; else false, with the difference in @why.
 */
bool leak_check(const struct leak_snapshot *before, char *why, size_t len);

#endif
