/* SPDX-License-Identifier: BSD-2-Clause */
#include "mmu/host/uffd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "mmu/base/addr.h"
#include "mmu/base/mutant.h"
#include "mmu/base/thread.h"

/* How often to retry a call that says EAGAIN: each time another system call on the layout must have been under way. */
#define EAGAIN_TRIES  1000
/* With events EAGAIN lasts until somebody has read one: who has yielded this often sleeps in between. */
#define EAGAIN_YIELDS 16
#define EAGAIN_NS     20000L

static atomic_bool is_old; /* uffd_act_old() */

void uffd_act_old(bool old)
{
	atomic_store(&is_old, old);
}

int uffd_new(int flags)
{
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | flags);
	int dev, err;

	if (fd >= 0 || errno != EPERM)
		return fd >= 0 ? fd : -errno;
	dev = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	if (dev < 0)
		return -EPERM;
	fd = ioctl(dev, USERFAULTFD_IOC_NEW, O_CLOEXEC | flags);
	err = errno;
	close(dev);
	return fd >= 0 ? fd : -err;
}

/*
 * Ask for @want, and for what of @nice the system has and allows: it refuses all for one, and a descriptor that was refused may ask
 * again.
 */
static int handshake(struct uffd *u, uint64_t want, uint64_t nice)
{
	for (;;) {
		struct uffdio_api api = { .api = UFFD_API, .features = want | nice };

		if (!ioctl(u->fd, UFFDIO_API, &api)) {
			u->features = api.features;
			u->has_fork = nice & UFFD_FEATURE_EVENT_FORK;
			return 0;
		}
		if (errno == EINVAL && nice & UFFD_FEATURE_WP_UNPOPULATED)
			nice &= ~(uint64_t)UFFD_FEATURE_WP_UNPOPULATED; /* before Linux 6.4 */
		else if (errno == EPERM && nice & UFFD_FEATURE_EVENT_FORK)
			nice &= ~(uint64_t)UFFD_FEATURE_EVENT_FORK; /* not everybody's right */
		else
			return errno == EINVAL ? -EOPNOTSUPP : -errno;
	}
}

/* Does CONTINUE take the WP mode? One that it does not know is EINVAL before the range is looked at, in which nothing is registered. */
static bool probe_continue_wp(struct uffd *u)
{
	struct uffdio_continue c = { .range = { (uint64_t)(uintptr_t)u & PAGE_MASK, PAGE_SIZE },
				     .mode = UFFDIO_CONTINUE_MODE_WP };

	return !atomic_load(&is_old) && ioctl(u->fd, UFFDIO_CONTINUE, &c) && errno == ENOENT;
}

bool uffd_is_changing(struct uffd *u)
{
	return ioctl(u->fd, UFFDIO_WRITEPROTECT, NULL) && errno == EAGAIN;
}

/* A VMA of its own, which needs none to go: there is no reason to refuse it twice. */
static void drop_page(void *page)
{
	if (munmap(page, PAGE_SIZE))
		(void)munmap(page, PAGE_SIZE);
}

struct unmap_probe {
	struct uffd *uffd;
	void *page;
	int error;
};

/* Unmap the page, which is watched: returns when that has been read. No event comes of what is refused. */
static void *unmap_probe(void *arg)
{
	struct unmap_probe *p = arg;
	uint64_t one = 1;

	p->error = munmap(p->page, PAGE_SIZE) ? errno : 0;
	if (p->error)
		bug_on(write(p->uffd->nothing, &one, sizeof(one)) != sizeof(one));
	return NULL;
}

/* Can a change of @page be told from none, before and after its event is read? Takes it away. */
static int probe_change_of(struct uffd *u, void *page)
{
	struct unmap_probe probe = { .uffd = u, .page = page };
	bool idle = !uffd_is_changing(u) && errno == EFAULT, changing;
	struct uffd_msg msg;
	pthread_t thread;
	int rc = thread_start(&thread, unmap_probe, &probe);

	if (rc) {
		uffd_abandon(u); /* or this thread would wait for itself */
		drop_page(page);
		return rc;
	}
	rc = uffd_wait(u, u->nothing);
	changing = uffd_is_changing(u);
	if (rc > 0)
		while ((rc = uffd_read(u, &msg)) == 0)
			;
	/* Whoever waits goes on, also if it could not be read. */
	if (rc <= 0)
		uffd_abandon(u);
	pthread_join(thread, NULL);
	if (probe.error)
		drop_page(page);
	if (rc <= 0)
		return rc < 0 ? rc : -probe.error;
	return idle && changing && !uffd_is_changing(u) ? 0 : -EOPNOTSUPP;
}

static int probe_changing(struct uffd *u)
{
	int mem = memfd_create("umbra-probe", MFD_CLOEXEC), rc;
	void *page = MAP_FAILED;

	if (mem < 0)
		return -errno;
	rc = ftruncate(mem, PAGE_SIZE) ? -errno : 0;
	if (!rc) {
		page = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, mem, 0);
		rc = page == MAP_FAILED ? -errno : uffd_register(u, page, PAGE_SIZE);
	}
	if (!rc)
		rc = probe_change_of(u, page);
	else if (page != MAP_FAILED)
		drop_page(page);
	close(mem);
	return rc;
}

static void close_fds(struct uffd *u)
{
	close(u->fd);
	if (u->nothing >= 0)
		close(u->nothing);
	u->fd = u->nothing = -1;
}

int uffd_open(struct uffd *u, unsigned how)
{
	uint64_t want = UFFD_FEATURES_NEEDED | UFFD_FEATURE_THREAD_ID |
			(how & UFFD_SIGBUS ? UFFD_FEATURE_SIGBUS : 0) |
			(how & UFFD_AUDIT ? UFFD_EVENTS : 0);
	uint64_t nice = (atomic_load(&is_old) ? 0 : UFFD_FEATURE_WP_UNPOPULATED) |
			(how & UFFD_AUDIT ? UFFD_FEATURE_EVENT_FORK : 0);
	int rc;

	*u = (struct uffd){ .fd = uffd_new(how & UFFD_AUDIT ? O_NONBLOCK : 0),
			    .nothing = -1,
			    .is_sigbus = how & UFFD_SIGBUS,
			    .has_events = how & UFFD_AUDIT };
	if (u->fd < 0)
		return u->fd;
	if (how & UFFD_AUDIT) {
		u->nothing = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (u->nothing < 0) {
			rc = -errno;
			close_fds(u);
			return rc;
		}
	}
	rc = handshake(u, want, nice);
	u->has_continue_wp = !rc && probe_continue_wp(u);
	if (!rc && u->has_events)
		rc = probe_changing(u);
	if (rc) {
		close_fds(u);
		return rc;
	}
	atomic_init(&u->repoints, 0);
	lock_init(&u->reading);
	return 0;
}

void uffd_close(struct uffd *u)
{
	close_fds(u);
	lock_fini(&u->reading);
}

void uffd_abandon(struct uffd *u)
{
	/* In its place, so that who is about to use the number finds nothing else there. Takes no descriptor: there may be none. */
	while (dup3(u->nothing, u->fd, O_CLOEXEC) < 0)
		if (errno != EINTR && errno != EBUSY)
			bug_report(__FILE__, __LINE__,
				   "a userfaultfd that nobody reads cannot be closed");
}

int uffd_wait(struct uffd *u, int stop_fd)
{
	for (;;) {
		struct pollfd pfd[2] = { { .fd = u->fd, .events = POLLIN },
					 { .fd = stop_fd, .events = POLLIN } };

		if (poll(pfd, 2, -1) < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		if (pfd[1].revents)
			return 0;
		return pfd[0].revents & (POLLERR | POLLNVAL) ? -EBADF : 1;
	}
}

int uffd_read(struct uffd *u, struct uffd_msg *msg)
{
	ssize_t n = read(u->fd, msg, sizeof(*msg));

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	return n == sizeof(*msg) ? 1 : -EPROTO;
}

bool uffd_is_fault(const struct uffd_msg *msg, struct uffd_fault *fault)
{
	if (msg->event != UFFD_EVENT_PAGEFAULT) /* an enumeration, no mask */
		return false;
	fault->addr = msg->arg.pagefault.address & PAGE_MASK;
	fault->write = msg->arg.pagefault.flags &
		       (UFFD_PAGEFAULT_FLAG_WRITE | UFFD_PAGEFAULT_FLAG_WP);
	fault->tid = msg->arg.pagefault.feat.ptid;
	return true;
}

static struct uffdio_range range_of(void *addr, size_t len)
{
	return (struct uffdio_range){ .start = (uint64_t)(uintptr_t)addr, .len = len };
}

int uffd_register(struct uffd *u, void *addr, size_t len)
{
	struct uffdio_register reg = {
		.range = range_of(addr, len),
		.mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_MINOR |
			UFFDIO_REGISTER_MODE_WP,
	};

	if (!ioctl(u->fd, UFFDIO_REGISTER, &reg))
		return 0;
	return errno == ENOTTY ? -ESHUTDOWN : -errno; /* it has been abandoned */
}

static void give_way(bool sleeps)
{
	const struct timespec pause = { .tv_nsec = EAGAIN_NS };

	if (sleeps)
		nanosleep(&pause, NULL);
	else
		sched_yield();
}

/* After EAGAIN: go on? */
static bool try_again(struct uffd *u, int *tries)
{
	if ((++*tries >= EAGAIN_TRIES && !u->has_events) || mutant(462))
		return false;
	give_way(u->has_events && *tries > EAGAIN_YIELDS);
	return true;
}

int64_t uffd_continue(struct uffd *u, void *addr, size_t len, bool wp)
{
	struct uffdio_continue c = {
		.mode = UFFDIO_CONTINUE_MODE_DONTWAKE | (wp ? UFFDIO_CONTINUE_MODE_WP : 0),
	};
	size_t done = 0;

	for (int tries = 0; done < len;) {
		c.range = range_of((char *)addr + done, len - done);
		if (!mutant(28))
			c.mapped = 0;
		if (!ioctl(u->fd, UFFDIO_CONTINUE, &c))
			return (int64_t)len;
		/*
		 * Partial progress comes as EAGAIN with a count; without progress the field holds -errno, or before Linux 6.16
		 * (95567729173e) what it had before.
		 */
		if (errno == EAGAIN && c.mapped > 0) {
			done += (size_t)c.mapped;
			tries = 0;
			continue;
		}
		if (errno != EAGAIN)
			return done ? (int64_t)done : -errno;
		if (!try_again(u, &tries))
			return done ? (int64_t)done : -EAGAIN;
	}
	return (int64_t)done;
}

int uffd_writeprotect(struct uffd *u, void *addr, size_t len, bool on)
{
	struct uffdio_writeprotect wp = {
		.range = range_of(addr, len),
		/* DONTWAKE is only for dropping protection; setting it never wakes. */
		.mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : UFFDIO_WRITEPROTECT_MODE_DONTWAKE,
	};

	for (int tries = 0; ioctl(u->fd, UFFDIO_WRITEPROTECT, &wp);) {
		if (errno != EAGAIN)
			return -errno;
		if (!try_again(u, &tries))
			return -EAGAIN;
	}
	return 0;
}

int uffd_try_watches(struct uffd *u, void *addr)
{
	struct uffdio_writeprotect wp = { .range = range_of(addr, PAGE_SIZE),
					  .mode = UFFDIO_WRITEPROTECT_MODE_WP };

	return ioctl(u->fd, UFFDIO_WRITEPROTECT, &wp) ? -errno : 0;
}

void uffd_wake(struct uffd *u, void *addr, size_t len)
{
	struct uffdio_range range = range_of(addr, len);

	for (int tries = 0; ioctl(u->fd, UFFDIO_WAKE, &range); tries++) {
		if (errno == ENOTTY || errno == EBADF)
			return; /* abandoned or closed, which has woken everybody */
		if (errno != EAGAIN && errno != EINTR)
			bug_report(__FILE__, __LINE__, "who waits for a page cannot be woken");
		give_way(tries > EAGAIN_YIELDS);
	}
}

int uffd_poison(struct uffd *u, void *addr)
{
	struct uffdio_poison poison = { .range = range_of(addr, PAGE_SIZE) };

	if (atomic_load(&is_old))
		return -EINVAL;
	for (int tries = 0; ioctl(u->fd, UFFDIO_POISON, &poison);)
		if (errno != EAGAIN || !try_again(u, &tries))
			return -errno;
	return 0;
}
