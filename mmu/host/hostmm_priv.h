/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The inside of struct hostmm, shared by the files of mmu/host only.
 * Owns nothing of its own. hostmm.c, gup.c and change.c include it. Knows no shadow.
 */
#ifndef UMBRA_MMU_HOST_HOSTMM_PRIV_H
#define UMBRA_MMU_HOST_HOSTMM_PRIV_H

#include "mmu/base/mutant.h"
#include "mmu/host/audit.h"
#include "mmu/host/fault_threads.h"
#include "mmu/host/hpte.h"
#include "mmu/host/view_lost.h"

/*
 * Locks used to protect members:
 *	I	immutable after create
 *	m	mmap_lock: read to look, write to change
 *	u	sources_lock, a leaf
 *	a	atomic
 */
struct source {
	struct hostmm *mm;	       /* [u] as the rest constant once it is open */
	struct uffd uffd;	       /* [u] */
	struct fault_threads *threads; /* [u] read uffd; NULL: nobody does */
	struct trap stray; /* [u] with an audit and SIGBUS: faults where no region is (yet) */
	bool is_open;	   /* [u] for good */
};

struct hostmm {
	struct pool *pool;	 /* [I] */
	struct hostmm_opts opts; /* [I] */
	struct lock sources_lock;
	struct source source[HOSTMM_SOURCES][2]; /* [u] without an audit, and with one */
	struct mmu_notifier_subscriptions subscriptions;
	struct rwlock mmap_lock;
	struct region *regions; /* [m] by address */
	atomic_bool dead;	/* [a] a fault thread has died */
	_Atomic uint64_t view_faults, discards, wrprotects, migrates, zaps, raw_failures; /* [a] */
	_Atomic(const void *)
		owner[HPTE_OWNERS]; /* [a] devices that have had pages, by number; 0 is nobody */
	_Atomic uint64_t cow_copies, forks, merges; /* [a] */
	_Atomic uint64_t page_ins, pages_in;	    /* [a] of regions that are gone */
	_Atomic(struct ksm *) ksm; /* [a] the service that merges its pages, for good; or NULL */
	unsigned pins;		   /* of rmap.c, under its lock: walks that have the mm in hand */
};

/* hostmm_region - the region with @hva inside, or NULL. mmap_lock held. */
struct region *hostmm_region(struct hostmm *mm, hva_t hva);

/* hostmm_large_region - the region with @hva inside, where a large page begins and ends in it; or NULL. mmap_lock held. */
struct region *hostmm_large_region(struct hostmm *mm, hva_t hva);

/* region_is_run - hostmm_huge() for pages [page, page + n) of @r, which lie in it. mmap_lock held. */
bool region_is_run(struct region *r, uint64_t page, uint64_t n);

static inline uint64_t region_page(const struct region *r, hva_t hva)
{
	return (hva - r->start) >> PAGE_SHIFT;
}

static inline hva_t region_hva(const struct region *r, uint64_t page)
{
	return r->start + (page << PAGE_SHIFT);
}

/* What a region is made of. */
struct region_how {
	uint64_t npages;
	unsigned prot;
	const struct pager_ops *pager;
	void *pager_ctx;
	enum hostmm_source source;
	bool audit;
	hva_t forked_from; /* 0: of no parent */
	hva_t moved_to; /* not 0: where a system call of others has mapped pages of such a region */
};

/*
 * hostmm_new_region - a region that nobody knows yet. region_link - from now on all do; mmap_lock held for writing. region_destroy - it
 * has no pages, and nobody finds it any more; no lock held.
 * hostmm_add_region - both, for who wants the region itself: nobody else may unmap it meanwhile.
 * region_unlink - drop all pages, in a bracket, and let nobody find it any more; mmap_lock held for writing.
 */
int hostmm_new_region(struct hostmm *mm, const struct region_how *how, struct region **out);
void region_link(struct region *r);
void region_unlink(struct region *r);
void region_destroy(struct region *r);
int hostmm_add_region(struct hostmm *mm, const struct region_how *how, struct region **out);

/* region_holds - is the page at @hva of the region, and not lost? */
static inline bool region_holds(const struct region *r, hva_t hva)
{
	return r->start <= hva && hva < r->end &&
	       (mutant(434) || !view_is_lost(r->view, (hva - r->start) >> PAGE_SHIFT));
}

/* region_has_lost - has a system call of others taken some of the pages [page, end)? */
static inline bool region_has_lost(const struct region *r, uint64_t page, uint64_t end)
{
	for (; r->audit && page < end; page++)
		if (view_is_lost(r->view, page))
			return true;
	return false;
}

/*
 * source_init - of a new mm: none is open.
 * source_open - have what regions of @source need; *@u for their views, NULL if they need none. 0, -EINVAL for no such
 *	source, or as hostmm_create().
 * source_attach - resolve faults in @r from now on. 0 or the errno of trap_add(). source_detach - no longer; outside mmap_lock.
 * source_close - for hostmm_destroy(), when regions are gone.
 */
void source_init(struct hostmm *mm);
int source_open(struct hostmm *mm, enum hostmm_source source, bool audit, struct uffd **u);
int source_attach(struct region *r);
void source_detach(struct region *r);
void source_close(struct hostmm *mm);
void source_add_stats(struct hostmm *mm, struct hostmm_stats *stats);

/* raw_follow - audit_fn of a struct source: let regions follow what others have done. */
void raw_follow(void *ctx, const struct audit_event *event);

/*
 * move_pages - let pages from @at on of @to, which are empty, have those of [page, last) of @from with their frames, in a bracket.
 * clear_pages - drop pages [page, last), in a bracket. mmap_lock held for writing.
 */
void move_pages(struct region *from, uint64_t page, uint64_t last, struct region *to, uint64_t at);
void clear_pages(struct region *r, uint64_t page, uint64_t last);

/* hostmm_fail - the page at @hva, or any for 0, cannot be had: tell the embedder, and shut its region, or all. */
void hostmm_fail(struct hostmm *mm, hva_t hva, int error);

/*
 * region_need_prots - make r->prots exist. 0 or -ENOMEM.
 * region_open - let the view of [page, end) allow what the rights to the pages do. 0 or the errno of view_protect().
 * mmap_lock held for writing, or the region known to nobody else.
 * region_access - the rights to @page as PROT_*. mmap_lock held.
 */
int region_need_prots(struct region *r);
int region_open(struct region *r, uint64_t page, uint64_t end);
unsigned region_access(const struct region *r, uint64_t page);

/*
 * bracket_start, bracket_end - open and close a bracket over pages [page, end) of @r. mmap_lock held either way. In
 * between subscribers have let go of the pages (CHANGE: only of writing them, bracket_repoint() tells the rest).
 */
void bracket_start(struct mmu_notifier_range *range, struct region *r, uint64_t page, uint64_t end,
		   enum mmu_notifier_event event);
void bracket_start_owner(struct mmu_notifier_range *range, struct region *r, uint64_t page,
			 uint64_t end, enum mmu_notifier_event event, void *owner);
void bracket_end(struct mmu_notifier_range *range);

/*
 * bracket_repoint - let @page, which is present, have frame @fn and the caller's reference on it; drop the old frame.
 * Inside a CLEAR or CHANGE bracket over the page, chunk lock held. Clear, tell, set (A20).
 * bracket_move - the same with the contents copied first, to a frame that nobody else has.
 */
void bracket_repoint(struct mmu_notifier_range *range, struct region *r, uint64_t page, fn_t fn);
void bracket_move(struct mmu_notifier_range *range, struct region *r, uint64_t page, fn_t fn);

/*
 * frame_for_copy - a frame for @page with a reference, and memory: its home, unless somebody still has that. 0, -ENOSPC, -ENOMEM.
 * frame_prepare - give @fn memory, or drop the caller's reference. 0, -ENOSPC, -ENOMEM.
 */
int frame_for_copy(struct region *r, uint64_t page, fn_t *fn);
int frame_prepare(struct pool *pool, fn_t fn);

/*
 * device_pull - have what devices have of [page, end) back. mmap_lock held, no chunk lock. 0, -ENOSPC, -ENOMEM: some are back.
 * hostmm_owner - the number of device @owner, 0 for NULL or one that has never had a page.
 */
int device_pull(struct region *r, uint64_t page, uint64_t end);
unsigned hostmm_owner(struct hostmm *mm, const void *owner);

/*
 * merge_protect - take the right to store to @page from everybody (CHANGE), and a map and a reference of its frame: the
 * frame's contents stand still until merge_unprotect(). mmap_lock held. 0 or -ENOENT.
 */
int merge_protect(struct region *r, uint64_t page, fn_t *fn);
void merge_unprotect(struct pool *pool, fn_t fn);

/*
 * fork_regions - what hostmm_fork() does with the regions of @mm, whose mmap_lock is held for writing. @is_snapshot: nobody stores to the
 * child or looks at its views, and every page may be read. 0; -ENOSPC, -ENOMEM: the child has some of them.
 */
int fork_regions(struct hostmm *child, struct hostmm *mm, bool is_snapshot);

/*
 * ksm_exit - the region that begins at @hva goes: a service forgets it. ksm_let_go - the service of @mm, if any, gives up stable frames
 * that at most one page has. ksm_fork - the service of @mm, if any, looks after
 * @child, too. No lock held. Kernel: ksm_exit(), ksm_fork().
 */
void ksm_exit(struct hostmm *mm, hva_t hva);
void ksm_let_go(struct hostmm *mm);
void ksm_fork(struct hostmm *mm, struct hostmm *child);

/*
 * poison_recheck - pages of [start, end) may have got a frame that has become bad in the hands of the caller. No lock held.
 */
void poison_recheck(struct hostmm *mm, hva_t start, hva_t end);

/* cow_break - give @page a copy of its frame if it is present and shares it. mmap_lock held, no chunk lock. 0, -ENOSPC. */
int cow_break(struct region *r, uint64_t page);

/* cow_get - hpte_get(), with sharing broken where a store needs that. Chunk lock held, dropped meanwhile. */
int cow_get(struct region *r, uint64_t page, uint64_t ahead_end, bool write, uint64_t *hpte);

/* migrate_home - hostmm_migrate() of one page, to its home frame if nobody has that. mmap_lock held, no chunk lock. 0, -ENOSPC, -ENOMEM. */
int migrate_home(struct region *r, uint64_t page);

/* cow_show - bring @page in and show it in the host view. Chunk lock held, dropped meanwhile. 0 or -errno. */
int cow_show(struct region *r, uint64_t page, bool write);

#endif
