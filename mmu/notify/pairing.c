/* SPDX-License-Identifier: BSD-2-Clause */
#include "mmu/notify/pairing_priv.h"

#if defined(UMBRA_DEBUG) && !defined(UMBRA_EXPLORER)

/* A thread that has more begins open at a time is not accused of anything any more. */
#define OPEN_MAX 16

static _Thread_local struct {
	struct {
		const struct mmu_interval_notifier *sub;
		uint64_t seq;
	} open[OPEN_MAX];
	bool has_lost;
} reader;

static unsigned find(const struct mmu_interval_notifier *sub)
{
	unsigned i = 0;

	while (i < OPEN_MAX && reader.open[i].sub != sub)
		i++;
	return i;
}

void pairing_begin(const struct mmu_interval_notifier *sub, uint64_t seq)
{
	unsigned i = find(sub);

	if (i == OPEN_MAX)
		i = find(NULL);
	if (i == OPEN_MAX) {
		reader.has_lost = true;
		return;
	}
	reader.open[i].sub = sub;
	reader.open[i].seq = seq;
}

void pairing_retry(const struct mmu_interval_notifier *sub, uint64_t seq)
{
	unsigned i = find(sub);

	bug_on(i == OPEN_MAX && !reader.has_lost); /* no begin, or a retry for it already */
	if (i == OPEN_MAX)
		return;
	bug_on(reader.open[i].seq != seq);
	reader.open[i].sub = NULL;
}

#endif
