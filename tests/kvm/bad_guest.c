// SPDX-License-Identifier: BSD-2-Clause
/* Guests that misbehave: each is stopped at once, with a status and a message that say what it did, and where. */
#include "tests/test.h"

#include "tests/umbra.h"

static void check_guest(const char *kind, const char *says)
{
	for (int cpus = 1; cpus <= 2; cpus++)
		umbra_ended_soon(umbra("run configs/hello.dts --set /cpus/count=%d --set "
				       "'/chosen/bootargs=workload=bad kind=%s'",
				       cpus, kind),
				 127, says);
	umbra_said_err("guest: stop: vCPU ");
}

/* What stops at an exit has its registers. */
static void check_stopped(const char *kind, const char *says)
{
	check_guest(kind, says);
	umbra_said_err(", near rip 0x");
}

/* What crashes may have lost them: then umbra shows none, and the doctor says so. */
static void check_crashed(const char *kind)
{
	bool knows = strstr(umbra("doctor")->out, "ok        kvm.crash ");

	check_guest(kind, "triple fault");
	umbra_said_err(knows ? ", near rip 0x20" : ", at a rip that this host's KVM forgets");
}

UTEST(bad_guest, triple_fault, .init = need_kvm)
{
	check_crashed("triple");
}

UTEST(bad_guest, wild_hypercall_page, .init = need_kvm)
{
	check_stopped("wildhc", "hypercall page at gpa 0xffffffff000 is outside guest memory");
}

UTEST(bad_guest, load_from_a_hole, .init = need_kvm)
{
	check_stopped("hole",
		      "load of 8 bytes at guest physical 0xfec00000, where it has no memory");
	check_stopped("hole at=0x70000000", "guest physical 0x70000000, where it has no memory");
}

UTEST(bad_guest, store_to_a_hole, .init = need_kvm)
{
	check_stopped("store", "store of 8 bytes at guest physical 0xfec00000, where it has no "
			       "writable memory");
}

UTEST(bad_guest, store_to_the_input, .init = need_kvm)
{
	for (int cpl = 0; cpl <= 3; cpl += 3) {
		umbra_ended_soon(
			umbra("run configs/digest.dts --input Makefile --set /cpus/cpl=%d --set "
			      "'/chosen/bootargs=workload=bad kind=input'",
			      cpl),
			127, "guest: stop: vCPU 0: store of 8 bytes at guest physical 0x100000000");
		umbra_said_err("no writable memory, near rip 0x");
	}
}

UTEST(bad_guest, ports_that_mean_nothing, .init = need_kvm)
{
	check_stopped("in", "in from port 0xe0, 4 bytes: only a 32-bit out to port 0xe0");
	check_stopped("port", "out to port 0x80, 4 bytes: only");
	check_stopped("byte", "out to port 0xe0, 1 bytes: only");
}

UTEST(bad_guest, halt, .init = need_kvm)
{
	check_crashed("hlt");
	umbra_ended_soon(
		umbra("run configs/hello-cpl0.dts --set '/chosen/bootargs=workload=bad kind=hlt'"),
		127, "guest: stop: vCPU 0: halted with interrupts off: it can never run again");
}

UTEST(bad_guest, load_beyond_the_map, .init = need_kvm)
{
	check_crashed("far");
}

UTEST(bad_guest, malformed_hypercalls_are_answered, .init = need_kvm)
{
	const struct said *s;

	s = umbra("run configs/hello-2.dts --set '/chosen/bootargs=workload=bad kind=malformed'");
	umbra_ended(0);
	umbra_said_out("bad: wilddesc: status -14, right\n");
	check(!strstr(s->out, "wrong") && !strstr(s->out, "never to be seen"), "%s", s->out);
}

UTEST(bad_guest, loop_without_output, .init = need_kvm)
{
	for (int cpus = 1; cpus <= 2; cpus++) {
		const struct said *s =
			umbra("run configs/hello.dts --timeout 0.3 --set /cpus/count=%d --set "
			      "'/chosen/bootargs=workload=bad kind=spin'",
			      cpus);

		umbra_ended_soon(s, 127, "guest: stop: still running after 300 ms");
		check(s->ms >= 300, "%u ms", s->ms);
	}
	umbra_ended_soon(umbra("run configs/idle.dts --timeout 0.2"), 127, "--timeout");
	umbra_ended_soon(
		umbra("run configs/touch-2.dts --timeout 0.2 --set /umbra/churn/enabled=1 --set "
		      "'/chosen/bootargs=workload=touch rounds=0 op=mixed'"),
		127, "still running after 200 ms");
}
