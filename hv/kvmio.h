/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ioctls of /dev/kvm, one function each: -errno instead of errno, restarted where that is due.
 * Owns nothing; descriptors and mappings are the caller's.
 * Called by hv/vm.c, hv/vcpu.c, hv/cpu.c and hv/doctor_kvm.c.
 * Does not know machines or guests.
 */
#ifndef UMBRA_HV_KVMIO_H
#define UMBRA_HV_KVMIO_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hv/why.h"

/* Newer than the kernel headers of Debian 12. */
#ifndef KVM_EXIT_MEMORY_FAULT
#define KVM_EXIT_MEMORY_FAULT 39
#endif

/* A capability that umbra cannot do without, and what it is for. */
struct kvmio_need {
	int cap;
	const char *name;
	const char *what_for;
};

/* Ends with an entry whose name is NULL. */
extern const struct kvmio_need kvmio_needs[];

/* kvmio_advice - how to come to a /dev/kvm on a processor with these features. */
const char *kvmio_advice(bool vmx, bool svm, bool hypervisor);

/*
 * Open /dev/kvm, check its API version and kvmio_needs[].
 * Return the descriptor (close-on-exec), or -errno with the reason in @w.
 */
int kvmio_open(struct why *w);

/* Return what KVM says about capability @cap (0: absent), or -errno. @fd: /dev/kvm or a VM. */
int kvmio_check(int fd, int cap);

/* Return a new descriptor (close-on-exec), or -errno. */
int kvmio_create_vm(int kvm);
int kvmio_create_vcpu(int vm, unsigned id);

/* Map the shared page of @vcpu; *@size gets its length, for munmap(). Return 0 or -errno. */
int kvmio_map_run(int kvm, int vcpu, struct kvm_run **run, size_t *size);

/* Put [gpa, gpa + size) into slot @slot at host address @hva; size 0 deletes the slot. */
int kvmio_set_slot(int vm, uint32_t slot, uint32_t flags, uint64_t gpa, uint64_t size, void *hva);

/*
 * Which pages of a slot with KVM_MEM_LOG_DIRTY_PAGES the guest has stored to since the last call: bit n % 64 of word n / 64 is
 * page n. Return 0 or -errno.
 */
int kvmio_get_dirty_log(int vm, uint32_t slot, uint64_t *bitmap);

/* Give @vcpu every CPUID leaf that the host's KVM supports. */
int kvmio_set_host_cpuid(int kvm, int vcpu);

int kvmio_get_regs(int vcpu, struct kvm_regs *regs);
int kvmio_set_regs(int vcpu, const struct kvm_regs *regs);
int kvmio_get_sregs(int vcpu, struct kvm_sregs *sregs);
int kvmio_set_sregs(int vcpu, const struct kvm_sregs *sregs);

/* Run until the next exit. Return 0 or -errno; -EINTR and -EFAULT are the caller's to understand. */
int kvmio_run(int vcpu);

#endif /* UMBRA_HV_KVMIO_H */
