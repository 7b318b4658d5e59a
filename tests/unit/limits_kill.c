// SPDX-License-Identifier: BSD-2-Clause
/*
 * SIGKILL of a process in which everything is in flight: it ends at once, also where threads wait for faults that nobody will resolve,
 * and nothing of it stays: no file, no name, no child.
 */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mmu/host/hostmm_actors.h"
#include "mmu/host/hostmm_reclaim.h"
#include "mmu/host/ksm.h"
#include "tests/rig_fork.h"
#include "tests/test.h"

#define PAGES 32UL

static struct rig r;
static char dir[] = "/tmp/umbra-kill-XXXXXX";

static void make_dir(void)
{
	/* Skips here, and not in the other process. */
	rig_up(&r, &(struct rig_opts){ .pages = 1 });
	rig_down(&r);
	check(mkdtemp(dir) != NULL);
	check_eq(setenv("TMPDIR", dir, 1), 0);
}

static void remove_dir(void)
{
	rmdir(dir);
}

static unsigned files_left(void)
{
	DIR *d = opendir(dir);
	unsigned n = 0;

	check(d != NULL);
	for (struct dirent *e; (e = readdir(d));)
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

static void *keep_storing(void *view)
{
	uint64_t seed = (uintptr_t)view | 1;

	for (;;)
		rig_guest_store(&r, rig_word(view, rig_random(&seed) % PAGES, 0), seed % 3);
	return NULL;
}

/* A page that never comes in: who waits for it is in the kernel, or in a pager, when the end comes. */
static int never(void *ctx, uint64_t page, void *dst, uint64_t npages)
{
	(void)ctx;
	(void)page;
	(void)dst;
	(void)npages;
	while (pause())
		;
	return 0;
}

static const struct pager_ops slow = { .fill = never };

static void *wait_for_ever(void *view)
{
	return (void *)rig_load(rig_word(view, 0, 0));
}

/* The process that is killed: it says when a round is over, and never ends. */
static void run(int said)
{
	const struct hostmm_opts opts = { .fault_threads = 1, .source = rig_source() };
	struct hostmm *child;
	struct ksm *ksm;
	hva_t hva;

	rig_up(&r, &(struct rig_opts){ .pages = PAGES, .pool_frames = 4096, .around = 1 });
	check_eq(pool_swapon(r.pool, -1, 4 * PAGES), 0);
	check_eq(ksm_create(&ksm, r.pool, &(struct ksm_opts){ .use_zero_pages = true }), 0);
	check_eq(ksm_register(ksm, r.mm, r.hva, rig_hva(&r, PAGES)), 0);
	check_eq(ksm_start(ksm), 0);
	check_eq(hostmm_map(r.mm, 4, HOSTMM_PROT_READ, &slow, NULL, &hva), 0);
	rig_thread(wait_for_ever, (void *)(uintptr_t)hva);
	for (int i = 0; i < 2; i++) {
		rig_thread(keep_storing, r.host);
		rig_thread(keep_storing, r.guest);
	}
	for (;;) {
		check_eq(hostmm_reclaim(r.mm, r.hva, rig_hva(&r, PAGES), NULL), 0);
		check_eq(hostmm_migrate(r.mm, r.hva, rig_hva(&r, PAGES), HOSTMM_MIGRATE_AWAY), 0);
		check_eq(write(said, "", 1), 1);
		/* Not a fork of this mm: it would wait, for writing, behind the page that never comes. */
		check_eq(hostmm_create(&child, r.pool, &opts), 0);
		check_eq(hostmm_map(child, PAGES, HOSTMM_PROT_READ, NULL, NULL, &hva), 0);
		hostmm_destroy(child);
	}
}

static void kill_after(unsigned rounds)
{
	int fds[2], status;
	char byte;
	pid_t pid;

	check_eq(pipe(fds), 0);
	pid = fork();
	check(pid >= 0);
	if (!pid) {
		close(fds[0]);
		run(fds[1]);
	}
	close(fds[1]);
	for (unsigned i = 0; i < rounds; i++)
		if (read(fds[0], &byte, 1) != 1) { /* it has ended by itself */
			check_eq(waitpid(pid, &status, 0), pid);
			check(false, "%#x", status);
		}
	check_eq(kill(pid, SIGKILL), 0);
	check_eq(waitpid(pid, &status, 0), pid); /* or the deadline */
	check(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "%#x", status);
	/* No descriptor is left in anybody's hands: its end of the pipe is closed. */
	while (read(fds[0], &byte, 1) == 1)
		;
	close(fds[0]);
	check_eq(files_left(), 0);
	check_eq(waitpid(-1, &status, WNOHANG), -1);
	check_eq(errno, ECHILD);
}

UTEST(limits_kill, nothing_stays_of_a_process_that_is_killed, .init = make_dir, .fini = remove_dir)
{
	for (unsigned rounds = 1; rounds <= 5; rounds++)
		kill_after(rounds);
}
