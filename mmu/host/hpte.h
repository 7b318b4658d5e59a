/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Host page table entries: which frame each page of a region has. Private to mmu/host.
 * Owns the entries and, with them, what the host view shows: this file's functions are their only writers.
 * The operations of the host mm call. Brackets are the caller's; inside them this file tells who caches entries (A20).
 *
 *	63    58 57  52 51            12 11  10   9    8    7    6    5    4    3    2    1   0
 *	+-------+------+----------------+--+----+----+----+----+----+----+----+----+----+---+---+
 *	|   0   |owner | frame or slot  |0 |cing|bad |swap|cln |excl|dev |none|view|busy| W | P |
 *	+-------+------+----------------+--+----+----+----+----+----+----+----+----+----+---+---+
 *
 *	P	the page has a frame, and the entry holds one reference on it and counts as one of its maps
 *	W	a store needs no fault of the primary; only while no other entry has the frame
 *	busy	a page-in is under way (then P is clear); wait on the chunk's condition
 *	view	the host view may show the page
 *	none	present, but the page's rights let nobody use it (mprotect(PROT_NONE))
 *	dev	not present: the frame belongs to the device @owner, which alone may use it (with W for stores)
 *	excl	not present: the device @owner uses the frame, which is the page's own, alone for a time; W is set
 *
 *	cing	being cleaned: it was not W since its contents began to be written to the store; clean when that is done
 *	cln	clean: present, not W, and the region's store has the same contents (pages of the backing file: swap.h)
 *	swap	not present: the contents are in the slot of the backing file, and the entry holds one count of it
 *	bad	not present: the frame was bad, nobody may use the page until it is dropped
 *
 * P, busy, dev, excl, swap and bad exclude each other; P, dev and excl come with a frame, a reference and a map.
 *
 * What the view shows is never more than the entry says; it may be less, and is filled on demand.
 */
#ifndef UMBRA_MMU_HOST_HPTE_H
#define UMBRA_MMU_HOST_HPTE_H

#include "mmu/base/sync.h"
#include "mmu/host/hostmm.h"
#include "mmu/host/rmap.h"
#include "mmu/host/trap.h"
#include "mmu/host/view.h"

#define HPTE_PRESENT	 (1UL << 0)
#define HPTE_WRITE	 (1UL << 1)
#define HPTE_BUSY	 (1UL << 2)
#define HPTE_VIEW	 (1UL << 3)
#define HPTE_NONE	 (1UL << 4)
#define HPTE_DEVICE	 (1UL << 5)
#define HPTE_EXCL	 (1UL << 6)
#define HPTE_CLEAN	 (1UL << 7)
#define HPTE_SWAP	 (1UL << 8)
#define HPTE_POISON	 (1UL << 9)
#define HPTE_CLEANING	 (1UL << 10)
#define HPTE_FN_MASK	 0x000ffffffffff000UL

#define HPTE_OWNER_SHIFT 52
#define HPTE_OWNERS	 64u /* owner 0 is nobody */
#define HPTE_AWAY	 (HPTE_DEVICE | HPTE_EXCL)
#define HPTE_SOFT	 (HPTE_SWAP | HPTE_POISON)

/* Entries are locked by chunks of 512 pages, as the kernel locks page tables; chunks share locks by hash. */
#define CHUNK_PAGES	 512UL
#define CHUNK_LOCKS	 64u

struct chunk_lock {
	struct lock lock;
	struct cond page_in_done; /* some busy entry under this lock no longer is */
};

/*
 * A fork shares chunks. The *lender* has the entries, with their references, maps and links; those of a *sharer* are
 * empty. A sharer copies the chunk before anybody looks at it (region_chunk(), hpte_peek()); a lender that is to change
 * what was inherited gives it to one of the sharers first, who lends it to the others (hpte_set()). While a chunk is
 * lent no entry has W, or is busy or away. Page i of all of them is the same page.
 *
 * Locks used to protect members:
 *	s	rmap->lock; lender and sharers are also read without it: who finds none finds the copies done (acquire)
 *	c	the chunk lock, or rmap->lock while the chunk has a lender
 */
struct hpte_chunk {
	_Atomic(struct region *) lender;  /* [s] NULL: the entries are the region's own */
	_Atomic(struct region *) sharers; /* [s] the first of those that have our entries */
	struct region *next, *prev;	  /* [s] the other sharers of the lender's */
	bool used;			  /* [c] some entry may be other than empty */
	bool writable;			  /* [c] some entry may have W */
	bool shown;			  /* [c] some entry may have "view" */
};

/*
 * Locks used to protect members:
 *	I	immutable after hostmm_map()
 *	m	mmap_lock: read to look, write to change
 *	c	the chunk lock of the page
 *	a	atomic
 */
struct region {
	struct region *next;  /* [m] by address */
	struct hostmm *mm;    /* [I] */
	struct pool *pool;    /* [I] */
	hva_t start, end;     /* [I] the host view, bytes */
	fn_t home;	      /* [I] page i's home frame is home + i */
	unsigned prot;	      /* [I] HOSTMM_PROT_*: of pages that hostmm_protect() has not met */
	unsigned may;	      /* [m] the union of all rights that pages have had */
	uint8_t *prots;	      /* [m] per page: 0, or 1 + its rights; sparse; NULL: all 0 */
	atomic_bool has_away; /* [a] some entry may be dev or excl */
	bool is_private;      /* [m] forked: its pages are never written to its store any more */
	uint64_t limit;	      /* [m] pages from here on are truncated: nobody has rights to them */
	const struct pager_ops *pager; /* [I] NULL: zeros */
	void *pager_ctx;	       /* [I] */
	struct view *view;	       /* [I] */
	enum hostmm_source source;     /* [I] */
	bool audit;		       /* [I] */
	struct trap trap;	       /* source.c's, while attached */
	hva_t forked_from; /* [I] where the parent has this region; 0 without a parent */
	_Atomic(struct ksm_area *) ksm; /* [a] of ksm.c: its pages are merged; NULL: not */
	_Atomic uint64_t *hpte;		/* [c] sparse */
	struct hpte_chunk *chunks;	/* [I] the array */
	struct rmap_region rmap;	/* rmap.c's */
	struct lock store; /* held while pages are written to the store: one after the other */
	_Atomic uint8_t *
		split; /* [c] per chunk: it may not be one large entry though its pages lie in a row; sparse */
	_Atomic uint64_t page_ins, pages_in; /* relaxed counters */
	struct chunk_lock chunk[CHUNK_LOCKS];
};

static inline uint64_t region_pages(const struct region *r)
{
	return (r->end - r->start) >> PAGE_SHIFT;
}

/* The rights to @page: HOSTMM_PROT_*, 0 for nobody. mmap_lock held. */
static inline unsigned region_prot(const struct region *r, uint64_t page)
{
	if (page >= r->limit)
		return 0;
	return r->prots && r->prots[page] ? r->prots[page] - 1u : r->prot;
}

/* Does it tell pages that were only loaded from: is there a place that still has their contents? */
bool region_tells_clean(const struct region *r);

static inline bool hpte_has_frame(uint64_t hpte)
{
	return hpte & (HPTE_PRESENT | HPTE_AWAY);
}

/* Is it present, for everybody? */
static inline bool hpte_is_usable(uint64_t hpte)
{
	return (hpte & (HPTE_PRESENT | HPTE_NONE)) == HPTE_PRESENT;
}

static inline unsigned hpte_owner(uint64_t hpte)
{
	return hpte >> HPTE_OWNER_SHIFT & (HPTE_OWNERS - 1);
}

static inline fn_t hpte_fn(uint64_t hpte)
{
	return (hpte & HPTE_FN_MASK) >> PAGE_SHIFT;
}

static inline struct hpte_chunk *hpte_chunk(struct region *r, uint64_t page)
{
	return &r->chunks[page / CHUNK_PAGES];
}

/* hpte_own - copy the chunk of @page, which may have a lender. mmap_lock held; no lock below rmap->lock. */
void hpte_own(struct region *r, uint64_t page);

/* The lock of the chunk of @page, whose entries are the region's own from now on. mmap_lock held. */
static inline struct chunk_lock *region_chunk(struct region *r, uint64_t page)
{
	/* Acquire: pairs with whoever has made the copy. */
	if (r->forked_from && sync_load_acquire(&hpte_chunk(r, page)->lender))
		hpte_own(r, page);
	return &r->chunk[(page / CHUNK_PAGES) % CHUNK_LOCKS];
}

/* The entry of @page as it is now. mmap_lock held, the chunk lock or not. */
static inline uint64_t hpte_peek(struct region *r, uint64_t page)
{
	if (r->forked_from && sync_load_acquire(&hpte_chunk(r, page)->lender))
		hpte_own(r, page);
	return sync_load(&r->hpte[page]);
}

/* First page after @page's chunk, or @end if that comes first. */
static inline uint64_t chunk_end(uint64_t page, uint64_t end)
{
	return min_u64((page / CHUNK_PAGES + 1) * CHUNK_PAGES, end);
}

/* All of the following: chunk lock of the page (or of all pages, which lie in one chunk) held. */

/*
 * hpte_get - the entry of @page with P set, and W if @write; pages in (together with absent pages that follow, before
 * @ahead_end) or lifts write protection as needed. Drops the chunk lock meanwhile. *@hpte; HPTE_SHARED for a store to
 * a page that shares its frame, HPTE_TAKEN for a page that a device has (cow_get() goes on from there); -EFAULT against
 * the rights to the page; or the errno of page-in.
 */
#define HPTE_SHARED 1
#define HPTE_TAKEN  2
int hpte_get(struct region *r, uint64_t page, uint64_t ahead_end, bool write, uint64_t *hpte);

/*
 * hpte_show - let the host view reach @page and present neighbours as far as their entries say, and wake. 0; HPTE_SHARED
 * when the page shares its frame and can only be shown through the gap, which host threads must not meet; or -errno.
 */
int hpte_show(struct region *r, uint64_t page);

/* hpte_wait_idle - wait until no entry of [page, end) is busy. Drops the chunk lock meanwhile. */
void hpte_wait_idle(struct region *r, uint64_t page, uint64_t end);

/* hpte_hide - take [page, end) out of the host view; entries stay. No thread has a translation on return. */
void hpte_hide(struct region *r, uint64_t page, uint64_t end);

/* hpte_wrprotect - clear W in [page, end) and in the view. Returns how many entries had it. */
uint64_t hpte_wrprotect(struct region *r, uint64_t page, uint64_t end);

/* hpte_protect - let [page, end) follow the rights to them, which have changed (region_prot()). Inside a bracket, if some
 * lose rights. */
void hpte_protect(struct region *r, uint64_t page, uint64_t end);

/* hpte_clear - hide [page, end), clear the entries, tell TLBs, drop the references. None is busy. */
void hpte_clear(struct region *r, uint64_t page, uint64_t end);

/*
 * hpte_take - clear the entry of @page, which has a frame and is hidden; its old frame and the reference on it are the
 * caller's. hpte_give - let the page, which has just been taken, have @fn and the caller's reference on it. Between
 * the two the chunk lock stays held, and subscribers are told. hpte_take_empty - take a page that is absent and not busy.
 * hpte_drop_taken - let a page that has just been taken be absent.
 * hpte_give_device - give it to the device @owner alone. hpte_make_writable - let a device's page be stored to.
 */
fn_t hpte_take(struct region *r, uint64_t page);
void hpte_take_empty(struct region *r, uint64_t page);
void hpte_drop_taken(struct region *r, uint64_t page);
void hpte_give(struct region *r, uint64_t page, fn_t fn, bool writable);
void hpte_make_writable(struct region *r, uint64_t page);
void hpte_give_device(struct region *r, uint64_t page, fn_t fn, bool writable, unsigned owner);

/*
 * hpte_lend - let device @owner alone use the frame of @page, which has W and is hidden. hpte_reclaim - let all use it
 * again. Inside a bracket.
 */
void hpte_lend(struct region *r, uint64_t page, unsigned owner);
void hpte_reclaim(struct region *r, uint64_t page);

/* hpte_spoil - somebody may have changed what [page, end) contain: no store has the same any more. */
void hpte_spoil(struct region *r, uint64_t page, uint64_t end);

/* hpte_tell_tlbs - what has no tables of its own forgets [page, end). Inside the caller's bracket. */
void hpte_tell_tlbs(struct region *r, uint64_t page, uint64_t end);

/* hpte_share - let @page, which is empty, have frame @fn, which others have; takes a reference and a map of its own. */
void hpte_share(struct region *r, uint64_t page, fn_t fn);

/*
 * hpte_is_stored_to - may the view show a page of the chunk [page, end) for stores? @r's mmap_lock held for writing: that stays so.
 * hpte_fork_protect - clear W in the chunk [page, end), and tell nobody: the caller does, for all chunks at once. None is busy, none
 * is a device's, and the view shows none for stores.
 * hpte_fork - let @to, which nobody knows, share all chunks of @from that have entries; none has W. @from's mmap_lock held
 * for writing, no chunk lock.
 * hpte_unshare - nobody but @r has its entries of the chunk of @page any more. Chunk lock held, or nobody finds @r.
 * hpte_forget - if the chunk of @page has a lender, let it be empty, and the region's own; else false. No chunk lock held.
 */
bool hpte_is_stored_to(struct region *r, uint64_t page, uint64_t end);
void hpte_fork_protect(struct region *r, uint64_t page, uint64_t end);
void hpte_fork(struct region *to, struct region *from);
void hpte_unshare(struct region *r, uint64_t page);
bool hpte_forget(struct region *r, uint64_t page);

/*
 * Entries without a frame that are not empty (HPTE_SOFT). hpte_give_soft - let the page, which has just been taken or is empty,
 * have @entry and the caller's count of its slot. hpte_take_soft - the other way round; the page is empty. hpte_drop_soft -
 * empty it, and drop the count.
 * hpte_give_clean - hpte_give(), without W, of what the region's store gave. hpte_begin_clean - the contents of the page, which
 * has no W, are about to be written to the store. hpte_end_clean - they have been, or not: it is clean if nobody could store since.
 * hpte_swap_in - hpte_get() of a page that is HPTE_SWAP, with those that follow before @end and in the file. Drops the chunk lock
 * meanwhile. 0, -ENOSPC, -ENOMEM, or the errno of the file: the page is as it was.
 */
void hpte_give_soft(struct region *r, uint64_t page, uint64_t entry);
uint64_t hpte_take_soft(struct region *r, uint64_t page);
void hpte_drop_soft(struct region *r, uint64_t page);
void hpte_give_clean(struct region *r, uint64_t page, fn_t fn);
void hpte_begin_clean(struct region *r, uint64_t page);
void hpte_end_clean(struct region *r, uint64_t page, bool written);
int hpte_swap_in(struct region *r, uint64_t page, uint64_t end, bool write);

/*
 * For the files hpte*.c alone. hpte_set - the one writer of entries: checks the transition, unshares the chunk, counts maps, tells the
 * linter. hpte_store - no more than the last, for who has done the rest in bulk.
 */
void hpte_set(struct region *r, uint64_t page, uint64_t new);
void hpte_store(struct region *r, uint64_t page, uint64_t old, uint64_t new);

static inline uint64_t hpte_read(struct region *r, uint64_t page)
{
	return sync_load(&r->hpte[page]);
}

/* The first region that has the entries of @r's chunk of @page, too. None: that stays so (mmap_lock held). */
static inline struct region *hpte_sharers(struct region *r, uint64_t page)
{
	return sync_load_acquire(&hpte_chunk(r, page)->sharers);
}

/* hpte_is_shared - has another page the frame of @page, which is present? If not, that stays so. */
bool hpte_is_shared(struct region *r, uint64_t page);

#endif
