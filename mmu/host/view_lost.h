/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pages of a view whose VMA a system call of others has taken: what lies at their address is not the view's any more, and no
 * call is made there. And views whose VMAs such a call has brought somewhere else.
 * Owns nothing. audit.c marks, under uffd->reading; view*.c heed the marks; raw.c deals with what has become of the pages.
 * A mark may come while a call is being made: who unmaps memory under umbra's hands and maps his own there at once may lose it.
 */
#ifndef UMBRA_MMU_HOST_VIEW_LOST_H
#define UMBRA_MMU_HOST_VIEW_LOST_H

#include "mmu/host/view.h"

struct view_link { /* a view in the list of its audit */
	struct view *view;
	struct view_link *next;
};
struct view_link *view_link(struct view *view);

/* view_lose, view_regain - mark what is in [start, end) of the view, page aligned, or not any more. uffd->reading held. */
void view_lose(struct view *view, hva_t start, hva_t end);
void view_regain(struct view *view, hva_t start, hva_t end);
bool view_is_lost(const struct view *view, uint64_t page);
/* view_heed - marks tell of all calls of others that have returned by now. No lock that comes after uffd->reading held. */
void view_heed(struct view *view);
/* view_next_own - move *@page to the first page before @end that is not lost, and say how many are not from there. False: none. */
bool view_next_own(const struct view *view, uint64_t *page, uint64_t end, uint64_t *n);

/*
 * view_recheck - a mark is a hint, what the system shows decides: @page is lost if there is no VMA that is watched by its
 * userfaultfd. True if there is; the page cannot be stored to then.
 */
bool view_recheck(struct view *view, uint64_t page);

/*
 * view_close - without a lock: nobody reaches the view from now on. view_shut() is to follow. view_close_range - nobody reaches
 * what is mapped at [start, end).
 */
void view_close(struct view *view);
void view_close_range(hva_t start, hva_t end);

/*
 * view_adopt - a view on @npages pages at @base, where a call of others that is being dealt with has mapped what @u
 * watches. 0, -ENOMEM. view_inherit - pages [at, at + n) of @to show now what pages [page, page + n) of @from have shown,
 * which lay in one VMA or more; their entries are dropped. Both under one userfaultfd, owners locked out.
 */
int view_adopt(struct view **out, struct pool *pool, struct uffd *u, uint64_t npages, fn_t home,
	       void *base);
void view_inherit(struct view *to, uint64_t at, struct view *from, uint64_t page, uint64_t n);

/* view_forget - [page, page + n) are lost for good: they cost nothing any more. */
void view_forget(struct view *view, uint64_t page, uint64_t n);

#endif
