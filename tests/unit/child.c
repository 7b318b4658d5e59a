/* SPDX-License-Identifier: BSD-2-Clause */
/* A child of fork(3) has the host view as it was at that moment, and nothing crosses over afterwards. */
#include "mmu/host/child.h"

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mmu/host/hostmm_actors.h"
#include "mmu/host/hostmm_priv.h"
#include "tests/rig_child.h"
#include "tests/test.h"

#define BOTH (HOSTMM_PROT_READ | HOSTMM_PROT_WRITE)

/* ---- Contents ---- */

/* What was not touched before the parent's stores is as it was, too; also what had no frame. */
CTEST(child, what_the_parent_stores_is_not_its)
{
	pid_t pid = child_fork(child_finds_all_later);

	guest_stamps(0, CHILD_PAGES, 1000);
	step_done(0);
	child_passes(pid);
	check_eq(child_stats().forks, 1);
	check_eq(child_stats().failed, 0);
	check(child_stats().pages >= CHILD_STAMPED);
}

static void stores_to_all(void)
{
	for (uint64_t page = 0; page < CHILD_PAGES; page++)
		child_store(page, 7);
	for (uint64_t page = 0; page < CHILD_PAGES; page++)
		childs(child_load(page) == 7);
}

CTEST(child, what_it_stores_is_not_the_parents)
{
	child_passes(child_fork(stores_to_all));
	for (uint64_t page = 0; page < CHILD_STAMPED; page++) {
		check_eq(rig_load(rig_word(forking.guest, page, 0)), 100 + page);
		check_eq(rig_load(rig_word(forking.host, page, 0)), 100 + page);
	}
	check_eq(rig_load(rig_word(forking.host, CHILD_STAMPED, 0)), 0);
}

/* Wherever frames are. */
CTEST(child, pages_away_and_pages_shared)
{
	pid_t pid;

	check_eq(hostmm_migrate(forking.mm, rig_hva(&forking, 3), rig_hva(&forking, 9),
				HOSTMM_MIGRATE_AWAY),
		 0);
	rig_guest_store(&forking, rig_word(forking.guest, 40, 0), 5);
	rig_guest_store(&forking, rig_word(forking.guest, 41, 0), 5);
	check_eq(hostmm_merge(forking.mm, rig_hva(&forking, 40), forking.mm, rig_hva(&forking, 41)),
		 0);
	pid = child_fork(child_finds_all);
	check_eq(hostmm_migrate(forking.mm, rig_hva(&forking, 0), rig_hva(&forking, CHILD_PAGES),
				HOSTMM_MIGRATE_HOME),
		 0);
	guest_stamps(0, CHILD_PAGES, 1000);
	child_passes(pid);
}

/* Frames that the fork has go home with those of the parent: what is given is where they are then. */
CTEST(child, pages_that_are_brought_home_meanwhile)
{
	pid_t pid;

	pid = child_fork(child_finds_all_later);
	guest_stamps(0, CHILD_STAMPED, 1000);
	for (uint64_t page = 0; page < CHILD_STAMPED; page++)
		check_eq(hostmm_bring_home(forking.mm, rig_hva(&forking, page)), 0);
	step_done(0);
	child_passes(pid);
}

/* ---- Of one moment ---- */

static atomic_uint_fast64_t published;

static void *store_and_publish(void *arg)
{
	(void)arg;
	rig_guest_store(&forking, rig_word(forking.guest, 5, 0), 2);
	atomic_store(&published, 2);
	return NULL;
}

static pthread_t storer;

/* A store either is over, and known, or waits until the process has forked. */
static void try_to_store(void)
{
	storer = rig_thread(store_and_publish, NULL);
	while (!atomic_load(&published) && !atomic_load(&forking.mm->mmap_lock.waiting))
		sched_yield();
}

static void has_what_was_published(void)
{
	childs(child_load(5) >= atomic_load(&published));
}

/* The view is as old as the rest of the child's memory. */
CTEST(child, views_are_of_the_same_moment_as_the_process)
{
	pid_t pid;

	between_prepare = try_to_store;
	atomic_store(&published, 0);
	rig_guest_store(&forking, rig_word(forking.guest, 5, 0), 1);
	pid = child_fork(has_what_was_published);
	rig_join(storer);
	child_passes(pid);
	check_eq(rig_load(rig_word(forking.guest, 5, 0)), 2);
}

/* ---- Rights ---- */

static void has_its_rights(void)
{
	child_finds_stamps(0, 8);
	childs(!call_loads(8) && !call_stores(8));
	child_finds_stamps(9, 10);
	childs(call_loads(9) && !call_stores(9));
	child_finds_stamps(10, CHILD_STAMPED);
	childs(call_loads(10) && call_stores(10));
}

CTEST(child, rights_are_as_they_were)
{
	hva_t hva = rig_hva(&forking, 8);

	check_eq(hostmm_protect(forking.mm, hva, hva + PAGE_SIZE, 0), 0);
	check_eq(hostmm_protect(forking.mm, hva + PAGE_SIZE, hva + 2 * PAGE_SIZE, HOSTMM_PROT_READ),
		 0);
	child_passes(child_fork(has_its_rights));
}

/* ---- What it does with it ---- */

static void throws_away(void)
{
	child_finds_stamps(0, 1);
	childs(!madvise(forking.host, 4 * PAGE_SIZE, MADV_DONTNEED));
	for (uint64_t page = 0; page < 4; page++)
		childs(child_load(page) == 0);
	child_finds_stamps(4, CHILD_STAMPED);
	childs(!munmap(forking.host + 4 * PAGE_SIZE, 4 * PAGE_SIZE));
	childs(!call_loads(5));
}

/* Touched or not, it reads zeros then. */
CTEST(child, what_it_discards_is_gone)
{
	child_passes(child_fork(throws_away));
	check_eq(rig_load(rig_word(forking.guest, 2, 0)), 102);
}

static void moves(void)
{
	char *to = mmap(NULL, 8 * PAGE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	childs(to != MAP_FAILED);
	child_finds_stamps(2, 4);
	child_store(3, 7);
	childs(mremap(forking.host, 8 * PAGE_SIZE, 8 * PAGE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED,
		      to) == to);
	for (uint64_t page = 0; page < 8; page++)
		childs(rig_load(rig_word(to, page, 0)) == (page == 3 ? 7 : 100 + page));
	childs(!call_loads(1));
	/* Onto another page of the view: that one is lost. */
	childs(mremap(forking.host + 8 * PAGE_SIZE, PAGE_SIZE, PAGE_SIZE,
		      MREMAP_MAYMOVE | MREMAP_FIXED,
		      forking.host + 20 * PAGE_SIZE) == forking.host + 20 * PAGE_SIZE);
	childs(child_load(20) == 108);
	child_finds_stamps(9, 20);
	child_finds_stamps(21, CHILD_STAMPED);
}

/* With what has not been touched yet. */
CTEST(child, what_it_moves_keeps_its_contents)
{
	child_passes(child_fork(moves));
}

#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__) /* no threads after fork(2) */

static void *touch_again_and_again(void *arg)
{
	uint64_t page = (uint64_t)(uintptr_t)arg;

	for (unsigned i = 0; i < 100; i++) {
		childs(child_load(page) == 0 || child_load(page) == 100 + page);
		childs(!madvise(forking.host + (page << PAGE_SHIFT), PAGE_SIZE, MADV_DONTNEED));
	}
	return NULL;
}

static void has_threads(void)
{
	pthread_t thread[8];

	for (uintptr_t i = 0; i < 8; i++)
		childs(!pthread_create(&thread[i], NULL, touch_again_and_again, (void *)i));
	for (unsigned i = 0; i < 8; i++)
		childs(!pthread_join(thread[i], NULL));
	child_finds_stamps(8, CHILD_STAMPED);
}

/* Who touches does not keep those who discard from being read. */
CTEST(child, many_threads_touch_and_discard)
{
	child_passes(child_fork(has_threads));
}

#endif

#ifndef __SANITIZE_THREAD__ /* runs handlers with all signals blocked: a fault that is a signal ends the process */

static atomic_uint handled;

static void on_usr1(int sig)
{
	(void)sig;
	rig_store(rig_word(forking.host, 1, 0), 1); /* which no view shows then */
	atomic_fetch_add(&handled, 1);
}

static void raise_usr1(void)
{
	raise(SIGUSR1);
}

/* A handler that touches a view would wait for its own thread. */
CTEST(child, no_handler_runs_while_the_process_forks)
{
	struct sigaction act = { .sa_handler = on_usr1 }, before;
	pid_t pid;

	check_eq(sigaction(SIGUSR1, &act, &before), 0);
	between_prepare = raise_usr1;
	atomic_store(&handled, 0);
	pid = child_fork(child_finds_all);
	check_eq(atomic_load(&handled), 1);
	child_passes(pid);
	check_eq(sigaction(SIGUSR1, &before, NULL), 0);
}

#endif

static void its_child_has_nothing(void)
{
	int status = 0;
	pid_t pid;

	child_finds_stamps(0, 1);
	pid = fork();
	if (!pid) {
		childs(!call_loads(0) && !call_loads(9) && !call_stores(40));
		_exit(0);
	}
	childs(waitpid(pid, &status, 0) == pid && !status);
	child_finds_stamps(0, CHILD_STAMPED);
}

/* Not even zeros. */
CTEST(child, its_own_children_have_nothing)
{
	child_passes(child_fork(its_child_has_nothing));
}

static bool calls_may_wait;

static void lets_the_system_load(void)
{
	childs(call_loads(9) == calls_may_wait);
	childs(call_stores(40) == calls_may_wait);
	child_finds_stamps(0, CHILD_STAMPED);
	childs(call_loads(9));
}

/* Where userfaultfd may stop the system's own accesses, too; else what has been touched. */
CTEST(child, system_calls_find_its_pages)
{
	int fd = uffd_new(0);

	calls_may_wait = fd >= 0;
	if (fd >= 0)
		close(fd);
	child_passes(child_fork(lets_the_system_load));
}

static void execs(void)
{
	execl("/bin/true", "true", (char *)NULL);
	childs(false);
}

CTEST(child, it_may_be_something_else)
{
	pid_t pid = child_fork(execs);

	child_passes(pid);
	wait_unserved();
	check_eq(child_stats().forks, 1);
	guest_stamps(0, CHILD_PAGES, 1000);
}

/* ---- More than one ---- */

static uint64_t generation; /* the child's own from fork(3) on */

static void finds_its_generation(void)
{
	step_wait(0);
	for (uint64_t page = 0; page < CHILD_PAGES; page++)
		childs(child_load(page) == 1000 * generation + page);
}

CTEST(child, brothers_have_each_their_own)
{
	pid_t pid[4];

	for (generation = 1; generation <= 4; generation++) {
		guest_stamps(0, CHILD_PAGES, 1000 * generation);
		pid[generation - 1] = child_fork(finds_its_generation);
	}
	guest_stamps(0, CHILD_PAGES, 9000);
	for (unsigned i = 0; i < 4; i++)
		step_done(0);
	for (unsigned i = 0; i < 4; i++)
		child_passes(pid[i]);
	wait_unserved();
	check_eq(child_stats().forks, 4);
}

static void *fork_often(void *arg)
{
	for (unsigned i = 0; i < 10; i++) {
		int status = -1;
		pid_t pid = child_fork(child_finds_all);

		expect(pid > 0 && waitpid(pid, &status, 0) == pid && !status, "%#x",
		       (unsigned)status);
	}
	return arg;
}

/* One after the other, with the players at work. */
UTEST(child, two_threads_fork_at_once, .fini = forking_down)
{
	pthread_t thread[2];

	forking_up(rig_source(), rig_audit());
	for (unsigned i = 0; i < 2; i++)
		thread[i] = rig_thread(fork_often, NULL);
	for (unsigned i = 0; i < 200; i++)
		guest_stamps(CHILD_STAMPED, CHILD_PAGES, i);
	for (unsigned i = 0; i < 2; i++)
		rig_join(thread[i]);
	wait_unserved();
	check_eq(child_stats().forks, 20);
	check_eq(child_stats().failed, 0);
}

static _Atomic uint64_t *word_of_another;

static void finds_both(void)
{
	step_wait(0);
	child_finds_stamps(0, CHILD_STAMPED);
	childs(rig_load(word_of_another) == 77);
}

UTEST(child, two_host_mms_have_one_moment, .fini = forking_down)
{
	struct hostmm_opts opts = { .fault_threads = 1, .source = rig_source() };
	struct hostmm_children *others;
	uint64_t value = 77;
	struct hostmm *mm;
	pid_t pid;
	hva_t hva;

	forking_up(rig_source(), rig_audit());
	check_eq(hostmm_create(&mm, forking.pool, &opts), 0);
	check_eq(hostmm_map(mm, 8, BOTH, NULL, NULL, &hva), 0);
	check_eq(hostmm_write(mm, hva, &value, sizeof(value)), 0);
	check_eq(hostmm_children_create(&others, mm), 0);
	/* An address that is a page's: NOLINTNEXTLINE(performance-no-int-to-ptr) */
	word_of_another = (_Atomic uint64_t *)(uintptr_t)hva;
	pid = child_fork(finds_both);
	value = 1;
	check_eq(hostmm_write(mm, hva, &value, sizeof(value)), 0);
	guest_stamps(0, CHILD_PAGES, 1000);
	hostmm_children_destroy(others);
	step_done(0);
	child_passes(pid);
	hostmm_destroy(mm);
}

/* ---- What is not the view's ---- */

static void finds_others_memory(void)
{
	childs(child_load(4) == 55);
	child_finds_stamps(0, 4);
	child_finds_stamps(6, CHILD_STAMPED);
}

static void map_over(enum hostmm_source source)
{
	uint64_t *mine;

	forking_up(source, true);
	mine = mmap(forking.host + 4 * PAGE_SIZE, 2 * PAGE_SIZE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	check(mine != MAP_FAILED);
	hostmm_audit_wait(forking.mm);
	*mine = 55;
	child_passes(child_fork(finds_others_memory));
	check_eq(*mine, 55);
}

UTEST(child, what_others_have_mapped_there_is_theirs_uffd, .fini = forking_down)
{
	map_over(HOSTMM_SOURCE_UFFD);
}

UTEST(child, what_others_have_mapped_there_is_theirs_sigbus, .fini = forking_down)
{
	map_over(HOSTMM_SOURCE_SIGBUS);
}

/* ---- A pager ---- */

static int fill(void *ctx, uint64_t page, void *dst, uint64_t npages)
{
	(void)ctx;
	for (uint64_t i = 0; i < npages * PAGE_SIZE / 8; i++)
		((uint64_t *)dst)[i] = 500 + page + i * 8 / PAGE_SIZE;
	return page == 50 ? -EIO : 0;
}

static const struct pager_ops pager = { .fill = fill };

static void pager_up(void)
{
	forking_up_pager(&pager);
}

static void finds_the_pagers(void)
{
	for (uint64_t page = 0; page < 32; page++)
		childs(child_load(page) == 500 + page);
	child_store(3, 1);
	childs(!madvise(forking.host, 8 * PAGE_SIZE, MADV_DONTNEED));
	childs(child_load(3) == 503);
}

UTEST(child, what_nobody_has_touched_is_the_pagers, .init = pager_up, .fini = forking_down)
{
	child_passes(child_fork(finds_the_pagers));
}

static void wants_what_cannot_be_had(void)
{
	childs(child_load(3) == 503);
	(void)child_load(50);
}

/* As in the parent: SIGBUS; where the system cannot say so the child's end. */
UTEST(child, what_the_pager_refuses_is_a_signal, .init = pager_up, .fini = forking_down)
{
	child_is_refused(child_fork(wants_what_cannot_be_had));
}
