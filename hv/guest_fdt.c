// SPDX-License-Identifier: BSD-2-Clause
#include "hv/guest_fdt.h"

#include <errno.h>
#include <inttypes.h>
#include <libfdt.h>
#include <stdio.h>
#include <stdlib.h>

#include "guest/abi.h"
#include "hv/machine.h"
#include "hv/ram.h"

/*
 * A tree being written. libfdt's writer keeps no error, so the first one is kept here and every
 * later step is skipped: the functions below return nothing, and the end is checked once.
 */
struct writer {
	void *fdt;
	int err; /* 0 or -FDT_ERR_* */
};

static void keep(struct writer *w, int err)
{
	if (!w->err)
		w->err = err;
}

static void begin(struct writer *w, const char *name)
{
	if (!w->err)
		keep(w, fdt_begin_node(w->fdt, name));
}

static void end(struct writer *w)
{
	if (!w->err)
		keep(w, fdt_end_node(w->fdt));
}

static void put_string(struct writer *w, const char *name, const char *value)
{
	if (!w->err)
		keep(w, fdt_property_string(w->fdt, name, value));
}

static void put_u32(struct writer *w, const char *name, uint32_t value)
{
	if (!w->err)
		keep(w, fdt_property_u32(w->fdt, name, value));
}

static void put_u64(struct writer *w, const char *name, uint64_t value)
{
	if (!w->err)
		keep(w, fdt_property_u64(w->fdt, name, value));
}

static void put_reg(struct writer *w, uint64_t gpa, uint64_t size)
{
	fdt64_t reg[2] = { cpu_to_fdt64(gpa), cpu_to_fdt64(size) };

	if (!w->err)
		keep(w, fdt_property(w->fdt, "reg", reg, sizeof(reg)));
}

static void begin_at(struct writer *w, const char *name, uint64_t address)
{
	char unit[32];

	snprintf(unit, sizeof(unit), "%s@%" PRIx64, name, address);
	begin(w, unit);
}

static void put_cpus(struct writer *w, const struct machine *m)
{
	begin(w, "cpus");
	put_u32(w, "#address-cells", 1);
	put_u32(w, "#size-cells", 0);
	for (unsigned cpu = 0; cpu < m->cpus; cpu++) {
		begin_at(w, "cpu", cpu);
		put_string(w, "device_type", "cpu");
		put_u32(w, "reg", cpu);
		end(w);
	}
	end(w);
}

static void put_memory(struct writer *w, const struct machine_mem *ram)
{
	begin_at(w, "memory", ram->gpa);
	put_string(w, "device_type", "memory");
	put_reg(w, ram->gpa, ram->size);
	end(w);
}

/* An empty input has no memory, so no reg. */
static void put_input(struct writer *w, const struct machine_mem *input, uint64_t bytes,
		      const char *name)
{
	if (!input->present)
		return;
	begin_at(w, "input", input->gpa);
	put_string(w, "compatible", "umbra,input");
	if (input->size)
		put_reg(w, input->gpa, input->size);
	put_u64(w, "umbra,bytes", bytes);
	put_string(w, "label", name);
	end(w);
}

static void put_work(struct writer *w, const struct machine *m)
{
	if (!m->work.present)
		return;
	begin_at(w, "work", m->work.gpa);
	put_string(w, "compatible", "umbra,work");
	put_reg(w, m->work.gpa, m->work.size);
	put_string(w, "fill", m->work_fill == FILL_STAMP ? "stamp" : "zero");
	end(w);
}

static void put_board(struct writer *w, const struct machine_mem *board)
{
	if (!board->present)
		return;
	begin_at(w, "board", board->gpa);
	put_string(w, "compatible", "umbra,board");
	put_reg(w, board->gpa, board->size);
	end(w);
}

static void put_hypercall(struct writer *w, const struct machine *m)
{
	begin_at(w, "hypercall", ABI_HC_GPA);
	put_string(w, "compatible", "umbra,hypercall");
	put_reg(w, ABI_HC_GPA, (uint64_t)m->cpus * ABI_PAGE_SIZE);
	put_u32(w, "umbra,port", HC_PORT);
	end(w);
}

static void put_chosen(struct writer *w, const struct machine *m)
{
	begin(w, "chosen");
	put_string(w, "bootargs", m->bootargs);
	end(w);
}

int guest_fdt_build(const struct machine *m, uint64_t input_bytes, const char *input_name,
		    void *buf, size_t size)
{
	struct writer w = { .fdt = buf };

	keep(&w, fdt_create(buf, (int)size));
	if (!w.err)
		keep(&w, fdt_finish_reservemap(buf));
	begin(&w, "");
	put_string(&w, "model", m->model);
	put_string(&w, "compatible", "umbra,guest");
	put_u32(&w, "#address-cells", 2);
	put_u32(&w, "#size-cells", 2);
	put_cpus(&w, m);
	put_memory(&w, &m->ram);
	put_input(&w, &m->input, input_bytes, input_name);
	put_work(&w, m);
	put_board(&w, &m->board);
	put_hypercall(&w, m);
	put_chosen(&w, m);
	end(&w);
	if (!w.err)
		keep(&w, fdt_finish(buf));
	switch (w.err) {
	case 0:
		return 0;
	case -FDT_ERR_NOSPACE:
		return -ENOSPC;
	default:
		return -EINVAL;
	}
}

/* Most trees are small, and libfdt clears all that it may use. */
#define SMALL_TREE (ABI_DT_SIZE / 16)

int guest_fdt_write(struct ram *ram, const struct machine *m, uint64_t input_bytes,
		    const char *input_name)
{
	void *buf;
	int err;

	for (size_t size = SMALL_TREE;; size *= 4) {
		buf = malloc(size);
		if (!buf)
			return -ENOMEM;
		err = guest_fdt_build(m, input_bytes, input_name, buf, size);
		if (err != -ENOSPC || size == ABI_DT_SIZE)
			break;
		free(buf);
	}
	if (!err)
		err = ram_write(ram, ABI_DT_GPA, buf, fdt_totalsize(buf));
	free(buf);
	return err;
}
