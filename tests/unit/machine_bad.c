// SPDX-License-Identifier: BSD-2-Clause
/* hv/machine: what a description may not say, and that no bytes can crash the parser. */
#include "tests/test.h"

#include <errno.h>
#include <libfdt.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hv/dtb.h"
#include "tests/unit/machine_try.h"

/* A blob of configs/@name that the caller frees. */
static void *blob_of(const char *name, size_t *size)
{
	struct why w = { .text = why, .size = sizeof(why) };
	void *fdt;

	check(!dtb_read(name, &fdt, size, &w) && fdt, "%s", why);
	return fdt;
}

struct source {
	const char *body;
	const char *says;
};

/* Wrong descriptions, as the body of the root node behind what every machine has. */
static const struct source sources[] = {
	{ "", "needs memory" },
	{ "memory@0 { };", "no property reg" },
	{ "memory@0 { reg = \"text\"; };", "bytes" },
	{ "memory@0 { reg = <0 0 0 (-4096)>; };", "interrupt controllers" },
	{ "memory@0 { reg = <0 0 (-1) (-4096)>; };", "negative" },
	{ "memory@0 { reg = <(-1) (-4096) 0 0x400000>; };", "negative" },
	{ "memory@0 { reg = <0 0 0 0x400000>; }; memory@400000 { reg = <0 0 0 0x400000>; };",
	  "a second node" },
	{ "memory@0 { reg = <0 0 0 0x400000>; bank { }; };", "no node /memory/bank" },
	{ "memory@0 { reg = <0 0 0 0x400000>; }; cpus { count = \"2\"; };", "/cpus/count: has" },
	{ "memory@0 { reg = <0 0 0 0x400000>; }; cpus { count; };", "has 0 bytes" },
	{ "memory@0 { reg = <0 0 0 0x400000>; }; cpus { counts = <2>; };",
	  "did you mean /cpus/count?" },
	{ "memory@0 { reg = <0 0 0 0x400000>; }; cpus { cpl = <1>; };", "0 | 3" },
	{ "memory@0 { reg = <0 0 0 0x400000>; }; work@400000 { };", "/work has no property" },
	{ "memory@0 { reg = <0 0 0 0x400000>; device_type = \"cpu\"; };", "\"memory\"" },
	{ "memory@0 { reg = <0 0 0 0x400000>; }; umbra { churn { ops = <1>; }; };",
	  "not a string" },
	{ "memory@0 { reg = <0 0 0 0x400000>; }; umbra { churn { seed = <1>; }; };", "8 bytes" },
	{ "memory@0 { reg = <0 0 0 0x400000>; }; umbra { image = \"a\", \"b\"; };",
	  "not one string" },
	{ "memory@0 { reg = <0 0 0 0x400000>; }; umbra { canary = <2>; };", "0 or 1" },
	{ "memory@0 { reg = <0 0 0 0x400000>; }; umbra { deep { deep { }; }; };",
	  "no node /umbra/deep" },
	{ "memory@0 { reg = <0 0 0 0x400000>; }; /* unfinished", "dtc refuses it" },
	{ "memory@0 { reg = <0 0 0 0x400000 }; ", "dtc refuses it" },
	{ "cpus { }; cpus2 { };", "no node /cpus2" },
};

UTEST(machine_bad, wrong_sources, .init = scratch_make, .fini = scratch_remove)
{
	struct machine m;
	char dts[512];

	for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
		snprintf(dts, sizeof(dts),
			 "/dts-v1/; / { compatible = \"umbra,machine\"; #address-cells = <2>;"
			 "#size-cells = <2>; %s };",
			 sources[i].body);
		scratch_write("m.dts", dts, strlen(dts));
		check(load(&m, scratch("m.dts"), NULL) == -EINVAL, "%s: %s", sources[i].body, why);
		check_says("m.dts: ");
		check_says(sources[i].says);
	}
}

UTEST(machine_bad, wrong_roots, .init = scratch_make, .fini = scratch_remove)
{
	static const struct source roots[] = {
		{ "/dts-v1/; / { };", "no property compatible" },
		{ "/dts-v1/; / { compatible = \"umbra,machine\"; };", "#address-cells" },
		{ "/dts-v1/; / { compatible = \"umbra,machine\"; #address-cells = <1>; };",
		  "must be 2" },
		{ "/dts-v1/; /memreserve/ 0 4096; / { compatible = \"umbra,machine\"; };",
		  "/memreserve/" },
		{ "", "dtc refuses it" },
		{ "#include <stdio.h>", "dtc refuses it" },
	};
	struct machine m;

	for (size_t i = 0; i < sizeof(roots) / sizeof(roots[0]); i++) {
		scratch_write("m.dts", roots[i].body, strlen(roots[i].body));
		check(load(&m, scratch("m.dts"), NULL) == -EINVAL, "%s", roots[i].body);
		check_says(roots[i].says);
	}
}

UTEST(machine_bad, wrong_files, .init = scratch_make, .fini = scratch_remove)
{
	static char zeros[2 << 20];
	struct machine m;

	check_eq(load(&m, "configs/none.dts", NULL), -ENOENT);
	check_says("configs/none.dts: cannot be opened");
	check_eq(load(&m, "configs", NULL), -EISDIR);
	check_says("a directory");
	check_eq(load(&m, "/dev/null", NULL), -EINVAL);
	check_says("not a regular file");
	check(!mkfifo(scratch("fifo"), 0600), "mkfifo");
	check_eq(load(&m, scratch("fifo"), NULL), -EINVAL);
	check_eq(load(&m, "README.md", NULL) == -EINVAL || access("README.md", R_OK), 1);
	scratch_write("m.dtb", "", 0);
	check_eq(load(&m, scratch("m.dtb"), NULL), -EINVAL);
	check_says("not a device tree blob");
	scratch_write("m.dtb", zeros, sizeof(zeros));
	check_eq(load(&m, scratch("m.dtb"), NULL), -EFBIG);
	check(!symlink(scratch("loop"), scratch("loop")), "symlink");
	check_eq(load(&m, scratch("loop"), NULL), -ELOOP);
}

/* A source that is small but compiles to more than 1 MiB must not be held in memory. */
UTEST(machine_bad, compiler_output_is_bounded, .init = scratch_make, .fini = scratch_remove)
{
	struct machine m;
	char dts[512];

	scratch_write("input", "", 0);
	check(!truncate(scratch("input"), 64 << 20), "truncate");
	snprintf(dts, sizeof(dts), "/dts-v1/; / { model = /incbin/(\"%s\"); };", scratch("input"));
	scratch_write("m.dts", dts, strlen(dts));
	check_eq(load(&m, scratch("m.dts"), NULL), -EFBIG);
	check_says("compiles to more than");
}

static char *saved_path;

static void restore_path(void)
{
	if (saved_path)
		setenv("PATH", saved_path, 1);
	free(saved_path);
	saved_path = NULL;
}

UTEST(machine_bad, no_compiler, .fini = restore_path)
{
	const char *path = getenv("PATH");
	struct machine m;

	saved_path = path ? strdup(path) : NULL;
	setenv("PATH", "/nonexistent", 1);
	check_eq(load(&m, "configs/hello.dts", NULL), -ENOPKG);
	check_says("device-tree-compiler");
	check_eq(machine_exit_status(-ENOPKG), 125);
	check_eq(machine_exit_status(-EINVAL), 126);
}

UTEST(machine_bad, every_truncation_is_refused)
{
	struct machine m;
	size_t size;
	char *fdt = blob_of("configs/touch.dts", &size);

	for (size_t len = 0; len < size; len++) {
		char *cut = malloc(len ? len : 1);

		check(cut, "no memory");
		memcpy(cut, fdt, len);
		check(machine_parse(&m, cut, len, "", why, sizeof(why)), "%zu of %zu", len, size);
		free(cut);
	}
	check(!machine_parse(&m, fdt, size, "", why, sizeof(why)), "%s", why);
	free(fdt);
}

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* What a machine that was accepted must look like, whatever bytes it came from. */
static void check_sane(const struct machine *m)
{
	const struct machine_mem *const r[] = { &m->ram, &m->input, &m->work, &m->board };

	check(m->cpus >= 1 && m->cpus <= MACHINE_MAX_CPUS, "%u cpus", m->cpus);
	check(m->cpl == 0 || m->cpl == 3, "cpl %u", m->cpl);
	check(m->ram.present && !m->ram.gpa && m->ram.size >= MACHINE_MIN_RAM, "ram");
	check(!m->churn.on || (m->work.size && m->churn.ops && m->churn.pages), "churn");
	check(memchr(m->model, 0, sizeof(m->model)) &&
		      memchr(m->bootargs, 0, sizeof(m->bootargs)) &&
		      memchr(m->image, 0, sizeof(m->image)),
	      "strings");
	for (size_t i = 0; i < 4; i++) {
		check(!((r[i]->gpa | r[i]->size) % MACHINE_PAGE_SIZE), "alignment");
		check(r[i]->gpa + r[i]->size <= MACHINE_GPA_END, "end");
		for (size_t j = 0; j < i; j++)
			check(r[i]->gpa >= r[j]->gpa + r[j]->size ||
				      r[j]->gpa >= r[i]->gpa + r[i]->size || !r[i]->size ||
				      !r[j]->size,
			      "overlap of %zu and %zu", i, j);
	}
}

/*
 * Bytes changed at random, always the same ones: no crash, and what passes is sane.
 * UMBRA_FUZZ_ROUNDS=N: so many other ones.
 */
UTEST(machine_bad, mutated_blobs)
{
	static const char *const sets[] = { "/umbra/churn/enabled=1", "/cpus/count=2",
					    "/work/reg=0x100000000,1M" };
	struct why w = { .text = why, .size = sizeof(why) };
	const char *more = getenv("UMBRA_FUZZ_ROUNDS");
	uint64_t random = 0x9e3779b97f4a7c15;
	unsigned accepted = 0, rounds = 20000;
	struct machine m;
	size_t size;
	char *fdt = blob_of("configs/touch.dts", &size), *copy;

	if (more) {
		rounds = (unsigned)strtoul(more, NULL, 10);
		random += (uint64_t)getpid();
	}
	for (unsigned i = 0; i < rounds; i++) {
		unsigned changes = 1 + (unsigned)(next_random(&random) % 4);

		copy = malloc(size);
		check(copy, "no memory");
		memcpy(copy, fdt, size);
		while (changes--) {
			size_t at = next_random(&random) % size;
			static const char special[] = { 0,   1,	  2,	3,	    4,	       9,
							'@', '/', 0x7f, (char)0x80, (char)0xff };

			copy[at] = next_random(&random) % 2
					   ? (char)next_random(&random)
					   : special[next_random(&random) % sizeof(special)];
		}
		if (!machine_parse(&m, copy, size, "/dir", why, sizeof(why))) {
			check_sane(&m);
			accepted++;
		}
		if (!fdt_check_full(copy, size)) {
			size_t grown = size;

			dtb_set((void **)&copy, &grown, sets[i % 3], &w);
		}
		free(copy);
	}
	check(accepted > rounds / 50 && accepted < rounds, "%u of %u were accepted", accepted,
	      rounds);
	free(fdt);
}
