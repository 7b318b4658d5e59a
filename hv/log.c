// SPDX-License-Identifier: BSD-2-Clause
#include "hv/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LOG_REASON_SIZE 4096
#define LOG_LINE_SIZE	(LOG_REASON_SIZE + 256)

static bool log_quiet;

void log_set_quiet(bool quiet)
{
	log_quiet = quiet;
}

static void log_write(const char *buf, size_t len)
{
	while (len) {
		ssize_t n = write(STDERR_FILENO, buf, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return; /* nobody is left to tell */
		buf += n;
		len -= (size_t)n;
	}
}

static void log_lines(const char *component, const char *action, const char *fmt, va_list ap)
{
	char reason[LOG_REASON_SIZE], line[LOG_LINE_SIZE];
	const char *at = reason;
	int saved = errno;

	vsnprintf(reason, sizeof(reason), fmt, ap);
	do {
		int len = (int)strcspn(at, "\n");
		int n = snprintf(line, sizeof(line), "%s: %s: %.*s\n", component, action, len, at);

		if (n > 0 && (size_t)n < sizeof(line)) {
			log_write(line, (size_t)n);
		} else if (n > 0) {
			line[sizeof(line) - 2] = '\n';
			log_write(line, sizeof(line) - 1);
		}
		at += len;
	} while (*at++ == '\n' && *at);
	errno = saved;
}

void log_error(const char *component, const char *action, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_lines(component, action, fmt, ap);
	va_end(ap);
}

void log_warn(const char *component, const char *action, const char *fmt, ...)
{
	va_list ap;

	if (log_quiet)
		return;
	va_start(ap, fmt);
	log_lines(component, action, fmt, ap);
	va_end(ap);
}

void log_info(const char *component, const char *action, const char *fmt, ...)
{
	va_list ap;

	if (log_quiet)
		return;
	va_start(ap, fmt);
	log_lines(component, action, fmt, ap);
	va_end(ap);
}
