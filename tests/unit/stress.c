// SPDX-License-Identifier: BSD-2-Clause
/* build/umbra-stress from outside: its command line, and a moment of each scenario without a guest. */
#include <stdlib.h>
#include <unistd.h>

#include "tests/stress_tool.h"
#include "tests/umbra.h"

static void check_refused(const char *line, const char *says)
{
	const struct tool_said *s = stress_tool("%s", line);

	check(s->status == 2, "umbra-stress %s: status %d: %s", line, s->status, s->text);
	check(strstr(s->text, says), "umbra-stress %s: no \"%s\" in %s", line, says, s->text);
}

UTEST(stress, usage)
{
	check_refused("", "name one");
	check_refused("fly", "fly: no such scenario");
	check_refused("fork fly", "fly: no such scenario");
	check_refused("--fly", "fly");
	check_refused("fork --seconds", "requires an argument");
	check_refused("fork --seconds 0", "above 0");
	check_refused("fork --seconds 1x", "above 0");
	check_refused("fork --seconds nan", "above 0");
	check_refused("fork --seed -1", "not a number");
	check_refused("fork --seed 18446744073709551616", "not a number");
	check_refused("fork --source kvm", "uffd-sigbus");
	check_refused("fork --memory 1", "not a number");
	check_refused("fork --memory 4096", "not a number");
	check_refused("fork --vcpus 17", "not a number");
	check_refused("fork --threads two", "not a number");
	check_refused("fork --device toaster", "no such profile");
	check_refused("fork --mutant M1", "umbra-stress-mutants");
	check_refused("fork --mutant x", "not a number");
	check_refused("fork --vcpus 0 --threads 0 --device none", "no vCPU");
	check_eq(stress_tool("--help")->status, 0);
	check(strstr(stress_tool("--help")->text, "--no-kvm"));
	check(strstr(stress_tool("--list")->text, "truncate\n"));
}

static const char *run(const char *line)
{
	const struct tool_said *s = stress_tool("%s", line);

	skip_if(s->status == 77, "%s", s->text);
	check(!s->status, "umbra-stress %s: %d: %s", line, s->status, s->text);
	check(is_json(s->json), "not JSON: %s", s->json);
	check(!strstr(s->json, "\"failed\": true"));
	check(strstr(s->json, "\"stale_reads\": 0"));
	check(strstr(s->json, "\"lost_writes\": 0"));
	return s->json;
}

/* Of the first scenario. */
static unsigned long number(const char *json, const char *key)
{
	const char *at = strstr(json, key);

	check(at, "no %s in %s", key, json);
	return strtoul(at + strlen(key), NULL, 10);
}

UTEST(stress, without_a_guest)
{
	run("fork migrate truncate mprotect remap collapse dirty slots mix "
	    "--no-kvm --check --json --seconds 2");
}

UTEST(stress, other_sources)
{
	run("migrate remap reclaim ksm --no-kvm --json --seconds 1 --source uffd-sigbus");
	run("migrate remap reclaim ksm --no-kvm --json --seconds 1 --source mprotect");
}

/* Nothing is lost, and not because nothing was done: each of @keys is above 0, if not in a moment, as on a busy host, then in a minute. */
static void run_and_see(const char *scenario, const char *const *keys)
{
	const char *missing = *keys;
	char line[128];

	for (unsigned seconds = 2; missing && seconds < 150; seconds *= 4) {
		const char *json;

		snprintf(line, sizeof(line), "%s --no-kvm --check --json --seconds %u", scenario,
			 seconds);
		json = run(line);
		missing = NULL;
		for (const char *const *key = keys; *key; key++)
			missing = number(json, *key) ? missing : *key;
	}
	check(!missing, "%s: %s0", scenario, missing);
}

UTEST(stress, pages_leave_memory)
{
	run_and_see("reclaim", (const char *const[]){ "\"swapped_out\": ", "\"swapped_in\": ",
						      "\"poisoned\": ", NULL });
	run_and_see("writeback", (const char *const[]){ "\"written_back\": ", NULL });
}

UTEST(stress, equal_pages_are_found)
{
	run_and_see("ksm", (const char *const[]){ "\"merges\": ", "\"refaults_spared\": ", NULL });
}

UTEST(stress, says_what_to_do_without_kvm)
{
	const struct tool_said *s;

	skip_if(!access("/dev/kvm", F_OK), "there is /dev/kvm");
	s = stress_tool("fork --seconds 1");
	check_eq(s->status, 77);
	check(strstr(s->text, "/dev/kvm: No such file"));
	check(strstr(s->text, "--no-kvm"));
}

/* The profiles that are known to be bad are found out, and the report has all that its reader needs. */
UTEST(stress, bad_devices, .timeout = 600)
{
	static const char *const bad[] = { "ats-mixed-buggy", "xpmem-async" };

	for (unsigned i = 0; i < 2; i++) {
		const struct tool_said *s = stress_tool(
			"mix collapse --no-kvm --json --seconds 100 --seed 5 --device %s", bad[i]);

		skip_if(s->status == 77, "%s", s->text);
		check(s->status == 1, "%s: %d: %s", bad[i], s->status, s->text);
		check(strstr(s->text, "seed: 5, source: uffd\n"));
		check(strstr(s->text, "last events"));
		check(strstr(s->text, "repeat: "));
		check(strstr(s->text, "\"failed\": true"));
	}
}
