/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/bench/private.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int private_bytes_of(pid_t pid, double *bytes)
{
	char path[64], line[256];
	unsigned long kib = 0;
	FILE *status;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	status = fopen(path, "re");
	if (!status)
		return -errno;
	while (!kib && fgets(line, sizeof(line), status))
		if (!strncmp(line, "RssAnon:", 8))
			kib = strtoul(line + 8, NULL, 10);
	fclose(status);
	*bytes = 1024.0 * (double)kib;
	return kib ? 0 : -ENODATA;
}

/* What free() keeps is nobody's: it goes back first. */
int private_bytes(double *bytes)
{
	malloc_trim(0);
	return private_bytes_of(getpid(), bytes);
}
