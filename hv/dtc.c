// SPDX-License-Identifier: BSD-2-Clause
/*
 * Run the device tree compiler. Its output is bounded in size and time, as /include/ in a wrong
 * file can name anything; its complaints become the reason.
 */
#include "hv/dtb.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define DTC_SECONDS   10
#define DTC_CHUNK     65536
#define DTC_SAID_SIZE 1536

struct dtc {
	pid_t pid;
	int out, err; /* read ends, -1 once at their end */
	char *blob;
	size_t blob_size;
	char said[DTC_SAID_SIZE];
	size_t said_len;
};

static void close_pair(int fd[2])
{
	close(fd[0]);
	close(fd[1]);
}

static int dtc_spawn(struct dtc *d, const char *path, struct why *w)
{
	char *const argv[] = { "dtc", "-q", "-I", "dts", "-O", "dtb", "--", (char *)path, NULL };
	posix_spawn_file_actions_t acts;
	int out[2], errs[2], err;

	if (pipe2(out, O_CLOEXEC))
		return why_fail(w, -errno, "pipe for dtc: %s%s", strerror(errno),
				why_advice(-errno));
	if (pipe2(errs, O_CLOEXEC)) {
		err = why_fail(w, -errno, "pipe for dtc: %s%s", strerror(errno),
			       why_advice(-errno));
		goto err_close_out;
	}
	err = -posix_spawn_file_actions_init(&acts);
	if (err) {
		why_set(w, "start dtc: %s%s", strerror(-err), why_advice(err));
		goto err_close_errs;
	}
	err = -posix_spawn_file_actions_addopen(&acts, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	if (!err)
		err = -posix_spawn_file_actions_adddup2(&acts, out[1], STDOUT_FILENO);
	if (!err)
		err = -posix_spawn_file_actions_adddup2(&acts, errs[1], STDERR_FILENO);
	if (!err)
		err = -posix_spawnp(&d->pid, "dtc", &acts, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&acts);
	if (err == -ENOENT)
		err = why_fail(w, -ENOPKG,
			       "dtc, which compiles .dts files, is not installed: "
			       "install the package device-tree-compiler, or give a .dtb");
	else if (err)
		why_set(w, "start dtc: %s%s", strerror(-err), why_advice(err));
	if (err)
		goto err_close_errs;

	close(out[1]);
	close(errs[1]);
	d->out = out[0];
	d->err = errs[0];
	return 0;

err_close_errs:
	close_pair(errs);
err_close_out:
	close_pair(out);
	return err;
}

/* Take what dtc has to give on stdout; 0 also when nothing came. */
static int dtc_take_blob(struct dtc *d, struct why *w)
{
	char *blob = realloc(d->blob, d->blob_size + DTC_CHUNK);
	ssize_t n;

	if (!blob)
		return why_fail(w, -ENOMEM, "no memory for the compiled device tree");
	d->blob = blob;
	n = read(d->out, blob + d->blob_size, DTC_CHUNK);
	if (n < 0)
		return errno == EINTR ? 0
				      : why_fail(w, -errno, "read from dtc: %s", strerror(errno));
	d->blob_size += (size_t)n;
	if (d->blob_size > DTB_MAX_SIZE)
		return why_fail(w, -EFBIG,
				"compiles to more than %u bytes; no machine needs that many",
				DTB_MAX_SIZE);
	if (!n) {
		close(d->out);
		d->out = -1;
	}
	return 0;
}

/* Keep the first lines that dtc says, drop the rest. */
static void dtc_take_said(struct dtc *d)
{
	char rest[512];
	size_t room = sizeof(d->said) - 1 - d->said_len;
	ssize_t n = read(d->err, room ? d->said + d->said_len : rest, room ? room : sizeof(rest));

	if (n > 0 && room)
		d->said_len += (size_t)n;
	if (n > 0 || (n < 0 && errno == EINTR))
		return;
	close(d->err);
	d->err = -1;
}

static int ms_until(const struct timespec *deadline)
{
	struct timespec now;
	long ms;

	clock_gettime(CLOCK_MONOTONIC, &now);
	ms = (deadline->tv_sec - now.tv_sec) * 1000 + (deadline->tv_nsec - now.tv_nsec) / 1000000;
	return ms > 0 ? (int)ms : 0;
}

static int dtc_drain(struct dtc *d, struct why *w)
{
	struct timespec deadline;
	int err = 0;

	clock_gettime(CLOCK_MONOTONIC, &deadline);
	deadline.tv_sec += DTC_SECONDS;
	while (!err && (d->out >= 0 || d->err >= 0)) {
		struct pollfd fds[] = {
			{ .fd = d->out, .events = POLLIN },
			{ .fd = d->err, .events = POLLIN },
		};
		int n = poll(fds, 2, ms_until(&deadline));

		if (n < 0 && errno != EINTR)
			return why_fail(w, -errno, "wait for dtc: %s", strerror(errno));
		if (!n)
			return why_fail(w, -ETIMEDOUT,
					"dtc did not finish within %d s; does the file "
					"include a pipe or a device?",
					DTC_SECONDS);
		if (n > 0 && fds[0].revents)
			err = dtc_take_blob(d, w);
		if (n > 0 && fds[1].revents)
			dtc_take_said(d);
	}
	return err;
}

static int dtc_reap(struct dtc *d, bool gave_up, struct why *w)
{
	int status;

	if (gave_up)
		kill(d->pid, SIGKILL);
	while (waitpid(d->pid, &status, 0) < 0)
		if (errno != EINTR)
			return why_fail(w, -errno, "wait for dtc: %s", strerror(errno));
	if (gave_up || (WIFEXITED(status) && !WEXITSTATUS(status)))
		return 0;
	if (WIFSIGNALED(status))
		return why_fail(w, -EINVAL, "dtc died from signal %d; correct the file",
				WTERMSIG(status));
	while (d->said_len && d->said[d->said_len - 1] == '\n')
		d->said_len--;
	d->said[d->said_len] = '\0';
	return why_fail(w, -EINVAL, "dtc refuses it; correct the lines that it names:\n%s",
			d->said);
}

int dtc_compile(const char *path, void **fdt, size_t *size, struct why *w)
{
	struct dtc d = { .out = -1, .err = -1 };
	int err, reaped;

	err = dtc_spawn(&d, path, w);
	if (err)
		return err;
	err = dtc_drain(&d, w);
	if (d.out >= 0)
		close(d.out);
	if (d.err >= 0)
		close(d.err);
	reaped = dtc_reap(&d, err, w);
	if (!err)
		err = reaped;
	if (err) {
		free(d.blob);
		return err;
	}
	*fdt = d.blob;
	*size = d.blob_size;
	return 0;
}
