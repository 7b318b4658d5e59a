// SPDX-License-Identifier: BSD-2-Clause
/* Fault-around: blocks asked for a fault, streams that grow and end. */
#include "mmu/shadow/around.h"

#include "tests/test.h"

#define LAST (1UL << 36)

/* How many faults until @end, if each brings in its block? */
static unsigned faults_until(struct around *a, gfn_t gfn, gfn_t end)
{
	unsigned n = 0;

	while (gfn < end) {
		struct around_block b = around_block(a, gfn, 0, LAST);

		check(b.start <= gfn && gfn < b.end && b.end - b.start <= 512);
		check(gfn + b.ahead < b.end);
		n++;
		gfn += 1 + b.ahead;
	}
	return n;
}

UTEST(around, grows_with_a_sequential_reader)
{
	struct around a;

	around_init(&a, 0);
	/* 1 + 4 + 16 + 64 + 256 reach 341; then up to 512; then 512 a fault. */
	check_eq(faults_until(&a, 0, 512), 6);
	check_eq(faults_until(&a, 512, 512 + 16 * 512), 16);
	around_fini(&a);
}

UTEST(around, follows_streams_that_alternate)
{
	gfn_t at[4] = { 0, 1UL << 20, 1UL << 30, 12345 };
	struct around a;

	around_init(&a, 0);
	for (unsigned round = 0; round < 6; round++)
		for (unsigned i = 0; i < 4; i++)
			at[i] += 1 + around_block(&a, at[i], 0, LAST).ahead;
	check_eq(around_block(&a, at[1], 0, LAST).ahead, 511);
	check_eq(around_block(&a, at[2], 0, LAST).ahead, 511);
	around_fini(&a);
}

UTEST(around, asks_for_nothing_absent_when_faults_jump)
{
	struct around a;

	around_init(&a, 0);
	for (gfn_t gfn = 7; gfn < 1UL << 30; gfn = gfn * 3 + 1) {
		struct around_block b = around_block(&a, gfn, 0, LAST);

		check_eq(b.ahead, 0);
		check_eq(b.end - b.start, 16);
		check_eq(b.start % 16, 0);
	}
	around_fini(&a);
}

UTEST(around, stays_inside_the_slot)
{
	struct around_block b;
	struct around a;

	around_init(&a, 0);
	b = around_block(&a, 35, 34, 36);
	check(b.start == 34 && b.end == 36);
	b = around_block(&a, LAST - 1, 0, LAST);
	check(b.start == LAST - 16 && b.end == LAST);
	around_fini(&a);

	around_init(&a, 64);
	b = around_block(&a, 100, 99, 105);
	check(b.start == 99 && b.end == 105);
	around_fini(&a);
}

UTEST(around, fixed_is_the_aligned_block)
{
	for (unsigned size = 1; size <= 512; size *= 2) {
		struct around_block b;
		struct around a;

		around_init(&a, size);
		b = around_block(&a, 1000, 0, LAST);
		check_eq(b.start, 1000 / size * size);
		check_eq(b.end, b.start + size);
		check_eq(b.ahead, b.end - 1001);
		around_fini(&a);
	}
}
