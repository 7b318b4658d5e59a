// SPDX-License-Identifier: BSD-2-Clause
/*
 * The command line from outside: umbra as a user starts it. Nothing here needs a guest to run, so
 * these tests pass without /dev/kvm too.
 */
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/umbra.h"

/* Every message is a line "component: action: reason" on stderr. */
static void check_refused(const char *line, int status, const char *says)
{
	const struct said *s = umbra("%s", line);

	check(s->status == status, "umbra %s: exit status %d: %s", line, s->status, s->err);
	check(strstr(s->err, says), "umbra %s: no \"%s\" in %s", line, says, s->err);
	check(!s->out[0], "umbra %s: says on stdout: %s", line, s->out);
	for (const char *at = s->err; *at; at = strchr(at, '\n') + 1) {
		check(strchr(at, '\n'), "an unfinished line: %s", at);
		check(strstr(at, ": ") && strstr(at, ": ") < strchr(at, '\n'), "no component: %s",
		      at);
	}
}

static void check_shown(const char *line, const char *says)
{
	const struct said *s = umbra("%s", line);

	check(!s->status, "umbra %s: exit status %d: %s", line, s->status, s->err);
	check(strstr(s->out, says), "umbra %s: no \"%s\" in %s", line, says, s->out);
	check(!s->err[0], "umbra %s: says on stderr: %s", line, s->err);
}

UTEST(cli, help_and_version)
{
	check_shown("--help", "Usage: umbra COMMAND");
	check_shown("-h", "Usage: umbra COMMAND");
	check_shown("help", "Exit status:");
	check_shown("run --help", "Usage: umbra run");
	check_shown("help run", "--set PATH=VALUE");
	check_shown("doctor --help", "Usage: umbra doctor");
	check_shown("help doctor", "--json");
	check_shown("help machine", "fault-around");
	check_shown("help workloads", "pattern=seq|random|stride");
	check_shown("--version", "umbra ");
}

UTEST(cli, usage_errors_are_126)
{
	check_refused("", 126, "name a command");
	check_refused("fly", 126, "unknown command fly");
	check_refused("--fly", 126, "unknown command --fly");
	check_refused("help fly", 126, "no help on fly");
	check_refused("help run run", 126, "one topic");
	check_refused("run", 126, "name a machine description");
	check_refused("run configs/hello.dts configs/idle.dts", 126,
		      "configs/idle.dts is one argument");
	check_refused("run configs/hello.dts --fly", 126, "unknown option --fly");
	check_refused("run configs/hello.dts -x", 126, "unknown option -x");
	check_refused("run configs/hello.dts --input", 126, "--input lacks its value");
	check_refused("run configs/hello.dts --stats=xml", 126, "json");
	check_refused("run configs/hello.dts --timeout 0", 126, "--timeout wants seconds");
	check_refused("run configs/hello.dts --timeout -1", 126, "--timeout wants seconds");
	check_refused("run configs/hello.dts --timeout nan", 126, "--timeout wants seconds");
	check_refused("run configs/hello.dts --timeout 1e99", 126, "--timeout wants seconds");
	check_refused("run configs/hello.dts --timeout 1x", 126, "--timeout wants seconds");
	check_refused("doctor now", 126, "no arguments");
	check_refused("doctor --fly", 126, "unknown option --fly");
}

UTEST(cli, bad_machines_are_126)
{
	check_refused("run configs/none.dts", 126,
		      "machine: load: configs/none.dts: cannot be opened");
	check_refused("run configs", 126, "configs: is a directory");
	check_refused("run Makefile", 126, "Makefile: is not a device tree blob");
	check_refused("run /dev/kvm", 126, "/dev/kvm: ");
	check_refused("run configs/hello.dts --set /cpus/count=99", 126, "1..16");
	check_refused("run configs/hello.dts --set /cpus/cuont=2", 126,
		      "did you mean /cpus/count?");
	check_refused("run configs/hello.dts --set /cpus/count=2 --set /memory/reg=0,1M", 126,
		      "too little memory");
	check_refused("run --quiet configs/hello.dts --set /memory/reg=0,1M", 126,
		      "too little memory");
}

UTEST(cli, missing_compiler_is_125)
{
	char *path = getenv("PATH");
	char *saved = path ? strdup(path) : NULL;

	setenv("PATH", "/nonexistent", 1);
	check_refused("run configs/hello.dts", 125, "package device-tree-compiler");
	if (saved)
		setenv("PATH", saved, 1);
	free(saved);
}

/* Whatever the host can do, the doctor says all of it, and its exit status is its verdict. */
UTEST(cli, doctor)
{
	static const char *const ids[] = { "host.kernel", "host.memory", "host.max-map-count",
					   "host.memfd",  "kvm.open",	 "uffd.open" };
	/* What is probed and decided, where there is what it is probed of. */
	static const struct {
		const char *of, *id;
	} probes[] = {
		{ "ok        kvm.open", "kvm.cpl3" },
		{ "ok        kvm.open", "kvm.cpl0" },
		{ "ok        kvm.open", "kvm.crash" },
		{ "ok        kvm.open", "kvm.store-exit" },
		{ "ok        kvm.open", "kvm.io-exit" },
		{ "ok        uffd.open", "uffd.features" },
		{ "ok        uffd.open", "uffd.events" },
		{ "ok        uffd.open", "uffd.sigbus" },
		{ "ok        uffd.open", "uffd.wp-unpopulated" },
		{ "ok        uffd.open", "uffd.poison" },
		{ "ok        uffd.open", "uffd.continue-wp" },
	};
	const struct said *s = umbra("doctor");
	bool runs = strstr(s->out, "\nGuests run here");

	check(runs != (strstr(s->out, "\nNo guest can run here") != NULL), "%s", s->out);
	check_eq(s->status, runs ? 0 : 125);
	check(!s->err[0], "%s", s->err);
	for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++)
		check(strstr(s->out, ids[i]), "%s is not in %s", ids[i], s->out);
	for (size_t i = 0; i < sizeof(probes) / sizeof(probes[0]); i++)
		check(!strstr(s->out, probes[i].of) || strstr(s->out, probes[i].id),
		      "%s is not in %s", probes[i].id, s->out);

	s = umbra("doctor --json");
	check_eq(s->status, runs ? 0 : 125);
	check(!strncmp(s->out, runs ? "{\"can_run\": true," : "{\"can_run\": false,", 16), "%s",
	      s->out);
	check(strstr(s->out, "\n]}\n"), "%s", s->out);
}

/* The doctor on a host that is worse than this one. */
UTEST(cli, doctor_on_a_bad_host)
{
	const struct said *s;

	umbra_inject("open:/dev/kvm:ENOENT");
	s = umbra("doctor");
	check_eq(s->status, 125);
	check(strstr(s->out, "missing   kvm.open") && strstr(s->out, "make check-qemu"), "%s",
	      s->out);

	umbra_inject("userfaultfd:EPERM,open:/dev/userfaultfd:EACCES");
	s = umbra("doctor");
	check_eq(s->status, 125);
	check(strstr(s->out, "missing   uffd.open") &&
		      strstr(s->out, "vm.unprivileged_userfaultfd=1"),
	      "%s", s->out);

	umbra_inject(NULL);
	if (geteuid())
		return;
	s = umbra_under("setpriv --bounding-set -all --inh-caps -all", "doctor");
	check(strstr(s->out, "degraded  host.huge-pages") &&
		      strstr(s->out, "Operation not permitted; fresh memory costs"),
	      "%s", s->out);
}
