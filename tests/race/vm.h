/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the kernel has for views, under the explorer: for each page of a shared mapping its frame, its rights and its entry.
 * Owns these, the calls of userfaultfd that change them, and the traps. heap.c tells of mappings, the linker sends ioctl() and
 * the like of the library here, and world.c makes accesses. Knows no hptes.
 *
 * An access takes no time. Whoever takes an entry away has no access by it behind him when his call returns: in the
 * kernel, too, a flush waits until other CPUs have none under way.
 */
#ifndef UMBRA_TESTS_RACE_VM_H
#define UMBRA_TESTS_RACE_VM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* For heap.c: a mapping has come, or is gone; the run is over. */
void vm_mapped(void *addr, size_t len, int prot, int fd, off_t offset);
void vm_unmapped(void *addr, size_t len);
void vm_reset(void);

/*
 * vm_entry - the object to stop at before an access to @addr. vm_frame - the frame that the mapping shows there.
 * vm_access - may the page be used now? A page that userfaultfd does not watch gets an entry by the access itself.
 * vm_fault - what the signal handler of the thread does when it may not: 0, try again; -errno: the thread is killed.
 */
void *vm_entry(const void *addr);
uint64_t vm_frame(const void *addr);
bool vm_access(const void *addr, bool write);
int vm_fault(const void *addr, bool write);

/* vm_is_uffd - is it a descriptor that the kernel does not know? */
bool vm_is_uffd(int fd);

#endif
