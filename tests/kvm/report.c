// SPDX-License-Identifier: BSD-2-Clause
/* What umbra tells about a run: --stats and --trace. */
#include "tests/test.h"

#include <stdint.h>
#include <unistd.h>

#include "tests/umbra.h"

/* The number that stands right before @what in @line. */
static double number_before(const char *line, const char *what)
{
	const char *at = strstr(line, what);

	check(at, "no %s in %s", what, line);
	while (at > line && strchr("0123456789.", at[-1]))
		at--;
	return strtod(at, NULL);
}

UTEST(report, stats_as_text, .init = need_kvm)
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
	check(seconds > 0 && seconds < 60 * test_slowness(), "%s", s->err);
	check(number_before(s->err, " leaves of 4K, ") + 512 * number_before(s->err, " of 2M, ") ==
		      pages,
	      "%s", s->err);
	check(number_before(s->err, " pages aged\n") == 0, "%s", s->err);
	check(strncmp(strchr(s->err, '\n'), "\nmmu: ", 6) == 0, "%s", s->err);
	check(strrchr(s->err, '\n') == s->err + strlen(s->err) - 1, "two lines: %s", s->err);
}

UTEST(report, stats_as_json, .init = need_kvm)
{
	const struct said *s = umbra("run configs/touch-2.dts --stats=json "
				     "--set '/model=a \"b\\\\c' --set /work/reg=0x80000000,1M");

	umbra_ended(0);
	check(is_json(s->err), "%s", s->err);
	check_eq(json_field(s->err, "status"), 0);
	check_eq(json_field(s->err, "vcpus"), 2);
	check(json_field(s->err, "pages") >= 256, "%s", s->err);
	check(json_field(s->err, "leaves") > 0, "%s", s->err);
	check_eq(json_field(s->err, "leaves"), json_field(s->err, "leaves_4k") +
						       json_field(s->err, "leaves_2m") +
						       json_field(s->err, "leaves_1g"));
	check_eq(json_field(s->err, "mapped"),
		 json_field(s->err, "leaves_4k") + 512 * json_field(s->err, "leaves_2m"));
	check(json_field(s->err, "mapped") >= 256, "%s", s->err);
	check_eq(json_field(s->err, "splits") + json_field(s->err, "aged") +
			 json_field(s->err, "yields"),
		 0);
	check(json_field(s->err, "run_ns") > 0, "%s", s->err);
	check(strstr(s->err, "{\"model\":\"a \\\"b\\\\\\\\c\","), "%s", s->err);

	s = umbra(
		"run configs/hello.dts --stats=json --set '/chosen/bootargs=workload=hello exit=7'");
	umbra_ended(7);
	check_eq(json_field(s->err, "status"), 7);
}

UTEST(report, trace_opens_in_viewers, .init = kvm_setup, .fini = scratch_remove)
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
UTEST(report, trace_spares_files, .init = kvm_setup, .fini = scratch_remove)
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
UTEST(report, long_trace_keeps_the_end, .init = kvm_setup, .fini = scratch_remove)
{
	const struct said *s;
	unsigned seconds = test_slowness() > 1 ? 4 : 1;
	char *trace;

	do {
		s = umbra("run configs/counter.dts --trace %s --set /umbra/host/seconds=%u "
			  "--set /umbra/host/threads=0 --set /umbra/churn/ops=zap "
			  "--set /umbra/churn/period-us=0 --set /chosen/bootargs=workload=idle",
			  scratch("trace"), seconds);
		umbra_ended(0);
		seconds *= 2;
	} while (!strstr(s->err, "older ones are gone") && seconds < 20);
	umbra_said_err("older ones are gone");
	trace = file_read(scratch("trace"), NULL);
	expect(is_json(trace));
	free(trace);
}

UTEST(report, trace_that_cannot_be_written, .init = kvm_setup, .fini = scratch_remove)
{
	umbra("run configs/hello.dts --trace %s/no/such/file", scratch("dir"));
	umbra_ended(126);
	umbra_said_err("--trace");
	umbra_said_err("No such file");
	umbra("run configs/hello.dts --trace /dev/full");
	umbra_ended(125);
	umbra_said_err("trace: write: /dev/full: No space left on device; free space");
}
