/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/rig_child.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mmu/base/addr.h"
#include "mmu/host/uffd.h"
#include "tests/test.h"

#define STEPS 4u
#define LAST  (PAGE_SIZE - 8)

struct rig forking;
struct hostmm_children *children;
void (*between_prepare)(void), (*before_own)(void);

static int step_fds[STEPS][2];
static bool has_steps;

static void run_between_prepare(void)
{
	if (between_prepare)
		between_prepare();
}

static void run_before_own(void)
{
	if (before_own)
		before_own();
}

/* Handlers before are called last first, those in the child first first. */
static void hook_fork(void)
{
	static bool is_hooked;

	if (!is_hooked)
		check_eq(pthread_atfork(run_between_prepare, NULL, run_before_own), 0);
	is_hooked = true;
}

static void stamp(char *view, uint64_t page, uint64_t end, uint64_t base)
{
	for (; page < end; page++) {
		rig_store(rig_word(view, page, 0), base + page);
		rig_store(rig_word(view, page, LAST), base + page);
	}
}

void guest_stamps(uint64_t page, uint64_t end, uint64_t base)
{
	for (; page < end; page++) {
		rig_guest_store(&forking, rig_word(forking.guest, page, 0), base + page);
		rig_guest_store(&forking, rig_word(forking.guest, page, LAST), base + page);
	}
}

void forking_begin(void)
{
	for (unsigned i = 0; i < STEPS; i++)
		check_eq(pipe(step_fds[i]), 0);
	has_steps = true;
	hook_fork();
	check_eq(hostmm_children_create(&children, forking.mm), 0);
}

void forking_up(enum hostmm_source source, bool audit)
{
	rig_up(&forking, &(struct rig_opts){ .source = source,
					     .audit = audit,
					     .pages = CHILD_PAGES,
					     .pool_frames = 8 * CHILD_PAGES + 64,
					     .canary = true });
	stamp(forking.host, 0, CHILD_STAMPED, 100);
	forking_begin();
}

void forking_up_pager(const struct pager_ops *pager)
{
	rig_up(&forking,
	       &(struct rig_opts){ .pages = CHILD_PAGES, .pool_frames = 512, .pager = pager });
	forking_begin();
}

struct gate in_pager = GATE_INIT;

static int fill_gated(void *ctx, uint64_t page, void *dst, uint64_t npages)
{
	(void)ctx;
	if (page <= 50 && 50 < page + npages)
		gate_pass(&in_pager);
	memset(dst, 1, npages * PAGE_SIZE);
	return 0;
}

const struct pager_ops gated_pager = { .fill = fill_gated };

void need_userfaultfd(void)
{
	int fd = uffd_new(0);

	skip_if(fd < 0, "userfaultfd: %s", strerror(-fd));
	close(fd);
}

void forking_down(void)
{
	between_prepare = before_own = NULL;
	if (children)
		hostmm_children_destroy(children);
	children = NULL;
	for (unsigned i = 0; has_steps && i < STEPS; i++) {
		close(step_fds[i][0]);
		close(step_fds[i][1]);
	}
	has_steps = false;
	rig_down(&forking);
	forking = (struct rig){ 0 };
}

pid_t child_fork(void (*fn)(void))
{
	pid_t pid = fork();

	if (pid)
		return pid;
	signal(SIGSEGV, SIG_DFL);
	signal(SIGBUS, SIG_DFL);
	signal(SIGALRM, SIG_DFL);
	alarm(60 * test_slowness());
	fn();
	_exit(0);
}

static int status_of(pid_t pid)
{
	int status = -1;

	check(pid > 0);
	while (waitpid(pid, &status, 0) < 0)
		check_eq(errno, EINTR);
	return status;
}

void child_passes(pid_t pid)
{
	int status = status_of(pid);

	check(WIFEXITED(status) && !WEXITSTATUS(status), "status %#x", (unsigned)status);
}

void child_dies_by(pid_t pid, int sig)
{
	int status = status_of(pid);

	check(WIFSIGNALED(status) && WTERMSIG(status) == sig, "status %#x", (unsigned)status);
}

void child_is_refused(pid_t pid)
{
	int status = status_of(pid);

	check(WIFSIGNALED(status) && (WTERMSIG(status) == SIGBUS || WTERMSIG(status) == SIGKILL),
	      "status %#x", (unsigned)status);
	wait_unserved();
}

void child_failed(const char *file, int line, const char *what)
{
	dprintf(2, "%s:%d: in a child: %s\n", file, line, what);
	_exit(1);
}

void step_done(unsigned step)
{
	childs(write(step_fds[step][1], "", 1) == 1);
}

void step_wait(unsigned step)
{
	char byte;
	ssize_t n;

	do
		n = read(step_fds[step][0], &byte, 1);
	while (n < 0 && errno == EINTR);
	childs(n == 1);
}

bool step_is_done(unsigned step)
{
	struct pollfd pfd = { .fd = step_fds[step][0], .events = POLLIN };

	return poll(&pfd, 1, 0) > 0;
}

void close_all_but_steps(void)
{
	for (int fd = 3; fd < 1024; fd++) {
		bool is_step = false;

		for (unsigned i = 0; i < STEPS; i++)
			is_step |= fd == step_fds[i][0] || fd == step_fds[i][1];
		if (!is_step)
			close(fd);
	}
}

/* A byte of a pipe that others may have taken by then cannot be what decides: a pipe of its own. */
static bool call_works(uint64_t page, bool stores)
{
	char *at = forking.host + (page << PAGE_SHIFT) + PAGE_SIZE / 2;
	bool works;
	int fd[2];

	childs(!pipe(fd));
	if (stores) {
		childs(write(fd[1], "", 1) == 1);
		works = read(fd[0], at, 1) == 1;
	} else {
		works = write(fd[1], at, 1) == 1;
	}
	childs(works || errno == EFAULT);
	close(fd[0]);
	close(fd[1]);
	return works;
}

bool call_loads(uint64_t page)
{
	return call_works(page, false);
}

bool call_stores(uint64_t page)
{
	return call_works(page, true);
}

uint64_t child_load(uint64_t page)
{
	return rig_load(rig_word(forking.host, page, 0));
}

void child_store(uint64_t page, uint64_t value)
{
	rig_store(rig_word(forking.host, page, 0), value);
}

void child_finds_stamps(uint64_t page, uint64_t end)
{
	for (; page < end; page++) {
		childs(child_load(page) == 100 + page);
		childs(rig_load(rig_word(forking.host, page, LAST)) == 100 + page);
	}
}

void child_finds_all(void)
{
	child_finds_stamps(0, CHILD_STAMPED);
}

void child_finds_all_later(void)
{
	step_wait(0);
	child_finds_all();
	for (uint64_t page = CHILD_STAMPED; page < CHILD_PAGES; page++)
		childs(child_load(page) == 0);
}

struct hostmm_children_stats child_stats(void)
{
	struct hostmm_children_stats stats;

	hostmm_children_get_stats(children, &stats);
	return stats;
}

void wait_unserved(void)
{
	while (child_stats().alive)
		sched_yield();
}
