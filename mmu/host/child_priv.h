/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The inside of struct hostmm_children, shared by child*.c only: child.c stands around fork(3), child_own.c runs in the child,
 * child_serve.c is the thread in the parent.
 * Owns nothing of its own. Knows no more than child.h.
 */
#ifndef UMBRA_MMU_HOST_CHILD_PRIV_H
#define UMBRA_MMU_HOST_CHILD_PRIV_H

#include "mmu/host/child.h"
#include "mmu/host/hostmm_priv.h"

/*
 * Locks used to protect members:
 *	I	immutable once its thread runs
 *	c	children_lock
 *
 * The parent keeps both ends of the pipe. When it is killed, its write end goes, and who has the read end open still, the child, gets
 * the signal that he has asked for; not one that has closed it by execve(2), since files of a process that ends are let go in falling
 * order of their descriptors, and so the parent's own read end, the higher, before.
 */
struct child {
	struct child *next;		  /* [c] */
	struct hostmm_children *children; /* [I] */
	struct hostmm *snapshot;	  /* [I] */
	int socket, childs_socket;	  /* [I] the second is closed in the parent after fork(2) */
	int pipe[2];			  /* [I] */
	int uffd;			  /* [c] of the child's memory; -1 */
	bool is_done;			  /* [c] its thread ends */
	pthread_t thread;		  /* [I] known to the others once it is in the list */
};

struct hostmm_children {
	struct hostmm_children *next; /* [c] by the address of mm */
	struct hostmm *mm;	      /* [I] */
	int stop_fd;		      /* [I] readable: give all the rest */
	struct child *list;	      /* [c] */
	bool is_ending;		      /* [c] no more children */
	struct child *new; /* [c] while the process forks; in a child: what it is itself */
	int error;	   /* [c] ... why it gets nothing */
	struct hostmm_children_stats stats; /* [c] */
	_Atomic uint64_t pages;		    /* [a] of stats */
};

/* children_lock - of all, held from before fork(2) until after it, in both processes. A leaf but for then. */
extern struct lock children_lock;

/* What the child says: with the userfaultfd if there is no error. */
struct child_hello {
	int error;
};

/* child_close - all descriptors. Of a child that is served only with children_lock held. */
void child_close(struct child *c);

/*
 * child_own_take - in the child: let what the views of @mm are be copies of its own, served by who has the other ends of @c; nothing with an
 * @error, which the parent knows; then @c may be NULL. Makes system calls only. mmap_lock of @mm was taken by this thread when it was the parent's.
 */
void child_own_take(struct child *c, struct hostmm *mm, int error);

/* child_serve - the thread's main, of struct child *. Returns when the child is gone, or has all that there is. */
void *child_serve(void *arg);

#endif
