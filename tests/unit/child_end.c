/* SPDX-License-Identifier: BSD-2-Clause */
/* The ends of children of fork(3) and of their parents: nobody waits for ever, finds zeros, or leaves anything. */
#include "mmu/host/child.h"

#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "mmu/host/hostmm_priv.h"
#include "tests/rig_child.h"
#include "tests/test.h"
#include "tests/unit/fail_calls.h"

static void up(void)
{
	forking_up(rig_source(), rig_audit());
}

static void ends(void)
{
}

/* ---- The child's ---- */

UTEST(child_end, many_leave_nothing, .init = up, .fini = forking_down)
{
	for (unsigned i = 0; i < 40; i++)
		child_passes(child_fork(ends));
	wait_unserved();
	check_eq(child_stats().forks, 40);
}

static void be_killed(void)
{
	raise(SIGKILL);
}

/* Before it has said anything. */
UTEST(child_end, killed_while_it_is_forked, .init = up, .fini = forking_down)
{
	before_own = be_killed;
	child_dies_by(child_fork(ends), SIGKILL);
	wait_unserved();
	check_eq(child_stats().forks + child_stats().failed, 0);
	guest_stamps(0, CHILD_PAGES, 1000);
}

static void pager_up(void)
{
	forking_up_pager(&gated_pager);
}

static void wants_page_50(void)
{
	(void)child_load(50);
}

UTEST(child_end, killed_while_it_waits, .init = pager_up, .fini = forking_down)
{
	pid_t pid;

	gate_arm(&in_pager);
	pid = child_fork(wants_page_50);
	gate_wait(&in_pager);
	check_eq(kill(pid, SIGKILL), 0);
	child_dies_by(pid, SIGKILL);
	gate_open(&in_pager);
	wait_unserved();
}

static void closes_what_it_does_not_know(void)
{
	close_all_but_steps();
	child_finds_all_later();
}

/* As daemons do. Nobody can be told of its end then, so it gets all that there is. */
CTEST(child_end, closed_descriptors_are_no_end)
{
	pid_t pid = child_fork(closes_what_it_does_not_know);

	guest_stamps(0, CHILD_PAGES, 1000);
	wait_unserved();
	guest_stamps(0, CHILD_PAGES, 2000);
	step_done(0);
	child_passes(pid);
	check_eq(child_stats().forks, 1);
}

static void leaves_another(void)
{
	child_finds_stamps(0, 1);
	if (!fork())
		step_wait(0);
}

/* What a child of the child has of it is nobody's. */
CTEST(child_end, who_outlives_it_is_not_taken_for_it)
{
	child_passes(child_fork(leaves_another));
	wait_unserved();
	step_done(0);
	check_eq(child_stats().forks, 1);
}

/* ---- The parent's ---- */

static void end_in_order(void)
{
	hostmm_children_destroy(children);
	children = NULL;
}

CTEST(child_end, an_orderly_end_gives_the_rest)
{
	pid_t pid = child_fork(child_finds_all_later);

	guest_stamps(0, CHILD_PAGES, 1000);
	end_in_order();
	guest_stamps(0, CHILD_PAGES, 2000);
	step_done(0);
	child_passes(pid);
}

static void discards_without_end(void)
{
	for (uint64_t n = 0; !step_is_done(0); n++) {
		childs(!madvise(forking.host, 8 * PAGE_SIZE, MADV_DONTNEED));
		for (uint64_t page = 0; page < 8; page++) {
			childs(child_load(page) == 0);
			child_store(page, n);
		}
		if (n == 8)
			step_done(1);
	}
	child_finds_stamps(8, CHILD_STAMPED);
}

/* Who waits to have a discard read is not left waiting. */
CTEST(child_end, an_orderly_end_beside_discards)
{
	pid_t pid = child_fork(discards_without_end);

	step_wait(1);
	end_in_order();
	step_done(0);
	child_passes(pid);
}

#ifndef __SANITIZE_THREAD__ /* no threads in a child of a process that has some */

static int asked[2], answers[2], to_child[2];

static int fill_and_hang(void *ctx, uint64_t page, void *dst, uint64_t npages)
{
	(void)ctx;
	memset(dst, 1, npages * PAGE_SIZE);
	while (page == 50) {
		childs(write(asked[1], "", 1) == 1);
		pause();
	}
	return 0;
}

static const struct pager_ops hanging_pager = { .fill = fill_and_hang };

/* A process that has children, one that does @fn and perhaps another, and goes on until it is killed. */
static pid_t parent_of(void (*fn)(void), void (*then)(void))
{
	pid_t pid;

	need_userfaultfd();
	check_eq(pipe(asked), 0);
	check_eq(pipe(answers), 0);
	check_eq(pipe(to_child), 0);
	/* Who has lost his parent is ours to wait for. */
	check_eq(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	pid = fork();
	if (pid) {
		close(asked[1]);
		asked[1] = -1;
		return pid;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* when a test fails */
	rig_up(&forking, &(struct rig_opts){ .pages = CHILD_PAGES,
					     .pool_frames = 512,
					     .pager = &hanging_pager,
					     .no_slot = true });
	forking_begin();
	child_fork(fn);
	if (then)
		then();
	for (;;)
		pause();
}

static void end_parent(pid_t pid)
{
	check_eq(kill(pid, SIGKILL), 0);
	child_dies_by(pid, SIGKILL);
}

static void close_pipes(void)
{
	int *const pipes[] = { asked, answers, to_child };

	for (unsigned i = 0; i < 3; i++) {
		close(pipes[i][0]);
		if (pipes[i][1] >= 0)
			close(pipes[i][1]);
	}
	check_eq(prctl(PR_SET_CHILD_SUBREAPER, 0), 0);
}

/* The pid of the child first, for who waits for it. */
static void wants_what_hangs(void)
{
	pid_t self = getpid();

	alarm(10 * test_slowness());
	childs(write(answers[1], &self, sizeof(self)) == sizeof(self));
	step_done(0);
	(void)child_load(50);
}

static pid_t next_pid(void)
{
	pid_t pid = -1;

	check_eq(read(answers[0], &pid, sizeof(pid)), sizeof(pid));
	return pid;
}

/* The one who waits for a page goes with the one who would have given it. */
UTEST(child_end, nobody_waits_for_a_parent_that_was_killed)
{
	pid_t parent = parent_of(wants_what_hangs, NULL);
	pid_t pid = next_pid();
	char byte;

	check_eq(read(asked[0], &byte, 1), 1);
	end_parent(parent);
	child_dies_by(pid, SIGKILL);
	close_pipes();
}

static void pauses(void)
{
	pid_t self = getpid();

	childs(write(answers[1], &self, sizeof(self)) == sizeof(self));
	for (;;)
		pause();
}

/* Nothing binds it to its parent. */
static void have_another_with_nothing(void)
{
	step_wait(0); /* so that the pids come in order */
	rule_set(SOCKETPAIR, 0, EMFILE, 1, 1);
	child_fork(pauses);
}

UTEST(child_end, nobody_waits_for_a_brother_either)
{
	pid_t parent = parent_of(wants_what_hangs, have_another_with_nothing);
	pid_t pid[2];
	char byte;

	check_eq(read(asked[0], &byte, 1), 1);
	pid[0] = next_pid();
	pid[1] = next_pid();
	end_parent(parent);
	child_dies_by(pid[0], SIGKILL);
	check_eq(kill(pid[1], SIGKILL), 0);
	child_dies_by(pid[1], SIGKILL);
	close_pipes();
}

#ifndef __SANITIZE_ADDRESS__ /* nor there */

static void *wait_for_page_50(void *arg)
{
	(void)child_load(50);
	return arg;
}

/* It is something else while its parent is still busy with what it was, and has not noticed. */
static void is_cat(void)
{
	pid_t self = getpid();
	pthread_t thread;

	childs(write(answers[1], &self, sizeof(self)) == sizeof(self));
	childs(!pthread_create(&thread, NULL, wait_for_page_50, NULL));
	childs(read(to_child[0], &self, 1) == 1);
	dup2(to_child[0], 0);
	dup2(answers[1], 1);
	execl("/bin/cat", "cat", (char *)NULL);
	childs(false);
}

/* What it is after execve(2) is nobody's affair. */
UTEST(child_end, who_has_become_another_outlives_his_parent)
{
	pid_t parent = parent_of(is_cat, NULL);
	pid_t pid = next_pid();
	char byte = 'a';

	check_eq(read(asked[0], &byte, 1), 1);
	check_eq(write(to_child[1], &byte, 1), 1);
	for (unsigned i = 0; i < 2; i++) {
		check_eq(write(to_child[1], "a", 1), 1);
		check_eq(read(answers[0], &byte, 1), 1);
		check_eq(byte, 'a');
		if (!i)
			end_parent(parent);
	}
	check_eq(kill(pid, SIGTERM), 0);
	child_dies_by(pid, SIGTERM);
	close_pipes();
}

#endif
#endif
