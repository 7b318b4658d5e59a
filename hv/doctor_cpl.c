// SPDX-License-Identifier: BSD-2-Clause
/*
 * Guests of a few bytes: how fast a privilege level runs (some KVMs interpret CPL 0, a thousand times slower), what is left of
 * one that crashes, and what KVM tells of accesses that end in umbra.
 */
#include "hv/doctor.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "guest/abi.h"
#include "hv/cpu.h"
#include "hv/kvmio.h"
#include "hv/machine.h"

#define PTE_TABLE   0x27ull /* present, writable, user, accessed */
#define PTE_PAGE_2M 0xe7ull /* and dirty, large */

/* Enough to see, short enough not to be noticed. */
#define LOOPS_FIRST 1000ull
#define LOOPS_MOST  10000000ull
#define ENOUGH_NS   3e6

/* The shortest of so many: a host that is busy only ever adds. */
#define TIMINGS	    5

/* dec %ecx; jnz .-2; out %al, $0x10; jmp . */
static const unsigned char loop_code[] = { 0xff, 0xc9, 0x75, 0xfc, 0xe6, 0x10, 0xeb, 0xfe };
#define LOOP_INSTRUCTIONS 2

/* The OUT in it. */
#define OUT_GPA		  (ABI_IMAGE_GPA + 4)
#define OUT_SIZE	  2

/* ud2 */
static const unsigned char crash_code[] = { 0x0f, 0x0b };
#define CRASH_GPA      (ABI_IMAGE_GPA + sizeof(loop_code))

/* mov %eax, STORE_GPA; out %al, $0x10 */
#define STORE_CODE_GPA (ABI_IMAGE_GPA + 32)
#define STORE_GPA      (ABI_IMAGE_GPA + ABI_PAGE_SIZE)
static const unsigned char store_code[] = {
	0x89, 0x04, 0x25, 0x00, STORE_GPA >> 8 & 0xff, STORE_GPA >> 16, 0x00, 0xe6, 0x10
};

struct probe_vm {
	char *ram;
	int vm, vcpu;
	struct kvm_run *run;
	size_t run_size;
};

/* Identity-map the 4 MiB that the probe has. */
static void write_tables(char *ram)
{
	uint64_t *pml4 = (uint64_t *)(ram + ABI_TABLES_GPA);
	uint64_t *pdpt = pml4 + 512, *pd = pdpt + 512;

	pml4[0] = (ABI_TABLES_GPA + ABI_PAGE_SIZE) | PTE_TABLE;
	pdpt[0] = (ABI_TABLES_GPA + 2 * ABI_PAGE_SIZE) | PTE_TABLE;
	for (uint64_t i = 0; i < ABI_RAM_MIN >> 21; i++)
		pd[i] = i << 21 | PTE_PAGE_2M;
}

static int probe_create(struct probe_vm *p, int kvm, unsigned cpl)
{
	const struct machine m = { .cpus = 1, .cpl = cpl };
	int err;

	p->ram = mmap(NULL, ABI_RAM_MIN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		      0);
	if (p->ram == MAP_FAILED)
		return -ENOMEM;
	write_tables(p->ram);
	memcpy(p->ram + ABI_IMAGE_GPA, loop_code, sizeof(loop_code));
	memcpy(p->ram + CRASH_GPA, crash_code, sizeof(crash_code));
	memcpy(p->ram + STORE_CODE_GPA, store_code, sizeof(store_code));

	p->vm = err = kvmio_create_vm(kvm);
	if (err < 0)
		goto err_unmap;
	err = kvmio_set_slot(p->vm, 0, 0, 0, ABI_RAM_MIN, p->ram);
	if (err < 0)
		goto err_close_vm;
	p->vcpu = err = kvmio_create_vcpu(p->vm, 0);
	if (err < 0)
		goto err_close_vm;
	err = kvmio_map_run(kvm, p->vcpu, &p->run, &p->run_size);
	if (err < 0)
		goto err_close_vcpu;
	err = cpu_init(kvm, p->vcpu, &m, 0, ABI_IMAGE_GPA);
	if (err)
		goto err_unmap_run;
	return 0;

err_unmap_run:
	munmap(p->run, p->run_size);
err_close_vcpu:
	close(p->vcpu);
err_close_vm:
	close(p->vm);
err_unmap:
	munmap(p->ram, ABI_RAM_MIN);
	return err;
}

static void probe_destroy(struct probe_vm *p)
{
	munmap(p->run, p->run_size);
	close(p->vcpu);
	close(p->vm);
	munmap(p->ram, ABI_RAM_MIN);
}

static double now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* Run from @rip until an exit of kind @exit_reason. */
static int run_from(struct probe_vm *p, uint64_t rip, uint64_t rcx, uint32_t exit_reason)
{
	struct kvm_regs regs;
	int err;

	err = kvmio_get_regs(p->vcpu, &regs);
	if (err)
		return err;
	regs.rip = rip;
	regs.rcx = rcx;
	err = kvmio_set_regs(p->vcpu, &regs);
	if (err)
		return err;
	do {
		err = kvmio_run(p->vcpu);
	} while (err == -EINTR || err == -EAGAIN);
	if (err)
		return err;
	return p->run->exit_reason == exit_reason ? 0 : -EPROTO;
}

/* The shortest of @n runs. */
static int time_loops(struct probe_vm *p, uint64_t loops, unsigned n, double *ns)
{
	for (unsigned i = 0; i < n; i++) {
		double start = now_ns(), took;
		int err = run_from(p, ABI_IMAGE_GPA, loops, KVM_EXIT_IO);

		if (err)
			return err;
		took = now_ns() - start;
		if (!i || took < *ns)
			*ns = took;
	}
	return 0;
}

int doctor_measure_cpl(int kvm, unsigned cpl, double *ns)
{
	struct probe_vm p = { 0 };
	double empty = 0, full = 0;
	uint64_t loops;
	int err;

	err = probe_create(&p, kvm, cpl);
	if (err)
		return err;
	err = time_loops(&p, 1, TIMINGS + 1, &empty); /* one for the first touch */
	for (loops = LOOPS_FIRST; !err; loops *= 10) {
		err = time_loops(&p, loops, 1, &full);
		if (full - empty > ENOUGH_NS || loops >= LOOPS_MOST)
			break;
	}
	if (!err)
		err = time_loops(&p, loops, TIMINGS, &full);
	if (!err)
		*ns = full > empty ? (full - empty) / (double)(loops * LOOP_INSTRUCTIONS) : 0;
	probe_destroy(&p);
	return err;
}

int doctor_probe_crash(int kvm, bool *knows)
{
	struct probe_vm p = { 0 };
	int err;

	err = probe_create(&p, kvm, 3);
	if (err)
		return err;
	err = run_from(&p, CRASH_GPA, 0, KVM_EXIT_SHUTDOWN);
	if (!err)
		*knows = !cpu_was_reset(p.vcpu);
	probe_destroy(&p);
	return err;
}

/* Until KVM_RUN returns for good; it may leave exit_reason as it finds it. */
static int run_store(struct probe_vm *p, enum doctor_exit *how)
{
	int err;

	p->run->exit_reason = KVM_EXIT_UNKNOWN;
	err = run_from(p, STORE_CODE_GPA, 0, KVM_EXIT_IO);
	if (err == -EFAULT)
		*how = p->run->exit_reason == KVM_EXIT_MEMORY_FAULT ? DOCTOR_EXIT_MEMORY_FAULT
								    : DOCTOR_EXIT_EFAULT;
	else if (err == -EPROTO && p->run->exit_reason == KVM_EXIT_MMIO)
		*how = DOCTOR_EXIT_MMIO;
	else if (!err)
		*how = DOCTOR_EXIT_NONE;
	else
		return err;
	return 0;
}

int doctor_probe_store(int kvm, unsigned cpl, enum doctor_exit *how)
{
	struct probe_vm p = { 0 };
	int err;

	err = probe_create(&p, kvm, cpl);
	if (err)
		return err;
	p.ram[STORE_GPA] = 1; /* there, so that only the right is missing */
	if (mprotect(p.ram + STORE_GPA, ABI_PAGE_SIZE, PROT_READ))
		err = -errno;
	else
		err = run_store(&p, how);
	probe_destroy(&p);
	return err;
}

int doctor_probe_out(int kvm, bool *behind)
{
	struct probe_vm p = { 0 };
	struct kvm_regs regs;
	int err;

	err = probe_create(&p, kvm, 3);
	if (err)
		return err;
	err = run_from(&p, ABI_IMAGE_GPA, 1, KVM_EXIT_IO);
	if (!err)
		err = kvmio_get_regs(p.vcpu, &regs);
	if (!err && regs.rip != OUT_GPA && regs.rip != OUT_GPA + OUT_SIZE)
		err = -EPROTO;
	if (!err)
		*behind = regs.rip != OUT_GPA;
	probe_destroy(&p);
	return err;
}
