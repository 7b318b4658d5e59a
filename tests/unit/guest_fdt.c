// SPDX-License-Identifier: BSD-2-Clause
/* The guest's device tree: what the host derives is what the guest's own reader finds. */
#include "hv/guest_fdt.h"

#include <errno.h>
#include <libfdt.h>
#include <string.h>

/* The guest's reader, built for the host. */
#include "guest/fdt.c" // NOLINT(bugprone-suspicious-include)
#include "hv/machine.h"
#include "tests/test.h"
#include "tests/unit/fake_ram.h"

static union {
	uint64_t align;
	char bytes[ABI_DT_SIZE];
} tree;

static struct machine full_machine(void)
{
	return (struct machine){
		.model = "full",
		.cpus = 2,
		.cpl = 3,
		.ram = { .gpa = 0, .size = 16 << 20, .present = true },
		.input = { .gpa = 0x100000000, .size = 0x3000, .present = true },
		.work = { .gpa = 0x80000000, .size = 64 << 20, .present = true },
		.board = { .gpa = 0x40000000, .size = 0x11000, .present = true },
		.work_fill = FILL_STAMP,
		.bootargs = "workload=touch op=mixed",
	};
}

static void build(const struct machine *m, uint64_t bytes, const char *name)
{
	int err = guest_fdt_build(m, bytes, name, tree.bytes, sizeof(tree.bytes));

	check(!err, "%d", err);
	check_eq(fdt_check_full(tree.bytes, sizeof(tree.bytes)), 0);
}

static struct guest read_as(unsigned cpu)
{
	struct guest g;
	const char *wrong = guest_read_fdt(&g, tree.bytes, cpu);

	check(!wrong, "%s", wrong);
	check_eq(g.cpu, cpu);
	return g;
}

UTEST(guest_fdt, tells_the_guest_everything)
{
	struct machine m = full_machine();
	struct guest g;

	build(&m, 0x2001, "a file, with \"odd\" bytes \xff");
	g = read_as(1);
	check_eq(g.cpus, 2);
	check(g.ram.gpa == 0 && g.ram.size == 16 << 20);
	check(g.has_input && g.input.gpa == 0x100000000 && g.input.size == 0x3000);
	check_eq(g.input_bytes, 0x2001);
	check_str(g.label, "a file, with \"odd\" bytes \xff");
	check(g.work.gpa == 0x80000000 && g.work.size == 64 << 20 && g.stamped);
	check_eq((uint64_t)g.board, 0x40000000);
	check_str(g.bootargs, "workload=touch op=mixed");
}

UTEST(guest_fdt, leaves_out_what_is_not_there)
{
	struct machine m = full_machine();
	struct guest g;

	m.input = m.work = m.board = (struct machine_mem){ 0 };
	m.bootargs[0] = '\0';
	build(&m, 0, "");
	g = read_as(0);
	check(!g.has_input && !g.input.size && !g.work.size && !g.board && !g.stamped);
	check_str(g.bootargs, "");
}

UTEST(guest_fdt, tells_an_empty_input_from_none)
{
	struct machine m = full_machine();
	struct guest g;

	m.input.size = 0;
	build(&m, 0, "empty");
	g = read_as(0);
	check(g.has_input && !g.input_bytes && !g.input.size);
	check_str(g.label, "empty");
}

UTEST(guest_fdt, follows_the_machine)
{
	struct machine m = full_machine();

	m.work_fill = FILL_ZERO;
	m.cpus = MACHINE_MAX_CPUS;
	memset(m.bootargs, 'x', sizeof(m.bootargs) - 1);
	build(&m, 1, "x");
	check(!read_as(15).stamped);
	check_eq(read_as(15).cpus, 16);
	check_eq(strlen(read_as(15).bootargs), sizeof(m.bootargs) - 1);
}

UTEST(guest_fdt, says_when_there_is_no_room)
{
	struct machine m = full_machine();

	build(&m, 1, "x");
	for (size_t size = 0; size < fdt_totalsize(tree.bytes); size++) {
		char small[4096];

		check(size < sizeof(small));
		check(guest_fdt_build(&m, 1, "x", small, size) == -ENOSPC, "%zu bytes", size);
	}
}

UTEST(guest_fdt, lies_where_the_guest_looks)
{
	struct machine m = full_machine();
	struct ram *ram = fake_ram_create(ABI_RAM_MIN);
	static char label[ABI_DT_SIZE + 1];

	/* Small, of some size, and more than has a place. */
	for (size_t len = 1; len < ABI_DT_SIZE; len = 7 * len + 1) {
		memset(label, 'x', len);
		build(&m, 1, label);
		check(!guest_fdt_write(ram, &m, 1, label), "%zu bytes", len);
		check(!memcmp(ram->bytes + ABI_DT_GPA, tree.bytes, fdt_totalsize(tree.bytes)),
		      "%zu bytes", len);
	}
	memset(label, 'x', ABI_DT_SIZE);
	check_eq(guest_fdt_write(ram, &m, 1, label), -ENOSPC);
	ram->fail_writes = -EIO;
	check_eq(guest_fdt_write(ram, &m, 1, "x"), -EIO);
	fake_ram_destroy(ram);
}

UTEST(guest_fdt, the_reader_refuses_nonsense)
{
	struct machine m = full_machine();
	struct guest g;

	build(&m, 0x2001, "x");
	check_str(guest_read_fdt(&g, tree.bytes, 2), "more vCPUs than /cpus lists");
	build(&m, 0x3001, "x");
	check_str(guest_read_fdt(&g, tree.bytes, 0), "input is longer than its region");
	m.board.size = 0x1000;
	build(&m, 1, "x");
	check_str(guest_read_fdt(&g, tree.bytes, 0), "board is too small for work");
	tree.bytes[0] = 0;
	check_str(guest_read_fdt(&g, tree.bytes, 0), "no device tree");
}
