// SPDX-License-Identifier: BSD-2-Clause
/*
 * libinject.so: make chosen calls of a program fail, from outside.
 *
 *	INJECT='open:/dev/kvm:ENOENT,ioctl@0xc020aa07:ENOMEM:3,read@userfaultfd:EIO:5+' \
 *	LD_PRELOAD=build/tests/libinject.so build/umbra run ...
 *
 * INJECT is a list of rules, FUNCTION[@SELECTOR | :SELECTOR]:ERROR[:N[+]], separated by commas:
 *	FUNCTION  open openat ioctl mmap mprotect madvise munmap read pread poll memfd_create ftruncate
 *		  fallocate pthread_create eventfd fsopen userfaultfd (the system call, through syscall())
 *	SELECTOR  open, openat, fsopen: the path or name, or a part of it after '*'; ioctl: the request code; madvise: the advice;
 *		  read, pread, mmap, ftruncate, fallocate: text in what /proc/self/fd says of the file
 *	ERROR	  a name (ENOMEM), a number, or EOF: the call returns 0 and does nothing
 *	N	  fail the Nth matching call only; N+: that and all later ones; nothing: every one
 *
 * INJECT_SEEN=FILE: at exit, add a line to FILE for each rule: how many calls matched it.
 *
 * Only calls that the program itself makes are seen; what the C library does inside (fopen(), say) is not.
 * A rule that cannot be parsed ends the program: a test that injects nothing proves nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/inject/next.h"

#define MAX_RULES   32
#define RETURN_ZERO (-1) /* the error called EOF */

enum call {
	CALL_OPEN,
	CALL_OPENAT,
	CALL_IOCTL,
	CALL_MMAP,
	CALL_MPROTECT,
	CALL_MADVISE,
	CALL_MUNMAP,
	CALL_READ,
	CALL_PREAD,
	CALL_POLL,
	CALL_MEMFD_CREATE,
	CALL_FTRUNCATE,
	CALL_FALLOCATE,
	CALL_PTHREAD_CREATE,
	CALL_EVENTFD,
	CALL_FSOPEN,
	CALL_USERFAULTFD,
	CALLS
};

static const char *const call_names[CALLS] = {
	"open",	     "openat",	       "ioctl",	  "mmap",   "mprotect",	    "madvise",
	"munmap",    "read",	       "pread",	  "poll",   "memfd_create", "ftruncate",
	"fallocate", "pthread_create", "eventfd", "fsopen", "userfaultfd",
};

struct rule {
	enum call call;
	char selector[128]; /* empty: any */
	int error;
	unsigned long first, last; /* of the matching calls, counted from 1 */
	atomic_ulong seen;
};

static struct rule rules[MAX_RULES];
static unsigned nrules;

static void die(const char *rule)
{
	fprintf(stderr, "libinject: cannot parse '%s' in INJECT\n", rule);
	_exit(99);
}

static bool parse_error(const char *text, int *error)
{
	char *end;

	if (!strcmp(text, "EOF")) {
		*error = RETURN_ZERO;
		return true;
	}
	for (int e = 1; e < 134; e++) {
		const char *name = strerrorname_np(e);

		if (name && !strcmp(name, text)) {
			*error = e;
			return true;
		}
	}
	*error = (int)strtol(text, &end, 10);
	return *text && !*end && *error > 0;
}

static bool parse_count(const char *text, struct rule *r)
{
	char *end;

	r->first = strtoul(text, &end, 10);
	r->last = *end == '+' ? ~0UL : r->first;
	return r->first && (!*end || !strcmp(end, "+"));
}

/* FUNCTION[@SELECTOR|:SELECTOR]:ERROR[:N[+]]; @text is cut up. */
static bool parse_rule(char *text, struct rule *r)
{
	char *part[4], *save, *at;
	int n = 0, e = 1;

	for (char *p = strtok_r(text, ":", &save); p; p = strtok_r(NULL, ":", &save)) {
		if (n == 4)
			return false;
		part[n++] = p;
	}
	if (n < 2)
		return false;
	r->first = 1;
	r->last = ~0UL;
	at = strchr(part[0], '@');
	if (at) {
		*at++ = '\0';
	} else if (n > 2 && !parse_error(part[1], &r->error)) {
		at = part[1];
		e = 2;
	}
	if (at && snprintf(r->selector, sizeof(r->selector), "%s", at) >= (int)sizeof(r->selector))
		return false;
	if (e >= n || !parse_error(part[e], &r->error))
		return false;
	if (n > e + 2 || (n == e + 2 && !parse_count(part[e + 1], r)))
		return false;
	for (r->call = 0; r->call < CALLS; r->call++) {
		if (!strcmp(part[0], call_names[r->call]))
			return true;
	}
	return false;
}

__attribute__((constructor)) static void parse_rules(void)
{
	const char *list = getenv("INJECT");
	char copy[4096], whole[256], *save;

	if (!list)
		return;
	if (strlen(list) >= sizeof(copy))
		die(list);
	strcpy(copy, list);
	for (char *p = strtok_r(copy, ",", &save); p; p = strtok_r(NULL, ",", &save)) {
		snprintf(whole, sizeof(whole), "%s", p);
		if (nrules == MAX_RULES || !parse_rule(p, &rules[nrules]))
			die(whole);
		nrules++;
	}
}

__attribute__((destructor)) static void tell_seen(void)
{
	const char *path = getenv("INJECT_SEEN");
	FILE *f = path && nrules ? fopen(path, "ae") : NULL;

	if (!f)
		return;
	for (unsigned i = 0; i < nrules; i++)
		fprintf(f, "%lu\n", atomic_load(&rules[i].seen));
	fclose(f);
}

/* What a call is about: a path, a file, a number. Unused ones are NULL, -1 and 0. */
struct about {
	const char *path;
	int fd;
	unsigned long code;
};

static bool is_selected(const struct rule *r, const struct about *a)
{
	const char *s = r->selector;
	char link[64], target[256];
	ssize_t n;

	if (!*s)
		return true;
	if (a->path)
		return *s == '*' ? strstr(a->path, s + 1) != NULL : !strcmp(a->path, s);
	if (a->fd < 0)
		return a->code == strtoul(s, NULL, 0);
	snprintf(link, sizeof(link), "/proc/self/fd/%d", a->fd);
	n = readlink(link, target, sizeof(target) - 1);
	if (n < 0)
		return false;
	target[n] = '\0';
	return strstr(target, s) != NULL;
}

/* 0: let the call through. Else the error it must fail with. Keeps errno. */
static int injected(enum call call, struct about about)
{
	int saved = errno, error = 0;

	for (unsigned i = 0; i < nrules && !error; i++) {
		struct rule *r = &rules[i];
		unsigned long nth;

		if (r->call != call || !is_selected(r, &about))
			continue;
		nth = atomic_fetch_add(&r->seen, 1) + 1;
		if (nth >= r->first && nth <= r->last)
			error = r->error;
	}
	errno = saved;
	return error;
}

#define NO_FD	   .fd = -1
#define ABOUT(...) ((struct about){ __VA_ARGS__ })

/* Leave the caller with @failure and errno set, or with 0 for EOF, when a rule says so. */
#define FAIL_IF_INJECTED(call, about, failure)      \
	do {                                        \
		int error_ = injected(call, about); \
                                                    \
		if (error_ == RETURN_ZERO)          \
			return 0;                   \
		if (error_) {                       \
			errno = error_;             \
			return failure;             \
		}                                   \
	} while (0)

#define MODE_OF(flags, mode)                             \
	do {                                             \
		if ((flags) & (O_CREAT | __O_TMPFILE)) { \
			va_list ap_;                     \
                                                         \
			va_start(ap_, flags);            \
			mode = va_arg(ap_, mode_t);      \
			va_end(ap_);                     \
		}                                        \
	} while (0)

int open(const char *path, int flags, ...)
{
	mode_t mode = 0;

	MODE_OF(flags, mode);
	FAIL_IF_INJECTED(CALL_OPEN, ABOUT(.path = path, NO_FD), -1);
	return NEXT(open)(path, flags, mode);
}

int openat(int dir, const char *path, int flags, ...)
{
	mode_t mode = 0;

	MODE_OF(flags, mode);
	FAIL_IF_INJECTED(CALL_OPENAT, ABOUT(.path = path, NO_FD), -1);
	return NEXT(openat)(dir, path, flags, mode);
}

int ioctl(int fd, unsigned long request, ...)
{
	va_list ap;
	void *arg;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	FAIL_IF_INJECTED(CALL_IOCTL, ABOUT(NO_FD, .code = request), -1);
	return NEXT(ioctl)(fd, request, arg);
}

/* liburcu aborts when it has no memory for a new thread: nothing to learn about the program there. */
static bool is_liburcu(const void *caller)
{
	Dl_info info;

	return dladdr(caller, &info) && info.dli_fname && strstr(info.dli_fname, "liburcu");
}

void *mmap(void *addr, size_t len, int prot, int flags, int fd, off_t off)
{
	if (is_liburcu(__builtin_return_address(0)))
		return NEXT(mmap)(addr, len, prot, flags, fd, off);
	FAIL_IF_INJECTED(CALL_MMAP, ABOUT(.fd = fd), MAP_FAILED);
	return NEXT(mmap)(addr, len, prot, flags, fd, off);
}

int mprotect(void *addr, size_t len, int prot)
{
	FAIL_IF_INJECTED(CALL_MPROTECT, ABOUT(NO_FD), -1);
	return NEXT(mprotect)(addr, len, prot);
}

int madvise(void *addr, size_t len, int advice)
{
	FAIL_IF_INJECTED(CALL_MADVISE, ABOUT(NO_FD, .code = (unsigned long)advice), -1);
	return NEXT(madvise)(addr, len, advice);
}

int munmap(void *addr, size_t len)
{
	FAIL_IF_INJECTED(CALL_MUNMAP, ABOUT(NO_FD), -1);
	return NEXT(munmap)(addr, len);
}

ssize_t read(int fd, void *buf, size_t len)
{
	FAIL_IF_INJECTED(CALL_READ, ABOUT(.fd = fd), -1);
	return NEXT(read)(fd, buf, len);
}

ssize_t pread(int fd, void *buf, size_t len, off_t off)
{
	FAIL_IF_INJECTED(CALL_PREAD, ABOUT(.fd = fd), -1);
	return NEXT(pread)(fd, buf, len, off);
}

int poll(struct pollfd *fds, nfds_t n, int timeout)
{
	FAIL_IF_INJECTED(CALL_POLL, ABOUT(NO_FD), -1);
	return NEXT(poll)(fds, n, timeout);
}

int memfd_create(const char *name, unsigned flags)
{
	FAIL_IF_INJECTED(CALL_MEMFD_CREATE, ABOUT(.path = name, NO_FD), -1);
	return NEXT(memfd_create)(name, flags);
}

int ftruncate(int fd, off_t len)
{
	FAIL_IF_INJECTED(CALL_FTRUNCATE, ABOUT(.fd = fd), -1);
	return NEXT(ftruncate)(fd, len);
}

int fallocate(int fd, int mode, off_t off, off_t len)
{
	FAIL_IF_INJECTED(CALL_FALLOCATE, ABOUT(.fd = fd), -1);
	return NEXT(fallocate)(fd, mode, off, len);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *), void *arg)
{
	int error = injected(CALL_PTHREAD_CREATE, ABOUT(NO_FD));

	return error > 0 ? error : NEXT(pthread_create)(thread, attr, fn, arg);
}

int eventfd(unsigned count, int flags)
{
	FAIL_IF_INJECTED(CALL_EVENTFD, ABOUT(NO_FD), -1);
	return NEXT(eventfd)(count, flags);
}

int fsopen(const char *name, unsigned flags)
{
	FAIL_IF_INJECTED(CALL_FSOPEN, ABOUT(.path = name, NO_FD), -1);
	return NEXT(fsopen)(name, flags);
}

long syscall(long nr, ...)
{
	long a[6];
	va_list ap;

	va_start(ap, nr);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(ap, long);
	va_end(ap);
	if (nr == SYS_userfaultfd)
		FAIL_IF_INJECTED(CALL_USERFAULTFD, ABOUT(NO_FD), -1);
	return NEXT(syscall)(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* With 64-bit off_t these are the same calls; large-file builds use the second name. */
#define SAME_AS(name) __attribute__((alias(#name)))

int open64(const char *path, int flags, ...) SAME_AS(open);
int openat64(int dir, const char *path, int flags, ...) SAME_AS(openat);
void *mmap64(void *addr, size_t len, int prot, int flags, int fd, off_t off) SAME_AS(mmap);
ssize_t pread64(int fd, void *buf, size_t len, off_t off) SAME_AS(pread);
int ftruncate64(int fd, off_t len) SAME_AS(ftruncate);
int fallocate64(int fd, int mode, off_t off, off_t len) SAME_AS(fallocate);
