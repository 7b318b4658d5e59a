/* SPDX-License-Identifier: BSD-2-Clause */
#include "mmu/host/uffd_child.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

int uffd_child_open(void)
{
	struct uffdio_api api = { .api = UFFD_API,
				  .features = UFFD_FEATURE_EVENT_REMOVE |
					      UFFD_FEATURE_EVENT_REMAP };
	int fd = uffd_new(O_NONBLOCK), rc;

	if (fd == -EPERM) {
		fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
		if (fd < 0)
			return -errno;
	}
	if (fd < 0 || !ioctl(fd, UFFDIO_API, &api))
		return fd;
	rc = -errno;
	close(fd);
	return rc;
}

int uffd_child_register(int fd, void *addr, size_t len)
{
	struct uffdio_register reg = { .range = { (uint64_t)(uintptr_t)addr, len },
				       .mode = UFFDIO_REGISTER_MODE_MISSING };

	return ioctl(fd, UFFDIO_REGISTER, &reg) ? -errno : 0;
}

int64_t uffd_child_copy(struct uffd *u, hva_t addr, const void *src, size_t len)
{
	struct uffdio_copy copy = { .dst = addr, .src = (uint64_t)(uintptr_t)src, .len = len };

	if (!ioctl(u->fd, UFFDIO_COPY, &copy))
		return (int64_t)len;
	return errno == EAGAIN && copy.copy > 0 ? copy.copy : -errno;
}

int64_t uffd_child_zero(struct uffd *u, hva_t addr)
{
	struct uffdio_zeropage zero = { .range = { addr, PAGE_SIZE } };

	return ioctl(u->fd, UFFDIO_ZEROPAGE, &zero) ? -errno : (int64_t)PAGE_SIZE;
}

/* It wakes, too, but before the memory is no longer watched: who is quick waits once more. */
int uffd_child_unregister(struct uffd *u, hva_t addr, size_t len)
{
	struct uffdio_range range = { addr, len };

	if (ioctl(u->fd, UFFDIO_UNREGISTER, &range))
		return -errno;
	/* An address of the child's: NOLINTNEXTLINE(performance-no-int-to-ptr) */
	uffd_wake(u, (void *)(uintptr_t)addr, len);
	return 0;
}
