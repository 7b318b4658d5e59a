// SPDX-License-Identifier: BSD-2-Clause
#include "tests/race/jobs.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "mmu/base/bug.h"

struct job {
	pid_t pid; /* 0: has ended */
	int out, status;
};

static int start(struct job *j, int (*job)(void *ctx, unsigned i), void *ctx, unsigned i)
{
	j->out = memfd_create("umbra-race", MFD_CLOEXEC);
	if (j->out < 0)
		return -1;
	fflush(stdout);
	j->pid = fork();
	if (j->pid < 0)
		close(j->out);
	if (j->pid)
		return j->pid < 0 ? -1 : 0;
	if (dup2(j->out, STDOUT_FILENO) < 0)
		abort();
	j->status = job(ctx, i);
	if (fflush(stdout))
		abort();
	_exit(j->status);
}

/* Wait for any. */
static void reap(struct job *jobs, unsigned started)
{
	int status;
	pid_t pid;

	do
		pid = waitpid(-1, &status, 0);
	while (pid < 0 && errno == EINTR);
	for (unsigned i = 0; i < started; i++) {
		if (jobs[i].pid != pid)
			continue;
		jobs[i].pid = 0;
		jobs[i].status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
		if (WIFSIGNALED(status))
			fprintf(stderr, "umbra-race: %s\n", strsignal(WTERMSIG(status)));
	}
}

static int print(const struct job *j)
{
	char buf[1 << 16];
	ssize_t n;

	for (off_t at = 0; (n = pread(j->out, buf, sizeof(buf), at)) > 0; at += n)
		if (fwrite(buf, 1, (size_t)n, stdout) != (size_t)n)
			return -1;
	return n || fflush(stdout) ? -1 : 0;
}

/* On a terminal: @ended of @n, or nothing any more. */
static void progress(unsigned ended, unsigned n, time_t begin)
{
	if (!isatty(STDERR_FILENO))
		return;
	fputs("\r\033[K", stderr);
	if (ended < n)
		fprintf(stderr, "%u of %u scenarios, %ld s ", ended, n, (long)(time(NULL) - begin));
}

/* -1 is the worst. */
static int worse(int a, int b)
{
	return a < 0 || b < 0 ? -1 : a > b ? a : b;
}

int jobs_run(unsigned n, unsigned at_once, int (*job)(void *ctx, unsigned i), void *ctx)
{
	static struct job jobs[JOBS_MAX];
	unsigned started = 0, ended = 0, printed = 0;
	time_t begin = time(NULL);
	int worst = 0;

	bug_on(n > JOBS_MAX);
	while (printed < n) {
		if (started < n && started - ended < at_once) {
			if (!start(&jobs[started], job, ctx, started)) {
				started++;
				continue;
			}
			perror("umbra-race");
			worst = -1;
			n = started; /* let those end that run */
			continue;
		}
		reap(jobs, started);
		ended++;
		progress(n, n, begin);
		for (; printed < started && !jobs[printed].pid; printed++) {
			worst = worse(worst, worse(jobs[printed].status, print(&jobs[printed])));
			close(jobs[printed].out);
		}
		progress(ended, n, begin);
	}
	return worst;
}
