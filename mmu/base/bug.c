/* SPDX-License-Identifier: BSD-2-Clause */
#include "mmu/base/bug.h"

#include <stddef.h>
#include <stdlib.h>

static bug_handler_t bug_handler;

void bug_set_handler(bug_handler_t handler)
{
	bug_handler = handler;
}

void bug_report(const char *file, int line, const char *what)
{
	if (bug_handler)
		bug_handler(file, line, what);
	abort();
}
