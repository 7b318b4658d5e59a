// SPDX-License-Identifier: BSD-2-Clause
#include "hv/working_set.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "hv/ram.h"

#define NS_PER_MS    1000000ull

/*
 * What an estimate asks grows by this factor: a multiple of the last stride, so that each page was asked for the last time, too;
 * and odd, so that it does not fall in step with tables and arrays.
 */
#define STRIDE_GROWS 3

int working_set_init(struct working_set *set, unsigned interval_ms, uint64_t budget, size_t most)
{
	*set = (struct working_set){
		.interval_ns = interval_ms * NS_PER_MS,
		.budget = budget,
		.stride = 1,
		.most = most,
	};
	set->next_ns = set->interval_ns;
	if (!interval_ms)
		return 0;
	set->sample = calloc(most, sizeof(*set->sample));
	return set->sample ? 0 : -ENOMEM;
}

void working_set_fini(struct working_set *set)
{
	free(set->sample);
	set->sample = NULL;
}

uint64_t working_set_wait(const struct working_set *set, uint64_t now_ns)
{
	if (!set->interval_ns)
		return UINT64_MAX;
	return now_ns < set->next_ns ? set->next_ns - now_ns : 0;
}

/* What was used in both of two intervals is not told apart from what was used in one: the larger number is sure. */
static void merge(struct working_set *set)
{
	for (size_t i = 0; i < set->count / 2; i++) {
		struct working_set_sample *two = &set->sample[2 * i];

		set->sample[i].ns = two[1].ns;
		set->sample[i].pages = two[0].pages > two[1].pages ? two[0].pages : two[1].pages;
	}
	set->count /= 2;
	set->interval_ns *= 2;
}

/* No more than what is mapped can have been used. */
static void keep_to_budget(struct working_set *set, struct ram *ram)
{
	while (set->budget && ram_mapped(ram) / set->stride > set->budget)
		set->stride *= STRIDE_GROWS;
}

bool working_set_take(struct working_set *set, struct ram *ram, uint64_t now_ns, bool last)
{
	if (!set->interval_ns || (!last && now_ns < set->next_ns))
		return false;
	if (set->count == set->most)
		merge(set);
	keep_to_budget(set, ram);
	set->sample[set->count++] = (struct working_set_sample){
		.ns = now_ns,
		.pages = ram_working_set(ram, set->stride),
	};
	/* Late samples are not made up for. */
	set->next_ns = now_ns + set->interval_ns;
	return true;
}

void working_set_json(const struct working_set *set, FILE *out)
{
	fputc('[', out);
	for (size_t i = 0; i < set->count; i++)
		fprintf(out, "%s{\"ns\":%" PRIu64 ",\"pages\":%" PRIu64 "}", i ? "," : "",
			set->sample[i].ns, set->sample[i].pages);
	fputc(']', out);
}

void working_set_text(const struct working_set *set, FILE *out)
{
	for (size_t i = 0; i < set->count; i++)
		fprintf(out, "%s%.1f MiB to %.3f s", i ? ", " : "",
			(double)set->sample[i].pages / 256, (double)set->sample[i].ns / 1e9);
}
