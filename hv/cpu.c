// SPDX-License-Identifier: BSD-2-Clause
#include "hv/cpu.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stddef.h>
#include <stdlib.h>

#include "guest/abi.h"
#include "hv/kvmio.h"
#include "hv/machine.h"
#include "hv/ram.h"

#define GIB_SHIFT    30
#define LOW_GIBS     4
#define ENTRIES	     512

/* Accessed and dirty are set beforehand, so that no walk of these tables writes to them. */
#define PTE_TABLE    0x27 /* present, writable, user, accessed */
#define PTE_PAGE_2M  0xe7 /* and dirty, large */

#define CR0_START    0x80010033 /* PG WP NE ET MP PE */
#define CR0_PG	     0x80000000
#define CR4_START    0x620 /* PAE, and SSE: OSFXSR OSXMMEXCPT */
#define EFER_START   0x500 /* LMA LME */
#define RFLAGS_START 0x2
#define RFLAGS_IOPL3 0x3000 /* the hypercall port, at CPL 3 */

#define SEGMENT_CODE 11 /* execute, read, accessed */
#define SEGMENT_DATA 3	/* read, write, accessed */

/* What lies from ABI_TABLES_GPA on. */
struct tables {
	uint64_t (*page)[ENTRIES]; /* PML4, PDPT, and directories as they are met */
	unsigned used, most;
};

static uint64_t entry_of(unsigned page)
{
	return (ABI_TABLES_GPA + page * (uint64_t)ABI_PAGE_SIZE) | PTE_TABLE;
}

static int map_gib(struct tables *t, uint64_t gib)
{
	uint64_t *pd;

	if (gib >= ENTRIES)
		return -ENOSPC;
	if (t->page[1][gib])
		return 0;
	if (t->used == t->most)
		return -ENOSPC;
	t->page[1][gib] = entry_of(t->used);
	pd = t->page[t->used++];
	for (uint64_t i = 0; i < ENTRIES; i++)
		pd[i] = (gib << GIB_SHIFT) | i << 21 | PTE_PAGE_2M;
	return 0;
}

static bool is_mapped(const struct machine_mem *mem)
{
	return mem->present && mem->size;
}

/* PML4, PDPT, and the directories of all regions, as if none shared one; no more than have a place. */
static unsigned most_tables(const struct machine_mem *const *regions, size_t n)
{
	uint64_t most = 2 + LOW_GIBS, places = (ABI_IMAGE_GPA - ABI_TABLES_GPA) / ABI_PAGE_SIZE;

	for (size_t i = 0; i < n; i++)
		if (is_mapped(regions[i]))
			most += (regions[i]->size >> GIB_SHIFT) + 2;
	return (unsigned)(most < places ? most : places);
}

static int map_region(struct tables *t, const struct machine_mem *mem)
{
	int err = 0;

	if (!is_mapped(mem))
		return 0;
	for (uint64_t gib = mem->gpa >> GIB_SHIFT;
	     !err && gib <= (mem->gpa + mem->size - 1) >> GIB_SHIFT; gib++)
		err = map_gib(t, gib);
	return err;
}

int cpu_setup_tables(struct ram *ram, const struct machine *m)
{
	const struct machine_mem *const regions[] = { &m->ram, &m->input, &m->work, &m->board };
	const size_t n = sizeof(regions) / sizeof(regions[0]);
	struct tables t = { .used = 2, .most = most_tables(regions, n) };
	int err = 0;

	t.page = calloc(t.most, sizeof(*t.page));
	if (!t.page)
		return -ENOMEM;
	t.page[0][0] = entry_of(1);
	for (uint64_t gib = 0; !err && gib < LOW_GIBS; gib++)
		err = map_gib(&t, gib);
	for (size_t i = 0; !err && i < n; i++)
		err = map_region(&t, regions[i]);
	/* All at once: each call makes pages of its own present. */
	if (!err)
		err = ram_write(ram, ABI_TABLES_GPA, t.page, t.used * sizeof(*t.page));
	free(t.page);
	return err;
}

static struct kvm_segment flat_segment(unsigned cpl, unsigned index, uint8_t type)
{
	return (struct kvm_segment){
		.limit = ~0u,
		.selector = (uint16_t)(index << 3 | cpl),
		.type = type,
		.present = 1,
		.dpl = (uint8_t)cpl,
		.s = 1,
		.g = 1,
	};
}

static int set_sregs(int vcpu_fd, unsigned cpl)
{
	struct kvm_sregs s;
	int err = kvmio_get_sregs(vcpu_fd, &s);

	if (err)
		return err;
	s.cr0 = CR0_START;
	s.cr3 = ABI_TABLES_GPA;
	s.cr4 = CR4_START;
	s.efer = EFER_START;
	/* The selectors name no descriptors: there is no GDT, and the guest loads none. */
	s.cs = flat_segment(cpl, 6, SEGMENT_CODE);
	s.cs.l = 1;
	s.ds = flat_segment(cpl, 5, SEGMENT_DATA);
	s.ds.db = 1;
	s.es = s.fs = s.gs = s.ss = s.ds;
	s.fs.base = ABI_SCRATCH_GPA;
	/* Without an IDT every exception is a triple fault. */
	s.idt.base = 0;
	s.idt.limit = 0;
	s.gdt.base = 0;
	s.gdt.limit = 0;
	return kvmio_set_sregs(vcpu_fd, &s);
}

int cpu_init(int kvm_fd, int vcpu_fd, const struct machine *m, unsigned cpu, uint64_t entry)
{
	const struct kvm_regs regs = {
		.rip = entry,
		.rdi = ABI_DT_GPA,
		.rsi = cpu,
		.rflags = RFLAGS_START | (m->cpl ? RFLAGS_IOPL3 : 0),
	};
	int err = kvmio_set_host_cpuid(kvm_fd, vcpu_fd);

	if (!err)
		err = set_sregs(vcpu_fd, m->cpl);
	if (!err)
		err = kvmio_set_regs(vcpu_fd, &regs);
	return err;
}

bool cpu_was_reset(int vcpu_fd)
{
	struct kvm_sregs s;

	return !kvmio_get_sregs(vcpu_fd, &s) && !(s.cr0 & CR0_PG);
}
