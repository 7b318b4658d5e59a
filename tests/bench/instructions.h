/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The library's inner steps, each once and alone, for a tool that counts instructions: tests/check-instructions runs this
 * under callgrind, which collects inside the functions count_*().
 * Owns what it builds. Called by tests/bench/main.c. Knows no clock.
 */
#ifndef UMBRA_TESTS_BENCH_INSTRUCTIONS_H
#define UMBRA_TESTS_BENCH_INSTRUCTIONS_H

/* 0 or -errno, having said why on stderr. */
int instructions_run(void);

#endif
