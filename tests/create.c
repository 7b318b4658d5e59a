// SPDX-License-Identifier: BSD-2-Clause
#include "tests/create.h"

#include <errno.h>

#include "mmu/host/hostmm_actors.h"
#include "tests/test.h"

static unsigned made;

static bool is_made(int rc, int error)
{
	check(!rc || rc == -error || rc == -EAGAIN, "%d", rc);
	made += !rc;
	return !rc;
}

unsigned create_all(struct rig *r, int error)
{
	const struct hostmm_opts mm_opts = { .fault_threads = 1, .source = rig_source() };
	const struct window_opts window_opts = { .fault_threads = 1 };
	struct window *window;
	struct hostmm *mm;
	struct pool *pool;
	hva_t hva;

	made = 0;
	if (is_made(pool_create(&pool, 1024, false), error))
		pool_destroy(pool);
	if (is_made(hostmm_create(&mm, r->pool, &mm_opts), error))
		hostmm_destroy(mm);
	if (is_made(hostmm_map(r->mm, 600, HOSTMM_PROT_READ, NULL, NULL, &hva), error))
		check_eq(hostmm_unmap(r->mm, hva), 0);
	if (is_made(hostmm_fork(r->mm, &mm_opts, &mm), error))
		hostmm_destroy(mm);
	if (is_made(window_create(&window, r->pool, &window_opts), error))
		window_destroy(window);
	if (is_made(shadow_add_slot(r->shadow, 2, 0x10000, 4, rig_hva(r, 1), 0), error))
		check_eq(shadow_remove_slot(r->shadow, 2), 0);
	return made;
}
