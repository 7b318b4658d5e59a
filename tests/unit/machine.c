// SPDX-License-Identifier: BSD-2-Clause
/*
 * hv/machine: what a description may say, and what --set and --input make of it. Long: a table of bad assignments beside the words that
 * each must be refused with.
 */
#include "tests/test.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guest/abi.h"
#include "hv/bindings.h"
#include "tests/unit/machine_try.h"

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
UTEST(machine, paths_are_relative_to_who_wrote_them, .init = scratch_make, .fini = scratch_remove)
{
	static const char dts[] =
		"/dts-v1/; / { compatible = \"umbra,machine\";"
		"#address-cells = <2>; #size-cells = <2>;"
		"memory@0 { reg = <0 0 0 0x400000>; }; umbra { image = \"x.elf\"; }; };";
	char want[4200], cwd[4096];
	struct machine m;

	scratch_write("m.dts", dts, sizeof(dts) - 1);
	check(!load(&m, scratch("m.dts"), NULL), "%s", why);
	snprintf(want, sizeof(want), "%s", scratch("x.elf"));
	check_str(m.image, want);

	check(getcwd(cwd, sizeof(cwd)), "getcwd");
	check(!load(&m, scratch("m.dts"), "/umbra/image=y.elf"), "%s", why);
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

static void open_input(struct machine *m, const char *path, int want_err, const char *says)
{
	uint64_t bytes = 1;
	int fd = -2;

	check_eq(machine_open_input(m, path, &fd, &bytes, why, sizeof(why)), want_err);
	check_eq(fd, -1);
	check_eq(m->input.size, 0);
	check_says(says);
}

UTEST(machine, input_file, .init = scratch_make, .fini = scratch_remove)
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
	check(!mkfifo(scratch("fifo"), 0600), "mkfifo");
	open_input(&m, scratch("fifo"), -EINVAL, "not a regular file");
	open_input(&hello, "Makefile", -EINVAL, "no input region");
	check(!machine_open_input(&hello, NULL, &fd, &bytes, why, sizeof(why)), "%s", why);
	check_eq(fd, -1);

	scratch_write("input", "", 0);
	check(!machine_open_input(&m, scratch("input"), &fd, &bytes, why, sizeof(why)), "%s", why);
	check(fd >= 0 && !bytes && !m.input.size, "empty file");
	close(fd);
	scratch_write("input", "abc", 3);
	check(!machine_open_input(&m, scratch("input"), &fd, &bytes, why, sizeof(why)), "%s", why);
	check_eq(bytes, 3);
	check_eq(m.input.size, 4096);
	close(fd);

	m.input.size = 0;
	check(!truncate(scratch("input"), 200ll << 30), "truncate");
	open_input(&m, scratch("input"), -EFBIG, "guest memory has only");
	m.input.gpa = 0x1000000;
	check(!truncate(scratch("input"), 5ll << 30), "truncate");
	open_input(&m, scratch("input"), -EINVAL, "interrupt controllers");
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
