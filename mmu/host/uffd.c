/* SPDX-License-Identifier: BSD-2-Clause */
#include "mmu/host/uffd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "mmu/base/addr.h"
#include "mmu/base/mutant.h"

/* How often to retry a call that says EAGAIN: each time another system call on the layout must have been under way. */
#define EAGAIN_TRIES 1000

static int open_fd(void)
{
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	int dev, err;

	if (fd >= 0 || errno != EPERM)
		return fd >= 0 ? fd : -errno;
	dev = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	if (dev < 0)
		return -EPERM;
	fd = ioctl(dev, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
	err = errno;
	close(dev);
	return fd >= 0 ? fd : -err;
}

static int handshake(int fd, uint64_t want, uint64_t *offered)
{
	struct uffdio_api api = { .api = UFFD_API, .features = want };

	if (ioctl(fd, UFFDIO_API, &api))
		return -errno;
	*offered = api.features;
	return 0;
}

/*
 * Does CONTINUE take the WP mode? An unaligned range is refused with EINVAL either way, so ask with a real one: a page
 * of a file that does not exist yet gives EFAULT where the mode is known.
 */
static bool probe_continue_wp(struct uffd *u)
{
	int mem = memfd_create("umbra-probe", MFD_CLOEXEC);
	bool known = false;
	void *page;

	if (mem < 0)
		return false;
	if (!ftruncate(mem, PAGE_SIZE)) {
		page = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, mem, 0);
		if (page != MAP_FAILED) {
			struct uffdio_continue c = { .range = { (uint64_t)(uintptr_t)page,
								PAGE_SIZE },
						     .mode = UFFDIO_CONTINUE_MODE_WP };

			if (!uffd_register(u, page, PAGE_SIZE))
				known = ioctl(u->fd, UFFDIO_CONTINUE, &c) && errno != EINVAL;
			munmap(page, PAGE_SIZE);
		}
	}
	close(mem);
	return known;
}

static int open_with(struct uffd *u, uint64_t feature)
{
	uint64_t want = UFFD_FEATURES_NEEDED | feature, offered = 0;
	int fd, rc;

	/* An API handshake is final for a descriptor: one to ask, one to use. */
	fd = open_fd();
	if (fd < 0)
		return fd;
	rc = handshake(fd, 0, &offered);
	close(fd);
	if (rc)
		return rc;
	if ((offered & want) != want)
		return -EOPNOTSUPP;

	*u = (struct uffd){ .fd = open_fd(), .is_sigbus = feature & UFFD_FEATURE_SIGBUS };
	if (u->fd < 0)
		return u->fd;
	rc = handshake(u->fd, want | (offered & UFFD_FEATURE_WP_UNPOPULATED), &u->features);
	if (rc) {
		close(u->fd);
		return rc;
	}
	atomic_init(&u->repoints, 0);
	u->has_continue_wp = probe_continue_wp(u);
	return 0;
}

int uffd_open(struct uffd *u)
{
	return open_with(u, 0);
}

int uffd_open_sigbus(struct uffd *u)
{
	return open_with(u, UFFD_FEATURE_SIGBUS);
}

void uffd_close(struct uffd *u)
{
	close(u->fd);
	u->fd = -1;
}

int uffd_read_fault(struct uffd *u, int stop_fd, uint64_t *addr, bool *write)
{
	for (;;) {
		struct pollfd pfd[2] = { { .fd = u->fd, .events = POLLIN },
					 { .fd = stop_fd, .events = POLLIN } };
		struct uffd_msg msg;
		ssize_t n;

		if (poll(pfd, 2, -1) < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		if (pfd[1].revents)
			return 0;
		if (pfd[0].revents & (POLLERR | POLLNVAL))
			return -EBADF;
		n = read(u->fd, &msg, sizeof(msg));
		if (n < 0) {
			if (errno == EAGAIN || errno == EINTR) /* another thread was faster */
				continue;
			return -errno;
		}
		if (n != sizeof(msg) || msg.event != UFFD_EVENT_PAGEFAULT)
			return -EPROTO;
		*addr = msg.arg.pagefault.address & PAGE_MASK;
		*write = msg.arg.pagefault.flags &
			 (UFFD_PAGEFAULT_FLAG_WRITE | UFFD_PAGEFAULT_FLAG_WP);
		return 1;
	}
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

	return ioctl(u->fd, UFFDIO_REGISTER, &reg) ? -errno : 0;
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
		if (errno != EAGAIN || ++tries == EAGAIN_TRIES)
			return done ? (int64_t)done : -errno;
		sched_yield();
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

	for (int tries = 0; ioctl(u->fd, UFFDIO_WRITEPROTECT, &wp); tries++) {
		if (errno != EAGAIN || tries == EAGAIN_TRIES)
			return -errno;
		sched_yield();
	}
	return 0;
}

int uffd_wake(struct uffd *u, void *addr, size_t len)
{
	struct uffdio_range range = range_of(addr, len);

	return ioctl(u->fd, UFFDIO_WAKE, &range) ? -errno : 0;
}

int uffd_poison(struct uffd *u, void *addr, size_t len)
{
	struct uffdio_poison poison = { .range = range_of(addr, len) };

	/* EEXIST: it is so already, or shows what it may. */
	return ioctl(u->fd, UFFDIO_POISON, &poison) && errno != EEXIST ? -errno : 0;
}
