/* SPDX-License-Identifier: BSD-2-Clause */
#include "mmu/host/bell.h"

#include <errno.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>

#include "mmu/base/addr.h"
#include "mmu/base/bug.h"

static struct uffdio_range range_of(const struct bell *bell)
{
	return (struct uffdio_range){ .start = (uint64_t)(uintptr_t)bell->page, .len = PAGE_SIZE };
}

int bell_init(struct bell *bell, struct uffd *u)
{
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	int rc;

	/* Never written to, so it never has memory. */
	*bell = (struct bell){ .uffd = u };
	bell->page = mmap(NULL, PAGE_SIZE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (bell->page == MAP_FAILED)
		return -errno;
	reg.range = range_of(bell);
	if (!ioctl(u->fd, UFFDIO_REGISTER, &reg))
		return 0;
	rc = -errno;
	bell_fini(bell);
	return rc;
}

/* There is no reason to refuse it twice; what is kept is a page without memory. */
void bell_fini(struct bell *bell)
{
	if (munmap(bell->page, PAGE_SIZE))
		(void)munmap(bell->page, PAGE_SIZE);
}

/* The kernel loads from it: under a tool that runs one thread at a time, the others go on while this one is in a system call. */
void bell_ring(const struct bell *bell)
{
	while (nanosleep(bell->page, NULL) && errno == EINTR)
		;
}

bool bell_is_rung(const struct bell *bell, const struct uffd_fault *fault)
{
	return fault->addr == (uint64_t)(uintptr_t)bell->page;
}

void bell_pass(const struct bell *bell)
{
	uffd_wake(bell->uffd, bell->page, PAGE_SIZE);
}

/* UNREGISTER wakes, but before the page is no longer watched: who is quick faults once more. */
void bell_silence(const struct bell *bell)
{
	struct uffdio_range range = range_of(bell);

	while (ioctl(bell->uffd->fd, UFFDIO_UNREGISTER, &range))
		if (errno != EINTR && errno != EAGAIN)
			bug_report(__FILE__, __LINE__, "a bell cannot be silenced");
	bell_pass(bell);
}
