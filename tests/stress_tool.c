// SPDX-License-Identifier: BSD-2-Clause
#include "tests/stress_tool.h"

#include <stdarg.h>
#include <sys/wait.h>

const struct tool_said *stress_tool(const char *fmt, ...)
{
	static struct tool_said said;
	char line[1024], command[2048];
	va_list args;
	int status;
	FILE *f;

	va_start(args, fmt);
	vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	snprintf(command, sizeof(command), "exec %s/umbra-stress %s </dev/null 2>&1",
		 test_build_dir(), line);
	f = popen(command, "r");
	check(f, "popen");
	said.text[fread(said.text, 1, sizeof(said.text) - 1, f)] = 0;
	status = pclose(f);
	said.status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
	said.json = strchr(said.text, '{') ?: "";
	return &said;
}
