/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The userfaultfd of a child's copy: opened and registered by the child, read and answered by its parent, to whom it is a struct uffd of
 * which there is nothing but the descriptor.
 * Owns nothing. child_own.c and child_serve.c call. Knows no pages but addresses of the child's.
 */
#ifndef UMBRA_MMU_HOST_UFFD_CHILD_H
#define UMBRA_MMU_HOST_UFFD_CHILD_H

#include "mmu/base/addr.h"
#include "mmu/host/uffd.h"

/*
 * uffd_child_open - a descriptor that says what is missing, discarded and moved; who reads it does not block. Makes system calls
 * only. Without the privilege one that stops the child's loads and stores alone: its system calls get EFAULT. It, or -errno.
 * uffd_child_register - [addr, addr + len), anonymous, has nothing yet. 0 or -errno.
 */
int uffd_child_open(void);
int uffd_child_register(int fd, void *addr, size_t len);

/*
 * uffd_child_copy - give the child pages from @addr on what is at @src, and wake who waits. Bytes given, short when it met a page that is
 * there; or -errno: -EEXIST the first is; -EAGAIN it is changing what is where, which is to be read first; -ENOENT nothing is registered there, or not
 * as one VMA; -ESRCH it is gone.
 * uffd_child_zero - the same of one page of zeros.
 */
int64_t uffd_child_copy(struct uffd *u, hva_t addr, const void *src, size_t len);
int64_t uffd_child_zero(struct uffd *u, hva_t addr);
/* uffd_child_unregister - what is missing is zeros from now on, and who waits goes on. 0; -EINVAL: there is other memory; -ENOMEM: it is gone. */
int uffd_child_unregister(struct uffd *u, hva_t addr, size_t len);

#endif
