// SPDX-License-Identifier: BSD-2-Clause
/*
 * demand: the first touch of guest memory. The same guest loads one word of every page; its memory is umbra's, or a
 * plain memslot that the kernel pages in by itself. Both start empty, so both allocate and clear each page.
 */
#include <stddef.h>

#include "tests/bench/bench.h"
#include "tests/bench/guest.h"

#define MIB_PAGES 256u

struct demand {
	const char *name;
	const char *bootargs;
	uint64_t mib;
	unsigned cpus;
	unsigned fault_around;
	bool quick; /* also with --quick */
};

#define SEQ	"workload=touch pattern=seq op=read"
#define RANDOM	"workload=touch pattern=random op=read"
#define STRIDED "workload=touch pattern=stride stride=16 op=read"

static const struct demand cases[] = {
	{ "sequential, 64 MiB", SEQ, 64, 1, 0, true },
	{ "sequential, 4 MiB", SEQ, 4, 1, 0, true },
	{ "sequential, 256 MiB", SEQ, 256, 1, 0, false },
	{ "sequential, 64 MiB, 2 vCPUs", SEQ, 64, 2, 0, false },
	{ "random pages, 16 MiB", RANDOM, 16, 1, 0, true },
	{ "random pages, 16 MiB, 2 vCPUs", RANDOM, 16, 2, 0, false },
	{ "every 16th page, 16 MiB", STRIDED, 16, 1, 0, false },
	{ "sequential, 16 MiB, around 1", SEQ, 16, 1, 1, false },
	{ "sequential, 16 MiB, around 8", SEQ, 16, 1, 8, false },
	{ "sequential, 16 MiB, around 64", SEQ, 16, 1, 64, false },
	{ "sequential, 16 MiB, around 512", SEQ, 16, 1, 512, false },
};

static int ns_per_page(const struct demand *d, bool plain, double *value)
{
	struct guest_run run = {
		.bootargs = d->bootargs,
		.work_pages = d->mib * MIB_PAGES,
		.cpus = d->cpus,
		.fault_around = d->fault_around,
		.plain = plain,
	};
	struct guest_time time;
	int err = guest_run(&run, &time);

	if (!err)
		*value = (double)time.ns / (double)run.work_pages;
	return err;
}

static int run_umbra(const void *arg, double *value)
{
	return ns_per_page(arg, false, value);
}

static int run_plain(const void *arg, double *value)
{
	return ns_per_page(arg, true, value);
}

static int run_demand(struct bench *b)
{
	uint64_t most = 0;
	int err = 0;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (cases[i].mib > most && (cases[i].quick || !bench_is_quick(b)))
			most = cases[i].mib;
	bench_warm_memory(2 * most << 20);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]) && !err; i++) {
		const struct bench_case c = {
			.name = cases[i].name,
			.umbra = run_umbra,
			.reference = run_plain,
			.arg = &cases[i],
		};

		if (cases[i].quick || !bench_is_quick(b))
			err = bench_run(b, &c);
	}
	return err;
}

const struct bench_group bench_demand = {
	.name = "demand",
	.what = "first touch of guest memory",
	.reference = "plain memslot",
	.unit = "ns/page",
	.needs_kvm = true,
	.run = run_demand,
};
