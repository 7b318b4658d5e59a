// SPDX-License-Identifier: BSD-2-Clause
/* Actors that leave contents and rights as they are: nobody may notice them. */
#include "tests/stress/actors.h"

#include <errno.h>

#include "mmu/host/hostmm_device.h"

void pick_pages(const struct world *w, uint64_t *random, uint64_t most, hva_t *start, hva_t *end)
{
	uint64_t n = 1 + play_random(random) % most;
	uint64_t page = play_random(random) % (w->pages - n + 1);

	*start = world_hva(w, page);
	*end = world_hva(w, page + n);
}

int act_zap(struct world *w, uint64_t *random)
{
	hva_t start, end;

	pick_pages(w, random, w->pages / 4, &start, &end);
	return hostmm_zap(w->mm, start, end);
}

int act_wrprotect(struct world *w, uint64_t *random)
{
	hva_t start, end;

	pick_pages(w, random, w->pages / 4, &start, &end);
	return hostmm_wrprotect(w->mm, start, end);
}

/* Away by and by, and all home when there is no room left. */
int act_migrate(struct world *w, uint64_t *random)
{
	hva_t start, end;
	int rc;

	pick_pages(w, random, 64, &start, &end);
	rc = hostmm_migrate(w->mm, start, end,
			    play_random(random) % 3 ? HOSTMM_MIGRATE_AWAY : HOSTMM_MIGRATE_HOME);
	if (rc == -ENOSPC)
		rc = hostmm_migrate(w->mm, w->hva, world_hva(w, w->pages), HOSTMM_MIGRATE_HOME);
	return rc;
}

static hva_t pick_twin(const struct world *w, uint64_t *random)
{
	return world_hva(w, w->keep + play_random(random) % w->twins);
}

int act_merge(struct world *w, uint64_t *random)
{
	hva_t a = pick_twin(w, random), b = pick_twin(w, random);
	int rc = a == b ? 0 : hostmm_merge(w->mm, a, w->mm, b);

	return rc == -EAGAIN || rc == -ENOENT ? 0 : rc;
}

int act_unmerge(struct world *w, uint64_t *random)
{
	int rc = hostmm_unmerge(w->mm, pick_twin(w, random));

	return rc == -ENOENT || rc == -ENOSPC ? 0 : rc;
}

static hva_t pick_block(const struct world *w, uint64_t *random)
{
	uint64_t blocks = w->pages / HOSTMM_LARGE;

	return world_hva(w, play_random(random) % blocks * HOSTMM_LARGE);
}

int act_collapse(struct world *w, uint64_t *random)
{
	int rc = hostmm_collapse(w->mm, pick_block(w, random));

	/* -EINVAL: another actor has just taken rights from a part of it. */
	return rc == -EAGAIN || rc == -ENOSPC || rc == -EINVAL ? 0 : rc;
}

int act_split(struct world *w, uint64_t *random)
{
	return hostmm_split_huge(w->mm, pick_block(w, random),
				 play_random(random) & 1 ? HOSTMM_SPLIT_LATE : HOSTMM_SPLIT_LOCKED);
}

/* Large leaves where the primary has large pages, and small ones again. */
int act_recover(struct world *w, uint64_t *random)
{
	struct shadow *sh = w->shadow;
	gfn_t gfn = STRESS_GFN;
	unsigned n = (unsigned)(play_random(random) % (w->players + 1));

	if (n < w->players && w->player[n].dev && device_get_shadow(w->player[n].dev)) {
		sh = device_get_shadow(w->player[n].dev);
		gfn = w->hva >> PAGE_SHIFT;
	}
	if (play_random(random) & 1) {
		shadow_recover(sh, gfn, gfn + w->pages);
		return 0;
	}
	return shadow_split(sh, gfn, gfn + w->pages);
}

/* Were they used? Secondaries lose an A bit, or the entry until the next use; no contents, no right. */
int act_age(struct world *w, uint64_t *random)
{
	struct mmu_notifier_subscriptions *all = hostmm_subscriptions(w->mm);
	hva_t start, end;

	pick_pages(w, random, w->pages / 4, &start, &end);
	if (play_random(random) & 1)
		mmu_notifier_clear_flush_young(all, start, end);
	else
		mmu_notifier_clear_young(all, start, end);
	return 0;
}

/* A device takes pages for itself; whoever else touches one has it brought back. */
int act_private(struct world *w, uint64_t *random)
{
	hva_t start, end;
	int rc;

	pick_pages(w, random, 16, &start, &end);
	if (play_random(random) & 1)
		rc = hostmm_make_exclusive(w->mm, start, end, w, NULL);
	else
		rc = hostmm_migrate_to_device(w->mm, start, end, w, NULL);
	if (rc == -ENOSPC)
		rc = hostmm_migrate(w->mm, w->hva, world_hva(w, w->pages), HOSTMM_MIGRATE_HOME);
	/* -EFAULT, -EINVAL: another actor has just taken rights. */
	return rc == -ENOENT || rc == -EFAULT || rc == -EINVAL ? 0 : rc;
}

int act_sums(struct world *w, uint64_t *random)
{
	(void)random;
	pause_begin(w, PAUSE_STOP);
	check_sums(w);
	pause_end(w);
	return 0;
}
