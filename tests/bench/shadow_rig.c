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
	return shadow_rig_up_around(r, pages, flags, SHADOW_AROUND_MAX, 1);
}

int shadow_rig_up_around(struct shadow_rig *r, uint64_t pages, unsigned flags, unsigned around,
			 unsigned fault_threads)
{
	struct pool *pool;
	int rc = pool_create(&pool, 3 * pages + 2048, false);

	memset(r, 0, sizeof(*r));
	if (rc)
		return rc;
	rc = shadow_rig_up_on(r, pool, pages, flags, around, fault_threads);
	r->owns_pool = true;
	return rc;
}

int shadow_rig_up_on(struct shadow_rig *r, struct pool *pool, uint64_t pages, unsigned flags,
		     unsigned around, unsigned fault_threads)
{
	const struct hostmm_opts host = { .fault_threads = 1,
					  .source = flags & SHADOW_RIG_TRAP ? HOSTMM_SOURCE_MPROTECT
									    : HOSTMM_SOURCE_UFFD };
	const struct window_opts window = { .fault_threads = fault_threads };
	const struct shadow_opts opts = { .fault_around = around,
					  .max_level = flags & SHADOW_RIG_LARGE ? 0 : 1 };
	int rc;

	*r = (struct shadow_rig){ .pool = pool, .pages = pages };
	rc = hostmm_create(&r->mm, r->pool, &host);
	if (!rc)
		rc = hostmm_map(r->mm, pages, HOSTMM_PROT_READ | HOSTMM_PROT_WRITE, NULL, NULL,
				&r->hva);
	if (!rc && (flags & SHADOW_RIG_WINDOW))
		rc = window_create(&r->window, r->pool, &window);
	if (!rc)
		rc = shadow_create(&r->shadow, r->mm, r->window ? &window_ops : &no_backend,
				   r->window, &opts);
	if (!rc && !(flags & SHADOW_RIG_BARE))
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
	if (r->owns_pool)
		pool_destroy(r->pool);
}

void *shadow_rig_window(const struct shadow_rig *r)
{
	struct memslot slot;

	return shadow_slot(r->shadow, 0, &slot) ? window_base(&slot) : NULL;
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
