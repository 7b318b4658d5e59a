/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is said of some repetitions of one figure.
 * Owns nothing. Called by the harness and by groups that measure percentiles themselves. Knows no bench.
 */
#ifndef UMBRA_TESTS_BENCH_STATS_H
#define UMBRA_TESTS_BENCH_STATS_H

#include <stddef.h>

struct summary {
	double median, min, low, high; /* low and high: quartiles */
};

/* stats_sort - in rising order. stats_quantile - the value a fraction @at of the way up sorted ones, between two where it falls there. */
void stats_sort(double *v, size_t n);
double stats_quantile(const double *v, size_t n, double at);

/* stats_of - summary of @n values, at least one, which it sorts. */
struct summary stats_of(double *v, size_t n);

/* stats_ratios - of @umbra[i] to @reference[i], pair by pair: what was slow for both is not in it. Not sorted yet: the pairs are needed. */
struct summary stats_ratios(const double *umbra, const double *reference, size_t n,
			    double *scratch);

#endif
