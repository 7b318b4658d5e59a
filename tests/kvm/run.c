// SPDX-License-Identifier: BSD-2-Clause
/* Guests that behave: every workload from the command line. report.c and console.c have what umbra tells about a run. */
#include "tests/test.h"

#include <inttypes.h>
#include <stdint.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "tests/umbra.h"

/* The digest of a file as xxh128sum prints it. */
static const char *digest_of(const char *path)
{
	static char text[33];
	size_t len;
	void *data = file_read(path, &len);
	XXH128_hash_t h = XXH3_128bits(data, len);

	free(data);
	snprintf(text, sizeof(text), "%016" PRIx64 "%016" PRIx64, (uint64_t)h.high64,
		 (uint64_t)h.low64);
	return text;
}

UTEST(run, hello, .init = need_kvm)
{
	check_str(umbra("run configs/hello.dts")->out,
		  "hello from cpu 0 of 1 at CPL 3, 16 MiB of RAM\n");
	umbra_ended(0);
	for (unsigned cpus = 2; cpus <= 16; cpus *= 2) {
		umbra("run configs/hello-2.dts --set /cpus/count=%u", cpus);
		umbra_ended(0);
		for (unsigned cpu = 0; cpu < cpus; cpu++) {
			char line[64];

			snprintf(line, sizeof(line), "hello from cpu %u of %u at CPL 3", cpu, cpus);
			umbra_said_out(line);
		}
	}
}

UTEST(run, exit_status_is_the_guests, .init = need_kvm)
{
	umbra("run configs/hello.dts --set '/chosen/bootargs=workload=hello exit=124'");
	umbra_ended(124);
	umbra("run configs/hello-2.dts --set '/chosen/bootargs=workload=hello exit=3'");
	umbra_ended(3);
	umbra("run configs/hello.dts --set /chosen/bootargs=workload=nonsense");
	umbra_ended(2);
	umbra_said_out(
		"no such workload: bootargs are \"workload=nonsense\"; workload= is one of hello ");
	umbra("run configs/hello-2.dts --set '/chosen/bootargs=workload=touch patern=seq'");
	umbra_ended(2);
	umbra_said_out(
		"guest: a key that touch does not take: bootargs are \"workload=touch patern");
	umbra_said_out("guest:   pattern=seq|random|stride\n");
}

UTEST(run, digest_is_that_of_the_file, .init = kvm_setup, .fini = scratch_remove)
{
	static const size_t sizes[] = { 0, 1, 1024, 4095, 4096, 4097, 1 << 20, 12345678 };

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		size_t size = test_slowness() > 1 ? sizes[i] % 2000000 : sizes[i];
		const char *path = scratch_random("input", size), *digest = digest_of(path);

		for (int cpus = 1; cpus <= 2; cpus++) {
			char want[128];

			snprintf(want, sizeof(want), "%s  %s\n", digest, path);
			check_str(umbra("run configs/digest.dts --input %s --set /cpus/count=%d",
					path, cpus)
					  ->out,
				  want);
			umbra_ended(0);
		}
	}
}

/* Sparse, so that it costs no disk: the guest reads pages that the file does not store. */
UTEST(run, digest_of_a_large_file, .init = kvm_setup, .fini = scratch_remove)
{
	const char *path = scratch_random("large", 5000), *digest;

	check(!truncate(path, (test_slowness() > 1 ? 16 << 20 : 64 << 20) + 1), "truncate");
	digest = digest_of(path);
	umbra("run configs/digest-2.dts --input %s", path);
	umbra_ended(0);
	umbra_said_out(digest);
}

UTEST(run, every_fault_around, .init = kvm_setup, .fini = scratch_remove)
{
	const char *path = scratch_random("input", 300000), *digest = digest_of(path);

	for (unsigned around = 1; around <= 512; around *= 2) {
		umbra("run configs/digest-2.dts --input %s --set /umbra/fault-around=%u "
		      "--set /umbra/fault-threads=%u",
		      path, around, 1 + around % 3);
		umbra_ended(0);
		umbra_said_out(digest);
	}
}

UTEST(run, label_is_the_input_as_given, .init = kvm_setup, .fini = scratch_remove)
{
	scratch_write("a name, with spaces", "x", 1);
	umbra("run configs/digest.dts --input '%s'", scratch("a name, with spaces"));
	umbra_ended(0);
	umbra_said_out("a name, with spaces\n");
	umbra("run configs/digest.dts --input Makefile");
	umbra_ended(0);
	umbra_said_out("  Makefile\n");
}

UTEST(run, touch, .init = need_kvm)
{
	static const char *const pattern[] = { "seq", "random", "stride stride=7" };
	static const char *const op[] = { "read", "write", "mixed" };
	unsigned mib = test_slowness() > 1 ? 2 : 8;
	char want[64];

	for (unsigned i = 0; i < 2 * 3 * 3; i++) {
		unsigned cpus = 1 + i / 9;

		umbra("run configs/touch.dts --set /cpus/count=%u --set /work/reg=0x80000000,%uM "
		      "--set '/chosen/bootargs=workload=touch pattern=%s op=%s rounds=3'",
		      cpus, mib, pattern[i / 3 % 3], op[i % 3]);
		umbra_ended(0);
		snprintf(want, sizeof(want), "cpu 0: %u pages in ", 3 * mib * 256);
		umbra_said_out(want);
		umbra_said_out(", 0 wrong\n");
		want[4] = '1';
		if (cpus == 2)
			umbra_said_out(want);
	}
}

UTEST(run, touch_of_zeros, .init = need_kvm)
{
	umbra("run configs/touch-2.dts --set /work/fill=zero --set /work/reg=0x80000000,8M");
	umbra_ended(0);
	umbra_said_out("cpu 1: 8192 pages in ");
}

UTEST(run, verify, .init = need_kvm)
{
	unsigned mib = test_slowness() > 1 ? 2 : 16;
	char want[64];

	umbra("run configs/verify.dts --set /work/reg=0x80000000,%uM", mib);
	umbra_ended(0);
	snprintf(want, sizeof(want), "verify: cpu 0: %u pages, 2 rounds, 0 wrong\n", mib * 256);
	umbra_said_out(want);
	umbra("run configs/verify-2.dts --set /umbra/churn/enabled=1 "
	      "--set /umbra/churn/ops=wrprotect,remap,zap --set /umbra/churn/period-us=%u "
	      "--set /umbra/canary=true --set /work/reg=0x80000000,%uM",
	      test_slowness() > 1 ? 100 : 0, mib);
	umbra_ended(0);
	want[12] = '1';
	umbra_said_out(want);
}

UTEST(run, idle, .init = need_kvm)
{
	const struct said *s = umbra("run configs/idle.dts --set /cpus/count=2");

	umbra_ended(0);
	check(s->ms >= 1000, "%u ms", s->ms);
	check(!s->out[0] && !s->err[0], "%s%s", s->out, s->err);
}

/* The host's own stop: the board tells the guest, which sleeps in the host, at once. */
UTEST(run, idle_until_the_host_says_stop, .init = need_kvm)
{
	const struct said *s = umbra("run configs/idle.dts --set /umbra/host/seconds=1 "
				     "--set '/chosen/bootargs=workload=idle seconds=60'");

	umbra_ended(0);
	check(s->ms >= 1000 && s->ms < slowly(30000), "%u ms", s->ms);
}

UTEST(run, counter_is_exact, .init = need_kvm)
{
	for (int cpus = 1; cpus <= 2; cpus++) {
		const struct said *s = umbra("run configs/counter.dts --stats=json --quiet "
					     "--set /cpus/count=%d --set /umbra/host/seconds=%d",
					     cpus, test_slowness() > 1 ? 1 : 3);
		uint64_t some = test_slowness() > 1 ? 10 : 1000;

		umbra_ended(0);
		check(json_field(s->err, "guest_increments") > some, "%s", s->err);
		check(json_field(s->err, "host_increments") > some, "%s", s->err);
		check(json_field(s->err, "changes") > 10, "%s", s->err);
		check(json_field(s->err, "remaps") > 0, "%s", s->err);
		check(json_field(s->err, "wrprotects") > 0, "%s", s->err);
	}
	umbra("run configs/counter-2.dts --set /umbra/host/seconds=1");
	umbra_ended(0);
	umbra_said_err(", exact\n");
	/* Stamps are other words of the same pages. */
	umbra("run configs/counter-2.dts --set /umbra/host/seconds=1 --set /work/fill=stamp "
	      "--set /umbra/churn/ops=update,remap,wrprotect");
	umbra_ended(0);
	umbra_said_err(" + 0 by the host");
	umbra_said_err(", exact\n");
}

/* Wrong values make the guest exit with 1: whatever the host does, there must be none. A slow host touches less. */
static void check_churn(const char *more)
{
	const struct said *s =
		umbra("run configs/touch-2.dts --stats=json --set /umbra/churn/enabled=1 "
		      "--set /umbra/canary=true --set /work/reg=0x80000000,%uK %s",
		      test_slowness() > 1 ? 512 : 2048, more);

	umbra_ended(0);
	umbra_said_out("cpu 1: ");
	umbra_said_out(", 0 wrong\n");
	check(json_field(s->err, "changes") > 0, "%s", s->err);
}

#define BUSY "--set '/chosen/bootargs=workload=touch pattern=random op=mixed rounds=60' "

UTEST(run, churn_of_each_kind, .init = need_kvm)
{
	check_churn(BUSY "--set /umbra/churn/ops=discard");
	check_churn(BUSY "--set /umbra/churn/ops=wrprotect");
	check_churn(BUSY "--set /umbra/churn/ops=remap");
	check_churn(BUSY "--set /umbra/churn/ops=zap");
	check_churn(BUSY "--set /umbra/churn/ops=update");
}

UTEST(run, churn_with_each_seed, .init = need_kvm)
{
	char more[256];

	for (unsigned seed = 1; seed <= (test_slowness() > 1 ? 2 : 8); seed++) {
		snprintf(more, sizeof(more),
			 BUSY "--set /umbra/churn/seed=%u --set /umbra/churn/period-us=%u", seed,
			 seed % 4 * 30);
		check_churn(more);
	}
}

UTEST(run, churn_with_each_fault_around, .init = need_kvm)
{
	static const unsigned around[] = { 0, 1, 8, 512 };
	char more[256];

	/* A slow host tries the least and one that is usual. */
	for (size_t i = 0; i<sizeof(around) / sizeof(around[0]); i += test_slowness()> 1 ? 2 : 1) {
		snprintf(more, sizeof(more),
			 BUSY "--set /umbra/fault-around=%u --set /umbra/churn/pages=%zu",
			 around[i], 1 + i * 60);
		check_churn(more);
	}
}

/* Host threads that load through the host view see no stale stamp either, or they end the run. */
UTEST(run, churn_with_host_threads, .init = need_kvm)
{
	check_churn(BUSY "--set /umbra/host/threads=2");
	check_churn("--set /umbra/host/threads=2 --set /umbra/host/seconds=1 "
		    "--set '/chosen/bootargs=workload=touch pattern=seq op=write rounds=0'");
}

/* On hosts that interpret it, CPL 0 is slow: little work. */
UTEST(run, cpl_0, .init = kvm_setup, .fini = scratch_remove)
{
	const char *path = scratch_random("input", 10000), *digest = digest_of(path);

	umbra("run configs/hello-cpl0.dts");
	umbra_ended(0);
	umbra_said_out("hello from cpu 0 of 1 at CPL 0");
	umbra("run configs/digest.dts --input %s --set /cpus/cpl=0", path);
	umbra_ended(0);
	umbra_said_out(digest);
	umbra("run configs/touch-2.dts --set /cpus/cpl=0 --set /umbra/churn/enabled=1 "
	      "--set '/chosen/bootargs=workload=touch pattern=random op=mixed pages=32 rounds=4' "
	      "--set /work/reg=0x80000000,128K");
	umbra_ended(0);
	umbra_said_out(", 0 wrong\n");
}

UTEST(run, check_of_the_tables, .init = need_kvm)
{
	umbra("run configs/touch-2.dts --check --set /umbra/churn/enabled=1 --set /work/reg=0x80000000,4M");
	umbra_ended(0);
	umbra_said_err("check: compare: ");
	umbra_said_err(" entries of the guest's tables, all right\n");
	check_str(umbra("run configs/hello.dts --check --quiet")->err, "");
}
