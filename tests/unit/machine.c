// SPDX-License-Identifier: BSD-2-Clause
/*
 * hv/machine: what a description may say, what it may not, and that no bytes can crash the parser. Long: tables of bad
 * machines beside the words that each must be refused with.
 */
#include "tests/test.h"

#include <errno.h>
#include <fcntl.h>
#include <libfdt.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guest/abi.h"
#include "hv/bindings.h"
#include "hv/dtb.h"
#include "hv/machine.h"

static char why[MACHINE_WHY_SIZE];
static char scratch[64];

static int load(struct machine *m, const char *path, const char *set)
{
	why[0] = '\0';
	return machine_load(m, path, &set, set ? 1 : 0, why, sizeof(why));
}

static void check_says(const char *word)
{
	check(strstr(why, word), "\"%s\" does not say \"%s\"", why, word);
}

static void make_scratch(void)
{
	snprintf(scratch, sizeof(scratch), "/tmp/umbra-machine-XXXXXX");
	check(mkdtemp(scratch), "mkdtemp");
}

static void remove_scratch(void)
{
	static const char *const names[] = { "m.dts", "m.dtb", "input", "fifo", "loop" };
	char path[128];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", scratch, names[i]);
		unlink(path);
	}
	rmdir(scratch);
}

static const char *in_scratch(const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", scratch, name);
	return path;
}

static void write_scratch(const char *name, const void *data, size_t len)
{
	int fd = open(in_scratch(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	check(fd >= 0, "open");
	check_eq(write(fd, data, len), (ssize_t)len);
	close(fd);
}

/* A blob of configs/@name that the caller frees. */
static void *blob_of(const char *name, size_t *size)
{
	struct why w = { .text = why, .size = sizeof(why) };
	void *fdt;

	check(!dtb_read(name, &fdt, size, &w) && fdt, "%s", why);
	return fdt;
}

UTEST(machine, every_config_loads)
{
	static const struct {
		const char *name;
		unsigned cpus;
	} configs[] = {
		{ "hello", 1 },	    { "hello-2", 2 }, { "hello-cpl0", 1 }, { "digest", 1 },
		{ "digest-2", 2 },  { "touch", 1 },   { "touch-2", 2 },	   { "counter", 1 },
		{ "counter-2", 2 }, { "verify", 1 },  { "verify-2", 2 },   { "idle", 1 },
	};
	struct machine m;
	char path[64];

	for (size_t i = 0; i < sizeof(configs) / sizeof(configs[0]); i++) {
		snprintf(path, sizeof(path), "configs/%s.dts", configs[i].name);
		check(!load(&m, path, NULL), "%s", why);
		check_str(m.model, configs[i].name);
		check_eq(m.cpus, configs[i].cpus);
		check_eq(m.ram.size, 16 << 20);
		check(strstr(m.bootargs, "workload="), "%s", m.bootargs);
		check_eq(m.cpl, strstr(path, "cpl0") ? 0 : 3);
	}
}

UTEST(machine, fields_arrive)
{
	struct machine m;

	check(!load(&m, "configs/touch.dts", NULL), "%s", why);
	check_eq(m.work.gpa, 0x80000000);
	check_eq(m.work.size, 64 << 20);
	check(m.work.present && m.board.present && !m.input.present, "regions");
	check_eq(m.work_fill, FILL_STAMP);
	check_eq(m.churn.ops,
		 CHURN_DISCARD | CHURN_WRPROTECT | CHURN_REMAP | CHURN_ZAP | CHURN_UPDATE);
	check(!m.churn.on && m.canary, "flags");
	check_eq(m.churn.period_us, 100);
	check_eq(m.churn.seed, 1);

	check(!load(&m, "configs/counter.dts", NULL), "%s", why);
	check_eq(m.churn.ops, CHURN_WRPROTECT | CHURN_REMAP | CHURN_ZAP);
	check(m.churn.on, "churn");
	check_eq(m.host.threads, 2);
	check_eq(m.work_fill, FILL_ZERO);
	check(strstr(m.image, "guest.elf"), "%s", m.image);
}

/* Each row's default passes the row's own check; a default that did not would silently be 0. */
UTEST(machine, defaults_are_valid)
{
	struct why w = { .text = why, .size = sizeof(why) };
	char value[BIND_VALUE_SIZE];
	size_t len;

	for (size_t i = 0; i < bindings_count; i++) {
		const struct binding *b = &bindings[i];

		if (!b->def)
			continue;
		check(!binding_encode(b, b->def, value, &len, &w), "%s: %s", b->prop, why);
		check(!binding_check(b, value, len, &w), "%s: %s", b->prop, why);
	}
}

/* One "`property`" row under one "## `node`" heading each. */
UTEST(machine, docs_have_every_property)
{
	static char text[65536];
	char heading[80], row[80];
	FILE *f = fopen("docs/bindings.md", "re");
	size_t len;

	check(f, "docs/bindings.md");
	len = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	check(len && len < sizeof(text) - 1, "%zu bytes", len);

	for (size_t i = 0; i < bindings_count; i++) {
		const char *section, *next, *at;

		snprintf(heading, sizeof(heading), "\n## `%s`\n", bindings[i].node);
		section = strstr(text, heading);
		check(section, "no section %s", bindings[i].node);
		snprintf(row, sizeof(row), "\n| `%s` |", bindings[i].prop);
		at = strstr(section, row);
		next = strstr(section + 1, "\n## ");
		check(at && (!next || at < next), "%s/%s is not there", bindings[i].node,
		      bindings[i].prop);
	}
}

UTEST(machine, set_changes_what_it_names)
{
	static const char *const sets[] = {
		"/cpus/count=4",
		"/cpus/cpl=0",
		"/memory/reg=0,8M",
		"/work@80000000/reg=<0x2 0x0 0x0 0x1000>",
		"/work/fill=zero",
		"/chosen/bootargs=workload=touch rounds=9",
		"/umbra/canary=false",
		"/umbra/fault-around=64",
		"/umbra/image=/a/b.elf",
		"/umbra/churn/enabled=true",
		"/umbra/churn/ops=zap,remap",
		"/umbra/churn/pages=1",
		"/umbra/churn/seed=0x123456789abcdef0",
		"/umbra/host/threads=3",
		"/model=\"renamed\"",
	};
	struct machine m;

	check(!machine_load(&m, "configs/touch.dts", sets, sizeof(sets) / sizeof(sets[0]), why,
			    sizeof(why)),
	      "%s", why);
	check_eq(m.cpus, 4);
	check_eq(m.cpl, 0);
	check_eq(m.ram.size, 8 << 20);
	check_eq(m.work.gpa, 0x200000000);
	check_eq(m.work.size, 4096);
	check_eq(m.work_fill, FILL_ZERO);
	check_str(m.bootargs, "workload=touch rounds=9");
	check(!m.canary && m.churn.on, "flags");
	check_eq(m.fault_around, 64);
	check_str(m.image, "/a/b.elf");
	check_eq(m.churn.ops, CHURN_ZAP | CHURN_REMAP);
	check_eq(m.churn.seed, 0x123456789abcdef0);
	check_eq(m.host.threads, 3);
	check_str(m.model, "renamed");
}

/* /umbra/churn is not in hello.dts; the last assignment to a property wins. */
UTEST(machine, set_makes_what_is_missing)
{
	static const char *const sets[] = {
		"/umbra/churn/seed=7",
		"/work@80000000/reg=0x80000000,4096",
		"/work/compatible=umbra,work",
		"/board/reg=0x40000000,4K",
		"/board/compatible=\"umbra,board\"",
		"/umbra/churn/enabled=<1>",
		"/umbra/churn/pages=1",
		"/umbra/churn/seed=9",
	};
	struct machine m;

	check(!machine_load(&m, "configs/hello.dts", sets, sizeof(sets) / sizeof(sets[0]), why,
			    sizeof(why)),
	      "%s", why);
	check(m.churn.on && m.work.present && m.board.present, "not made");
	check_eq(m.churn.seed, 9);
}

/* A path in a description starts at its directory; one on the command line at the user's. */
UTEST(machine, paths_are_relative_to_who_wrote_them, .init = make_scratch, .fini = remove_scratch)
{
	static const char dts[] =
		"/dts-v1/; / { compatible = \"umbra,machine\";"
		"#address-cells = <2>; #size-cells = <2>;"
		"memory@0 { reg = <0 0 0 0x400000>; }; umbra { image = \"x.elf\"; }; };";
	char want[4200], cwd[4096];
	struct machine m;

	write_scratch("m.dts", dts, sizeof(dts) - 1);
	check(!load(&m, in_scratch("m.dts"), NULL), "%s", why);
	snprintf(want, sizeof(want), "%s/x.elf", scratch);
	check_str(m.image, want);

	check(getcwd(cwd, sizeof(cwd)), "getcwd");
	check(!load(&m, in_scratch("m.dts"), "/umbra/image=y.elf"), "%s", why);
	snprintf(want, sizeof(want), "%s/y.elf", cwd);
	check_str(m.image, want);
}

/* A wrong value: refused with -EINVAL, and the message says where and what. */
UTEST(machine, set_refuses)
{
	static const struct {
		const char *config, *set, *says;
	} bad[] = {
		{ "hello", "/cpus/count=0", "1..16" },
		{ "hello", "/cpus/count=17", "1..16" },
		{ "hello", "/cpus/count=-1", "negative" },
		{ "hello", "/cpus/count=<0xffffffff>", "negative" },
		{ "hello", "/cpus/count=<1 2>", "has 8 bytes" },
		{ "hello", "/cpus/count=", "not a number" },
		{ "hello", "/cpus/count=2x", "too much" },
		{ "hello", "/cpus/count=99999999999999999999", "64 bits" },
		{ "hello", "/cpus/count=0x100000000", "32 bits" },
		{ "hello", "/cpus/count=<1", "write cells as" },
		{ "hello", "/cpus/count=\"2\"", "has 2 bytes" },
		{ "hello", "/cpus/cpl=1", "0 | 3" },
		{ "hello", "/cpus/cuont=2", "did you mean /cpus/count?" },
		{ "hello", "/cpu/count=2", "did you mean /cpus/count?" },
		{ "hello", "/count=2", "did you mean /cpus/count" },
		{ "hello", "/xyzzyplugh/frotz=1", "umbra help machine" },
		{ "hello", "cpus/count=2", "/node/property=value" },
		{ "hello", "/cpus/count", "/node/property=value" },
		{ "hello", "/=1", "no property" },
		{ "hello", "/memory@1000/reg=0,4M", "it has /memory@0" },
		{ "hello", "/memory/reg=0,2M", "too little memory" },
		{ "hello", "/memory/reg=0,4194305", "multiple of the page size" },
		{ "hello", "/memory/reg=4096,8M", "RAM starts at 0" },
		{ "hello", "/memory/reg=0", "ADDRESS,SIZE" },
		{ "hello", "/memory/reg=0,-4096", "negative" },
		{ "hello", "/memory/reg=<0 0 0xffffffff 0xff000000>", "top bit" },
		{ "hello", "/memory/reg=<0 0x400000>", "has 8 bytes" },
		{ "hello", "/memory/reg=0,1G,2", "too much" },
		{ "hello", "/memory/reg=0,4G", "interrupt controllers" },
		{ "hello", "/memory/reg=0,200G", "end of guest memory" },
		{ "hello", "/memory/reg=0,16777216T", "too much" },
		{ "hello", "/umbra/churn/enabled=true", "add a node work" },
		{ "hello", "/umbra/host/threads=1", "add a node work" },
		{ "hello", "/umbra/canary=maybe", "neither true nor false" },
		{ "hello", "/umbra/fault-around=3", "power of two" },
		{ "hello", "/umbra/fault-around=1024", "0..512" },
		{ "hello", "/umbra/host-view-source=softirq", "\"uffd\"" },
		{ "touch", "/work/host-view-audit=maybe", "\"default\"" },
		{ "hello", "/compatible=umbra,other", "umbra,machine" },
		{ "hello", "/model=\"a\",\"b\"", "not one string" },
		{ "hello", "/model=\"a", "write strings as" },
		{ "digest", "/input/reg=0,0", "inside RAM" },
		{ "digest", "/input/reg=4G,4096", "must be 0" },
		{ "touch", "/work/reg=0x40000000,64M", "overlap" },
		{ "touch", "/work/reg=0x7fff0000,0", "size is 0" },
		{ "touch", "/work/reg=0,64M", "overlap" },
		{ "touch", "/board/reg=0x40000000,4096", "too small" },
		{ "touch", "/work/fill=ones", "\"zero\" | \"stamp\"" },
		{ "touch", "/umbra/churn/ops=zap,fly", "\"fly\"" },
		{ "touch", "/umbra/churn/ops=", "\"\"" },
		{ "touch", "/umbra/churn/pages=0", "1..65536" },
	};
	struct machine m;
	char path[64];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(path, sizeof(path), "configs/%s.dts", bad[i].config);
		check(load(&m, path, bad[i].set) == -EINVAL, "%s was taken: %s", bad[i].set, why);
		check_says(bad[i].says);
	}
}

/* A value that is longer than any field, and assignments without end. */
UTEST(machine, set_is_bounded)
{
	static char text[200000];
	static const char *many[4000];
	struct machine m;

	strcpy(text, "/chosen/bootargs=");
	memset(text + strlen(text), 'a', 300);
	check_eq(load(&m, "configs/hello.dts", text), -EINVAL);
	check_says("at most 255");
	memset(text + 17, 'a', sizeof(text) - 18);
	check_eq(load(&m, "configs/hello.dts", text), -EINVAL);
	check_says("longer than");

	for (size_t i = 0; i < sizeof(many) / sizeof(many[0]); i++)
		many[i] = "/cpus/count=2";
	check(!machine_load(&m, "configs/hello.dts", many, 1000, why, sizeof(why)), "%s", why);
	check_eq(m.cpus, 2);
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

UTEST(machine, wrong_sources, .init = make_scratch, .fini = remove_scratch)
{
	struct machine m;
	char dts[512];

	for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
		snprintf(dts, sizeof(dts),
			 "/dts-v1/; / { compatible = \"umbra,machine\"; #address-cells = <2>;"
			 "#size-cells = <2>; %s };",
			 sources[i].body);
		write_scratch("m.dts", dts, strlen(dts));
		check(load(&m, in_scratch("m.dts"), NULL) == -EINVAL, "%s: %s", sources[i].body,
		      why);
		check_says("m.dts: ");
		check_says(sources[i].says);
	}
}

UTEST(machine, wrong_roots, .init = make_scratch, .fini = remove_scratch)
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
		write_scratch("m.dts", roots[i].body, strlen(roots[i].body));
		check(load(&m, in_scratch("m.dts"), NULL) == -EINVAL, "%s", roots[i].body);
		check_says(roots[i].says);
	}
}

UTEST(machine, wrong_files, .init = make_scratch, .fini = remove_scratch)
{
	static char zeros[2 << 20];
	struct machine m;

	check_eq(load(&m, "configs/none.dts", NULL), -ENOENT);
	check_says("configs/none.dts: cannot be opened");
	check_eq(load(&m, "configs", NULL), -EISDIR);
	check_says("a directory");
	check_eq(load(&m, "/dev/null", NULL), -EINVAL);
	check_says("not a regular file");
	check(!mkfifo(in_scratch("fifo"), 0600), "mkfifo");
	check_eq(load(&m, in_scratch("fifo"), NULL), -EINVAL);
	check_eq(load(&m, "README.md", NULL) == -EINVAL || access("README.md", R_OK), 1);
	write_scratch("m.dtb", "", 0);
	check_eq(load(&m, in_scratch("m.dtb"), NULL), -EINVAL);
	check_says("not a device tree blob");
	write_scratch("m.dtb", zeros, sizeof(zeros));
	check_eq(load(&m, in_scratch("m.dtb"), NULL), -EFBIG);
	check(!symlink(in_scratch("loop"), in_scratch("loop")), "symlink");
	check_eq(load(&m, in_scratch("loop"), NULL), -ELOOP);
}

/* A source that is small but compiles to more than 1 MiB must not be held in memory. */
UTEST(machine, compiler_output_is_bounded, .init = make_scratch, .fini = remove_scratch)
{
	struct machine m;
	char dts[512];

	write_scratch("input", "", 0);
	check(!truncate(in_scratch("input"), 64 << 20), "truncate");
	snprintf(dts, sizeof(dts), "/dts-v1/; / { model = /incbin/(\"%s\"); };",
		 in_scratch("input"));
	write_scratch("m.dts", dts, strlen(dts));
	check_eq(load(&m, in_scratch("m.dts"), NULL), -EFBIG);
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

UTEST(machine, no_compiler, .fini = restore_path)
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

UTEST(machine, every_truncation_is_refused)
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
UTEST(machine, mutated_blobs)
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

static void open_input(struct machine *m, const char *path, int want_err, const char *says)
{
	uint64_t bytes = 1;
	int fd = -2;

	check_eq(machine_open_input(m, path, &fd, &bytes, why, sizeof(why)), want_err);
	check_eq(fd, -1);
	check_eq(m->input.size, 0);
	check_says(says);
}

UTEST(machine, input_file, .init = make_scratch, .fini = remove_scratch)
{
	struct machine m, hello;
	uint64_t bytes;
	int fd;

	check(!load(&m, "configs/digest.dts", NULL), "%s", why);
	check(!load(&hello, "configs/hello.dts", NULL), "%s", why);
	open_input(&m, NULL, -EINVAL, "--input FILE");
	open_input(&m, "/nonexistent/file", -ENOENT, "/nonexistent/file: cannot be opened");
	open_input(&m, "/tmp", -EISDIR, "a directory");
	open_input(&m, "/dev/zero", -EINVAL, "not a regular file");
	check(!mkfifo(in_scratch("fifo"), 0600), "mkfifo");
	open_input(&m, in_scratch("fifo"), -EINVAL, "not a regular file");
	open_input(&hello, "Makefile", -EINVAL, "no input region");
	check(!machine_open_input(&hello, NULL, &fd, &bytes, why, sizeof(why)), "%s", why);
	check_eq(fd, -1);

	write_scratch("input", "", 0);
	check(!machine_open_input(&m, in_scratch("input"), &fd, &bytes, why, sizeof(why)), "%s",
	      why);
	check(fd >= 0 && !bytes && !m.input.size, "empty file");
	close(fd);
	write_scratch("input", "abc", 3);
	check(!machine_open_input(&m, in_scratch("input"), &fd, &bytes, why, sizeof(why)), "%s",
	      why);
	check_eq(bytes, 3);
	check_eq(m.input.size, 4096);
	close(fd);

	m.input.size = 0;
	check(!truncate(in_scratch("input"), 200ll << 30), "truncate");
	open_input(&m, in_scratch("input"), -EFBIG, "guest memory has only");
	m.input.gpa = 0x1000000;
	check(!truncate(in_scratch("input"), 5ll << 30), "truncate");
	open_input(&m, in_scratch("input"), -EINVAL, "interrupt controllers");
}

UTEST(machine, reasons_hold_no_control_characters)
{
	char text[64];
	struct why w = { .text = text, .size = sizeof(text), .where = "a" };

	check_eq(why_fail(&w, -EINVAL, "x\033[2Jy"), -EINVAL);
	check_str(text, "a: x?[2Jy");
	w.size = 6;
	why_set(&w, "longer than six");
	check_str(text, "a: lo");
}
