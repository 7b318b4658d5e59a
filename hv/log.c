// SPDX-License-Identifier: BSD-2-Clause
#include "hv/log.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LOG_REASON_SIZE 4096
#define LOG_LINE_SIZE	(LOG_REASON_SIZE + 256)
#define PATIENCE_MS	1000

static bool log_quiet;

void log_set_quiet(bool quiet)
{
	log_quiet = quiet;
}

/* Is there room for a short write? A full pipe gets one second in all. */
static bool has_room(void)
{
	static atomic_bool deaf;
	struct pollfd pfd = { .fd = STDERR_FILENO, .events = POLLOUT };
	int n = poll(&pfd, 1, atomic_load(&deaf) ? 0 : PATIENCE_MS);

	if (!n)
		atomic_store(&deaf, true);
	return n; /* whatever else is wrong, write() says it */
}

void log_text(const char *text, size_t len)
{
	while (len) {
		ssize_t n;

		if (!has_room())
			return;
		n = write(STDERR_FILENO, text, len < PIPE_BUF ? len : PIPE_BUF);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n <= 0)
			return; /* nobody is left to tell */
		text += n;
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
			log_text(line, (size_t)n);
		} else if (n > 0) {
			line[sizeof(line) - 2] = '\n';
			log_text(line, sizeof(line) - 1);
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

void log_info(const char *component, const char *action, const char *fmt, ...)
{
	va_list ap;

	if (log_quiet)
		return;
	va_start(ap, fmt);
	log_lines(component, action, fmt, ap);
	va_end(ap);
}
