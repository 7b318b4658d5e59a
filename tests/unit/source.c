// SPDX-License-Identifier: BSD-2-Clause
/*
 * The sources of the host view beside each other: what each promises to threads and to system calls. That memory stays
 * coherent under each is shown by the tests that tests/run.sh repeats with RIG_SOURCE.
 */
#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mmu/host/hostmm_actors.h"
#include "tests/rig.h"
#include "tests/test.h"
#include "tests/vmas.h"

static struct rig r;

static void down(void)
{
	rig_down(&r);
}

static void up(enum hostmm_source source, uint64_t pages)
{
	rig_up(&r, &(struct rig_opts){ .source = source, .pages = pages, .canary = true });
}

static uint64_t faults(void)
{
	struct hostmm_stats stats;

	hostmm_get_stats(r.mm, &stats);
	return stats.view_faults;
}

/* Reading from a file into @page, as a system call of the embedder would. 0 or its errno. */
static int read_into(uint64_t page)
{
	uint64_t word = 0x1234;
	int fd[2], rc;

	check_eq(pipe(fd), 0);
	check_eq(write(fd[1], &word, sizeof(word)), (ssize_t)sizeof(word));
	rc = read(fd[0], r.host + (page << PAGE_SHIFT), sizeof(word)) < 0 ? errno : 0;
	close(fd[0]);
	close(fd[1]);
	return rc;
}

static void check_signal_mode(enum hostmm_source source)
{
	uint64_t value = 1;

	up(source, 64);
	check(rig_try_load(rig_word(r.host, 3, 0), &value) && !value);
	check_eq(faults(), 1);
	check(rig_try_store(rig_word(r.host, 3, 0), 7));
	check_eq(hostmm_read(r.mm, rig_hva(&r, 3), &value, sizeof(value)), 0);
	check_eq(value, 7);
	check_eq(hostmm_wrprotect(r.mm, rig_hva(&r, 3), rig_hva(&r, 4)), 0);
	check(rig_try_store(rig_word(r.host, 3, 0), 8));
	check_eq(faults(), 2);
	check_eq(hostmm_migrate(r.mm, rig_hva(&r, 3), rig_hva(&r, 4), HOSTMM_MIGRATE_AWAY), 0);
	check(rig_try_load(rig_word(r.host, 3, 0), &value) && value == 8);

	/* The kernel does not run our handler for itself. */
	check_eq(read_into(40), EFAULT);
	check_eq(hostmm_prefault(r.mm, rig_hva(&r, 40), rig_hva(&r, 41), true), 0);
	check_eq(read_into(40), 0);
	check(rig_try_load(rig_word(r.host, 40, 0), &value) && value == 0x1234);
}

UTEST(source, sigbus_lets_the_thread_resolve_its_own_fault, .fini = down)
{
	check_signal_mode(HOSTMM_SOURCE_SIGBUS);
}

UTEST(source, mprotect_needs_no_userfaultfd, .fini = down)
{
	check_signal_mode(HOSTMM_SOURCE_MPROTECT);
}

UTEST(source, a_blocking_one_serves_system_calls, .fini = down)
{
	up(HOSTMM_SOURCE_UFFD, 64);
	check_eq(read_into(40), 0);
}

UTEST(source, prefault_checks_its_range, .fini = down)
{
	up(HOSTMM_SOURCE_MPROTECT, 8);
	check_eq(hostmm_prefault(r.mm, r.hva + 1, r.hva + PAGE_SIZE, false), -EINVAL);
	check_eq(hostmm_prefault(r.mm, r.hva, r.hva, false), -EINVAL);
	check_eq(hostmm_prefault(r.mm, r.hva + 8 * PAGE_SIZE, r.hva + 9 * PAGE_SIZE, false),
		 -EFAULT);
	check_eq(hostmm_protect(r.mm, r.hva, r.hva + PAGE_SIZE, HOSTMM_PROT_READ), 0);
	check_eq(hostmm_prefault(r.mm, r.hva, r.hva + PAGE_SIZE, true), -EFAULT);
	check_eq(hostmm_prefault(r.mm, r.hva, r.hva + PAGE_SIZE, false), 0);
}

/* The embedder's own handler gets what is not ours, and what is refused; the region goes on. */
static void check_refusal(enum hostmm_source source)
{
	uint64_t value;

	up(source, 8);
	check_eq(hostmm_protect(r.mm, r.hva, r.hva + PAGE_SIZE, HOSTMM_PROT_READ), 0);
	check(rig_try_load(rig_word(r.host, 0, 0), &value));
	check(!rig_try_store(rig_word(r.host, 0, 0), 1));
	check(rig_try_store(rig_word(r.host, 1, 0), 1));
	check_eq(atomic_load(&r.host_fatal), 0);
	check(!rig_try_load((_Atomic uint64_t *)8, &value));
}

UTEST(source, sigbus_hands_on_what_is_refused, .fini = down)
{
	check_refusal(HOSTMM_SOURCE_SIGBUS);
}

UTEST(source, mprotect_hands_on_what_is_refused, .fini = down)
{
	check_refusal(HOSTMM_SOURCE_MPROTECT);
}

static void touch_what_nobody_handles(void *arg)
{
	struct hostmm_opts opts = { .fault_threads = 1, .source = HOSTMM_SOURCE_MPROTECT };
	struct pool *pool;
	struct hostmm *mm;
	hva_t hva;

	(void)arg;
	check_eq(pool_create(&pool, 64, false), 0);
	check_eq(hostmm_create(&mm, pool, &opts), 0);
	check_eq(hostmm_map(mm, 8, HOSTMM_PROT_READ | HOSTMM_PROT_WRITE, NULL, NULL, &hva), 0);
	rig_store((_Atomic uint64_t *)hva, 1);
	check_eq(rig_load((_Atomic uint64_t *)hva), 1);
	rig_store((_Atomic uint64_t *)8, 1);
}

UTEST(source, without_another_handler_the_default_is_taken)
{
#ifdef UMBRA_SANITIZED
	test_skip("the sanitizer handles SIGSEGV");
#endif
	check_eq(test_signal_of(touch_what_nobody_handles, NULL), SIGSEGV);
}

UTEST(source, regions_of_one_mm_choose_each_its_own, .fini = down)
{
	enum hostmm_source source;
	uint64_t value = 5;
	hva_t hva;

	up(HOSTMM_SOURCE_UFFD, 8);
	check_eq(hostmm_map_source(r.mm, 8, HOSTMM_PROT_READ | HOSTMM_PROT_WRITE, NULL, NULL,
				   HOSTMM_SOURCES, false, &hva),
		 -EINVAL);
	for (unsigned i = 0; i < HOSTMM_SOURCES; i++) {
		check_eq(hostmm_map_source(r.mm, 8, HOSTMM_PROT_READ | HOSTMM_PROT_WRITE, NULL,
					   NULL, i, false, &hva),
			 0);
		check_eq(hostmm_source_of(r.mm, hva, &source), 0);
		check_eq(source, i);
		check(rig_try_store((_Atomic uint64_t *)hva, i + 1));
		check_eq(hostmm_read(r.mm, hva, &value, sizeof(value)), 0);
		check_eq(value, i + 1);
		check_eq(hostmm_unmap(r.mm, hva), 0);
		check_eq(hostmm_source_of(r.mm, hva, &source), -EFAULT);
	}
}

UTEST(source, a_child_has_the_sources_of_its_parent, .fini = down)
{
	struct hostmm_opts opts = { .fault_threads = 1, .source = HOSTMM_SOURCE_MPROTECT };
	enum hostmm_source source;
	struct hostmm *child;
	uint64_t value;
	hva_t hva;

	up(HOSTMM_SOURCE_SIGBUS, 8);
	check(rig_try_store(rig_word(r.host, 0, 0), 1));
	check_eq(hostmm_fork(r.mm, &opts, &child), 0);
	check_eq(hostmm_fork_hva(child, r.hva, &hva), 0);
	check_eq(hostmm_source_of(child, hva, &source), 0);
	check_eq(source, HOSTMM_SOURCE_SIGBUS);
	check(rig_try_store(rig_word(r.host, 0, 0), 2));
	check(rig_try_load((_Atomic uint64_t *)hva, &value) && value == 1);
	hostmm_destroy(child);
}

/* Every other page writable: more VMAs than a process may have. The view forgets, nothing is lost. */
UTEST(source, mprotect_outlives_the_end_of_vmas, .fini = down)
{
	const uint64_t most = vmas_most(), pages = most / 8 * 17;
	uint64_t value;

	skip_if(most > 100000, "vm.max_map_count is %lu", most);
	up(HOSTMM_SOURCE_MPROTECT, pages);
	for (uint64_t page = 0; page < pages; page += 2)
		check(rig_try_store(rig_word(r.host, page, 0), page + 1));
	for (uint64_t page = 0; page < pages; page += 997 * 2) {
		check(rig_try_load(rig_word(r.host, page, 0), &value));
		check_eq(value, page + 1);
	}
	/* What must be taken is taken, VMAs or not. */
	check_eq(hostmm_wrprotect(r.mm, r.hva, r.hva + (pages << PAGE_SHIFT)), 0);
	check_eq(hostmm_discard(r.mm, rig_hva(&r, 4), rig_hva(&r, 5)), 0);
	check(rig_try_load(rig_word(r.host, 4, 0), &value) && !value);
	check(rig_try_load(rig_word(r.host, 6, 0), &value) && value == 7);
}
