/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The benches: groups of cases, each case umbra beside a reference in the same run.
 * Owns the loop of repetitions, the statistics and every byte on stdout.
 * A group is one file with one struct bench_group and one line in the table of tests/bench/main.c.
 * Does not know guests or memory; tests/bench/guest.h does.
 */
#ifndef UMBRA_TESTS_BENCH_BENCH_H
#define UMBRA_TESTS_BENCH_BENCH_H

#include <stdbool.h>
#include <stdint.h>

struct bench;

/* Exit status of umbra-bench: what the Automake and Meson test drivers take for a skip. */
#define BENCH_SKIPPED 77

/*
 * One figure of a group. Both sides do the same work in their own way; each call is one repetition and
 * gives its cost in *@value, in the unit of the group, less is better. They run in turn, so that a machine that gets
 * slower or faster does so for both. Return 0 or -errno, having said why on stderr.
 */
struct bench_case {
	const char *name;
	int (*umbra)(const void *arg, double *value);
	int (*reference)(const void *arg, double *value);
	const void *arg;
};

struct bench_group {
	const char *name;
	const char *what;      /* one line, for `umbra-bench list` */
	const char *reference; /* what stands in the column of that name */
	const char *unit;
	bool needs_kvm;
	/* Call bench_run() for each case. Return 0 or its first error. */
	int (*run)(struct bench *b);
};

extern const struct bench_group bench_demand;
extern const struct bench_group bench_dirty;
extern const struct bench_group bench_fork;
extern const struct bench_group bench_ksm;
extern const struct bench_group bench_notify;
extern const struct bench_group bench_shadow;
extern const struct bench_group bench_size;
extern const struct bench_group bench_source;

/* Measure one case and print its row, unless the user asked for others only. 0 or -errno. */
int bench_run(struct bench *b, const struct bench_case *c);

/* Few and short: the user wants to see that it works, not what it costs. */
bool bench_is_quick(const struct bench *b);

/* CLOCK_MONOTONIC. */
uint64_t bench_now_ns(void);

/*
 * Memory of the host itself: touch @bytes of it once and give it back, so that no case pays for what a hypervisor
 * below this system hands out at the first touch. A group that allocates calls this with its largest need.
 */
void bench_warm_memory(uint64_t bytes);

/* For tests/bench/main.c. */

struct bench_opts {
	const char *match; /* NULL: all cases; else those whose name contains it */
	unsigned reps;	   /* 0: the default */
	bool json, quick;
};

struct bench *bench_create(const struct bench_opts *opts);
/* Print the head of the table; run; 0, -errno, or -ENODEV when the machine lacks what the group needs. */
int bench_group_run(struct bench *b, const struct bench_group *group);
/* Close the output. 0, or -errno when it could not be written. */
int bench_destroy(struct bench *b);

#endif /* UMBRA_TESTS_BENCH_BENCH_H */
