/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The inside of struct view, shared by view*.c only.
 * Owns nothing of its own. Who may call: those files. Knows no more than view.h.
 */
#ifndef UMBRA_MMU_HOST_VIEW_PRIV_H
#define UMBRA_MMU_HOST_VIEW_PRIV_H

#include "mmu/base/sync.h"
#include "mmu/host/view.h"

/*
 * Locks used to protect members:
 *	I	immutable after create
 *	r	repoint
 *	a	atomic
 */
struct view {
	struct pool *pool; /* [I] */
	struct uffd *uffd; /* [I] */
	char *base;	   /* [I] */
	uint64_t npages;   /* [I] */
	fn_t home;	   /* [I] */
	uint32_t *away;	   /* [r] per page: 0 the VMA points home, else frame + 1; sparse */
	_Atomic uint64_t
		foreign; /* [a] written under r: pages with away set, or about to lose it */
	_Atomic uint64_t repoints; /* [a] written under r */
	uint8_t *access;  /* [r] per page: 0, or 1 + PROT_* of its VMA; sparse; NULL: all 0 */
	atomic_bool shut; /* [r] */
	struct lock repoint;
};

static inline void *view_addr(const struct view *view, uint64_t page)
{
	return view->base + (page << PAGE_SHIFT);
}

/* view_open - give the VMAs of [page, page + n) the rights that view_protect() has left them. repoint held. 0 or -errno. */
int view_open(struct view *view, uint64_t page, uint64_t n);

#endif
