/* SPDX-License-Identifier: BSD-2-Clause */
/* What a child of fork(3) cannot have: each call on the way to its copy fails. It has nothing then, or ends; never zeros, and nothing is left. */
#include "mmu/host/child.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>

#include "mmu/host/uffd.h"
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

static unsigned open_fds(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static unsigned fds_before;

static void touches(void)
{
	childs(open_fds() == fds_before);
	(void)child_load(0);
}

/* It has nothing, and the parent all that it had. */
static void check_has_nothing(int error)
{
	fds_before = open_fds();
	child_dies_by(child_fork(touches), SIGSEGV);
	rule_clear();
	wait_unserved();
	check_eq(child_stats().failed, 1);
	check_eq(child_stats().error, -error);
	check_eq(child_stats().forks, 0);
	guest_stamps(0, CHILD_PAGES, 1000);
	child_passes(child_fork(ends));
	wait_unserved();
	check_eq(child_stats().forks, 1);
}

/* Each call on the way, of the parent before and of the child. */
static const struct {
	enum call call;
	unsigned long code;
	int error;
} before_hello[] = {
	{ SOCKETPAIR, 0, EMFILE },
	{ PIPE, 0, EMFILE },
	{ FCNTL, F_DUPFD_CLOEXEC, EMFILE },
	{ THREAD, 0, EAGAIN },
	{ USERFAULTFD, 0, EMFILE },
	{ IOCTL, UFFDIO_API, EINVAL },
	{ MADVISE, MADV_DONTFORK, ENOMEM },
	{ IOCTL, UFFDIO_REGISTER, ENOMEM },
	{ MPROTECT, 0, ENOMEM },
	{ FCNTL, F_SETOWN, EPERM },
	{ FCNTL, F_SETSIG, EINVAL },
	{ FCNTL, F_SETFL, ENOMEM },
	{ SENDMSG, 0, ENOBUFS },
};

UTEST(child_fail, what_fails_before_it_runs_leaves_it_nothing, .fini = forking_down)
{
	for (unsigned i = 0; i < sizeof(before_hello) / sizeof(before_hello[0]); i++) {
		forking_up(HOSTMM_SOURCE_UFFD, false);
		rule_set((int)before_hello[i].call, before_hello[i].code, before_hello[i].error, 1,
			 1);
		check_has_nothing(before_hello[i].error);
		forking_down();
	}
}

/* It cannot be told any more. */
UTEST(child_fail, what_fails_afterwards_is_its_end, .init = up, .fini = forking_down)
{
	rule_set(RECVMSG, 0, ENOMEM, 1, 1);
	child_dies_by(child_fork(child_finds_all_later), SIGKILL);
	rule_clear();
	wait_unserved();
	check_eq(child_stats().failed, 1);
	check_eq(child_stats().error, -ENOMEM);
}

/* Nor that it has nothing; it goes on all the same, and nobody waits for it. */
UTEST(child_fail, who_cannot_say_so_is_not_waited_for, .init = up, .fini = forking_down)
{
	rule_set(SENDMSG, 0, ENOBUFS, 1, ~0u);
	fds_before = open_fds();
	child_dies_by(child_fork(touches), SIGSEGV);
	rule_clear();
	wait_unserved();
}

/* No memory for a page: not zeros. */
UTEST(child_fail, a_page_that_cannot_be_given_is_refused, .init = up, .fini = forking_down)
{
	rule_set(IOCTL, UFFDIO_COPY, ENOMEM, 1, 1);
	child_is_refused(child_fork(child_finds_all));
	rule_clear();
}

/* Before Linux 6.6, where a page cannot be poisoned. */
UTEST(child_fail, what_cannot_be_refused_is_the_childs_end, .init = up, .fini = forking_down)
{
	uffd_act_old(true);
	rule_set(IOCTL, UFFDIO_COPY, ENOMEM, 1, 1);
	child_dies_by(child_fork(child_finds_all), SIGKILL);
	rule_clear();
	uffd_act_old(false);
	wait_unserved();
}

UTEST(child_fail, without_room_in_the_pool_it_has_nothing, .fini = forking_down)
{
	rig_up(&forking,
	       &(struct rig_opts){ .pages = CHILD_PAGES, .pool_frames = CHILD_PAGES + 8 });
	guest_stamps(0, 8, 100);
	forking_begin();
	fds_before = open_fds();
	child_dies_by(child_fork(touches), SIGSEGV);
	check_eq(child_stats().failed, 1);
	check_eq(child_stats().error, -ENOSPC);
	guest_stamps(0, CHILD_PAGES, 1000);
}

#ifndef __SANITIZE_THREAD__

/* From now on this process has no child: clone(2) without CLONE_VM is EAGAIN. */
static void refuse_forks(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 3, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 4),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0x100, 2, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EAGAIN),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = { .len = sizeof(code) / sizeof(code[0]), .filter = code };

	check_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	check_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter), 0);
}

static void forks_in_vain(void)
{
	up();
	refuse_forks();
	for (unsigned i = 0; i < 3; i++)
		check(fork() < 0 && errno == EAGAIN);
	wait_unserved();
	check_eq(child_stats().forks + child_stats().failed, 0);
	guest_stamps(0, CHILD_PAGES, 1000);
	forking_down();
}

UTEST(child_fail, a_fork_that_fails_leaves_nothing)
{
	pid_t pid;

	need_userfaultfd();
	pid = fork();
	if (!pid) {
		forks_in_vain();
		_exit(0);
	}
	child_passes(pid);
}

#endif
