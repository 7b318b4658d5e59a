/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The benches: groups of cases, each case umbra beside a reference in the same run.
 * Owns the loop of repetitions, the rows and every byte on stdout; report.h has what is made of the rows.
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
	void (*before)(const void *arg); /* each repetition, of either side; NULL: nothing */
	const void *arg;
	const char *unit; /* NULL: the group's */
	double target;	  /* the ratio should be at most this; 0: no opinion */
};

struct bench_group {
	const char *name;
	const char *what;      /* one line, for `umbra-bench list` */
	const char *reference; /* what stands in the column of that name */
	const char *unit;
	unsigned cases;	   /* at the most: each has its part of the group's time */
	unsigned share;	   /* of the time for all groups: so many parts; 0: one */
	bool needs_kvm;	   /* all of it; else ask bench_has_kvm() */
	bool without_uffd; /* runs where userfaultfd may not be used */
	/* Call bench_run() for each case. Return 0 or its first error. */
	int (*run)(struct bench *b);
};

extern const struct bench_group bench_demand;
extern const struct bench_group bench_dirty;
extern const struct bench_group bench_fork;
extern const struct bench_group bench_growth;
extern const struct bench_group bench_ksm;
extern const struct bench_group bench_notify;
extern const struct bench_group bench_scale;
extern const struct bench_group bench_shadow;
extern const struct bench_group bench_size;
extern const struct bench_group bench_source;
extern const struct bench_group bench_start;

/* bench_wants - may a case of this @name be run (--match)? For who prepares much before bench_run(), which asks, too. */
bool bench_wants(const struct bench *b, const char *name);

/* Measure one case and print its row, unless the user asked for others only. 0 or -errno. */
int bench_run(struct bench *b, const struct bench_case *c);

/* Say that a part of the group cannot be measured here, and why. */
void bench_skip(struct bench *b, const char *what, const char *why);

/* Can guests run here? If not, *@why says what is missing. */
bool bench_has_kvm(const struct bench *b, const char **why);

/* Few and short: the user wants to see that it works, not what it costs. Long: sizes that take minutes, too. */
bool bench_is_quick(const struct bench *b);
bool bench_is_long(const struct bench *b);

/* CLOCK_MONOTONIC. */
uint64_t bench_now_ns(void);

/*
 * Memory of the host itself: touch @bytes of it once and give it back, so that no case pays for what a hypervisor
 * below this system hands out at the first touch. A group that allocates calls this with its largest need; and where
 * the system tells that hypervisor what is free, before each repetition, too. As much as some seconds allow.
 */
void bench_warm_memory(uint64_t bytes);

/*
 * Two seconds after blocks of memory were freed the system tells the hypervisor of all that are free by then, which takes
 * them. Have that behind us, so that it does not come in the middle of what is measured next. Before bench_warm_memory().
 */
void bench_settle_memory(void);

/* For tests/bench/main.c. */

struct bench_opts {
	const char *match; /* NULL: all cases; else those whose name contains it */
	const char *out;   /* directory for JSON and charts; NULL: none */
	unsigned reps;	   /* 0: the default */
	unsigned seconds;  /* for all groups; 0: the default */
	unsigned patience; /* seconds for one repetition */
	unsigned ngroups;  /* that will be run, at the most */
	bool json, quick, is_long;
};

struct bench *bench_create(const struct bench_opts *opts);
/* bench_plan - @group will be run: once for each, before the first is. */
void bench_plan(struct bench *b, const struct bench_group *group);
/* Print the head of the table; run; 0, -errno, or -ENODEV when the machine lacks what the group needs. */
int bench_group_run(struct bench *b, const struct bench_group *group);
/* Write JSON and charts, close the output. 0, or -errno when they could not be written. */
int bench_destroy(struct bench *b);

#endif /* UMBRA_TESTS_BENCH_BENCH_H */
