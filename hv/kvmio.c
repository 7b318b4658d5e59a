// SPDX-License-Identifier: BSD-2-Clause
#include "hv/kvmio.h"

#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define KVMIO_MAX_CPUID	 256

/* In ecx of leaves 0x80000001 and 1; <cpuid.h> has no names for them. */
#define CPUID_SVM	 (1u << 2)
#define CPUID_HYPERVISOR (1u << 31)
#define CPUID_VMX	 (1u << 5)

const struct kvmio_need kvmio_needs[] = {
	{ KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY",
	  "guest memory at addresses of umbra's choice" },
	{ KVM_CAP_SYNC_MMU, "KVM_CAP_SYNC_MMU", "KVM follows what umbra changes in a window" },
	{ KVM_CAP_EXT_CPUID, "KVM_CAP_EXT_CPUID", "the guest sees the host's CPU features" },
	{ KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT", "a running vCPU can be stopped" },
	{ 0, NULL, NULL },
};

/* Return the non-negative result, or -errno; start again after a signal. */
static int kvmio(int fd, unsigned long request, unsigned long arg)
{
	int ret;

	do {
		ret = ioctl(fd, request, arg);
	} while (ret < 0 && errno == EINTR);
	return ret < 0 ? -errno : ret;
}

const char *kvmio_advice(bool vmx, bool svm, bool hypervisor)
{
	if (vmx)
		return "load its module: modprobe kvm_intel";
	if (svm)
		return "load its module: modprobe kvm_amd";
	if (hypervisor)
		return "this is a virtual machine: have its host allow nested virtualisation";
	return "allow virtualisation in the firmware, then modprobe kvm_intel or kvm_amd";
}

static const char *processor_advice(void)
{
	unsigned eax, ebx, ecx, edx, basic = 0, extended = 0;

	if (__get_cpuid(1, &eax, &ebx, &ecx, &edx))
		basic = ecx;
	if (__get_cpuid(0x80000001, &eax, &ebx, &ecx, &edx))
		extended = ecx;
	return kvmio_advice(basic & CPUID_VMX, extended & CPUID_SVM, basic & CPUID_HYPERVISOR);
}

static const char *open_advice(int err)
{
	switch (err) {
	case EACCES:
	case EPERM:
		return "run as root or join the group kvm";
	case ENOENT:
	case ENODEV:
	case ENXIO:
		return processor_advice();
	case EMFILE:
	case ENFILE:
		return why_advice(-err) + 2; /* without "; " */
	default:
		return "run `umbra doctor`";
	}
}

static int check_needs(int kvm, struct why *w)
{
	int version = kvmio(kvm, KVM_GET_API_VERSION, 0);

	if (version < 0)
		return why_fail(w, -ENODEV,
				"/dev/kvm is not KVM (KVM_GET_API_VERSION: %s): load kvm_intel or "
				"kvm_amd, and remove what stands in its place",
				strerror(-version));
	if (version != KVM_API_VERSION)
		return why_fail(w, -ENOSYS,
				"/dev/kvm speaks API version %d, umbra %d: use a newer kernel",
				version, KVM_API_VERSION);
	for (const struct kvmio_need *need = kvmio_needs; need->name; need++)
		if (kvmio_check(kvm, need->cap) <= 0)
			return why_fail(w, -ENOSYS, "this KVM lacks %s (%s): use a newer kernel",
					need->name, need->what_for);
	return 0;
}

int kvmio_open(struct why *w)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC), err;

	if (fd < 0) {
		err = errno;
		return why_fail(w, -err, "/dev/kvm: %s: %s", strerror(err), open_advice(err));
	}
	err = check_needs(fd, w);
	if (err) {
		close(fd);
		return err;
	}
	return fd;
}

int kvmio_check(int fd, int cap)
{
	return kvmio(fd, KVM_CHECK_EXTENSION, (unsigned long)cap);
}

int kvmio_create_vm(int kvm)
{
	return kvmio(kvm, KVM_CREATE_VM, 0);
}

int kvmio_create_vcpu(int vm, unsigned id)
{
	return kvmio(vm, KVM_CREATE_VCPU, id);
}

int kvmio_map_run(int kvm, int vcpu, struct kvm_run **run, size_t *size)
{
	int len = kvmio(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	void *at;

	if (len < 0)
		return len;
	if ((size_t)len < sizeof(struct kvm_run))
		return -EPROTO;
	at = mmap(NULL, (size_t)len, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	if (at == MAP_FAILED)
		return -errno;
	*run = at;
	*size = (size_t)len;
	return 0;
}

int kvmio_set_slot(int vm, uint32_t slot, uint32_t flags, uint64_t gpa, uint64_t size, void *hva)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot,
		.flags = flags,
		.guest_phys_addr = gpa,
		.memory_size = size,
		.userspace_addr = (uintptr_t)hva,
	};

	return kvmio(vm, KVM_SET_USER_MEMORY_REGION, (unsigned long)&region);
}

int kvmio_get_dirty_log(int vm, uint32_t slot, uint64_t *bitmap)
{
	struct kvm_dirty_log log = { .slot = slot, .dirty_bitmap = bitmap };

	return kvmio(vm, KVM_GET_DIRTY_LOG, (unsigned long)&log);
}

int kvmio_set_host_cpuid(int kvm, int vcpu)
{
	struct kvm_cpuid2 *cpuid;
	int err;

	cpuid = calloc(1, sizeof(*cpuid) + KVMIO_MAX_CPUID * sizeof(cpuid->entries[0]));
	if (!cpuid)
		return -ENOMEM;
	cpuid->nent = KVMIO_MAX_CPUID;
	err = kvmio(kvm, KVM_GET_SUPPORTED_CPUID, (unsigned long)cpuid);
	if (err >= 0)
		err = kvmio(vcpu, KVM_SET_CPUID2, (unsigned long)cpuid);
	free(cpuid);
	return err;
}

int kvmio_get_regs(int vcpu, struct kvm_regs *regs)
{
	return kvmio(vcpu, KVM_GET_REGS, (unsigned long)regs);
}

int kvmio_set_regs(int vcpu, const struct kvm_regs *regs)
{
	return kvmio(vcpu, KVM_SET_REGS, (unsigned long)regs);
}

int kvmio_get_sregs(int vcpu, struct kvm_sregs *sregs)
{
	return kvmio(vcpu, KVM_GET_SREGS, (unsigned long)sregs);
}

int kvmio_set_sregs(int vcpu, const struct kvm_sregs *sregs)
{
	return kvmio(vcpu, KVM_SET_SREGS, (unsigned long)sregs);
}

int kvmio_run(int vcpu)
{
	return ioctl(vcpu, KVM_RUN, 0) < 0 ? -errno : 0;
}
