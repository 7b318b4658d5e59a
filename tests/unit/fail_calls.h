/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Calls of the system that fail when a test says so. Included by a test's one file: what is defined here takes the place of the C library's
 * in its program. Calls inside the C library do not come here; mappings are those of umbra and of the test alone.
 * Owns nothing; which calls fail is tests/rule.h's. Who may call: tests. Knows no umbra.
 */
#ifndef UMBRA_TESTS_UNIT_FAIL_CALLS_H
#define UMBRA_TESTS_UNIT_FAIL_CALLS_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/inject/next.h"
#include "tests/rule.h"

/* For rule_set(). Not of MMAP and MUNMAP under ThreadSanitizer, which has these two itself. */
enum call {
	IOCTL, /* code: the request */
	READ,
	POLL,
	FALLOCATE,
	MMAP,
	MUNMAP,
	MPROTECT,
	MADVISE, /* code: the advice */
	EVENTFD,
	MEMFD,
	FTRUNCATE,
	OPEN,
	USERFAULTFD,
	THREAD, /* pthread_create() */
	SOCKETPAIR,
	PIPE,
	FCNTL, /* code: the command */
	SENDMSG,
	RECVMSG,
	CALLS
};

static inline const char *call_name(enum call call)
{
	static const char *const name[CALLS] = {
		"ioctl",     "read",	 "poll",	"fallocate",	  "mmap",
		"munmap",    "mprotect", "madvise",	"eventfd",	  "memfd_create",
		"ftruncate", "open",	 "userfaultfd", "pthread_create", "socketpair",
		"pipe2",     "fcntl",	 "sendmsg",	"recvmsg",
	};

	return name[call];
}

/* What a failed one does to its argument, and returns: whoever includes this may say so before. */
#ifndef FAILED_IOCTL
#define FAILED_IOCTL(fd, request, arg) (-1)
#endif

/* Done before and after one that is not to fail: likewise. */
#ifndef BEFORE_IOCTL
#define BEFORE_IOCTL(fd, request) ((void)0)
#endif
#ifndef AFTER_READ
#define AFTER_READ(buf, n) ((void)0)
#endif

int ioctl(int fd, unsigned long request, ...)
{
	va_list ap;
	void *arg;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (rule_fails(IOCTL, request))
		return FAILED_IOCTL(fd, request, arg);
	BEFORE_IOCTL(fd, request);
	return NEXT(ioctl)(fd, request, arg);
}

ssize_t read(int fd, void *buf, size_t nbytes)
{
	ssize_t n;

	if (rule_fails(READ, 0))
		return -1;
	n = NEXT(read)(fd, buf, nbytes);
	AFTER_READ(buf, n);
	return n;
}

int poll(struct pollfd *fds, nfds_t nfds, int timeout)
{
	return rule_fails(POLL, 0) ? -1 : NEXT(poll)(fds, nfds, timeout);
}

int fallocate(int fd, int mode, off_t offset, off_t len)
{
	return rule_fails(FALLOCATE, 0) ? -1 : NEXT(fallocate)(fd, mode, offset, len);
}

#ifndef __SANITIZE_THREAD__

/* Bytes that mmap() has mapped somewhere and munmap() has not unmapped. */
static atomic_long bytes_mapped;

extern const char __executable_start[], etext[];

/* Libraries map and unmap for themselves. liburcu aborts when it cannot. */
static bool is_own(const void *caller)
{
	return (const char *)caller >= __executable_start && (const char *)caller < etext;
}

static long whole_pages(size_t len)
{
	return (long)((len + 4095) & ~4095UL);
}

void *mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
	bool counts = is_own(__builtin_return_address(0));
	void *at;

	if (counts && rule_fails(MMAP, 0))
		return MAP_FAILED;
	at = (void *)NEXT(syscall)(SYS_mmap, addr, len, prot, flags, fd, offset);
	/* A fixed one takes the place of what is there. */
	if (counts && at != MAP_FAILED && !(flags & MAP_FIXED))
		bytes_mapped += whole_pages(len);
	return at;
}

int munmap(void *addr, size_t len)
{
	bool counts = is_own(__builtin_return_address(0));
	int rc;

	if (counts && rule_fails(MUNMAP, 0))
		return -1;
	rc = (int)NEXT(syscall)(SYS_munmap, addr, len);
	if (counts && !rc)
		bytes_mapped -= whole_pages(len);
	return rc;
}

#endif

int mprotect(void *addr, size_t len, int prot)
{
	return rule_fails(MPROTECT, 0) ? -1 : NEXT(mprotect)(addr, len, prot);
}

int madvise(void *addr, size_t len, int advice)
{
	return rule_fails(MADVISE, (unsigned long)advice) ? -1 : NEXT(madvise)(addr, len, advice);
}

int eventfd(unsigned count, int flags)
{
	return rule_fails(EVENTFD, 0) ? -1 : NEXT(eventfd)(count, flags);
}

int memfd_create(const char *name, unsigned flags)
{
	return rule_fails(MEMFD, 0) ? -1 : NEXT(memfd_create)(name, flags);
}

int ftruncate(int fd, off_t length)
{
	return rule_fails(FTRUNCATE, 0) ? -1 : NEXT(ftruncate)(fd, length);
}

int open(const char *file, int oflag, ...)
{
	mode_t mode = 0;

	if (oflag & (O_CREAT | __O_TMPFILE)) {
		va_list ap;

		va_start(ap, oflag);
		mode = va_arg(ap, mode_t);
		va_end(ap);
	}
	return rule_fails(OPEN, 0) ? -1 : NEXT(open)(file, oflag, mode);
}

long syscall(long sysno, ...)
{
	long a[6];
	va_list ap;

	va_start(ap, sysno);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(ap, long);
	va_end(ap);
	if (sysno == SYS_userfaultfd && rule_fails(USERFAULTFD, 0))
		return -1;
	return NEXT(syscall)(sysno, a[0], a[1], a[2], a[3], a[4], a[5]);
}

int pthread_create(pthread_t *newthread, const pthread_attr_t *attr, void *(*start_routine)(void *),
		   void *arg)
{
	return rule_fails(THREAD, 0) ? rule_error()
				     : NEXT(pthread_create)(newthread, attr, start_routine, arg);
}

int socketpair(int domain, int type, int protocol, int fds[2])
{
	return rule_fails(SOCKETPAIR, 0) ? -1 : NEXT(socketpair)(domain, type, protocol, fds);
}

int pipe2(int pipedes[2], int flags)
{
	return rule_fails(PIPE, 0) ? -1 : NEXT(pipe2)(pipedes, flags);
}

int fcntl(int fd, int cmd, ...)
{
	va_list ap;
	void *arg;

	va_start(ap, cmd);
	arg = va_arg(ap, void *);
	va_end(ap);
	return rule_fails(FCNTL, (unsigned long)cmd) ? -1 : NEXT(fcntl)(fd, cmd, arg);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
	return rule_fails(SENDMSG, 0) ? -1 : NEXT(sendmsg)(fd, message, flags);
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
	return rule_fails(RECVMSG, 0) ? -1 : NEXT(recvmsg)(fd, message, flags);
}

#endif
