// SPDX-License-Identifier: BSD-2-Clause
/* Pages leave memory, to the backing file or to the players' store, and come back by whoever touches them next. */
#include <errno.h>

#include "mmu/host/hostmm_reclaim.h"
#include "tests/stress/actors.h"

#define LOOK_PAGES 128u

/* Shared frames too, which all that share them let go of. A file or a store that takes no more has lost nothing. */
int act_reclaim(struct world *w, uint64_t *random)
{
	hva_t start, end;
	int rc;

	pick_pages(w, random, 256, &start, &end);
	if (w->side && play_random(random) % 4 == 0) {
		start = w->side;
		end = side_hva(w, SIDE_PAGES);
	}
	rc = hostmm_reclaim(w->mm, start, end, NULL);
	return rc == -ENOSPC || (rc == -EIO && w->store) ? 0 : rc;
}

/* With nobody storing, the store has everything then. */
static int write_all(struct world *w, uint64_t *random)
{
	uint64_t n = w->pages < LOOK_PAGES ? w->pages : LOOK_PAGES;
	uint64_t page = play_random(random) % (w->pages - n + 1);
	int rc;

	pause_begin(w, PAUSE_STOP);
	rc = hostmm_writeback(w->mm, w->hva, world_hva(w, w->pages), NULL);
	if (!rc)
		store_check(w, page, page + n);
	pause_end(w);
	return rc;
}

/* Beside players that store on, and sometimes to a store that refuses: then the pages stay dirty. */
int act_writeback(struct world *w, uint64_t *random)
{
	bool refuses = play_random(random) % 8 == 0;
	hva_t start, end;
	int rc;

	if (play_random(random) % 32 == 0)
		return write_all(w, random);
	pick_pages(w, random, 256, &start, &end);
	store_refuse(w->store, refuses);
	rc = hostmm_writeback(w->mm, start, end, NULL);
	store_refuse(w->store, false);
	return rc == -EIO && refuses ? 0 : rc;
}
