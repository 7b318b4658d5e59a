// SPDX-License-Identifier: BSD-2-Clause
#include "guest/fdt.h"

#include <libfdt.h>

/* Regions the host derives from its machine have #address-cells = #size-cells = 2. */
static bool read_reg(const void *dt, int node, struct region *r)
{
	int len;
	const fdt64_t *reg = fdt_getprop(dt, node, "reg", &len);

	if (!reg || len != 2 * (int)sizeof(*reg))
		return false;
	r->gpa = fdt64_ld(&reg[0]);
	r->size = fdt64_ld(&reg[1]);
	return true;
}

static const char *read_string(const void *dt, int node, const char *name)
{
	int len;
	const char *value = fdt_getprop(dt, node, name, &len);

	return value && len > 0 && value[len - 1] == '\0' ? value : "";
}

static unsigned count_cpus(const void *dt)
{
	int cpu, cpus = fdt_path_offset(dt, "/cpus");
	unsigned n = 0;

	fdt_for_each_subnode(cpu, dt, cpus)
		n++;
	return n;
}

static const char *read_input(struct guest *g, const void *dt, int node)
{
	int len;
	const fdt64_t *bytes = fdt_getprop(dt, node, "umbra,bytes", &len);

	if (!bytes || len != sizeof(*bytes))
		return "input has no umbra,bytes";
	g->has_input = true;
	g->input_bytes = fdt64_ld(bytes);
	g->label = read_string(dt, node, "label");
	if (g->input_bytes && !read_reg(dt, node, &g->input))
		return "input has no reg";
	if (g->input_bytes > g->input.size)
		return "input is longer than its region";
	return NULL;
}

static const char *read_work(struct guest *g, const void *dt, int node)
{
	const char *fill = read_string(dt, node, "fill");

	g->stamped = !fdt_stringlist_search(dt, node, "fill", "stamp");
	if (!g->stamped && fdt_stringlist_search(dt, node, "fill", "zero"))
		return *fill ? "unknown fill of work" : "work has no fill";
	return read_reg(dt, node, &g->work) ? NULL : "work has no reg";
}

const char *guest_read_fdt(struct guest *g, const void *dt, unsigned cpu)
{
	struct region board = { 0 };
	const char *wrong;
	int node;

	*g = (struct guest){ .cpu = cpu, .label = "" };
	if (fdt_check_header(dt))
		return "no device tree";
	g->cpus = count_cpus(dt);
	if (cpu >= g->cpus)
		return "more vCPUs than /cpus lists";
	node = fdt_path_offset(dt, "/memory@0");
	if (node < 0 || !read_reg(dt, node, &g->ram))
		return "no /memory@0";
	g->bootargs = read_string(dt, fdt_path_offset(dt, "/chosen"), "bootargs");

	node = fdt_node_offset_by_compatible(dt, -1, "umbra,input");
	if (node >= 0 && (wrong = read_input(g, dt, node)))
		return wrong;
	node = fdt_node_offset_by_compatible(dt, -1, "umbra,work");
	if (node >= 0 && (wrong = read_work(g, dt, node)))
		return wrong;
	node = fdt_node_offset_by_compatible(dt, -1, "umbra,board");
	if (node >= 0) {
		if (!read_reg(dt, node, &board) ||
		    board.size < board_size(g->work.size / ABI_PAGE_SIZE))
			return "board is too small for work";
		g->board = (const struct board *)board.gpa;
	}
	return NULL;
}
