// SPDX-License-Identifier: BSD-2-Clause
/* The KSM-like service on all pages, its thread beside the players, and who starts and stops it and changes its pace. */
#include <errno.h>

#include "tests/stress/actors.h"

#define BATCH 256u

int service_create(struct world *w)
{
	const struct ksm_opts opts = { .use_zero_pages = w->o->seed & 1,
				       .no_age = w->o->seed & 2,
				       .max_page_sharing = w->o->seed & 4 ? 0 : 8 };
	int rc = ksm_create(&w->ksm, w->pool, &opts);

	if (!rc)
		rc = ksm_register(w->ksm, w->mm, w->hva, world_hva(w, w->pages));
	if (!rc && w->side)
		rc = ksm_register(w->ksm, w->mm, w->side, side_hva(w, SIDE_PAGES));
	return rc;
}

/* Frames that no page has any more are let go at the end of a pass; one may be under way. */
void service_settle(struct world *w)
{
	ksm_stop(w->ksm);
	ksm_pass(w->ksm);
	ksm_pass(w->ksm);
}

void service_destroy(struct world *w)
{
	ksm_destroy(w->ksm);
	w->ksm = NULL;
}

/* Pages that nobody may merge for a moment, each with a frame of its own as far as there is room. */
static int leave_out(struct world *w, uint64_t *random)
{
	hva_t start, end;
	int rc;

	pick_pages(w, random, BATCH, &start, &end);
	rc = ksm_unregister(w->ksm, w->mm, start, end);
	if (!rc || rc == -ENOSPC)
		rc = ksm_register(w->ksm, w->mm, start, end);
	return rc;
}

int act_service(struct world *w, uint64_t *random)
{
	int rc = ksm_start(w->ksm);

	if (rc && rc != -EALREADY)
		return rc;
	switch (play_random(random) % 8) {
	case 0:
		ksm_stop(w->ksm);
		return 0;
	case 1:
	case 2:
		return leave_out(w, random);
	case 3:
		ksm_scan(w->ksm, play_random(random) % BATCH); /* beside the thread */
		return 0;
	default:
		ksm_set_rate(w->ksm, 1 + play_random(random) % (4 * BATCH),
			     (unsigned)(play_random(random) % 3));
		return 0;
	}
}
