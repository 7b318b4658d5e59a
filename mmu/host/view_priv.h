/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The inside of struct view, shared by view*.c only. There are two ways to keep a view: entries that userfaultfd watches
 * (view.c), and the rights of its VMAs (view_rights.c).
 * Owns nothing of its own. Who may call: those files. Knows no more than view.h.
 */
#ifndef UMBRA_MMU_HOST_VIEW_PRIV_H
#define UMBRA_MMU_HOST_VIEW_PRIV_H

#include <sys/mman.h>

#include "mmu/base/sync.h"
#include "mmu/host/audit.h"
#include "mmu/host/pool_priv.h"
#include "mmu/host/view_lost.h"

/* What a page of a view without userfaultfd may be used for: the rights of its VMA. */
enum view_rights { VIEW_NOTHING, VIEW_READ, VIEW_WRITE };

/*
 * Locks used to protect members:
 *	I	immutable after create
 *	r	repoint
 *	a	atomic
 */
struct view {
	struct pool *pool; /* [I] */
	struct uffd *uffd; /* [I] NULL: kept by rights */
	char *base;	   /* [I] */
	uint64_t npages;   /* [I] */
	fn_t home;	   /* [I] */
	uint8_t *rights;   /* [r] per page: enum view_rights, without userfaultfd; sparse */
	uint32_t *away;	   /* [r] per page: 0 the VMA points home, else frame + 1; sparse */
	_Atomic uint64_t
		foreign; /* [a] written under r: pages with away set, or about to lose it */
	_Atomic uint64_t repoints; /* [a] written under r */
	uint8_t *access;  /* [r] per page: 0, or 1 + PROT_* of its VMA; sparse; NULL: all 0 */
	uint64_t broken;  /* [r] pages whose away is AWAY_BROKEN */
	atomic_bool shut; /* [r] */
	/* [a] a bit a page, written under uffd->reading: others have taken its VMA; sparse; NULL where nobody tells */
	_Atomic uint64_t *lost;
	struct view_link link; /* audit.c's */
	struct lock repoint;
};

static inline void count_repoints(struct view *view, unsigned n)
{
	sync_fetch_add(&view->repoints, n);
	if (view->uffd)
		sync_fetch_add(&view->uffd->repoints, n);
}

static inline void *view_addr(const struct view *view, uint64_t page)
{
	return view->base + (page << PAGE_SHIFT);
}

/*
 * map_fixed - one VMA of @prot over the pages, which shows frames [@fn, @fn + @n) and is watched by nobody. What goes home, or has no
 * rights, may use the spare VMAs; what does not is refused (ENOMEM) while they are not there. False; true: errno.
 */
bool map_fixed(struct view *view, uint64_t page, uint64_t n, fn_t fn, int prot);

/* view_alloc - a view without a place. 0, -EINVAL, -ENOMEM. */
int view_alloc(struct view **out, struct pool *pool, struct uffd *u, uint64_t npages, fn_t home);
void view_free(struct view *view);

static inline size_t view_lost_bytes(uint64_t npages)
{
	return (npages / 64 + 1) * sizeof(uint64_t);
}

/*
 * Calls on what of [page, page + n) is the view's own; what is lost is left alone.
 * view_mmap - map_fixed() without spare VMAs. True: errno, EFAULT if a page is lost.
 * view_watch - userfaultfd watches the pages from now on, and no child of fork(2) gets them, if there is an audit. 0 or -errno.
 * view_mprotect - give their VMAs the rights @prot. False; true: errno.
 * view_discard - drop the entries. view_unmap - drop all VMAs.
 */
bool view_mmap(struct view *view, uint64_t page, uint64_t n, fn_t fn, int prot);
int view_watch(struct view *view, uint64_t page, uint64_t n);
bool view_mprotect(struct view *view, uint64_t page, uint64_t n, int prot);
void view_discard(struct view *view, uint64_t page, uint64_t n);
void view_unmap(struct view *view);

/* In away: the VMA shows nothing that can be relied on, a repoint has failed half-way. */
#define AWAY_BROKEN UINT32_MAX

/* Does the VMA under @page show @fn, watched? */
static inline bool shows_frame(const struct view *view, uint64_t page, fn_t fn)
{
	uint32_t away = view->away[page];

	return away ? away - 1 == fn && away != AWAY_BROKEN : view->home + page == fn;
}

/*
 * view_break - the VMAs of the pages, which count as foreign, show nothing that can be relied on. view_refused - the system would not
 * replace them: those that are as before stay what they were, a hole is broken. repoint held.
 */
void view_break(struct view *view, uint64_t page, uint64_t n);
void view_refused(struct view *view, uint64_t page, uint64_t n);

/*
 * view_forget_run - to go home in the middle of a VMA would cost two: let all pages around @page that are away be at home, and show nothing;
 * they fault again. repoint held. False: their users cannot repeat an access, or the system refuses that, too.
 */
bool view_forget_run(struct view *view, uint64_t page);

/*
 * view_count_foreign - note that a page has left home, or is back (@n 1 or -1). repoint held, or the view known to nobody.
 * view_new_run - how many pages of [page, page + n), which are to show frames [fn, fn + n) and of which the first does not, may get
 * a VMA that does? 0: they would cost VMAs of which the process has too few. That is not said of a page whose home frame is
 * somebody else's: there is no other way to show it then. repoint held.
 */
void view_count_foreign(struct view *view, int64_t n);
uint64_t view_new_run(const struct view *view, uint64_t page, uint64_t n, fn_t fn);

/* view_open - give the VMAs of [page, page + n) the rights that view_protect() has left them. repoint held. 0 or -errno. */
int view_open(struct view *view, uint64_t page, uint64_t n);

/*
 * view_close_stores - let nobody store to any page of the view, where to close a few would cost VMAs that the process does not have: this
 * splits none. Broken pages stay as they are. repoint held. False, and nothing is closed: the system refuses, or who is refused a store
 * does not make it again.
 * view_open_stores - undo that. 0 or -errno.
 */
bool view_close_stores(struct view *view);
int view_open_stores(struct view *view);

/* The same calls for a view without userfaultfd. */
int rights_map(struct view *view, uint64_t page, uint64_t n, fn_t fn, bool writable);
int rights_make_writable(struct view *view, uint64_t page, uint64_t n);
int rights_protect(struct view *view, uint64_t page, uint64_t n, unsigned access);
void rights_wrprotect(struct view *view, uint64_t page, uint64_t n);
void rights_zap(struct view *view, uint64_t page, uint64_t n);

#endif
