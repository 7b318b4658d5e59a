// SPDX-License-Identifier: BSD-2-Clause
/*
 * The identity map in guest RAM, walked as the hardware would. What a vCPU does with it needs KVM.
 */
#include "hv/cpu.h"

#include <errno.h>

#include "guest/abi.h"
#include "hv/machine.h"
#include "tests/test.h"
#include "tests/unit/fake_ram.h"

#define GIB (UINT64_C(1) << 30)

static struct ram *ram;

static void setup(void)
{
	ram = fake_ram_create(ABI_RAM_MIN);
}

static void teardown(void)
{
	fake_ram_destroy(ram);
}

static uint64_t entry_at(uint64_t table, uint64_t index)
{
	uint64_t entry;

	check(!ram_read(ram, table + index * 8, &entry, sizeof(entry)));
	return entry;
}

/* Present, writable, user; accessed, so that the walk need not write. */
static bool next_table(uint64_t *table, uint64_t index)
{
	uint64_t entry = entry_at(*table, index);

	if (!entry)
		return false;
	check_eq(entry & 0xfff, 0x27);
	*table = entry & ~UINT64_C(0xfff);
	check(*table > ABI_TABLES_GPA && *table < ABI_IMAGE_GPA, "table at %#lx", *table);
	return true;
}

static bool is_mapped(uint64_t gpa)
{
	uint64_t table = ABI_TABLES_GPA, entry;

	if (!next_table(&table, gpa >> 39 & 511) || !next_table(&table, gpa >> 30 & 511))
		return false;
	entry = entry_at(table, gpa >> 21 & 511);
	check_eq(entry, (gpa & ~UINT64_C(0x1fffff)) | 0xe7);
	return true;
}

UTEST(cpu, maps_the_first_4_gib, .init = setup, .fini = teardown)
{
	struct machine m = { .ram = { .size = ABI_RAM_MIN, .present = true } };

	check(!cpu_setup_tables(ram, &m));
	for (uint64_t gpa = 0; gpa < 4 * GIB; gpa += 1 << 21)
		check(is_mapped(gpa), "%#lx", gpa);
	check(!is_mapped(4 * GIB));
	check(!is_mapped(UINT64_C(1) << 46));
}

UTEST(cpu, maps_regions_wherever_they_are, .init = setup, .fini = teardown)
{
	struct machine m = {
		.ram = { .size = ABI_RAM_MIN, .present = true },
		.input = { .gpa = 5 * GIB + 0x1000, .size = GIB, .present = true },
		.work = { .gpa = MACHINE_GPA_END - 0x1000, .size = 0x1000, .present = true },
		.board = { .gpa = 9 * GIB, .size = 0, .present = true },
	};

	check(!cpu_setup_tables(ram, &m));
	check(!is_mapped(5 * GIB - 1));
	check(is_mapped(5 * GIB));
	check(is_mapped(6 * GIB));
	check(!is_mapped(7 * GIB));
	check(!is_mapped(9 * GIB));
	check(is_mapped(MACHINE_GPA_END - 1));
	check(!is_mapped(MACHINE_GPA_END));
}

UTEST(cpu, maps_all_a_machine_may_have, .init = setup, .fini = teardown)
{
	struct machine m = {
		.ram = { .size = ABI_RAM_MIN, .present = true },
		.work = { .gpa = 4 * GIB, .size = MACHINE_GPA_END - 4 * GIB, .present = true },
	};

	check(!cpu_setup_tables(ram, &m));
	for (uint64_t gpa = 0; gpa < MACHINE_GPA_END; gpa += GIB)
		check(is_mapped(gpa), "%#lx", gpa);

	/* What fits between the tables' place and the image's: 254 GiB, one page each, and two above. */
	m.work.size = 250 * GIB;
	check_eq(cpu_setup_tables(ram, &m), 0);
	m.work.size += GIB;
	check_eq(cpu_setup_tables(ram, &m), -ENOSPC);
	m.work.size = 400 * GIB;
	check_eq(cpu_setup_tables(ram, &m), -ENOSPC);
	m.work.gpa = 512 * GIB;
	m.work.size = GIB;
	check_eq(cpu_setup_tables(ram, &m), -ENOSPC);
}

UTEST(cpu, tells_when_ram_cannot_take_them, .init = setup, .fini = teardown)
{
	struct machine m = { .ram = { .size = ABI_RAM_MIN, .present = true } };

	ram->fail_writes = -EIO;
	check_eq(cpu_setup_tables(ram, &m), -EIO);
}
