// SPDX-License-Identifier: BSD-2-Clause
/*
 * Raw system calls on the host view of a region with an audit, under each source that has events: what becomes of the pages, for the
 * host, for a guest, and for what others have put in their place. docs/notifier-sources.md says which test shows what; audit_move.c
 * has mremap(), audit_place.c views that follow one another, audit_log.c what has not been followed yet.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mmu/host/hostmm_actors.h"
#include "tests/rig_audit.h"
#include "tests/test.h"

#define BOTH (HOSTMM_PROT_READ | HOSTMM_PROT_WRITE)

/* ---- madvise ---- */

ATEST(a_discard_keeps_contents)
{
	struct hostmm_stats s;
	unsigned zaps;

	stamp_pages(0, 8);
	check_there(3, 103);
	zaps = audited.zaps;
	check_eq(madvise(host_page(2), 4 * PAGE_SIZE, MADV_DONTNEED), 0);
	s = raw_stats();
	check_eq(audited.zaps, zaps + 1);
	check_eq(s.raw_removes, 1);
	check_eq(s.raw_unmaps + s.raw_remaps, 0);
	for (uint64_t page = 0; page < 8; page++)
		check_there(page, 100 + page);
}

ATEST(what_is_removed_is_zeros)
{
	uint64_t value = 1;

	stamp_pages(0, 8);
	for (uint64_t page = 0; page < 8; page++)
		check_there(page, 100 + page);
	check_eq(madvise(host_page(2), 4 * PAGE_SIZE, MADV_REMOVE), 0);
	check_eq(raw_stats().raw_removes, 1);
	check_eq(rig_load(rig_word(audited.guest, 2, 0)), 0);
	check_eq(load_from(audited.host, 3), 0);
	check_eq(hostmm_read(audited.mm, rig_hva(&audited, 4), &value, sizeof(value)), 0);
	check_eq(value, 0);
	rig_guest_store(&audited, rig_word(audited.guest, 5, 0), 55);
	check_there(5, 55);
	check_there(1, 101);
	check_there(6, 106);
	check_eq(audited.host_fatal + audited.window_fatal, 0);
}

/* A page that is away has a VMA, and so an event, of its own. It is watched like others (field: discard by remapping). */
ATEST(a_page_that_was_repointed_is_watched)
{
	stamp_pages(0, 8);
	check_eq(hostmm_migrate(audited.mm, rig_hva(&audited, 3), rig_hva(&audited, 4),
				HOSTMM_MIGRATE_AWAY),
		 0);
	check_there(3, 103);
	check_eq(madvise(host_page(3), PAGE_SIZE, MADV_DONTNEED), 0);
	check_eq(raw_stats().raw_removes, 1);
	check_there(3, 103);
	check_eq(munmap(host_page(3), PAGE_SIZE), 0);
	check_eq(raw_stats().raw_unmaps, 1);
	check_gone(3);
	check_there(4, 104);
}

/* ---- munmap ---- */

ATEST(what_is_unmapped_is_gone)
{
	uint64_t used;

	stamp_pages(0, 8);
	for (uint64_t page = 0; page < 8; page++)
		check_there(page, 100 + page);
	used = pool_used(audited.pool);
	check_eq(munmap(host_page(2), 4 * PAGE_SIZE), 0);
	check_eq(raw_stats().raw_unmaps, 1);
	check_eq(pool_used(audited.pool), used - 4);
	/* What the host finds there is not ours to say: the system may have given the place to somebody. */
	for (uint64_t page = 2; page < 6; page++)
		check_gone(page);
	check_there(1, 101);
	check_there(6, 106);
	/* As after munmap(): there is nothing to give rights to, or to move. */
	check_eq(hostmm_protect(audited.mm, rig_hva(&audited, 2), rig_hva(&audited, 3), BOTH),
		 -EINVAL);
	check_eq(hostmm_discard(audited.mm, rig_hva(&audited, 1), rig_hva(&audited, 7)), 0);
	check_gone(3);
	check_there(1, 0);
	check_eq(audited.host_fatal + audited.window_fatal, 0);
}

ATEST(a_region_without_pages_is_gone)
{
	hva_t hva;
	uint64_t value;

	check_eq(hostmm_map(audited.mm, 8, BOTH, NULL, NULL, &hva), 0);
	check(rig_try_store((_Atomic uint64_t *)hva, 1));
	check_eq(munmap((void *)hva, 8 * PAGE_SIZE), 0);
	check_eq(raw_stats().raw_unmaps, 1);
	check_eq(hostmm_read(audited.mm, hva, &value, sizeof(value)), -EFAULT);
	check_eq(hostmm_unmap(audited.mm, hva), -EINVAL);
	check_eq(pool_used(audited.pool), 0);
}

/* What others map where a region was is theirs, whatever is done to the region. */
static void check_stranger(uint64_t page)
{
	hva_t start = rig_hva(&audited, 0), end = rig_hva(&audited, 64);
	char *mine = host_page(page);
	struct hostmm *child;
	const struct hostmm_opts opts = { .fault_threads = 1 };

	memset(mine, 0x5a, 2 * PAGE_SIZE);
	check(raw_stats().raw_unmaps);
	check_eq(hostmm_wrprotect(audited.mm, start, end), 0);
	check_eq(hostmm_zap(audited.mm, start, end), 0);
	check_eq(hostmm_migrate(audited.mm, start, end, HOSTMM_MIGRATE_AWAY), 0);
	check_there(page - 1, 100 + page - 1);
	check_eq(hostmm_migrate(audited.mm, start, end, HOSTMM_MIGRATE_HOME), 0);
	check_eq(hostmm_protect(audited.mm, start, end, HOSTMM_PROT_READ), -ENOMEM);
	check_eq(hostmm_move(audited.mm, start, rig_hva(&audited, 4), rig_hva(&audited, page - 2)),
		 -EINVAL);
	check_eq(hostmm_collapse(audited.mm, start), -EINVAL);
	check_eq(hostmm_fork(audited.mm, &opts, &child), 0);
	hostmm_destroy(child);
	check_eq(hostmm_truncate(audited.mm, start, 4), 0);
	check_eq(hostmm_truncate(audited.mm, start, 64), 0);
	check_gone(page);
	check_eq(shadow_remove_slot(audited.shadow, 1), 0);
	check_eq(hostmm_unmap(audited.mm, start), 0);
	for (unsigned i = 0; i < 2 * PAGE_SIZE; i++)
		check_eq(mine[i], 0x5a);
	check_eq(munmap(mine, 2 * PAGE_SIZE), 0);
}

/* False: somebody else has it already. A sanitizer maps memory of its own at any time. */
static bool unmap_and_take(uint64_t page)
{
	check_eq(munmap(host_page(page), 2 * PAGE_SIZE), 0);
	return mmap(host_page(page), 2 * PAGE_SIZE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == host_page(page);
}

ATEST(what_others_map_after_munmap_is_theirs)
{
	uint64_t page = 4;

	stamp_pages(0, 64);
	while (!unmap_and_take(page))
		check((page += 4) < 64);
	check_stranger(page);
}

ATEST(what_others_map_over_it_is_theirs)
{
	stamp_pages(0, 16);
	check(mmap(host_page(8), 2 * PAGE_SIZE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == host_page(8));
	check_stranger(8);
}

/* ---- Umbra's own ---- */

ATEST(own_calls_are_no_news)
{
	hva_t start = rig_hva(&audited, 0), end = rig_hva(&audited, 64), hva;
	struct hostmm_stats s;

	for (unsigned i = 0; i < 20; i++) {
		stamp_pages(0, 64);
		check_eq(hostmm_migrate(audited.mm, start, end,
					i % 2 ? HOSTMM_MIGRATE_HOME : HOSTMM_MIGRATE_AWAY),
			 0);
		check_there(i, 100 + i);
		check_eq(hostmm_zap(audited.mm, start, end), 0);
		check_eq(hostmm_wrprotect(audited.mm, start, end), 0);
		check_eq(hostmm_protect(audited.mm, start, end, HOSTMM_PROT_READ), 0);
		check_eq(hostmm_protect(audited.mm, start, end, BOTH), 0);
		check_eq(hostmm_discard(audited.mm, start, end), 0);
		check_eq(hostmm_map(audited.mm, 8, BOTH, NULL, NULL, &hva), 0);
		check(rig_try_store((_Atomic uint64_t *)hva, 1));
		check_eq(hostmm_unmap(audited.mm, hva), 0);
	}
	s = raw_stats();
	check_eq(s.raw_removes + s.raw_unmaps + s.raw_remaps + s.raw_forks, 0);
}

/* ---- fork ---- */

static int child_ends(pid_t pid)
{
	int status = -1;

	check(pid > 0);
	check_eq(waitpid(pid, &status, 0), pid);
	return status;
}

/* No child has the view: it cannot see what changes after it was made, nor change what the guest has. */
ATEST(a_child_does_not_reach_the_view)
{
	struct hostmm_stats s;
	pid_t pid;
	int status;

	stamp_pages(0, 8);
	check_eq(hostmm_migrate(audited.mm, rig_hva(&audited, 3), rig_hva(&audited, 4),
				HOSTMM_MIGRATE_AWAY),
		 0);
	check_there(3, 103);
	for (uint64_t page = 3; page < 5; page++) {
		pid = fork();
		if (!pid) {
			signal(SIGSEGV, SIG_DFL);
			signal(SIGBUS, SIG_DFL);
			rig_store(rig_word(audited.host, page, 0), 1);
			_exit(0);
		}
		status = child_ends(pid);
		check(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
		check_there(page, 100 + page);
	}
	pid = fork();
	if (!pid) {
		execl("/bin/true", "true", NULL);
		_exit(1);
	}
	check_eq(child_ends(pid), 0);
	pid = fork();
	if (!pid)
		for (;;)
			pause();
	check_eq(kill(pid, SIGKILL), 0);
	status = child_ends(pid);
	check(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	s = raw_stats();
	check_eq(s.raw_forks, 0);
	check_there(5, 105);
	check_eq(audited.host_fatal + audited.window_fatal, 0);
}

/* Host code that wants the child to have it anyway: there is an event, and a descriptor, which is not kept. */
ATEST(a_child_that_was_given_the_view)
{
	int status;
	pid_t pid;

	stamp_pages(0, 8);
	check_eq(madvise(host_page(0), 8 * PAGE_SIZE, MADV_DOFORK), 0);
	pid = fork();
	if (!pid) {
		/* Watched by nobody, once the descriptor is closed: it does not wait for ever. */
		signal(SIGBUS, SIG_DFL);
		(void)rig_load(rig_word(audited.host, 2, 0));
		_exit(0);
	}
	status = child_ends(pid);
	check(WIFEXITED(status) || WIFSIGNALED(status));
	check(raw_stats().raw_forks <= 1); /* without CAP_SYS_PTRACE nobody is told */
	check_there(5, 105);
}

/* ---- Without ---- */

static void discard_untold(void)
{
	stamp_pages(0, 8);
	check_eq(madvise(host_page(2), 4 * PAGE_SIZE, MADV_DONTNEED), 0);
	check_there(3, 103);
	check_eq(madvise(host_page(2), 4 * PAGE_SIZE, MADV_REMOVE), 0);
	check_there(3, 0);
	check_eq(raw_stats().raw_removes, 0);
}

UTEST(audit, mprotect_has_no_events, .fini = audited_down)
{
	hva_t hva;

	rig_up(&audited, &(struct rig_opts){ .source = HOSTMM_SOURCE_MPROTECT, .pages = 16 });
	check_eq(hostmm_map_source(audited.mm, 8, BOTH, NULL, NULL, HOSTMM_SOURCE_MPROTECT, true,
				   &hva),
		 -EINVAL);
	discard_untold();
}

UTEST(audit, without_it_nobody_is_told, .fini = audited_down)
{
	rig_up(&audited, &(struct rig_opts){ .source = HOSTMM_SOURCE_SIGBUS, .pages = 16 });
	discard_untold();
}
