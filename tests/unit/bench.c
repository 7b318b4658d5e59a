// SPDX-License-Identifier: BSD-2-Clause
/* build/umbra-bench from outside: its command line, its three kinds of output, and what it does where something hangs or is missing. */
#include <stdlib.h>
#include <string.h>

#include "tests/stress_tool.h"
#include "tests/umbra.h"

#define SHORT "notify --quick --reps 3 --match 'two locks'"

static void check_refused(const char *line, const char *says)
{
	const struct tool_said *s = bench_tool("%s", line);

	check(s->status == 2, "umbra-bench %s: status %d: %s", line, s->status, s->text);
	check(strstr(s->text, says), "umbra-bench %s: no \"%s\" in %s", line, says, s->text);
}

UTEST(bench, usage)
{
	check_refused("", "Usage");
	check_refused("fly", "no group fly");
	check_refused("notify fly", "no group fly");
	check_refused("notify --fly", "fly");
	check_refused("notify --reps 0", "--reps: 0 is not in 1..1000");
	check_refused("notify --reps 1x", "--reps");
	check_refused("notify --seconds", "requires an argument");
	check_refused("notify --seconds 0", "--seconds");
	check_refused("notify --patience x", "--patience");
	check_eq(bench_tool("--help")->status, 0);
	check(strstr(bench_tool("--help")->text, "--out DIR"));
	check(strstr(bench_tool("list")->text, "growth "));
}

UTEST(bench, a_table)
{
	const struct tool_said *s = bench_tool(SHORT);

	check_eq(s->status, 0);
	check(strstr(s->text, "notify: "), "%s", s->text);
	check(strstr(s->text, " CPUs, "), "%s", s->text);
	check(strstr(s->text, "Linux "), "%s", s->text);
	check(strstr(s->text, "\n  1 interval, against two locks "), "%s", s->text);
	check(!strstr(s->text, "10^3"), "%s", s->text);
}

/* Tags match, and no character stands for itself that XML takes for something else. */
static void check_xml(const char *text)
{
	char open[16][16];
	unsigned depth = 0;

	while ((text = strpbrk(text, "<&"))) {
		const char *end = strchr(text, *text == '<' ? '>' : ';');
		char name[16];

		check(end, "no end: %.40s", text);
		if (*text == '&') {
			check(end - text <= 5, "a bare ampersand: %.20s", text);
		} else if (text[1] == '/') {
			snprintf(name, sizeof(name), "%.*s", (int)(end - text - 2), text + 2);
			check(depth > 0, "%s ends and did not begin", name);
			check_str(name, open[--depth]);
		} else if (end[-1] != '/') {
			check(depth < 16);
			snprintf(open[depth++], sizeof(open[0]), "%.*s",
				 (int)strcspn(text + 1, " >"), text + 1);
		}
		text = end;
	}
	check_eq(depth, 0);
}

static char *read_text(const char *path)
{
	size_t len;
	char *raw = file_read(path, &len), *text = calloc(1, len + 1);

	check(text);
	memcpy(text, raw, len);
	free(raw);
	return text;
}

/* The number after @key, from @text on. */
static double number(const char *text, const char *key)
{
	const char *at = strstr(text, key);

	check(at, "no %s in %s", key, text);
	return strtod(at + strlen(key), NULL);
}

UTEST(bench, json_and_a_chart, .init = scratch_make, .fini = scratch_remove)
{
	const struct tool_said *s = bench_tool(SHORT " --json --out %s", scratch("out"));
	char *json, *chart;
	double low, median;

	check_eq(s->status, 0);
	check(is_json(s->json), "%s", s->json);
	check(strstr(s->json, "\"kernel\":\"Linux "), "%s", s->json);
	json = read_text(scratch("out/bench.json"));
	check_str(json, s->json);
	median = number(strstr(json, "\"ratio\""), "\"median\":");
	low = number(strstr(json, "\"ratio\""), "\"quartiles\":[");
	check(low > 0 && low <= median, "quartile %f, median %f", low, median);
	chart = read_text(scratch("out/notify.svg"));
	check_xml(chart);
	check(strstr(chart, "1 interval, against two locks"), "%s", chart);
	check(strstr(chart, " CPUs; Linux "), "%s", chart);
	free(json);
	free(chart);
}

UTEST(bench, says_that_it_cannot_write, .init = scratch_make, .fini = scratch_remove)
{
	const struct tool_said *s = bench_tool(SHORT " --out %s/no/such", scratch("out"));

	check_eq(s->status, 1);
	check(strstr(s->text, "bench: output: "), "%s", s->text);
}

UTEST(bench, stops_what_has_no_end)
{
	const struct tool_said *s = bench_tool("notify --match 'any page' --patience 0");

	check_eq(s->status, 1);
	check(strstr(s->text, "no end after 0 s: stopped"), "%s", s->text);
}

UTEST(bench, skips_and_says_why)
{
	const struct tool_said *s = bench_tool("start --match nothing");

	skip_if(s->status == 0, "guests can run here");
	check_eq(s->status, 77);
	check(strstr(s->text, "skipped: the whole group: /dev/kvm"), "%s", s->text);
}
