/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * In the child, before fork(3) returns there: memory of its own where the views are, and somebody to fill it. It is one thread of what were
 * many, whose locks may be held by nobody that is left: system calls, and what stands still in memory.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "mmu/host/child_priv.h"
#include "mmu/host/uffd_child.h"

/* What shows the pool must go, whatever the child gets instead. */
static void close_run(void *at, size_t len)
{
	if (mmap(at, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1,
		 0) == MAP_FAILED &&
	    munmap(at, len))
		bug_report(__FILE__, __LINE__, "a child keeps its parent's view");
}

/* Rights as they were in the parent. 0 or -errno. */
static int open_run(struct region *r, uint64_t page, uint64_t end)
{
	for (uint64_t n; page < end; page += n) {
		unsigned access = region_access(r, page);

		for (n = 1; page + n < end && region_access(r, page + n) == access; n++)
			;
		if (mprotect((char *)view_base(r->view) + (page << PAGE_SHIFT), n << PAGE_SHIFT,
			     (int)access))
			return -errno;
	}
	return 0;
}

/* Others' memory in the place of pages that are lost is theirs in the child, too. @fd: -errno to close only. */
static int take_region(struct region *r, int fd)
{
	uint64_t page = 0, n;
	int rc = fd < 0 ? fd : 0;

	for (; view_next_own(r->view, &page, region_pages(r), &n); page += n) {
		char *at = (char *)view_base(r->view) + (page << PAGE_SHIFT);
		size_t len = n << PAGE_SHIFT;

		close_run(at, len);
		/* A child of the child's would find zeros where nobody has been yet. */
		if (!rc && !mutant(498) && madvise(at, len, MADV_DONTFORK))
			rc = -errno;
		if (!rc)
			rc = uffd_child_register(fd, at, len);
		if (!rc)
			rc = open_run(r, page, page + n);
	}
	return rc;
}

static int take_regions(struct hostmm *mm, int fd)
{
	int rc = fd < 0 ? fd : 0;

	for (struct region *r = mm->regions; r; r = r->next)
		rc = take_region(r, rc ? rc : fd);
	return rc;
}

/* The end of the parent is this process's, too, from now on. */
static int follow_parent(struct child *c)
{
	char byte;

	if (mutant(496))
		return 0;
	if (fcntl(c->pipe[0], F_SETOWN, getpid()) || fcntl(c->pipe[0], F_SETSIG, SIGKILL) ||
	    fcntl(c->pipe[0], F_SETFL, O_ASYNC | O_NONBLOCK))
		return -errno;
	/* Who had ended by then has sent no signal. */
	return !read(c->pipe[0], &byte, 1) && !mutant(503) ? -ESRCH : 0;
}

/* @fd: of the child's, or -errno. 0 or -errno: there is no parent. */
static int say_hello(struct child *c, int fd)
{
	struct child_hello hello = { .error = fd < 0 ? fd : 0 };
	struct iovec iov = { .iov_base = &hello, .iov_len = sizeof(hello) };
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { .bytes = { 0 } };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	if (fd >= 0) {
		control.header = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(int)),
						   .cmsg_level = SOL_SOCKET,
						   .cmsg_type = SCM_RIGHTS };
		memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control);
	}
	do
		n = sendmsg(c->childs_socket, &msg, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

static void close_fd(int *fd)
{
	close(*fd);
	*fd = -1;
}

void child_own_take(struct child *c, struct hostmm *mm, int error)
{
	int rc;

	if (error) {
		(void)take_regions(mm, error);
		if (c)
			child_close(c);
		return;
	}
	close_fd(&c->socket);
	close_fd(&c->pipe[1]);
	c->uffd = uffd_child_open();
	/* It keeps that: whoever waits in it does so until he is told, or killed, and not until his parent's is closed. */
	rc = take_regions(mm, c->uffd);
	if (!rc)
		rc = follow_parent(c);
	if (!rc)
		rc = say_hello(c, c->uffd);
	if (!rc)
		return;
	/* What has been opened by then must not stay so. */
	(void)take_regions(mm, rc);
	(void)say_hello(c, rc);
	child_close(c);
}
