/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/bench/host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

/* The value of the first line of @path that begins with @key. */
static void field(const char *path, const char *key, char *value, size_t size)
{
	FILE *f = fopen(path, "re");
	char line[256];

	while (f && fgets(line, sizeof(line), f)) {
		const char *colon = strchr(line, ':');

		if (strncmp(line, key, strlen(key)) || !colon)
			continue;
		colon += strspn(colon, ": \t");
		snprintf(value, size, "%.*s", (int)strcspn(colon, "\n"), colon);
		break;
	}
	if (f)
		fclose(f);
}

static const char *kvm_module(void)
{
	static const char *const names[] = { "kvm_pvm", "kvm_intel", "kvm_amd" };
	static const char *const shown[] = { "kvm-pvm", "kvm-intel", "kvm-amd" };
	char path[64];

	for (unsigned i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "/sys/module/%s", names[i]);
		if (!access(path, F_OK) && !access("/dev/kvm", F_OK))
			return shown[i];
	}
	return access("/dev/kvm", F_OK) ? "none" : "unknown";
}

void host_get(struct host *h)
{
	struct utsname name;
	char kib[32] = "0";

	*h = (struct host){ .cpu = "unknown CPU", .cpus = sysconf(_SC_NPROCESSORS_ONLN) };
	h->kvm = kvm_module();
	field("/proc/cpuinfo", "model name", h->cpu, sizeof(h->cpu));
	field("/proc/meminfo", "MemTotal", kib, sizeof(kib));
	h->gib = strtod(kib, NULL) / (1 << 20);
	if (!uname(&name))
		snprintf(h->kernel, sizeof(h->kernel), "%s %s", name.sysname, name.release);
	if (getloadavg(&h->load, 1) != 1)
		h->load = 0;
}
