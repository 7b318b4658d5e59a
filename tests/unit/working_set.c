// SPDX-License-Identifier: BSD-2-Clause
/* hv/working_set: when it asks, how many pages, and what it keeps of the answers. */
#include "hv/working_set.h"

#include <stdlib.h>
#include <string.h>

#include "tests/test.h"
#include "tests/unit/fake_ram.h"

#define MS 1000000ull

static struct working_set set;
static uint64_t strides[256];
static unsigned asked;
static uint64_t answer;

static uint64_t ask(uint64_t stride)
{
	check(asked < sizeof(strides) / sizeof(strides[0]));
	strides[asked++] = stride;
	return answer;
}

static struct ram *up(unsigned interval_ms, uint64_t budget, size_t most)
{
	struct ram *ram = fake_ram_create(4096);

	ram->working_set = ask;
	asked = 0;
	answer = 0;
	check_eq(working_set_init(&set, interval_ms, budget, most), 0);
	return ram;
}

static void down(struct ram *ram)
{
	working_set_fini(&set);
	fake_ram_destroy(ram);
}

static const char *said(void (*how)(const struct working_set *, FILE *))
{
	static char text[512];
	FILE *f = fmemopen(text, sizeof(text), "w");

	check(f);
	how(&set, f);
	fclose(f);
	return text;
}

UTEST(working_set, off)
{
	struct ram *ram = up(0, 0, 16);

	check_eq(working_set_wait(&set, 0), UINT64_MAX);
	check(!working_set_take(&set, ram, 5000 * MS, false));
	check(!working_set_take(&set, ram, 5000 * MS, true));
	check_eq(asked, 0);
	check_str(said(working_set_json), "[]");
	down(ram);
}

UTEST(working_set, samples_when_due)
{
	struct ram *ram = up(1000, 0, 16);

	answer = 256;
	check_eq(working_set_wait(&set, 400 * MS), 600 * MS);
	check(!working_set_take(&set, ram, 999 * MS, false));
	check(working_set_take(&set, ram, 1001 * MS, false));
	check_eq(working_set_wait(&set, 1001 * MS), 1000 * MS);
	answer = 128;
	check(!working_set_take(&set, ram, 2000 * MS, false));
	/* A late sample is not made up for. */
	check(working_set_take(&set, ram, 5000 * MS, false));
	check(!working_set_take(&set, ram, 5999 * MS, false));
	answer = 1;
	check(working_set_take(&set, ram, 5999 * MS, true));
	check_eq(asked, 3);
	check_str(said(working_set_json), "[{\"ns\":1001000000,\"pages\":256},"
					  "{\"ns\":5000000000,\"pages\":128},"
					  "{\"ns\":5999000000,\"pages\":1}]");
	check_str(said(working_set_text),
		  "1.0 MiB to 1.001 s, 0.5 MiB to 5.000 s, 0.0 MiB to 5.999 s");
	down(ram);
}

/* Twice the interval, and of two the larger: a page that both saw is one page. */
UTEST(working_set, neighbours_merge_when_there_is_no_room)
{
	struct ram *ram = up(1000, 0, 4);
	uint64_t now = 0;

	for (unsigned i = 0; i < 4; i++) {
		now += working_set_wait(&set, now);
		answer = i % 2 ? 10 * i : 100 * i;
		check(working_set_take(&set, ram, now, false));
	}
	now += working_set_wait(&set, now);
	check_eq(now, 5000 * MS);
	answer = 7;
	check(working_set_take(&set, ram, now, false));
	check_str(said(working_set_json), "[{\"ns\":2000000000,\"pages\":10},"
					  "{\"ns\":4000000000,\"pages\":200},"
					  "{\"ns\":5000000000,\"pages\":7}]");
	check_eq(working_set_wait(&set, now), 2000 * MS);
	for (unsigned i = 0; i < 100; i++) {
		now += working_set_wait(&set, now);
		check(working_set_take(&set, ram, now, false));
		check(set.count && set.count <= 4);
	}
	down(ram);
}

/* No more pages are asked for than the budget has, and each of them was asked for the last time. */
UTEST(working_set, an_estimate_keeps_to_its_budget)
{
	static const uint64_t mapped[] = { 0, 1, 256, 257, 8192, 100, 1u << 18, 1ull << 24, 4096 };
	struct ram *ram = up(1000, WORKING_SET_BUDGET, 16);
	uint64_t now = 0, before = 1;

	for (unsigned i = 0; i < sizeof(mapped) / sizeof(mapped[0]); i++) {
		ram->mapped = mapped[i];
		now += working_set_wait(&set, now);
		check(working_set_take(&set, ram, now, false));
		check(mapped[i] / strides[i] <= WORKING_SET_BUDGET, "%u: %ju", i,
		      (uintmax_t)strides[i]);
		check_eq(strides[i] % before, 0);
		/* And no sparser than that wants, once it has to be. */
		check(strides[i] == before || mapped[i] / (strides[i] / 3) > WORKING_SET_BUDGET);
		before = strides[i];
	}
	check_eq(strides[2], 1);
	down(ram);
}

/* What was asked for to be exact is. */
UTEST(working_set, without_a_budget_every_page_is_asked_for)
{
	struct ram *ram = up(1, 0, 16);

	ram->mapped = 1ull << 30;
	check(working_set_take(&set, ram, MS, false));
	check_eq(strides[0], 1);
	down(ram);
}
