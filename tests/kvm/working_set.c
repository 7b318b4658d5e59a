// SPDX-License-Identifier: BSD-2-Clause
/* umbra run --working-set, and the estimate of --stats: what a user sees of the pages that a guest uses, and what it must not change. */
#include <stdlib.h>
#include <string.h>

#include "tests/test.h"
#include "tests/umbra.h"

#define RUN "run configs/touch-2.dts --set /work/reg=0x80000000,4M "

/* The samples in what was said: "pages" of each, in order. */
static unsigned samples(const char *text, unsigned long long *pages, unsigned most)
{
	const char *at = strstr(text, "\"working_set\":[");
	unsigned n = 0;

	check(at, "no working_set: %s", text);
	for (at = strstr(at, "\"pages\":"); at && n < most; at = strstr(at, "\"pages\":")) {
		at += strlen("\"pages\":");
		pages[n++] = strtoull(at, NULL, 10);
	}
	return n;
}

UTEST(working_set, first_sample_has_all_that_was_mapped, .init = need_kvm)
{
	unsigned long long pages[4];
	/* One at the end: no run takes as long as an interval. */
	const struct said *s = umbra(RUN "--working-set=%u --stats=json --quiet",
				     slowly(100000) / 1000);

	umbra_ended(0);
	check(is_json(s->err), "%s", s->err);
	check_eq(samples(s->err, pages, 4), 1);
	check(pages[0] >= 1024 && pages[0] < 1024 + 4096, "%s", s->err);
}

/* A sample makes the guest fault on every page again: a slow host would be at it for minutes. */
UTEST(working_set, samples_in_time_and_the_guest_is_right, .init = need_kvm)
{
	unsigned long long pages[64];
	const struct said *s = umbra(RUN
				     "--working-set=0.%03u --stats=json --check --quiet "
				     "--set '/chosen/bootargs=workload=touch op=mixed rounds=%u'",
				     slowly(2), test_slowness() > 1 ? 4 : 40);
	unsigned n;

	umbra_ended(0);
	check(is_json(s->err), "%s", s->err);
	n = samples(s->err, pages, 64);
	check(n >= 2, "%s", s->err);
	for (unsigned i = 0; i < n; i++)
		check(pages[i] < 1024 + 4096, "%s", s->err);
}

UTEST(working_set, text, .init = need_kvm)
{
	const struct said *s = umbra(RUN "--working-set");

	umbra_ended(0);
	umbra_said_err("working-set: use: ");
	check(strstr(s->err, " MiB)\n"), "%s", s->err);
	s = umbra(RUN "--working-set --quiet");
	umbra_ended(0);
	check_eq(strlen(s->err), 0);
	s = umbra(RUN "--quiet");
	umbra_ended(0);
	check_eq(strlen(s->err), 0);
}

/* Beside other statistics it is an estimate, which a run of less than a second pays nothing for. */
UTEST(working_set, estimate_of_stats, .init = need_kvm)
{
	unsigned long long pages[64];
	const struct said *s = umbra(RUN "--stats=json --quiet");
	unsigned long stride;
	const char *at;
	unsigned n;

	umbra_ended(0);
	check(is_json(s->err), "%s", s->err);
	n = samples(s->err, pages, 64);
	check(n >= 1, "%s", s->err);
	at = strstr(s->err, "\"working_set_stride\":");
	check(at, "%s", s->err);
	stride = strtoul(at + strlen("\"working_set_stride\":"), NULL, 10);
	/* More than 1,024 pages, and fewer than the guest has: by at most 256 of them. */
	check(stride == 9 || stride == 27, "%s", s->err);
	/* All of /work in one interval or another; of what else there is, no more than there is. */
	for (unsigned i = 1; i < n; i++)
		pages[0] += pages[i];
	check(pages[0] >= 1024 - stride && pages[0] < n * (1024 + 4096), "%s", s->err);

	s = umbra(RUN "--stats");
	umbra_ended(0);
	umbra_said_err("mmu: working set: ");
	check(strstr(s->err, " s; by one page in "), "%s", s->err);
	s = umbra(RUN "--stats --working-set");
	umbra_ended(0);
	umbra_said_err("working-set: use: ");
	check(!strstr(s->err, "mmu: working set"), "%s", s->err);
}

/* It shows over time, also how the guest stops using what it has. */
UTEST(working_set, estimate_over_time, .init = need_kvm)
{
	unsigned long long pages[64];
	const struct said *s = umbra("run configs/idle.dts --stats=json --check --quiet "
				     "--set '/chosen/bootargs=workload=idle seconds=3'");
	unsigned n;

	umbra_ended(0);
	check(is_json(s->err), "%s", s->err);
	n = samples(s->err, pages, 64);
	check(n >= 2, "%s", s->err);
	check(pages[0] > pages[n - 1], "%s", s->err);
}

UTEST(working_set, beside_churn, .init = need_kvm)
{
	umbra(RUN "--working-set=0.%03u --check --set /umbra/churn/enabled=true", slowly(2));
	umbra_ended(0);
}

UTEST(working_set, refuses_what_is_no_time)
{
	static const char *const bad[] = { "0", "-1", "x", "1x", "", "1e99", "nan" };

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		umbra("run configs/hello.dts --working-set=%s", bad[i]);
		umbra_ended(126);
		umbra_said_err("--working-set");
	}
}
