// SPDX-License-Identifier: BSD-2-Clause
/*
 * Guests that behave: every workload from the command line, and what umbra tells about a run. Long, as a list is: no test
 * needs another.
 */
#include "tests/test.h"

#include <inttypes.h>
#include <stdint.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "tests/umbra.h"

static void setup(void)
{
	need_kvm();
	scratch_make();
}

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

/* The number behind "@name": in @text. */
static uint64_t field(const char *text, const char *name)
{
	char key[64];
	const char *at;

	snprintf(key, sizeof(key), "\"%s\":", name);
	at = strstr(text, key);
	check(at, "no %s in %s", key, text);
	return strtoull(at + strlen(key), NULL, 10);
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

UTEST(run, digest_is_that_of_the_file, .init = setup, .fini = scratch_remove)
{
	static const size_t sizes[] = { 0, 1, 1024, 4095, 4096, 4097, 1 << 20, 12345678 };

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		const char *path = scratch_random("input", sizes[i]), *digest = digest_of(path);

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
UTEST(run, digest_of_a_large_file, .init = setup, .fini = scratch_remove)
{
	const char *path = scratch_random("large", 5000), *digest;

	check(!truncate(path, (64 << 20) + 1), "truncate");
	digest = digest_of(path);
	umbra("run configs/digest-2.dts --input %s", path);
	umbra_ended(0);
	umbra_said_out(digest);
}

UTEST(run, every_fault_around, .init = setup, .fini = scratch_remove)
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

UTEST(run, label_is_the_input_as_given, .init = setup, .fini = scratch_remove)
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

	for (unsigned i = 0; i < 2 * 3 * 3; i++) {
		unsigned cpus = 1 + i / 9;

		umbra("run configs/touch.dts --set /cpus/count=%u --set /work/reg=0x80000000,8M "
		      "--set '/chosen/bootargs=workload=touch pattern=%s op=%s rounds=3'",
		      cpus, pattern[i / 3 % 3], op[i % 3]);
		umbra_ended(0);
		umbra_said_out("cpu 0: 6144 pages in ");
		umbra_said_out(", 0 wrong\n");
		if (cpus == 2)
			umbra_said_out("cpu 1: 6144 pages in ");
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
	umbra("run configs/verify.dts");
	umbra_ended(0);
	umbra_said_out("verify: cpu 0: 4096 pages, 2 rounds, 0 wrong\n");
	umbra("run configs/verify-2.dts --set /umbra/churn/enabled=1 "
	      "--set /umbra/churn/ops=wrprotect,remap,zap --set /umbra/churn/period-us=0 "
	      "--set /umbra/canary=true");
	umbra_ended(0);
	umbra_said_out("verify: cpu 1: 4096 pages, 2 rounds, 0 wrong\n");
}

UTEST(run, idle, .init = need_kvm)
{
	const struct said *s = umbra("run configs/idle.dts --set /cpus/count=2");

	umbra_ended(0);
	check(s->ms >= 1000 && s->ms < slowly(2000), "%u ms", s->ms);
	check(!s->out[0] && !s->err[0], "%s%s", s->out, s->err);
}

/* The host's own stop: the board tells the guest, which sleeps in the host, at once. */
UTEST(run, idle_until_the_host_says_stop, .init = need_kvm)
{
	const struct said *s = umbra("run configs/idle.dts --set /umbra/host/seconds=1 "
				     "--set '/chosen/bootargs=workload=idle seconds=60'");

	umbra_ended(0);
	check(s->ms >= 1000 && s->ms < slowly(2000), "%u ms", s->ms);
}

UTEST(run, counter_is_exact, .init = need_kvm)
{
	for (int cpus = 1; cpus <= 2; cpus++) {
		const struct said *s = umbra("run configs/counter.dts --stats=json --quiet "
					     "--set /cpus/count=%d --set /umbra/host/seconds=1",
					     cpus);

		umbra_ended(0);
		check(field(s->err, "guest_increments") > 1000, "%s", s->err);
		check(field(s->err, "host_increments") > 1000, "%s", s->err);
		check(field(s->err, "changes") > 10, "%s", s->err);
		check(field(s->err, "remaps") > 0, "%s", s->err);
		check(field(s->err, "wrprotects") > 0, "%s", s->err);
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

/* Wrong values make the guest exit with 1: whatever the host does, there must be none. */
static void check_churn(const char *more)
{
	const struct said *s =
		umbra("run configs/touch-2.dts --stats=json --set /umbra/churn/enabled=1 "
		      "--set /umbra/canary=true --set /work/reg=0x80000000,2M %s",
		      more);

	umbra_ended(0);
	umbra_said_out("cpu 1: ");
	umbra_said_out(", 0 wrong\n");
	check(field(s->err, "changes") > 0, "%s", s->err);
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

	for (unsigned seed = 1; seed <= 8; seed++) {
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

	for (size_t i = 0; i < sizeof(around) / sizeof(around[0]); i++) {
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
UTEST(run, cpl_0, .init = setup, .fini = scratch_remove)
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

/* The number that stands right before @what in @line. */
static double number_before(const char *line, const char *what)
{
	const char *at = strstr(line, what);

	check(at, "no %s in %s", what, line);
	while (at > line && strchr("0123456789.", at[-1]))
		at--;
	return strtod(at, NULL);
}

UTEST(run, stats_as_text, .init = need_kvm)
{
	const struct said *s = umbra("run configs/touch.dts --stats --set /work/reg=0x80000000,1M");
	double faults = number_before(s->err, " faults, ");
	double pages = number_before(s->err, " pages installed in ");
	double seconds = number_before(s->err, " s\n");

	umbra_ended(0);
	check(!strncmp(s->err, "mmu: ", 5), "%s", s->err);
	check(pages >= 256 && faults > 0 && faults < pages, "%s", s->err);
	check(number_before(s->err, " batches, ") <= pages, "%s", s->err);
	check(number_before(s->err, " retries, ") == 0, "%s", s->err);
	check(number_before(s->err, " invalidations, ") == 0, "%s", s->err);
	check(seconds > 0 && seconds < 10, "%s", s->err);
	check(number_before(s->err, " leaves of 4K, ") + 512 * number_before(s->err, " of 2M, ") ==
		      pages,
	      "%s", s->err);
	check(number_before(s->err, " pages aged\n") == 0, "%s", s->err);
	check(strncmp(strchr(s->err, '\n'), "\nmmu: ", 6) == 0, "%s", s->err);
	check(strrchr(s->err, '\n') == s->err + strlen(s->err) - 1, "two lines: %s", s->err);
}

UTEST(run, stats_as_json, .init = need_kvm)
{
	const struct said *s = umbra("run configs/touch-2.dts --stats=json "
				     "--set '/model=a \"b\\\\c' --set /work/reg=0x80000000,1M");

	umbra_ended(0);
	check(is_json(s->err), "%s", s->err);
	check_eq(field(s->err, "status"), 0);
	check_eq(field(s->err, "vcpus"), 2);
	check(field(s->err, "pages") >= 256, "%s", s->err);
	check(field(s->err, "leaves") > 0, "%s", s->err);
	check_eq(field(s->err, "leaves"), field(s->err, "leaves_4k") + field(s->err, "leaves_2m") +
						  field(s->err, "leaves_1g"));
	check_eq(field(s->err, "mapped"),
		 field(s->err, "leaves_4k") + 512 * field(s->err, "leaves_2m"));
	check(field(s->err, "mapped") >= 256, "%s", s->err);
	check_eq(field(s->err, "splits") + field(s->err, "aged") + field(s->err, "yields"), 0);
	check(field(s->err, "run_ns") > 0, "%s", s->err);
	check(strstr(s->err, "{\"model\":\"a \\\"b\\\\\\\\c\","), "%s", s->err);

	s = umbra(
		"run configs/hello.dts --stats=json --set '/chosen/bootargs=workload=hello exit=7'");
	umbra_ended(7);
	check_eq(field(s->err, "status"), 7);
}

UTEST(run, trace_opens_in_viewers, .init = setup, .fini = scratch_remove)
{
	static const char *const events[] = {
		"kvm_page_fault", "kvm_mmu_set_spte",	  "kvm_exit",	   "kvm_unmap_hva_range",
		"umbra_zap",	  "umbra_invalidate_end", "kvm_hypercall", "thread_name",
	};
	static const char *const threads[] = { "vcpu 0", "vcpu 1", "churn", "guest fault",
					       "host fault" };
	char *trace;

	umbra("run configs/touch-2.dts --set /umbra/churn/enabled=1 --trace %s", scratch("trace"));
	umbra_ended(0);
	trace = file_read(scratch("trace"), NULL);
	expect(is_json(trace), "%.200s...", trace);
	expect(strstr(trace, "\"traceEvents\":["));
	for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
		char name[64];

		snprintf(name, sizeof(name), "{\"name\":\"%s\",", events[i]);
		expect(strstr(trace, name), "no %s", name);
	}
	for (size_t i = 0; i < sizeof(threads) / sizeof(threads[0]); i++) {
		char name[64];

		snprintf(name, sizeof(name), "\"args\":{\"name\":\"%s\"}}", threads[i]);
		expect(strstr(trace, name), "no %s", name);
	}
	free(trace);
}

/* A file is emptied when there is something to put there, and never one that the run reads. */
UTEST(run, trace_spares_files, .init = setup, .fini = scratch_remove)
{
	char *text;

	scratch_write("old", "an older trace", 14);
	umbra("run configs/hello.dts --trace %s --set /umbra/image=/no/such/file", scratch("old"));
	umbra_ended(126);
	umbra("run configs/digest.dts --trace %s --input /no/such/file", scratch("old"));
	umbra_ended(126);
	text = file_read(scratch("old"), NULL);
	check_str(text, "an older trace");
	free(text);
	umbra("run configs/hello.dts --trace %s --set /umbra/image=/no/such/file", scratch("new"));
	check(access(scratch("new"), F_OK), "an empty trace of a run that never was");

	scratch_write("input", "precious", 8);
	check(!link(scratch("input"), scratch("link")));
	umbra("run configs/digest.dts --input %s --trace %s", scratch("input"), scratch("link"));
	umbra_ended(126);
	umbra_said_err("vm: trace: --trace ");
	umbra_said_err("is the same file as");
	umbra("run configs/hello.dts --set /umbra/image=%s --trace %s", scratch("input"),
	      scratch("input"));
	umbra_ended(126);
	umbra_said_err("is the same file as");
	text = file_read(scratch("input"), NULL);
	check_str(text, "precious");
	free(text);
	umbra("run %s --trace %s", scratch_dtb("hello"), scratch("hello"));
	umbra_ended(126);

	umbra("run configs/hello.dts --trace %s", scratch("old"));
	umbra_ended(0);
	text = file_read(scratch("old"), NULL);
	check(is_json(text), "%s", text);
	free(text);
}

/* The ring is bounded, and says so; how soon it is full is the host's affair. */
UTEST(run, long_trace_keeps_the_end, .init = setup, .fini = scratch_remove)
{
	const struct said *s;
	unsigned seconds = 1;
	char *trace;

	do {
		s = umbra("run configs/counter.dts --trace %s --set /umbra/host/seconds=%u "
			  "--set /umbra/host/threads=0 --set /umbra/churn/ops=zap "
			  "--set /umbra/churn/period-us=0 --set /chosen/bootargs=workload=idle",
			  scratch("trace"), seconds);
		umbra_ended(0);
		seconds *= 2;
	} while (!strstr(s->err, "older ones are gone") && seconds < test_slowness());
	umbra_said_err("older ones are gone");
	trace = file_read(scratch("trace"), NULL);
	expect(is_json(trace));
	free(trace);
}

UTEST(run, trace_that_cannot_be_written, .init = setup, .fini = scratch_remove)
{
	umbra("run configs/hello.dts --trace %s/no/such/file", scratch("dir"));
	umbra_ended(126);
	umbra_said_err("--trace");
	umbra_said_err("No such file");
	umbra("run configs/hello.dts --trace /dev/full");
	umbra_ended(125);
	umbra_said_err("trace: write: /dev/full: No space left on device; free space");
}

UTEST(run, quiet, .init = need_kvm)
{
	const struct said *s = umbra("run configs/counter.dts --quiet --set /umbra/host/seconds=1");

	umbra_ended(0);
	check_str(s->err, "");
	umbra_said_out("counter: cpu 0: ");
}

UTEST(run, timeout_of_a_run_in_time, .init = need_kvm)
{
	const struct said *s = umbra("run configs/hello.dts --timeout 5");

	umbra_ended(0);
	check(s->ms < slowly(1000), "%u ms", s->ms);
}

/* A reader that went away is an error to report, not a death. */
UTEST(run, console_that_goes_away, .init = need_kvm)
{
	umbra_under("sh -c '\"$0\" \"$@\" >/dev/full'", "run configs/hello.dts");
	umbra_ended(125);
	umbra_said_err("console: stop: standard output: No space left on device");
}

/* A stdout that is full and that nobody reads. */
#define FULL_PIPE "sh -c 'mkfifo %s; exec 1<>%s %s; head -c 65536 /dev/zero; exec \"$0\" \"$@\"'"

/* That must cost no more than the timeout, with each vCPU in the way of the others. */
UTEST(run, console_that_nobody_reads, .init = setup, .fini = scratch_remove)
{
	for (unsigned cpus = 1; cpus <= 4; cpus += 3) {
		char under[256];
		const struct said *s;

		unlink(scratch("pipe"));
		snprintf(under, sizeof(under), FULL_PIPE, scratch("pipe"), scratch("pipe"), "");
		s = umbra_under(under, "run configs/hello.dts --set /cpus/count=%u --timeout 0.3",
				cpus);
		umbra_ended(127);
		umbra_said_err("still running after 300 ms; it waits for somebody to read");
		check(s->ms < slowly(1300), "%u ms", s->ms);
	}
}

/* Neither is stderr: messages are dropped after a while. */
UTEST(run, nothing_is_read, .init = setup, .fini = scratch_remove)
{
	char under[256];
	const struct said *s;

	snprintf(under, sizeof(under), FULL_PIPE, scratch("pipe"), scratch("pipe"), "2>&1");
	s = umbra_under(under, "run configs/hello.dts --timeout 0.3 --stats");
	umbra_ended(127);
	check(s->ms < slowly(2500), "%u ms", s->ms);
}

/* sh ignores SIGINT for what runs in the background; SIGTERM goes the same way. */
UTEST(run, interrupted, .init = setup, .fini = scratch_remove)
{
	const struct said *s;
	char *text;

	s = umbra_under("sh -c '\"$0\" \"$@\" & sleep 0.5; kill -TERM $!; wait $!'",
			"run configs/touch-2.dts --stats --trace %s "
			"--set '/chosen/bootargs=workload=touch rounds=0'",
			scratch("trace"));
	umbra_ended(125);
	umbra_said_err("umbra: stop: interrupted by SIGTERM before the guest ended\n");
	umbra_said_err("pages installed in ");
	check(s->ms < slowly(2000), "%u ms", s->ms);
	text = file_read(scratch("trace"), NULL);
	check(is_json(text) && strstr(text, "kvm_page_fault"), "%.100s", text);
	free(text);
	/* It signals twice, the program and then its group: that counts as once. */
	umbra_under("timeout --preserve-status -s INT 1 env --default-signal=INT",
		    "run configs/idle.dts --set '/chosen/bootargs=workload=idle seconds=60'");
	umbra_ended(125);
	umbra_said_err("interrupted by SIGINT");
}

/* It hangs in the trace, as nobody reads that pipe; the second signal does not ask. */
UTEST(run, interrupted_twice, .init = setup, .fini = scratch_remove)
{
	char under[256];

	snprintf(
		under, sizeof(under),
		"sh -c 'mkfifo %s; exec 3<>%s; head -c 65536 /dev/zero >&3; \"$0\" \"$@\" & sleep 0.5; kill -TERM $!; sleep 0.3; "
		"kill -TERM $!; wait $!'",
		scratch("pipe"), scratch("pipe"));
	umbra_under(under,
		    "run configs/touch-2.dts --trace %s "
		    "--set '/chosen/bootargs=workload=touch rounds=0'",
		    scratch("pipe"));
	umbra_ended(143);
}

UTEST(run, check_of_the_tables, .init = need_kvm)
{
	umbra("run configs/touch-2.dts --check --set /umbra/churn/enabled=1 --set /work/reg=0x80000000,4M");
	umbra_ended(0);
	umbra_said_err("check: compare: ");
	umbra_said_err(" entries of the guest's tables, all right\n");
	check_str(umbra("run configs/hello.dts --check --quiet")->err, "");
}

/* The pool counts as a file, too: SIGXFSZ must not be the answer. stderr is a pipe here, and may grow. */
UTEST(run, files_that_may_not_grow, .init = need_kvm)
{
	umbra_under("sh -c '(ulimit -f 0; \"$0\" \"$@\" 2>&1; echo status $?) | cat >&2'",
		    "run configs/hello.dts");
	umbra_said_err("no memory pool of ");
	umbra_said_err(" MiB: File too large");
	umbra_said_err("status 125\n");
}
