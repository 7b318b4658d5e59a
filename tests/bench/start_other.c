/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/bench/start_other.h"

#include <elf.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hv/kvmio.h"

#define FLOOR_BYTES (16ull << 20)
#define FLOOR_ENTRY 0x1000u

/* ---- The floor ---- */

/* mov al, 'u'; out 0xe9, al; hlt: in real mode, in which a vCPU begins */
static const unsigned char floor_guest[] = { 0xb0, 'u', 0xe6, 0xe9, 0xf4 };

static int enter_at(int vcpu, uint64_t entry)
{
	struct kvm_regs regs = { .rip = entry, .rflags = 2 };
	struct kvm_sregs sregs;
	int err = kvmio_get_sregs(vcpu, &sregs);

	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	if (!err)
		err = kvmio_set_sregs(vcpu, &sregs);
	return err ? err : kvmio_set_regs(vcpu, &regs);
}

/* Until the guest halts; what it writes goes to stdout, a byte an exit. */
static int run_to_halt(int vcpu, struct kvm_run *run)
{
	int err;

	while (!(err = kvmio_run(vcpu)) && run->exit_reason == KVM_EXIT_IO)
		if (write(STDOUT_FILENO, (const char *)run + run->io.data_offset, 1) != 1)
			return -errno;
	return err ? err : run->exit_reason == KVM_EXIT_HLT ? 0 : -EIO;
}

int start_floor(void)
{
	char text[256] = "";
	struct why w = { .text = text, .size = sizeof(text) };
	int kvm = kvmio_open(&w), vm, vcpu, mem = memfd_create("umbra-bench-floor", MFD_CLOEXEC);
	struct kvm_run *run;
	size_t size;
	char *p;

	if (kvm < 0 || mem < 0 || ftruncate(mem, (off_t)FLOOR_BYTES)) {
		fprintf(stderr, "bench: floor: %s\n", kvm < 0 ? text : strerror(errno));
		return EXIT_FAILURE;
	}
	p = mmap(NULL, FLOOR_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, mem, 0);
	vm = kvmio_create_vm(kvm);
	if (p == MAP_FAILED || vm < 0 || kvmio_set_slot(vm, 0, 0, 0, FLOOR_BYTES, p))
		return EXIT_FAILURE;
	memcpy(p + FLOOR_ENTRY, floor_guest, sizeof(floor_guest));
	vcpu = kvmio_create_vcpu(vm, 0);
	if (vcpu < 0 || kvmio_map_run(kvm, vcpu, &run, &size) || enter_at(vcpu, FLOOR_ENTRY))
		return EXIT_FAILURE;
	return run_to_halt(vcpu, run) ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* ---- A kernel for QEMU ---- */

#define KERNEL_AT      0x100000u
#define PVH_ENTRY_NOTE 18u /* XEN_ELFNOTE_PHYS32_ENTRY */
#define PVH_NOTE_OWNER "Xen"

/*
 * In protected mode, without paging: mov dx, 0x3f8; mov al, 'q'; out dx, al; lidt of zeros; int3: a triple fault, at
 * which QEMU ends (-no-reboot).
 */
static const unsigned char kernel_code[] = {
	0x66, 0xba, 0xf8, 0x03, 0xb0, 'q', 0xee, 0x0f, 0x01, 0x1d, 0x20, 0x00, 0x10, 0x00, 0xcc,
};

struct kernel {
	Elf64_Ehdr ehdr;
	Elf64_Phdr load, note;
	struct {
		Elf64_Nhdr head;
		char owner[sizeof(PVH_NOTE_OWNER)];
		uint32_t entry;
	} pvh;
	unsigned char code[64]; /* zeros from 0x20 on: the descriptor of an empty IDT */
};

int start_write_kernel(const char *path)
{
	struct kernel k = {
		.ehdr = { .e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
			  .e_type = ET_EXEC,
			  .e_machine = EM_X86_64,
			  .e_version = EV_CURRENT,
			  .e_entry = KERNEL_AT,
			  .e_phoff = offsetof(struct kernel, load),
			  .e_ehsize = sizeof(Elf64_Ehdr),
			  .e_phentsize = sizeof(Elf64_Phdr),
			  .e_phnum = 2 },
		.load = { .p_type = PT_LOAD,
			  .p_flags = PF_R | PF_W | PF_X,
			  .p_offset = offsetof(struct kernel, code),
			  .p_vaddr = KERNEL_AT,
			  .p_paddr = KERNEL_AT,
			  .p_filesz = sizeof(k.code),
			  .p_memsz = sizeof(k.code),
			  .p_align = 1 },
		.note = { .p_type = PT_NOTE,
			  .p_flags = PF_R,
			  .p_offset = offsetof(struct kernel, pvh),
			  .p_filesz = sizeof(k.pvh),
			  .p_memsz = sizeof(k.pvh),
			  .p_align = 4 },
		.pvh = { .head = { sizeof(PVH_NOTE_OWNER), sizeof(uint32_t), PVH_ENTRY_NOTE },
			 .owner = PVH_NOTE_OWNER,
			 .entry = KERNEL_AT },
	};
	FILE *f = fopen(path, "we");
	size_t n;

	if (!f)
		return -errno;
	memcpy(k.code, kernel_code, sizeof(kernel_code));
	n = fwrite(&k, sizeof(k), 1, f);
	return fclose(f) || n != 1 ? -EIO : 0;
}
