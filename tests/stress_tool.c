// SPDX-License-Identifier: BSD-2-Clause
#include "tests/stress_tool.h"

#include <stdarg.h>
#include <sys/wait.h>

static const struct tool_said *run(const char *program, const char *fmt, va_list args)
{
	static struct tool_said said;
	char line[1024], command[2048];
	int status;
	FILE *f;

	vsnprintf(line, sizeof(line), fmt, args);
	snprintf(command, sizeof(command), "exec %s/%s %s </dev/null 2>&1", test_build_dir(),
		 program, line);
	f = popen(command, "r");
	check(f, "popen");
	said.text[fread(said.text, 1, sizeof(said.text) - 1, f)] = 0;
	status = pclose(f);
	said.status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
	said.json = strchr(said.text, '{') ?: "";
	return &said;
}

const struct tool_said *stress_tool(const char *fmt, ...)
{
	const struct tool_said *said;
	va_list args;

	va_start(args, fmt);
	said = run("umbra-stress", fmt, args);
	va_end(args);
	return said;
}

const struct tool_said *bench_tool(const char *fmt, ...)
{
	const struct tool_said *said;
	va_list args;

	va_start(args, fmt);
	said = run("umbra-bench", fmt, args);
	va_end(args);
	return said;
}
