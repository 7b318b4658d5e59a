// SPDX-License-Identifier: BSD-2-Clause
/*
 * size: what a page costs in metadata, by the private memory of this process (RssAnon): the primary's entry, the tables,
 * the frames' counts, both views. The other side is the most that it may be.
 */
#include "tests/bench/bench.h"
#include "tests/bench/private.h"
#include "tests/bench/shadow_rig.h"

struct size_case {
	const char *name;
	uint64_t pages;
	bool is_resident; /* touch them all; else only register them */
	bool large;	  /* leaves may be large */
	bool quick;
	double limit; /* bytes a page */
};

static const struct size_case cases[] = {
	{ "resident, 64 MiB", 64UL << 8, true, true, true, 32 },
	{ "resident, 64 MiB, leaves of 4K", 64UL << 8, true, false, true, 32 },
	{ "resident, 1 GiB", 1UL << 18, true, true, false, 32 },
	{ "resident, 1 GiB, leaves of 4K", 1UL << 18, true, false, false, 32 },
	{ "1 TiB registered, untouched", 1UL << 28, false, true, true, 0.01 },
};

static int bytes_per_page(const void *arg, double *value)
{
	const struct size_case *c = arg;
	struct shadow_rig r = { .pages = 0 };
	double before = 0, after = 0;
	int rc = private_bytes(&before);

	if (!rc)
		rc = shadow_rig_up(&r, c->pages,
				   SHADOW_RIG_WINDOW | (c->large ? SHADOW_RIG_LARGE : 0) |
					   (c->is_resident ? SHADOW_RIG_POPULATE : 0));
	if (!rc && c->is_resident)
		rc = shadow_rig_map(&r);
	if (!rc)
		rc = private_bytes(&after);
	*value = (after - before) / (double)c->pages;
	shadow_rig_down(&r);
	return rc;
}

static int the_limit(const void *arg, double *value)
{
	const struct size_case *c = arg;

	*value = c->limit;
	return 0;
}

static int run(struct bench *b)
{
	int rc = 0;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]) && !rc; i++) {
		const struct bench_case c = { .name = cases[i].name,
					      .umbra = bytes_per_page,
					      .reference = the_limit,
					      .arg = &cases[i] };

		if (cases[i].quick || !bench_is_quick(b))
			rc = bench_run(b, &c);
	}
	return rc;
}

const struct bench_group bench_size = {
	.name = "size",
	.what = "metadata of guest memory",
	.reference = "the limit",
	.unit = "bytes/page",
	.cases = sizeof(cases) / sizeof(cases[0]),
	.run = run,
};
