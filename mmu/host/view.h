/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A view: a VA range in which others load and store (host threads, a guest), and which reaches exactly the frames
 * that its owner has let it reach. One linear mapping of home frames as long as pages sit at home (docs/design.md).
 * Owns the VMAs of the range. Its owner (hpte for the host view, window for a guest) decides every entry. Calls may
 * overlap, for one page only those that map or make writable, with one frame. Knows no rights beyond read-only or writable.
 */
#ifndef UMBRA_MMU_HOST_VIEW_H
#define UMBRA_MMU_HOST_VIEW_H

#include "mmu/host/pool.h"
#include "mmu/host/uffd.h"

struct view;

/*
 * view_create - map @npages pages whose home frames start at @home; nothing is reachable yet.
 * Every access blocks its thread until the reader of @u has resolved it and view_wake() was called; or, if @u
 * is_sigbus, gets SIGBUS (rarely SIGSEGV); or, if @u is NULL, SIGSEGV: then the view is kept by the rights of its VMAs.
 * @pool and @u outlive the view. 0 or the errno of mmap or UFFDIO_REGISTER.
 */
int view_create(struct view **out, struct pool *pool, struct uffd *u, uint64_t npages, fn_t home);
/* view_destroy - unmap it all; threads that wait for a page are woken, and fail. */
void view_destroy(struct view *view);

void *view_base(const struct view *view);
uint64_t view_pages(const struct view *view);

/*
 * view_map - let pages [page, page + n) reach frames [fn, fn + n), for writing too or read-only.
 * The pages reach nothing now or these frames already, and the frames exist. Does not wake. 0; -ENOMEM when the process is out of VMAs
 * (vm.max_map_count) or memory; another errno of the system. After an error the pages may or may not be reachable:
 * the caller zaps them before it gives the frames up.
 */
int view_map(struct view *view, uint64_t page, uint64_t n, fn_t fn, bool writable);

/*
 * view_has_gap - would view_map(.., fn, false) of @page pass through a state in which stores fail (docs/design.md, "The
 * gap")? For an owner whose users cannot repeat a store. The caller excludes calls that map the page.
 */
bool view_has_gap(struct view *view, uint64_t page, fn_t fn);

/*
 * view_restore - the system may have taken entries of [page, page + n), which reach [fn, fn + n) with one right, away
 * (swap, a huge page split): map them again, from @page up to the first that is still there. No map, zap or wrprotect
 * of these pages runs. How many were mapped again, or as view_map() for @page.
 */
int view_restore(struct view *view, uint64_t page, uint64_t n, fn_t fn, bool writable);

/*
 * view_make_writable - drop the write protection of pages that view_map() or view_wrprotect() left read-only.
 * view_wrprotect - on return no thread can write the pages; reads go on. Kernel: change_protection() and its flush.
 * view_zap - on return the pages reach nothing, and no thread has a translation left. Kernel: zap_page_range().
 * Pages that the system cannot protect are zapped instead: their next access of any kind faults. A zap that it refuses
 * is not survivable and ends in bug_report().
 */
int view_make_writable(struct view *view, uint64_t page, uint64_t n);
void view_wrprotect(struct view *view, uint64_t page, uint64_t n);
void view_zap(struct view *view, uint64_t page, uint64_t n);

/*
 * view_protect - let accesses to pages [page, page + n) that @access (PROT_READ and PROT_WRITE, or PROT_NONE) does not name
 * fail at once (SIGSEGV, or EFAULT from a system call) instead of being asked for. The pages must not be mapped with more
 * meanwhile. 0, or the errno of mmap or mprotect (-ENOMEM: out of VMAs), and everything as before.
 * Kernel: mprotect().
 */
int view_protect(struct view *view, uint64_t page, uint64_t n, unsigned access);

/*
 * view_poison - let accesses to @page, which reaches nothing, end in SIGBUS until it is zapped. 0; -EINVAL where that cannot be
 * had: Linux before 6.6, or a view without a blocking userfaultfd, whose threads get their signal anyway.
 */
int view_poison(struct view *view, uint64_t page);

/* view_wake - let threads that wait on the pages try again. */
void view_wake(struct view *view, uint64_t page, uint64_t n);

/*
 * view_shut - fail closed: from now on every access to the view fails (SIGSEGV, or EFAULT from a system call), and
 * whoever waits is woken to find that out. For when nobody resolves faults any more.
 */
void view_shut(struct view *view);

/*
 * view_foreign - pages whose VMA now points away from home; each costs a mapping of its own.
 * view_repoints - counts changes of VMAs. view_settle() waits until none is under way, and makes pages that a failed one has
 * left closed ask again (that is a change, too). A thread in the kernel that got EFAULT compares the count from before its attempt: different means try again (docs/design.md, "The gap").
 */
uint64_t view_foreign(const struct view *view);
/*
 * view_limit_foreign - let views show at most @pages of the process away from home, from now on: view_map() of another one whose
 * home frame is free says -ENOMEM, and the owner brings the page home. 0: 3/8 of vm.max_map_count, as such a page may
 * cost two VMAs and others need some.
 */
void view_limit_foreign(uint64_t pages);
uint64_t view_repoints(const struct view *view);
void view_settle(struct view *view);

#endif
