// SPDX-License-Identifier: BSD-2-Clause
/* A view where another one has been: the system does that when it likes, and here when the test does. */
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "mmu/host/hostmm_actors.h"
#include "tests/rig_audit.h"
#include "tests/test.h"

#define BOTH (HOSTMM_PROT_READ | HOSTMM_PROT_WRITE)

/* Where the next view is mapped. Until then nobody else has the place. */
static void *place;

void *mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
	if (place && fd >= 0 && (flags & MAP_SHARED)) {
		addr = place;
		flags |= MAP_FIXED;
		place = NULL;
	}
	return (void *)syscall(SYS_mmap, addr, len, prot, flags, fd, offset);
}

/* A region where another one has been, a part of which is there still. */
ATEST(a_region_in_the_hole_of_another)
{
	uint64_t value = 7, got;
	hva_t hva;

	stamp_pages(0, 64);
	check(mmap(host_page(8), 16 * PAGE_SIZE, PROT_NONE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) == host_page(8));
	check_eq(raw_stats().raw_unmaps, 1);
	place = host_page(8);
	check_eq(hostmm_map(audited.mm, 16, BOTH, NULL, NULL, &hva), 0);
	check(!place && hva == rig_hva(&audited, 8));
	check_eq(hostmm_write(audited.mm, hva, &value, sizeof(value)), 0);
	check_eq(load_from(audited.host, 8), 7);
	check_there(7, 107);
	check_there(24, 124);
	check_eq(hostmm_discard(audited.mm, rig_hva(&audited, 0), rig_hva(&audited, 64)), 0);
	check_eq(load_from(audited.host, 8), 7);
	check_eq(hostmm_read(audited.mm, hva, &got, sizeof(got)), 0);
	check_eq(got, 7);
	check_eq(hostmm_unmap(audited.mm, hva), 0);
	audited.damaged = true;
}
