// SPDX-License-Identifier: BSD-2-Clause
/* userfaultfd: may it be used for faults of the kernel (KVM's are), and what can it do. */
#include "hv/doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "mmu/host/uffd.h"

#define PROBE_PAGE 4096ul

struct uffd_feature {
	const char *id;
	uint64_t bit;
	enum doctor_verdict without;
	const char *what_for;
	const char *fix;
};

/* What mmu/host/uffd.c and what opens it ask for, and nothing else. */
static const struct uffd_feature features[] = {
	{ "uffd.missing-shmem", UFFD_FEATURE_MISSING_SHMEM, DOCTOR_MISSING,
	  "see the first touch of a page", "use Linux 4.11 or newer" },
	{ "uffd.minor-shmem", UFFD_FEATURE_MINOR_SHMEM, DOCTOR_MISSING,
	  "install frames of the pool", "use Linux 5.14 or newer" },
	{ "uffd.wp", UFFD_FEATURE_PAGEFAULT_FLAG_WP, DOCTOR_MISSING, "protect against writes",
	  "use Linux 5.7 or newer, with CONFIG_HAVE_ARCH_USERFAULTFD_WP" },
	{ "uffd.wp-shmem", UFFD_FEATURE_WP_HUGETLBFS_SHMEM, DOCTOR_MISSING,
	  "protect frames against writes",
	  "use Linux 5.19 or newer, with CONFIG_PTE_MARKER_UFFD_WP" },
	{ "uffd.sigbus", UFFD_FEATURE_SIGBUS, DOCTOR_DEGRADED,
	  "let host threads resolve their own faults (uffd-sigbus)", "use Linux 4.14 or newer" },
	{ "uffd.wp-unpopulated", UFFD_FEATURE_WP_UNPOPULATED, DOCTOR_OK,
	  "protect private pages before they exist: umbra has none", NULL },
	{ "uffd.poison", UFFD_FEATURE_POISON, DOCTOR_OK,
	  "let a poisoned page end its access alone, and not its region's view", NULL },
};

/* Without UFFD_USER_MODE_ONLY: KVM touches guest memory from the kernel. */
static int open_uffd(const char **how)
{
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK), dev, err;

	*how = "the system call";
	if (fd >= 0)
		return fd;
	err = errno;
	dev = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	if (dev < 0)
		return -err;
	fd = ioctl(dev, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
	err = errno;
	close(dev);
	*how = "/dev/userfaultfd";
	return fd < 0 ? -err : fd;
}

/* Ask which features the kernel has. */
static int read_features(uint64_t *mask)
{
	struct uffdio_api api = { .api = UFFD_API };
	const char *how;
	int fd = open_uffd(&how), err = 0;

	if (fd < 0)
		return fd;
	if (ioctl(fd, UFFDIO_API, &api))
		err = -errno;
	close(fd);
	*mask = api.features;
	return err;
}

/* A page of shared memory under a userfaultfd of its own. */
struct uffd_probe {
	int fd;
	int memfd;
	char *page;
};

static int probe_open(struct uffd_probe *p)
{
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURES_NEEDED };
	struct uffdio_register reg = {
		.mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_MINOR |
			UFFDIO_REGISTER_MODE_WP,
	};
	const char *how;
	int err;

	p->fd = open_uffd(&how);
	if (p->fd < 0)
		return p->fd;
	p->memfd = memfd_create("umbra-doctor", MFD_CLOEXEC);
	if (p->memfd < 0) {
		err = -errno;
		goto err_close_fd;
	}
	if (ioctl(p->fd, UFFDIO_API, &api) || ftruncate(p->memfd, PROBE_PAGE) ||
	    pwrite(p->memfd, "x", 1, 0) != 1) {
		err = -errno;
		goto err_close_memfd;
	}
	p->page = mmap(NULL, PROBE_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, p->memfd, 0);
	if (p->page == MAP_FAILED) {
		err = -errno;
		goto err_close_memfd;
	}
	reg.range.start = (uintptr_t)p->page;
	reg.range.len = PROBE_PAGE;
	if (ioctl(p->fd, UFFDIO_REGISTER, &reg)) {
		err = -errno;
		goto err_unmap;
	}
	return 0;

err_unmap:
	munmap(p->page, PROBE_PAGE);
err_close_memfd:
	close(p->memfd);
err_close_fd:
	close(p->fd);
	return err;
}

static void probe_close(struct uffd_probe *p)
{
	close(p->fd);
	munmap(p->page, PROBE_PAGE);
	close(p->memfd);
}

static int try_continue(struct uffd_probe *p, uint64_t mode)
{
	struct uffdio_continue c = {
		.range = { (uintptr_t)p->page, PROBE_PAGE },
		.mode = mode,
	};

	return ioctl(p->fd, UFFDIO_CONTINUE, &c) ? -errno : 0;
}

/* What an audit needs beside its features can only be tried. */
static void probe_audit(struct doctor_report *r)
{
	struct uffd u;
	int err = uffd_open(&u, UFFD_AUDIT);

	if (err) {
		doctor_add(r, "uffd.audit", DOCTOR_DEGRADED, "do without host-view-audit",
			   "a change that is under way cannot be told: %s", strerror(-err));
		return;
	}
	doctor_add(r, "uffd.audit", DOCTOR_OK, NULL, "system calls on host views can be followed%s",
		   u.has_fork ? ", and children that were given one are told"
			      : "; who gives a view to a child is not told without CAP_SYS_PTRACE");
	uffd_close(&u);
}

static void probe_behaviour(struct doctor_report *r)
{
	struct uffd_probe p = { 0 };
	int err = probe_open(&p);

	if (err) {
		doctor_add(r, "uffd.register", DOCTOR_MISSING, "report it, with the kernel version",
			   "registering shared memory: %s", strerror(-err));
		return;
	}
	doctor_add(r, "uffd.register", DOCTOR_OK, NULL,
		   "missing, minor and write faults of shared memory");

	if (!try_continue(&p, UFFDIO_CONTINUE_MODE_WP))
		doctor_add(r, "uffd.continue-wp", DOCTOR_OK, NULL,
			   "installs read-only in one step");
	else if (!try_continue(&p, 0))
		doctor_add(r, "uffd.continue-wp", DOCTOR_DEGRADED, "use Linux 6.4 or newer",
			   "absent: read-only installs take a second step");
	else
		doctor_add(r, "uffd.continue-wp", DOCTOR_MISSING,
			   "report it, with the kernel version", "UFFDIO_CONTINUE fails: %s",
			   strerror(errno));
	probe_close(&p);
	probe_audit(r);
}

void doctor_judge_uffd(struct doctor_report *r, uint64_t mask)
{
	doctor_add(r, "uffd.features", DOCTOR_OK, NULL, "mask 0x%jx", (uintmax_t)mask);
	for (size_t i = 0; i < sizeof(features) / sizeof(features[0]); i++) {
		const struct uffd_feature *f = &features[i];

		if (mask & f->bit)
			doctor_add(r, f->id, DOCTOR_OK, NULL, "can %s", f->what_for);
		else
			doctor_add(r, f->id, f->without, f->fix, "cannot %s", f->what_for);
	}
	if ((mask & UFFD_EVENTS) == UFFD_EVENTS)
		doctor_add(r, "uffd.events", DOCTOR_OK, NULL, "remap, remove, unmap%s",
			   mask & UFFD_FEATURE_EVENT_FORK ? ", fork" : "");
	else
		doctor_add(r, "uffd.events", DOCTOR_DEGRADED, "use Linux 4.11 or newer",
			   "not all of remap, remove, unmap: no host-view-audit");
}

void doctor_probe_uffd(struct doctor_report *r)
{
	const char *how;
	uint64_t mask;
	int fd = open_uffd(&how), err;

	if (fd < 0) {
		doctor_add(
			r, "uffd.open", DOCTOR_MISSING,
			fd == -ENOSYS
				? "use a kernel with CONFIG_USERFAULTFD"
				: "run as root, or sysctl vm.unprivileged_userfaultfd=1, or chmod /dev/userfaultfd",
			"userfaultfd for faults of the kernel: %s", strerror(-fd));
		return;
	}
	close(fd);
	doctor_add(r, "uffd.open", DOCTOR_OK, NULL, "through %s", how);

	err = read_features(&mask);
	if (err) {
		doctor_add(r, "uffd.features", DOCTOR_MISSING, "use a newer kernel",
			   "UFFDIO_API: %s", strerror(-err));
		return;
	}
	doctor_judge_uffd(r, mask);
	if ((mask & UFFD_FEATURES_NEEDED) == UFFD_FEATURES_NEEDED)
		probe_behaviour(r);
}
