// SPDX-License-Identifier: BSD-2-Clause
#include "tests/bench/shadow_rig.h"

#include <string.h>

static int nothing_slot_add(void *ctx, struct memslot *slot, fn_t home)
{
	(void)ctx;
	(void)slot;
	(void)home;
	return 0;
}

static void nothing_slot_remove(void *ctx, struct memslot *slot)
{
	(void)ctx;
	(void)slot;
}

static int nothing_map(void *slot_backend, uint64_t page, uint64_t n, fn_t fn, bool writable)
{
	(void)slot_backend;
	(void)page;
	(void)n;
	(void)fn;
	(void)writable;
	return 0;
}

static int nothing_make_writable(void *slot_backend, uint64_t page, uint64_t n)
{
	(void)slot_backend;
	(void)page;
	(void)n;
	return 0;
}

static void nothing(void *slot_backend, uint64_t page, uint64_t n)
{
	(void)slot_backend;
	(void)page;
	(void)n;
}

static const struct backend_ops no_backend = {
	.slot_add = nothing_slot_add,
	.slot_remove = nothing_slot_remove,
	.map = nothing_map,
	.make_writable = nothing_make_writable,
	.wrprotect = nothing,
	.zap = nothing,
	.wake = nothing,
};

/* hostmm_gup() brings pages in and shows them to nobody. */
static int populate(struct shadow_rig *r)
{
	static struct gup_page page[SHADOW_AROUND_MAX];

	for (uint64_t at = 0; at < r->pages; at += SHADOW_AROUND_MAX) {
		uint64_t n = min_u64(SHADOW_AROUND_MAX, r->pages - at);
		int rc = hostmm_gup(r->mm, r->hva + (at << PAGE_SHIFT), n, 0, n - 1, true, page);

		if (rc)
			return rc;
		hostmm_put_pages(r->mm, page, n);
	}
	return 0;
}

int shadow_rig_up(struct shadow_rig *r, uint64_t pages, unsigned flags)
{
	const struct hostmm_opts host = { .fault_threads = 1 };
	const struct window_opts window = { .fault_threads = 1 };
	const struct shadow_opts opts = { .fault_around = SHADOW_AROUND_MAX,
					  .max_level = flags & SHADOW_RIG_LARGE ? 0 : 1 };
	int rc;

	memset(r, 0, sizeof(*r));
	r->pages = pages;
	rc = pool_create(&r->pool, 3 * pages + 2048, false);
	if (!rc)
		rc = hostmm_create(&r->mm, r->pool, &host);
	if (!rc)
		rc = hostmm_map(r->mm, pages, HOSTMM_PROT_READ | HOSTMM_PROT_WRITE, NULL, NULL,
				&r->hva);
	if (!rc && (flags & SHADOW_RIG_WINDOW))
		rc = window_create(&r->window, r->pool, &window);
	if (!rc)
		rc = shadow_create(&r->shadow, r->mm, r->window ? &window_ops : &no_backend,
				   r->window, &opts);
	if (!rc)
		rc = shadow_add_slot(r->shadow, 0, 0, pages, r->hva, 0);
	return rc || !(flags & SHADOW_RIG_POPULATE) ? rc : populate(r);
}

void shadow_rig_down(struct shadow_rig *r)
{
	if (r->shadow)
		shadow_destroy(r->shadow);
	if (r->window)
		window_destroy(r->window);
	if (r->mm)
		hostmm_destroy(r->mm);
	if (r->pool)
		pool_destroy(r->pool);
}

int shadow_rig_map(struct shadow_rig *r)
{
	for (gfn_t gfn = 0; gfn < r->pages; gfn += SHADOW_AROUND_MAX) {
		int rc = shadow_fault(r->shadow, gfn, true);

		if (rc < 0)
			return rc;
	}
	return 0;
}
