/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Children of fork(3), each with a copy of the host views of one mm as they were at that moment.
 * Owns, per child, a forked host mm and the thread that serves it. The embedder creates one for an mm whose process forks. Knows no
 * shadow.
 *
 * A child has no thread of the library, and its locks are as they were: it may use its copy, but calls nothing in here. Where
 * the parent has a view it has memory of its own, and each page comes from the parent when it is first touched:
 *
 *	parent					child
 *	fork(3): mmap_lock, hostmm_fork()
 *	.					anonymous memory over each view, a userfaultfd on it
 *	mmap_lock is dropped			hands that over, and returns from fork(3)
 *	.					touches a page, and waits
 *	UFFDIO_COPY, and the fork has it no more	goes on
 *
 * So a copy costs what is touched, and the parent copies a page before it stores to it only until the child has its own. Rights are as
 * at the fork. A child of the child has nothing there. clone(2) and vfork(2) run no handlers: docs/notifier-sources.md.
 */
#ifndef UMBRA_MMU_HOST_CHILD_H
#define UMBRA_MMU_HOST_CHILD_H

#include "mmu/host/hostmm.h"

struct hostmm_children;

/*
 * hostmm_children_create - each fork(3) of this process is one of @mm, too, from now on. It takes the mmap_lock for writing, until the
 *	process has forked, with all signals blocked: not with a lock held that comes after it, nor from a notifier callback. It needs what
 *	hostmm_fork() does: room in the pool for as many home frames again, and pages go to no store of a pager's any more.
 *	If something is missing the process forks all the same: the child's accesses are SIGSEGV, and it is counted as failed, unless it could
 *	not even say so. 0, -ENOMEM, the errno of pthread_atfork() or eventfd(2).
 * hostmm_children_destroy - before hostmm_destroy(). Children that still have a copy get the rest of it first; waits for one that is about
 *	to return from fork(3). One that is forked meanwhile is as without it. Not from a handler of pthread_atfork().
 *
 * A child may load, store, discard, unmap and move its copy. A page that cannot be had (-EIO of a pager) is SIGBUS, before Linux 6.6 the
 * child's end.
 *
 * When the parent is killed, exits, or calls execve(2), without hostmm_children_destroy() before, its children are killed (SIGKILL): what they
 * have not got would be zeros. Not those that have called execve(2); and not while somebody who was made by clone(2) has the parent's
 * descriptors open: they wait then.
 */
int hostmm_children_create(struct hostmm_children **out, struct hostmm *mm);
void hostmm_children_destroy(struct hostmm_children *children);

struct hostmm_children_stats {
	uint64_t forks;	 /* children that have had a copy */
	uint64_t failed; /* that have had nothing */
	int error;	 /* of the last of those */
	unsigned alive;	 /* that are served now */
	uint64_t pages;	 /* that children have got */
};
void hostmm_children_get_stats(struct hostmm_children *children,
			       struct hostmm_children_stats *stats);

#endif
