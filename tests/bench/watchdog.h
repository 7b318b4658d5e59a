/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Ends the program, with a word about what hangs, when a repetition has no end: an invalidator that starves, a fault that nobody
 * resolves. Owns a thread. Called by the harness. Knows no bench.
 */
#ifndef UMBRA_TESTS_BENCH_WATCHDOG_H
#define UMBRA_TESTS_BENCH_WATCHDOG_H

/* 0 or -errno. Once a program; for good. */
int watchdog_start(void);

/* From now on there are @seconds for what @fmt says, until watchdog_disarm() or the next call. */
void watchdog_arm(unsigned seconds, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void watchdog_disarm(void);

#endif
