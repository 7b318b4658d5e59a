/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An mm with many interval subscriptions, one page each, side by side from page 1, that lie in memory in no order, as many
 * allocations leave them. Owns what crowd_create() builds. Called by the groups that measure brackets. Knows no host mm.
 */
#ifndef UMBRA_TESTS_BENCH_CROWD_H
#define UMBRA_TESTS_BENCH_CROWD_H

#include "mmu/notify/interval.h"

struct crowd {
	struct mmu_notifier_subscriptions *mm;
	struct crowd_sub *subs;
	uint64_t n;
};

/* 0 or -errno; then nothing is left. */
int crowd_create(struct crowd *c, uint64_t n);
void crowd_destroy(struct crowd *c);

/* crowd_random - the next of a sequence; *@state is not 0. */
uint64_t crowd_random(uint64_t *state);

/* crowd_bracket - start and end over the page with subscription @i of the crowd. */
void crowd_bracket(const struct crowd *c, uint64_t i);

#endif
