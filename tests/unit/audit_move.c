// SPDX-License-Identifier: BSD-2-Clause
/* mremap() of the host view of a region with an audit: pages go with their contents. */
#include <errno.h>
#include <sys/mman.h>

#include "mmu/host/hostmm_priv.h"
#include "tests/rig_audit.h"
#include "tests/test.h"

#define BOTH (HOSTMM_PROT_READ | HOSTMM_PROT_WRITE)

ATEST(what_is_moved_goes_with_its_contents)
{
	char *to = anon_pages(4);
	struct memslot slot;
	uint64_t value;
	char *guest;

	stamp_pages(0, 8);
	for (uint64_t page = 0; page < 8; page++)
		check_there(page, 100 + page);
	check_eq(hostmm_migrate(audited.mm, rig_hva(&audited, 4), rig_hva(&audited, 5),
				HOSTMM_MIGRATE_AWAY),
		 0);
	check(mremap(host_page(2), 2 * PAGE_SIZE, 2 * PAGE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED,
		     to) == to);
	/* At once, whoever has followed what: it waits. */
	check_eq(load_from(to, 1), 103);
	check_eq(load_from(to, 0), 102);
	check_eq(raw_stats().raw_remaps, 1);
	check_eq(raw_stats().raw_unmaps, 1);
	check_gone(2);
	check_gone(3);
	check_there(1, 101);
	check_there(4, 104);
	/* It is a region like others. */
	check_eq(shadow_add_slot(audited.shadow, 2, 0x10000, 2, (hva_t)to, 0), 0);
	check(shadow_slot(audited.shadow, 0x10000, &slot));
	guest = window_base(&slot);
	check_eq(rig_load(rig_word(guest, 0, 0)), 102);
	store_to(to, 0, 7);
	check_eq(rig_load(rig_word(guest, 0, 0)), 7);
	rig_guest_store(&audited, rig_word(guest, 1, 0), 8);
	check_eq(load_from(to, 1), 8);
	check_eq(hostmm_wrprotect(audited.mm, (hva_t)to, (hva_t)to + 2 * PAGE_SIZE), 0);
	store_to(to, 1, 9);
	check_eq(hostmm_migrate(audited.mm, (hva_t)to, (hva_t)to + PAGE_SIZE, HOSTMM_MIGRATE_HOME),
		 0);
	check_eq(load_from(to, 0), 7);
	check_eq(hostmm_read(audited.mm, (hva_t)to + PAGE_SIZE, &value, sizeof(value)), 0);
	check_eq(value, 9);
	check_eq(shadow_remove_slot(audited.shadow, 2), 0);
	check_eq(hostmm_unmap(audited.mm, (hva_t)to), 0);
	check_eq(audited.host_fatal + audited.window_fatal, 0);
	check_eq(munmap(to + 2 * PAGE_SIZE, 2 * PAGE_SIZE), 0);
}

ATEST(what_was_read_only_stays_so)
{
	char *to = anon_pages(2);

	stamp_pages(0, 8);
	check_eq(hostmm_protect(audited.mm, rig_hva(&audited, 2), rig_hva(&audited, 4),
				HOSTMM_PROT_READ),
		 0);
	check(mremap(host_page(2), 2 * PAGE_SIZE, 2 * PAGE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED,
		     to) == to);
	check_eq(raw_stats().raw_remaps, 1);
	check_eq(load_from(to, 0), 102);
	check(!rig_try_store(rig_word(to, 0, 0), 1));
	check_eq(hostmm_protect(audited.mm, (hva_t)to, (hva_t)to + PAGE_SIZE, BOTH), 0);
	store_to(to, 0, 1);
	check(!rig_try_store(rig_word(to, 1, 0), 1));
	check_eq(hostmm_unmap(audited.mm, (hva_t)to), 0);
}

/* Inside the region, twice: what was there is lost, and the second move takes what the first has brought. */
ATEST(moves_inside_a_region)
{
	stamp_pages(0, 32);
	for (uint64_t page = 0; page < 32; page++)
		check_there(page, 100 + page);
	check(mremap(host_page(0), 4 * PAGE_SIZE, 4 * PAGE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED,
		     host_page(10)) == host_page(10));
	check(mremap(host_page(10), 2 * PAGE_SIZE, 2 * PAGE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED,
		     host_page(20)) == host_page(20));
	check_eq(raw_stats().raw_remaps, 2);
	for (uint64_t page = 0; page < 4; page++)
		check_gone(page);
	check_gone(10);
	check_gone(11);
	check_there(12, 102);
	check_there(13, 103);
	check_there(14, 114);
	check_there(20, 100);
	check_there(21, 101);
	store_to(audited.host, 20, 5);
	check_there(20, 5);
	check_eq(audited.host_fatal + audited.window_fatal, 0);
}

ATEST(a_move_that_leaves_the_place)
{
	char *to = mremap(host_page(2), 2 * PAGE_SIZE, 2 * PAGE_SIZE,
			  MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);

	if (to == MAP_FAILED) /* before Linux 5.13, not for files */
		test_skip("MREMAP_DONTUNMAP: %s", strerror(errno));
	check_eq(raw_stats().raw_remaps, 1);
	check_eq(munmap(to, 2 * PAGE_SIZE), 0);
	stamp_pages(0, 8);
	to = mremap(host_page(4), 2 * PAGE_SIZE, 2 * PAGE_SIZE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP,
		    NULL);
	check_eq(to == MAP_FAILED ? errno : 0, 0);
	check_eq(raw_stats().raw_remaps, 2);
	check_eq(load_from(to, 0), 104);
	check_there(4, 0);
	check_there(2, 102);
	store_to(audited.host, 4, 1);
	check_eq(load_from(to, 0), 104);
	check_eq(hostmm_unmap(audited.mm, (hva_t)to), 0);
}

/* A section that the end of a region in SIGBUS mode waits for: its trap goes first. */
static void *hold_section(void *gate)
{
	sync_rcu_read_lock();
	gate_pass(gate);
	sync_rcu_read_unlock();
	return NULL;
}

static bool is_linked(hva_t start)
{
	const struct region *r;

	rwlock_read_acquire(&audited.mm->mmap_lock);
	for (r = audited.mm->regions; r && r->start != start; r = r->next)
		;
	rwlock_read_release(&audited.mm->mmap_lock);
	return r;
}

/* The region that was there is unlinked already, and not gone: what comes to its place meanwhile is not unmapped with it. */
ATEST(a_move_to_where_a_region_is_about_to_end)
{
	struct gate gate = GATE_INIT;
	char *to = anon_pages(2);
	pthread_t t;

	stamp_pages(0, 8);
	check(mremap(host_page(2), 2 * PAGE_SIZE, 2 * PAGE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED,
		     to) == to);
	check_eq(raw_stats().raw_remaps, 1);
	check_eq(load_from(to, 0), 102);
	gate_arm(&gate);
	t = rig_thread(hold_section, &gate);
	gate_wait(&gate);
	check(mmap(to, 2 * PAGE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
	      to);
	while (is_linked((hva_t)to))
		sched_yield();
	check(mremap(host_page(4), 2 * PAGE_SIZE, 2 * PAGE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED,
		     to) == to);
	gate_open(&gate);
	rig_join(t);
	check_eq(raw_stats().raw_remaps, 2);
	check_eq(load_from(to, 0), 104);
	store_to(to, 1, 7);
	check_eq(load_from(to, 1), 7);
	check_gone(2);
	check_gone(4);
	check_eq(hostmm_unmap(audited.mm, (hva_t)to), 0);
	check_eq(audited.host_fatal + audited.window_fatal, 0);
}

/* The VMA would go on into frames of others: nobody has said that these may be reached. */
ATEST(what_a_region_has_grown_by_is_refused)
{
	hva_t hva;
	char *to;
	uint64_t value;

	check_eq(hostmm_map(audited.mm, 4, BOTH, NULL, NULL, &hva), 0);
	check(rig_try_store((_Atomic uint64_t *)hva, 1));
	to = mremap((void *)hva, 4 * PAGE_SIZE, 8 * PAGE_SIZE, MREMAP_MAYMOVE);
	check(to != MAP_FAILED);
	check(!rig_try_load(rig_word(to, 5, 0), &value));
	check_eq(load_from(to, 0), 1);
	check(!rig_try_store(rig_word(to, 4, 0), 1));
	check_eq(hostmm_unmap(audited.mm, (hva_t)to), 0);
	check_eq(munmap(to + 4 * PAGE_SIZE, 4 * PAGE_SIZE), 0);
}

ATEST(a_second_mapping_is_refused)
{
	uint64_t value;
	char *to;

	stamp_pages(0, 4);
	to = mremap(host_page(0), 0, 2 * PAGE_SIZE, MREMAP_MAYMOVE);
	check(to != MAP_FAILED);
	check(!rig_try_load(rig_word(to, 0, 0), &value));
	check_there(0, 100);
	check_eq(munmap(to, 2 * PAGE_SIZE), 0);
	check_eq(audited.host_fatal, 0);
}
