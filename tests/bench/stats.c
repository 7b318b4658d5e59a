/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/bench/stats.h"

#include <stdlib.h>

static int by_value(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

void stats_sort(double *v, size_t n)
{
	qsort(v, n, sizeof(*v), by_value);
}

double stats_quantile(const double *v, size_t n, double at)
{
	double where = at * (double)(n - 1);
	size_t i = (size_t)where;

	return i + 1 < n ? v[i] + (where - (double)i) * (v[i + 1] - v[i]) : v[i];
}

struct summary stats_of(double *v, size_t n)
{
	stats_sort(v, n);
	return (struct summary){
		.median = stats_quantile(v, n, 0.5),
		.min = v[0],
		.low = stats_quantile(v, n, 0.25),
		.high = stats_quantile(v, n, 0.75),
	};
}

struct summary stats_ratios(const double *umbra, const double *reference, size_t n, double *scratch)
{
	for (size_t i = 0; i < n; i++)
		scratch[i] = reference[i] > 0 ? umbra[i] / reference[i] : 0;
	return stats_of(scratch, n);
}
