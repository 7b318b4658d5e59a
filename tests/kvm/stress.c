// SPDX-License-Identifier: BSD-2-Clause
/* build/umbra-stress with a guest: a moment of what it runs for minutes by itself. */
#include "tests/stress_tool.h"
#include "tests/umbra.h"

/* On a slow host most of a run is the way of all pages into one state and back, at its end. */
static void run(const char *line)
{
	const struct tool_said *s = stress_tool("%s --memory %u", line,
						test_slowness() > 1 ? 2u : 8u);

	skip_if(s->status == 77, "%s", s->text);
	check(!s->status, "umbra-stress %s: %d: %s", line, s->status, s->text);
	check(is_json(s->json), "not JSON: %s", s->json);
}

UTEST(stress, guest, .init = need_kvm)
{
	run("fork migrate collapse dirty mix --json --seconds 2.5");
	run("ksm reclaim writeback --json --seconds 1.5");
}

UTEST(stress, guest_other_sources, .init = need_kvm)
{
	run("mix --json --seconds 0.7 --source uffd-sigbus");
	run("mix --json --seconds 0.7 --source mprotect");
}
