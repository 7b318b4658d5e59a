// SPDX-License-Identifier: BSD-2-Clause
/* umbra run --working-set: what a user sees of the pages that a guest uses, and what it must not change. */
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
	const struct said *s = umbra(RUN "--working-set --stats=json --quiet");

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
	s = umbra(RUN "--stats=json --quiet");
	umbra_ended(0);
	check(!strstr(s->err, "working_set"), "%s", s->err);
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
