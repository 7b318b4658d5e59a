/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One userfaultfd: opened with the features umbra needs, its ioctls with partial progress made whole.
 * Owns the descriptor. view and the fault threads call; any thread may. Knows no page tables.
 */
#ifndef UMBRA_MMU_HOST_UFFD_H
#define UMBRA_MMU_HOST_UFFD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mmu/base/sync.h"
#include "mmu/host/uffd_compat.h"

struct audit;

struct uffd {
	int fd;
	int nothing;	      /* with events: never readable, for uffd_abandon(); else -1 */
	uint64_t features;    /* what the kernel offers */
	bool has_continue_wp; /* UFFDIO_CONTINUE can install write-protected */
	bool is_retried;      /* who is refused in the gap tries again: vCPUs */
	bool is_sigbus;	      /* who faults gets SIGBUS, nobody blocks */
	bool has_events;      /* who changes VMAs under it waits until that has been read */
	bool has_fork;	      /* ... who forks, too */
	_Atomic uint64_t
		repoints; /* changes of VMAs that its views have made, before and after each */
	/*
	 * Held from before a message is read until it has been noted: messages are noted in the order in which they were read.
	 * A leaf, and never held around a call that waits for an event to be read.
	 */
	struct lock reading;
	struct audit *audit; /* who is told of events; NULL without */
};

/* uffd_repoints - of all views together, also of those that are gone: never comes back to an old value. */
static inline uint64_t uffd_repoints(const struct uffd *u)
{
	return atomic_load_explicit(&u->repoints, memory_order_acquire);
}

/* What every view needs; uffd_open() fails without one of these. */
#define UFFD_FEATURES_NEEDED                                                                      \
	(UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MINOR_SHMEM | UFFD_FEATURE_PAGEFAULT_FLAG_WP | \
	 UFFD_FEATURE_WP_HUGETLBFS_SHMEM)

#define UFFD_EVENTS \
	(UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_EVENT_UNMAP | UFFD_FEATURE_EVENT_REMAP)

/*
 * uffd_open - open a userfaultfd that blocks faulting threads (also in the kernel: KVM_RUN, read(2)); with UFFD_SIGBUS they get
 * SIGBUS instead; with UFFD_AUDIT, who discards, unmaps, moves or (with CAP_SYS_PTRACE) forks what is registered waits until
 * that has been read. By system call, else by /dev/userfaultfd. 0, -EPERM without the privilege, -ENOSYS without userfaultfd,
 * -EOPNOTSUPP without a needed feature or where uffd_is_changing() cannot be told, or another errno; then nothing is left open.
 */
#define UFFD_SIGBUS (1u << 0)
#define UFFD_AUDIT  (1u << 1)
int uffd_open(struct uffd *u, unsigned how);
void uffd_close(struct uffd *u);
/* uffd_new - a descriptor that is not set up yet, with @flags of userfaultfd(2), by either way. It, or -errno. */
int uffd_new(int flags);
/*
 * uffd_act_old - descriptors that are opened from now on do without what Linux 6.1 has not: WP_UNPOPULATED, CONTINUE that
 * protects, POISON. For tests.
 */
void uffd_act_old(bool old);
/* uffd_abandon - nobody reads it any more: who waits for that goes on, and nothing is watched. Other threads may still use @u. */
void uffd_abandon(struct uffd *u);

struct uffd_fault {
	uint64_t addr; /* page aligned */
	bool write;
	uint32_t tid; /* who waits, by sync_tid() */
};

/*
 * uffd_wait - with events: until there is something to read (1), or @stop_fd is readable (0); -errno when the descriptor is dead. Any
 * number of threads may wait.
 * uffd_read - one message. 1, -errno, or 0: not this time. Without events it waits, as many threads as like; with them another thread may
 * have been faster, and reading is held. Faults come before events.
 * uffd_is_fault - the fault of @msg, if it is one.
 */
int uffd_wait(struct uffd *u, int stop_fd);
int uffd_read(struct uffd *u, struct uffd_msg *msg);
bool uffd_is_fault(const struct uffd_msg *msg, struct uffd_fault *fault);

/*
 * uffd_is_changing - is a change of VMAs under way whose event has not been read? Undocumented, so tried out by uffd_open():
 * while it is, a WRITEPROTECT says EAGAIN before it looks at what it is asked for.
 * uffd_try_watches - is there a VMA at the page at @addr that is watched by @u? 0 if so, and the page has lost the right to be
 * stored to; -ENOENT; -EAGAIN: a change is under way. Does not wait.
 */
bool uffd_is_changing(struct uffd *u);
int uffd_try_watches(struct uffd *u, void *addr);

/* All take page-aligned byte ranges. -EAGAIN: the layout is changing under the call; nothing more was done. */
int uffd_register(struct uffd *u, void *addr, size_t len);
/*
 * uffd_continue - map pages whose frames exist, without waking. @wp: write-protected (needs has_continue_wp).
 * Returns bytes mapped from @addr on, short when it met a mapped page; -EEXIST when the first page is mapped;
 * -EFAULT when its frame does not exist; other -errno.
 */
int64_t uffd_continue(struct uffd *u, void *addr, size_t len, bool wp);
/* uffd_writeprotect - set or drop write protection, without waking. */
int uffd_writeprotect(struct uffd *u, void *addr, size_t len, bool on);
/* uffd_wake - let who waits on the pages try again. Tried until it is done: nobody else would wake them. */
void uffd_wake(struct uffd *u, void *addr, size_t len);
/*
 * uffd_poison - let accesses to the page at @addr, which shows nothing, end in SIGBUS, and wake who waits. After an error nobody has been
 * woken: -EINVAL before Linux 6.6; -EEXIST: it is poisoned already, or the system remembers that it was write-protected.
 */
int uffd_poison(struct uffd *u, void *addr);

#endif
