/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The inside of the window, shared by window.c and window_check.c only.
 * Owns nothing.
 */
#ifndef UMBRA_MMU_SHADOW_WINDOW_PRIV_H
#define UMBRA_MMU_SHADOW_WINDOW_PRIV_H

#include "mmu/shadow/window.h"

struct window_check {
	struct pool *pool;
	const char *base; /* where page 0 lies */
	void (*wrong)(void *ctx, uint64_t page, const char *what);
	void *ctx;
};

/* window_check_pages - backend compare, by /proc/self/pagemap. The number of pages that reach more than @allowed. */
uint64_t window_check_pages(const struct window_check *check, uint64_t page, uint64_t n,
			    const struct backend_page *allowed);

#endif
