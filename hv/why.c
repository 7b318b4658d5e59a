// SPDX-License-Identifier: BSD-2-Clause
#include "hv/why.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void why_set(struct why *w, const char *fmt, ...)
{
	int saved = errno;
	size_t used = 0;
	va_list ap;
	int n;

	if (!w->size)
		return;

	w->text[0] = '\0';
	if (w->where) {
		/* Whatever the user wrote, leave room for what is wrong with it. */
		int most = (int)(w->size / 2);

		n = snprintf(w->text, w->size, "%.*s%s: ", most, w->where,
			     strlen(w->where) > (size_t)most ? "..." : "");
		if (n > 0)
			used = (size_t)n < w->size ? (size_t)n : w->size - 1;
	}
	va_start(ap, fmt);
	vsnprintf(w->text + used, w->size - used, fmt, ap);
	va_end(ap);

	/* A name from a hostile file must not drive the user's terminal. */
	for (char *c = w->text; *c; c++)
		if (((unsigned char)*c < ' ' && *c != '\n') || *c == 0x7f)
			*c = '?';
	errno = saved;
}

const char *why_advice(int err)
{
	switch (-err) {
	case EAGAIN:
		return "; allow more threads (ulimit -u, or pids.max of the cgroup)";
	case EFBIG:
		return "; allow larger files (ulimit -f)";
	case EMFILE:
		return "; allow more open files (ulimit -n)";
	case ENFILE:
		return "; raise fs.file-max";
	case ENOMEM:
		return "; free memory, shrink the machine, or raise vm.max_map_count";
	case ENOSPC:
		return "; free space there, or write elsewhere";
	default:
		return "";
	}
}
