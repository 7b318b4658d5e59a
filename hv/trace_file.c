// SPDX-License-Identifier: BSD-2-Clause
#include "hv/trace_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hv/log.h"
#include "hv/report.h"
#include "mmu/base/trace.h"

/* Events kept: the last 2^18, 16 MiB. */
#define TRACE_ORDER 18

/* O_NONBLOCK: a pipe that nobody reads must not hang. */
#define OPEN_FLAGS  (O_WRONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)

static int open_path(struct trace_file *t, const char *path)
{
	t->created = false;
	t->fd = open(path, OPEN_FLAGS);
	if (t->fd < 0 && errno == ENOENT) {
		t->fd = open(path, OPEN_FLAGS | O_CREAT | O_EXCL, 0666);
		t->created = t->fd >= 0;
	}
	return t->fd < 0 ? -errno : 0;
}

static bool is_same_file(const struct stat *st, const char *path)
{
	struct stat other;

	return !stat(path, &other) && other.st_dev == st->st_dev && other.st_ino == st->st_ino;
}

static int check_file(const struct trace_file *t, const char *path, const char *const *keep,
		      struct why *w)
{
	struct stat st;

	if (fstat(t->fd, &st))
		return why_fail(w, -errno, "--trace %s: %s", path, strerror(errno));
	for (; *keep; keep++)
		if (is_same_file(&st, *keep))
			return why_fail(
				w, -EINVAL,
				"--trace %s: is the same file as %s, which the run reads; name another",
				path, *keep);
	fcntl(t->fd, F_SETFL, fcntl(t->fd, F_GETFL) & ~O_NONBLOCK);
	return 0;
}

int trace_file_open(struct trace_file *t, const char *path, const char *const *keep, struct why *w)
{
	int err = open_path(t, path);

	if (err)
		return why_fail(w, err, "--trace %s: %s%s", path, strerror(-err),
				err == -ENXIO	   ? "; nobody reads this pipe"
				: *why_advice(err) ? why_advice(err)
						   : "; name a file that you can write to");
	t->path = path;
	err = check_file(t, path, keep, w);
	if (!err) {
		err = trace_start(TRACE_ORDER);
		t->recording = !err;
		if (err)
			why_set(w, "--trace %s: no room for the events: %s%s", path, strerror(-err),
				why_advice(err));
	}
	if (err)
		trace_file_close(t);
	return err;
}

static int replace_contents(struct trace_file *t, uint64_t *dropped)
{
	struct stat st;
	FILE *file;
	int err;

	if (!fstat(t->fd, &st) && S_ISREG(st.st_mode) && ftruncate(t->fd, 0))
		return -errno;
	t->created = false;
	file = fdopen(t->fd, "w");
	if (!file)
		return -errno;
	t->fd = -1;
	err = report_trace(file, dropped);
	if (fclose(file) && !err)
		err = -errno;
	return err;
}

int trace_file_write(struct trace_file *t)
{
	uint64_t dropped = 0;
	int err = replace_contents(t, &dropped);

	if (err)
		log_error("trace", "write", "%s: %s%s", t->path, strerror(-err), why_advice(err));
	else if (dropped)
		log_info("trace", "write",
			 "%s holds the last %u events; %" PRIu64 " older ones are gone", t->path,
			 1u << TRACE_ORDER, dropped);
	return err;
}

void trace_file_close(struct trace_file *t)
{
	if (!t->path)
		return;
	if (t->recording)
		trace_stop();
	if (t->fd >= 0)
		close(t->fd);
	if (t->created)
		unlink(t->path);
	*t = (struct trace_file){ .fd = -1 };
}
