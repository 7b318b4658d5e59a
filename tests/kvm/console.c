// SPDX-License-Identifier: BSD-2-Clause
/* Where a run's words go, and who does not read them; signals and time that end it. */
#include "tests/test.h"

#include <unistd.h>

#include "tests/umbra.h"

UTEST(console, quiet, .init = need_kvm)
{
	const struct said *s = umbra("run configs/counter.dts --quiet --set /umbra/host/seconds=1");

	umbra_ended(0);
	check_str(s->err, "");
	umbra_said_out("counter: cpu 0: ");
}

UTEST(console, timeout_of_a_run_in_time, .init = need_kvm)
{
	const struct said *s = umbra("run configs/hello.dts --timeout %u", slowly(50000) / 1000);

	umbra_ended(0);
	check(s->ms < slowly(25000), "%u ms", s->ms);
}

/* A reader that went away is an error to report, not a death. */
UTEST(console, console_that_goes_away, .init = need_kvm)
{
	umbra_under("sh -c '\"$0\" \"$@\" >/dev/full'", "run configs/hello.dts");
	umbra_ended(125);
	umbra_said_err("console: stop: standard output: No space left on device");
}

/* A stdout that is full and that nobody reads. */
#define FULL_PIPE "sh -c 'mkfifo %s; exec 1<>%s %s; head -c 65536 /dev/zero; exec \"$0\" \"$@\"'"

/* That must cost no more than the timeout, with each vCPU in the way of the others. */
UTEST(console, console_that_nobody_reads, .init = kvm_setup, .fini = scratch_remove)
{
	for (unsigned cpus = 1; cpus <= 4; cpus += 3) {
		char under[256];
		const struct said *s;

		unlink(scratch("pipe"));
		snprintf(under, sizeof(under), FULL_PIPE, scratch("pipe"), scratch("pipe"), "");
		s = umbra_under(under, "run configs/hello.dts --set /cpus/count=%u --timeout 2",
				cpus);
		umbra_ended(127);
		umbra_said_err("still running after 2000 ms; it waits for somebody to read");
		check(s->ms < slowly(20000), "%u ms", s->ms);
	}
}

/* Neither is stderr: messages are dropped after a while. */
UTEST(console, nothing_is_read, .init = kvm_setup, .fini = scratch_remove)
{
	char under[256];
	const struct said *s;

	snprintf(under, sizeof(under), FULL_PIPE, scratch("pipe"), scratch("pipe"), "2>&1");
	s = umbra_under(under, "run configs/hello.dts --timeout 0.3 --stats");
	umbra_ended(127);
	check(s->ms < slowly(20000), "%u ms", s->ms);
}

/* sh ignores SIGINT for what runs in the background; SIGTERM goes the same way. */
UTEST(console, interrupted, .init = kvm_setup, .fini = scratch_remove)
{
	const struct said *s;
	char *text;

	/* Some time after the guest began. */
	s = umbra_under(
		"sh -c '\"$0\" \"$@\" & until grep -qs \"vcpu 1\" /proc/$!/task/*/comm; do sleep 0.1; done; "
		"sleep 1; kill -TERM $!; wait $!'",
		"run configs/touch-2.dts --stats --trace %s "
		"--set '/chosen/bootargs=workload=touch rounds=0'",
		scratch("trace"));
	umbra_ended(125);
	umbra_said_err("umbra: stop: interrupted by SIGTERM before the guest ended\n");
	umbra_said_err("pages installed in ");
	check(s->ms < slowly(20000), "%u ms", s->ms);
	text = file_read(scratch("trace"), NULL);
	check(is_json(text) && strstr(text, "kvm_page_fault"), "%.100s", text);
	free(text);
	/* It signals twice, the program and then its group: that counts as once. */
	umbra_under("timeout --preserve-status -s INT 3 env --default-signal=INT",
		    "run configs/idle.dts --set '/chosen/bootargs=workload=idle seconds=60'");
	umbra_ended(125);
	umbra_said_err("interrupted by SIGINT");
}

/* It hangs in the trace, as nobody reads that pipe; the second signal does not ask. */
UTEST(console, interrupted_twice, .init = kvm_setup, .fini = scratch_remove)
{
	char under[256];

	snprintf(
		under, sizeof(under),
		"sh -c 'mkfifo %s; exec 3<>%s; head -c 65536 /dev/zero >&3; \"$0\" \"$@\" & sleep 3; kill -TERM $!; sleep 1; "
		"kill -TERM $!; wait $!'",
		scratch("pipe"), scratch("pipe"));
	umbra_under(under,
		    "run configs/touch-2.dts --trace %s "
		    "--set '/chosen/bootargs=workload=touch rounds=0'",
		    scratch("pipe"));
	umbra_ended(143);
}

/* The pool counts as a file, too: SIGXFSZ must not be the answer. stderr is a pipe here, and may grow. */
UTEST(console, files_that_may_not_grow, .init = need_kvm)
{
	umbra_under("sh -c '(ulimit -f 0; \"$0\" \"$@\" 2>&1; echo status $?) | cat >&2'",
		    "run configs/hello.dts");
	umbra_said_err("no memory pool of ");
	umbra_said_err(" MiB: File too large");
	umbra_said_err("status 125\n");
}
