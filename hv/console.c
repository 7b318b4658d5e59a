// SPDX-License-Identifier: BSD-2-Clause
#include "hv/console.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "hv/vm.h"
#include "hv/why.h"

#define LOOK_MS	       50 /* how often to look at the stop while a non-blocking stdout is full */
#define POLL_FAILED_NS 1000000ull

void console_init(struct console *console, struct stop *stop)
{
	lock_init(&console->lock);
	console->stop = stop;
	atomic_init(&console->waiting, false);
}

void console_fini(struct console *console)
{
	lock_fini(&console->lock);
}

/* For a stdout that somebody made non-blocking, a terminal shared with another program, say. */
static void wait_for_room(struct console *console)
{
	struct pollfd pfd = { .fd = STDOUT_FILENO, .events = POLLOUT };

	if (poll(&pfd, 1, LOOK_MS) < 0)
		stop_sleep(console->stop, POLL_FAILED_NS);
}

int console_write(struct console *console, const char *buf, size_t len)
{
	int err = 0;

	lock_acquire(&console->lock);
	atomic_store(&console->waiting, true);
	while (len && !err && !stop_is_set(console->stop)) {
		ssize_t n = write(STDOUT_FILENO, buf, len);

		if (n > 0) {
			buf += n;
			len -= (size_t)n;
		} else if (n < 0 && errno == EAGAIN) {
			wait_for_room(console);
		} else if (n < 0 && errno != EINTR) {
			err = -errno;
		}
	}
	atomic_store(&console->waiting, false);
	lock_release(&console->lock);
	if (err)
		stop_because(console->stop, VM_HOST_FAILED, "console", "standard output: %s%s",
			     strerror(-err), why_advice(err));
	return 0;
}

bool console_is_waiting(struct console *console)
{
	return atomic_load(&console->waiting);
}
