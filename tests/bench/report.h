/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a group has found, and the three ways to tell it: a table, JSON, a chart.
 * Owns no file; bench.c owns the rows. Knows no measuring.
 */
#ifndef UMBRA_TESTS_BENCH_REPORT_H
#define UMBRA_TESTS_BENCH_REPORT_H

#include <stdio.h>

#include "tests/bench/bench.h"
#include "tests/bench/host.h"
#include "tests/bench/stats.h"

struct row {
	char name[96];
	const char *unit;
	struct summary umbra, reference;
	struct summary ratio; /* of pairs */
	double shortest;      /* ratio of the shortest runs */
	double target;	      /* 0: none */
	unsigned reps;
};

struct skip {
	char what[96], why[256];
};

struct result {
	const struct bench_group *group;
	struct host host;
	struct row *rows;
	struct skip *skips;
	unsigned nrows, nskips;
	int error; /* 0, or the first -errno of the group */
};

/* Three digits that count, and no more: the rest is noise. */
const char *report_digits(double v, char buf[static 16]);

/* Head, then a row at a time, as they are found. */
void report_head(FILE *f, const struct result *r, unsigned reps);
void report_row(FILE *f, const struct row *row);
void report_skip(FILE *f, const struct skip *skip);

/* One JSON value, with all groups. */
void report_json(FILE *f, const struct result *results, unsigned n);

/* One picture, with at least one row. Ratios on a log axis, reference at 1. */
void report_svg(FILE *f, const struct result *r);

#endif
