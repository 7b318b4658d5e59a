// SPDX-License-Identifier: BSD-2-Clause
#include "hv/machine_rules.h"

#include <errno.h>

#include "guest/abi.h"
#include "hv/machine.h"
#include "hv/workloads.h"

_Static_assert(MACHINE_MIN_RAM == ABI_RAM_MIN, "one minimum for RAM");
_Static_assert(MACHINE_MAX_CPUS == ABI_MAX_CPUS, "one maximum for vCPUs");

struct named_region {
	const char *name;
	const struct machine_mem *mem;
};

static bool overlap(uint64_t a, uint64_t a_end, uint64_t b, uint64_t b_end)
{
	return a < b_end && b < a_end;
}

int machine_check_overlaps(const struct machine *m, struct why *w)
{
	const struct named_region r[] = {
		{ "/memory", &m->ram },
		{ "/input", &m->input },
		{ "/work", &m->work },
		{ "/board", &m->board },
	};
	const size_t count = sizeof(r) / sizeof(r[0]);

	for (size_t i = 0; i < count; i++) {
		uint64_t start = r[i].mem->gpa, end = start + r[i].mem->size;

		if (overlap(start, end, MACHINE_HOLE_START, MACHINE_HOLE_END))
			return why_fail(
				w, -EINVAL,
				"%s [0x%jx, 0x%jx) touches [0x%llx, 0x%llx), where "
				"x86 has its interrupt controllers; end below or start above it",
				r[i].name, (uintmax_t)start, (uintmax_t)end, MACHINE_HOLE_START,
				MACHINE_HOLE_END);
		for (size_t j = i + 1; j < count; j++) {
			uint64_t other = r[j].mem->gpa, other_end = other + r[j].mem->size;

			if (overlap(start, end, other, other_end))
				return why_fail(w, -EINVAL,
						"%s [0x%jx, 0x%jx) and %s [0x%jx, 0x%jx) "
						"overlap; move one",
						r[i].name, (uintmax_t)start, (uintmax_t)end,
						r[j].name, (uintmax_t)other, (uintmax_t)other_end);
		}
	}
	return 0;
}

static int check_regions(const struct machine *m, struct why *w)
{
	if (m->ram.gpa)
		return why_fail(w, -EINVAL, "/memory/reg: starts at 0x%jx, but RAM starts at 0",
				(uintmax_t)m->ram.gpa);
	if (m->ram.size < MACHINE_MIN_RAM)
		return why_fail(w, -EINVAL,
				"/memory/reg: 0x%jx bytes are too little memory; give at "
				"least 0x%llx (4 MiB)",
				(uintmax_t)m->ram.size, MACHINE_MIN_RAM);
	if (m->input.size)
		return why_fail(w, -EINVAL,
				"/input/reg: the size is 0x%jx, but must be 0: it comes "
				"from the file given with --input",
				(uintmax_t)m->input.size);
	if (m->input.present && m->input.gpa < m->ram.size)
		return why_fail(w, -EINVAL,
				"/input/reg: starts at 0x%jx, inside RAM; move it to 0x%jx "
				"or above",
				(uintmax_t)m->input.gpa, (uintmax_t)m->ram.size);
	if (m->work.present && !m->work.size)
		return why_fail(w, -EINVAL,
				"/work/reg: the size is 0; give it pages or remove the node");
	if (m->board.present && !m->board.size)
		return why_fail(w, -EINVAL,
				"/board/reg: the size is 0; give it pages or remove the node");
	return machine_check_overlaps(m, w);
}

/* What works on /work says so on the board. */
static int check_work(const struct machine *m, struct why *w)
{
	uint64_t pages = m->work.size / MACHINE_PAGE_SIZE, need = board_size(pages);
	const char *user = m->churn.on	     ? "/umbra/churn/enabled"
			   : m->host.threads ? "/umbra/host/threads"
					     : NULL;

	if (user && !m->work.present)
		return why_fail(w, -EINVAL, "%s needs a region to work on; add a node work", user);
	if (user && !m->board.present)
		return why_fail(w, -EINVAL, "%s needs a board for its flags; add a node board",
				user);
	if (m->work.present && m->board.present && m->board.size < need)
		return why_fail(w, -EINVAL,
				"/board/reg: 0x%jx bytes are too small for the %ju pages of "
				"/work; give 0x%jx",
				(uintmax_t)m->board.size, (uintmax_t)pages, (uintmax_t)need);
	if (m->churn.on && m->churn.pages > pages)
		return why_fail(w, -EINVAL, "/umbra/churn/pages: is %u, but /work has only %ju",
				m->churn.pages, (uintmax_t)pages);
	return 0;
}

/* What a workload cannot bear. Boot arguments are the image's own business else. */
static int check_workload(const struct machine *m, struct why *w)
{
	bool counter = bootargs_have(m->bootargs, "workload", "counter");
	bool verify = bootargs_have(m->bootargs, "workload", "verify");

	if (m->churn.on && (m->churn.ops & CHURN_UPDATE) && m->work_fill != FILL_STAMP)
		return why_fail(w, -EINVAL,
				"/umbra/churn/ops: update needs pages with stamps to update; set "
				"/work/fill to stamp, or name the other ops");
	if (m->churn.on && (m->churn.ops & CHURN_DISCARD) && (counter || verify))
		return why_fail(w, -EINVAL,
				"/umbra/churn/ops: discard drops what workload=%s stores and looks "
				"for; name the other ops",
				counter ? "counter" : "verify");
	if (counter && !m->host.seconds && !bootargs_have(m->bootargs, "increments", NULL))
		return why_fail(w, -EINVAL,
				"/umbra/host/seconds: is 0, and workload=counter then never ends; "
				"set it, or give increments=N in /chosen/bootargs");
	return 0;
}

/* An audit is told by userfaultfd. */
static int check_audits(const struct machine *m, struct why *w)
{
	static const char *const name[MACHINE_REGIONS] = {
		[MACHINE_MEMORY] = "/memory",
		[MACHINE_INPUT] = "/input",
		[MACHINE_WORK] = "/work",
		[MACHINE_BOARD] = "/board",
	};

	for (unsigned i = 0; i < MACHINE_REGIONS; i++)
		if (machine_audits(m, i) && machine_source_of(m, i) == SOURCE_MPROTECT)
			return why_fail(
				w, -EINVAL,
				"%s/host-view-audit: host-view-source is mprotect, which has "
				"no events; use uffd or uffd-sigbus, or no audit",
				name[i]);
	return 0;
}

int machine_check_rules(const struct machine *m, struct why *w)
{
	int err = check_regions(m, w);

	if (!err)
		err = check_work(m, w);
	if (!err)
		err = check_audits(m, w);
	return err ? err : check_workload(m, w);
}
