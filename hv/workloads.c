// SPDX-License-Identifier: BSD-2-Clause
#include "hv/workloads.h"

#include <string.h>

#include "guest/bootargs.h"

void workloads_print(FILE *out)
{
	fprintf(out,
		"Workloads of the toy guest. Choose one with\n"
		"  --set '/chosen/bootargs=workload=NAME KEY=VALUE ...'\n"
		"Numbers may end in K, M or G. Exit codes of the guest: 0 all is well, 1 a wrong value\n"
		"was read, 2 bootargs that it does not understand.\n");
#define PRINT_WORKLOAD(name, help) fprintf(out, "\n%-8s %s\n", #name, help);
#define PRINT_KEY(name, key, values, def, help) \
	fprintf(out, "  %s=%s\n           %s (%s)\n", key, values, help, def);
	GUEST_BOOTARGS(PRINT_WORKLOAD, PRINT_KEY)
}

bool bootargs_have(const char *bootargs, const char *key, const char *value)
{
	size_t len = strlen(key);

	for (const char *at = bootargs; *at; at += strcspn(at, " ")) {
		at += strspn(at, " ");
		if (strncmp(at, key, len) || at[len] != '=')
			continue;
		if (!value || (strcspn(at + len + 1, " ") == strlen(value) &&
			       !strncmp(at + len + 1, value, strlen(value))))
			return true;
	}
	return false;
}
