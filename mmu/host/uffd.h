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

#include "mmu/host/uffd_compat.h"

struct uffd {
	int fd;
	uint64_t features;    /* what the kernel offers */
	bool has_continue_wp; /* UFFDIO_CONTINUE can install write-protected */
	bool is_retried;      /* who is refused in the gap tries again: vCPUs */
	bool is_sigbus;	      /* who faults gets SIGBUS, nobody blocks and nothing is read */
	_Atomic uint64_t
		repoints; /* changes of VMAs that its views have made, before and after each */
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

/*
 * uffd_open - open a userfaultfd that blocks faulting threads (also in the kernel: KVM_RUN, read(2)).
 * By system call, else by /dev/userfaultfd. 0, -EPERM without the privilege, -ENOSYS without userfaultfd,
 * -EOPNOTSUPP without a needed feature, or another errno.
 */
int uffd_open(struct uffd *u);
/* uffd_open_sigbus - one whose faulting threads get SIGBUS. As uffd_open(). */
int uffd_open_sigbus(struct uffd *u);
void uffd_close(struct uffd *u);

/*
 * uffd_read_fault - wait for one page fault, or until @stop_fd is readable.
 * 1 and the fault in @addr (page aligned) and @write; 0 when told to stop; -errno when the descriptor is dead.
 * Any number of threads may wait.
 */
int uffd_read_fault(struct uffd *u, int stop_fd, uint64_t *addr, bool *write);

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
int uffd_wake(struct uffd *u, void *addr, size_t len);
/* uffd_poison - let accesses to the pages, which show nothing, end in SIGBUS, and wake who waits. -EINVAL before Linux 6.6. */
int uffd_poison(struct uffd *u, void *addr, size_t len);

#endif
