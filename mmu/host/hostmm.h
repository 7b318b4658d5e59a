/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The host mm: the primary MMU. An address space of regions; one hpte per page says which frame it has.
 * Owns regions, hptes, host views and their fault threads. The embedder and shadow/ call, from any thread unless said.
 * Every operation that takes something away brackets it with mmu_notifier_invalidate_range_start/end. Knows no shadow.
 */
#ifndef UMBRA_MMU_HOST_HOSTMM_H
#define UMBRA_MMU_HOST_HOSTMM_H

#include <stddef.h>

#include "mmu/host/pool.h"
#include "mmu/notify/notifier.h"

struct hostmm;

#define HOSTMM_PROT_READ  (1u << 0)
#define HOSTMM_PROT_WRITE (1u << 1)

/* Where the pages of a region come from when nothing holds them. */
struct pager_ops {
	/*
	 * required. Write @npages pages from region page @page on to @dst, whole. May sleep. No lock that an operation
	 * on the region needs is held but mmap_lock for reading; the pages belong to the caller alone.
	 * 0 or -errno (-EIO: the store cannot give them), which every access that needs them gets; -EAGAIN and -ENXIO as -EIO: it
	 * is not asked again for them.
	 */
	int (*fill)(void *ctx, uint64_t page, void *dst, uint64_t npages);
	/*
	 * optional. Keep what @npages pages from region page @page on contain, so that fill gives it from now on. What is at @src
	 * may change meanwhile, and is then handed over again. May sleep; context as of fill. 0 or -errno: nothing is lost, the
	 * pages are dirty still.
	 */
	int (*writeback)(void *ctx, uint64_t page, const void *src, uint64_t npages);
};

/*
 * What tells that a host thread touches a page that the view does not show, or not for stores: docs/notifier-sources.md.
 *
 *	UFFD	a blocking userfaultfd. System calls on region memory wait like loads and stores do
 *	SIGBUS	a userfaultfd with the SIGBUS feature: the thread resolves its own fault, and nobody is woken
 *	MPROTECT	the rights of VMAs, and SIGSEGV: the same without userfaultfd, so without any privilege
 *
 * In the last two a system call on a page that is not shown fails with EFAULT: hostmm_prefault() first. A fault that cannot
 * be resolved is the thread's own SIGSEGV or SIGBUS, where UFFD shuts the region.
 */
enum hostmm_source { HOSTMM_SOURCE_UFFD, HOSTMM_SOURCE_SIGBUS, HOSTMM_SOURCE_MPROTECT };
#define HOSTMM_SOURCES 3u

struct hostmm_opts {
	unsigned fault_threads; /* that resolve faults of host threads (UFFD); at least 1 */
	enum hostmm_source
		source; /* of hostmm_map() and of a fork's child without one of its own */
	bool audit; /* of hostmm_map(): regions that system calls on their host view are followed to */
	/*
	 * optional. A fault at @hva cannot be resolved, and the region is shut afterwards (view_shut()); or a fault thread died
	 * (@hva is 0), and all are. What fails there since is not told again. UFFD only.
	 */
	void (*fatal)(void *ctx, hva_t hva, int error);
	void *fatal_ctx;
};

struct hostmm_stats {
	uint64_t view_faults, page_ins, pages_in, discards, wrprotects, migrates, zaps;
	uint64_t raw_removes, raw_unmaps, raw_remaps, raw_forks; /* system calls by others */
	uint64_t raw_overflows; /* that there was no room to note, so that all was looked at */
	uint64_t raw_failures;	/* moves that could not be followed: what was moved is closed */
};

/*
 * hostmm_create - an empty address space on @pool, which outlives it.
 * 0, -EINVAL for no such source, MPROTECT with audit, or no threads, -ENOMEM; what the source needs, -EPERM/-ENOSYS/-EOPNOTSUPP of uffd_open()
 * or the errno of pthread_create.
 */
int hostmm_create(struct hostmm **out, struct pool *pool, const struct hostmm_opts *opts);
/*
 * hostmm_destroy - unmap everything. No subscriber is left (bug), no thread inside a region, and none in a call or before one, but
 *	with a reference. Waits for references. Nothing held that who has one may need.
 * hostmm_get, hostmm_put - a reference on @mm, which is not being destroyed yet. Calls on an mm that is find no region (-EINVAL,
 *	-EFAULT). Row M27. Kernel: mmget(), mmput().
 */
void hostmm_destroy(struct hostmm *mm);
void hostmm_get(struct hostmm *mm);
void hostmm_put(struct hostmm *mm);

struct mmu_notifier_subscriptions *hostmm_subscriptions(struct hostmm *mm);
/*
 * hostmm_subscribe - mmu_notifier_register() while no bracket is open, so that @mn sees each one whole.
 * Takes mmap_lock for writing. 0, -EINVAL without ops. Undone by mmu_notifier_unregister().
 */
int hostmm_subscribe(struct hostmm *mm, struct mmu_notifier *mn);
struct pool *hostmm_pool(struct hostmm *mm);
void hostmm_get_stats(struct hostmm *mm, struct hostmm_stats *stats);

/*
 * hostmm_map - add a region of @npages. *@hva is the real address at which threads of this process may load and store.
 * @pager NULL: pages start as zeros. 0, -EINVAL, -ENOSPC (pool too small), -ENOMEM. Takes mmap_lock for writing.
 */
int hostmm_map(struct hostmm *mm, uint64_t npages, unsigned prot, const struct pager_ops *pager,
	       void *pager_ctx, hva_t *hva);

/*
 * hostmm_map_source - the same with a source of its own, for this region, and an audit or not. Also what they need, as
 *	hostmm_create().
 * hostmm_source_of - the source of the region with @hva inside. 0, -EFAULT.
 */
int hostmm_map_source(struct hostmm *mm, uint64_t npages, unsigned prot,
		      const struct pager_ops *pager, void *pager_ctx, enum hostmm_source source,
		      bool audit, hva_t *hva);
int hostmm_source_of(struct hostmm *mm, hva_t hva, enum hostmm_source *source);

/*
 * Audit: with it, system calls on the host view of a region by code that knows nothing of umbra are followed, after the fact and
 * always memory-safe: docs/notifier-sources.md says what becomes of the pages. A call of umbra's own on the view then waits for a
 * fault thread, too, and costs about three times as much. Needs UFFD or SIGBUS.
 *
 * A region whose last page others have unmapped or moved away is gone: hostmm_unmap() says -EINVAL. What they have moved is
 * a region of its own where it is now.
 *
 * hostmm_audit_wait - wait until what others have done to regions with an audit by now has been followed. Nothing that an operation
 * on a region needs is held.
 */
void hostmm_audit_wait(struct hostmm *mm);

/*
 * hostmm_prefault - show the pages of [start, end), page aligned, in the host view, for stores if @write: a system call may
 * use them now, as long as nothing changes them. Kernel: MADV_POPULATE_READ, MADV_POPULATE_WRITE.
 * 0, -EINVAL, -EFAULT (no region, no right), the errno of page-in; pages before that one are shown.
 */
int hostmm_prefault(struct hostmm *mm, hva_t start, hva_t end, bool write);

/* hostmm_unmap - remove the region at @hva; bracketed as UNMAP. 0 or -EINVAL if no region starts there. */
int hostmm_unmap(struct hostmm *mm, hva_t hva);

/*
 * Changes of [start, end), page aligned and inside one region, else -EINVAL. Take mmap_lock for reading, so they run
 * beside each other and beside faults. Not from a notifier callback.
 *
 * hostmm_discard - drop contents: the next access finds what the pager gives (CLEAR). Kernel: MADV_DONTNEED.
 * hostmm_zap - drop translations, keep contents (CLEAR). Kernel: try_to_unmap() of a page that stays.
 * hostmm_wrprotect - the next store to each page faults (PROTECTION_PAGE), or is taken for done when a host thread
 *	reads a page that has moved, or when sharing is broken for pages ahead (hostmm_actors.h): never missed, sometimes early. Kernel: page_mkclean().
 * hostmm_migrate - move contents to frames of no region, or home again. CLEAR; CHANGE if nobody may write any page of
 *	the range, so that secondaries can follow by change_pte and keep their readers. Pages not present stay so;
 *	one that cannot go home (its home frame is still referenced) stays. -ENOSPC when the pool has no frame left:
 *	pages before that one have moved. Kernel: migrate_pages().
 */
int hostmm_discard(struct hostmm *mm, hva_t start, hva_t end);
int hostmm_zap(struct hostmm *mm, hva_t start, hva_t end);
int hostmm_wrprotect(struct hostmm *mm, hva_t start, hva_t end);
enum hostmm_migrate_to { HOSTMM_MIGRATE_AWAY, HOSTMM_MIGRATE_HOME };
int hostmm_migrate(struct hostmm *mm, hva_t start, hva_t end, enum hostmm_migrate_to to);

/*
 * hostmm_bring_home - let the page at @hva (page aligned) be in its home frame, where it costs no view a VMA; pages that have that frame
 * get copies, and so does the sharing of a service end. For who is told -ENOMEM by a view. Takes the mmap_lock of one mm after
 * another, for reading. 0, also for a page that is not present; -EINVAL; -EFAULT no region; -ENOSPC; -ENOMEM, also if
 * somebody keeps a reference on the home frame.
 */
int hostmm_bring_home(struct hostmm *mm, hva_t hva);

/*
 * hostmm_protect - let the pages of [start, end) (page aligned, in one region) have the rights @prot: HOSTMM_PROT_READ with
 * or without _WRITE, or 0 for none; also more than hostmm_map() gave. PROTECTION_VMA if some page loses a right; giving
 * rights is not told. Without a right an access gets -EFAULT here and by hostmm_gup(), SIGSEGV in the host view. Contents
 * stay. Takes mmap_lock for writing. 0, -EINVAL, -ENOMEM (out of VMAs or memory, or others have unmapped a part): nothing has
 * changed. Kernel: mprotect_fixup().
 */
int hostmm_protect(struct hostmm *mm, hva_t start, hva_t end, unsigned prot);

/*
 * hostmm_move - let the pages at @to and after have the contents of [start, end), which has none afterwards: the pager's, or
 * zeros. Page aligned, each in one region, not overlapping; no page at @to is truncated, or unmapped by others. What was at @to is lost (UNMAP),
 * then pages move with their frames (UNMAP over [start, end)), under the rights that @to has. Pages of devices come back
 * first. Takes mmap_lock for writing; TLBs are flushed before it is dropped (M22). 0, -EINVAL, or -ENOSPC, -ENOMEM when
 * a device's page cannot come back: nothing has moved. Kernel: mremap(MREMAP_FIXED | MREMAP_DONTUNMAP).
 */
int hostmm_move(struct hostmm *mm, hva_t start, hva_t end, hva_t to);

/*
 * hostmm_truncate - let the region at @hva have @npages pages, at most those that it was mapped with, and at least none.
 * Pages beyond lose their contents (CLEAR), and whoever accesses them gets -EFAULT, in the host view SIGSEGV (a file's
 * mapping would give SIGBUS). Pages that come back are new: the pager's contents, or zeros. Takes mmap_lock for writing,
 * so that shrinking and extending are one after the other (A28). 0, -EINVAL, -ENOMEM: nothing has changed.
 * Kernel: truncate_setsize(), truncate_pagecache().
 */
int hostmm_truncate(struct hostmm *mm, hva_t hva, uint64_t npages);

/*
 * hostmm_read, hostmm_write - copy through the direct map, atomically against the changes above page by page.
 * Any alignment; one region. A store of up to 8 aligned bytes is single-copy atomic. 0, -EFAULT outside regions or
 * against their rights, or the pager's errno.
 */
int hostmm_read(struct hostmm *mm, hva_t hva, void *buf, size_t len);
int hostmm_write(struct hostmm *mm, hva_t hva, const void *buf, size_t len);

/* A page as gup found it. fn is FN_NONE where the host has none (now). */
struct gup_page {
	fn_t fn;
	bool writable; /* a store needs no fault of the primary */
};

/*
 * hostmm_gup - get_user_pages: the frames of @n pages from @hva on (page aligned), with a reference each.
 * The page at @hva + (@must << PAGE_SHIFT) is brought in if absent, and made writable if @write; so are absent pages
 * up to @ahead pages after it, or all @n if that is HOSTMM_GUP_FILL. Others are reported only if present. Pages beyond
 * the region are FN_NONE.
 * If a device has the page that must be, it is brought back first (hostmm_device.h); others stay there.
 * May sleep (page-in). What it returns is a snapshot: the caller retries by sequence before it installs
 * (rows A19, A32), and drops the references with hostmm_put_pages().
 * 0; -EFAULT: no such page or no right to it; the pager's errno; -ENOMEM/-ENOSPC.
 */
#define HOSTMM_GUP_FILL UINT64_MAX
int hostmm_gup(struct hostmm *mm, hva_t hva, uint64_t n, uint64_t must, uint64_t ahead, bool write,
	       struct gup_page *out);
/*
 * hostmm_gup_guarded - the same for who subscribes to @mm, and has read the sequence before: of the pages around only what they are is
 * told, as by hostmm_huge() and for the same reason. The page that must be has a reference: hostmm_put_pages(mm, &out[must], 1).
 * Kernel: hmm_range_fault(); kvm_follow_pfn::guarded_by_mmu_notifier.
 */
int hostmm_gup_guarded(struct hostmm *mm, hva_t hva, uint64_t n, uint64_t must, uint64_t ahead,
		       bool write, struct gup_page *out);
void hostmm_put_pages(struct hostmm *mm, const struct gup_page *pages, uint64_t n);

/*
 * hostmm_home - the home frame of the page at @hva, if [hva, hva + (n << PAGE_SHIFT)) lies in one region.
 * 0 and *@home and the region's *@prot, or -EFAULT. For a secondary that lays out a linear window (slot_add).
 */
int hostmm_home(struct hostmm *mm, hva_t hva, uint64_t n, fn_t *home, unsigned *prot);

/*
 * Large pages: HOSTMM_LARGE pages from a multiple of that on (in the region, and so in its view and its home frames).
 *
 * hostmm_collapse - make the pages at @hva a large one: bring in those that are absent, move all to their home frames,
 *	with equal rights (writable if one was: never a missed store, sometimes an early one). One CLEAR bracket over
 *	all of them, in which nothing can fail. Takes mmap_lock for writing. 0; -EINVAL (not such a place, or pages with
 *	different rights); -EFAULT (no rights); -EAGAIN (a home frame is shared, or somebody still has it, or a page has gone
 *	again); the pager's errno, -ENOMEM, -ENOSPC: then contents and rights are as before. Row A27. Kernel: collapse_huge_page().
 * hostmm_split_huge - let hostmm_huge() say no for them until they are collapsed again; contents, frames and rights stay.
 *	CLEAR. Secondary TLBs are told before the pages count as small, or, with HOSTMM_SPLIT_LATE, when they do:
 *	what a large entry reaches is the same (A2). Takes mmap_lock for reading. 0, -EINVAL. Kernel: split_huge_pmd().
 * hostmm_map_zero - let the absent pages of [start, end) have frames of zeros that all share (pool_zero_run()), read-only; a
 *	store to one gives it a frame of its own, with a CLEAR bracket over that page (A3). A whole block of them is a
 *	large page. Giving is not told. Takes mmap_lock for reading. 0; -EINVAL, also for a region with a pager;
 *	-EFAULT for pages without rights; -ENOSPC, -ENOMEM. Kernel: set_huge_zero_folio().
 */
#define HOSTMM_LARGE POOL_LARGE
int hostmm_collapse(struct hostmm *mm, hva_t hva);
enum hostmm_split { HOSTMM_SPLIT_LOCKED, HOSTMM_SPLIT_LATE };
int hostmm_split_huge(struct hostmm *mm, hva_t hva, enum hostmm_split when);
int hostmm_map_zero(struct hostmm *mm, hva_t start, hva_t end);

/*
 * hostmm_huge - may the @n pages from @hva on (page aligned, @n > 0) be one large entry? All in one region, present, of
 * consecutive frames, with equal rights. *@first is the first page. Takes no reference and no chunk lock: like a page of
 * hostmm_gup() the answer is good only if the sequence, read before the call, still holds when the caller installs.
 * Whether hva, gfn and frame are aligned is the caller's business. mmap_lock for reading; false on any doubt. Row A7.
 * Kernel: host_pfn_mapping_level().
 */
bool hostmm_huge(struct hostmm *mm, hva_t hva, uint64_t n, struct gup_page *first);

/* hostmm_peek - the hpte of a page, without faulting, for the checker and tests. False: none, or no region. */
bool hostmm_peek(struct hostmm *mm, hva_t hva, struct gup_page *page);

#endif
