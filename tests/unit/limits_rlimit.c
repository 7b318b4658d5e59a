// SPDX-License-Identifier: BSD-2-Clause
/*
 * The limits of a process (setrlimit(2)): what is to be created is refused with an errno and leaves nothing behind, and what is there
 * goes on.
 */
#include <dirent.h>
#include <errno.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/create.h"
#include "tests/rig_fork.h"
#include "tests/test.h"

#define PAGES 32UL

static struct rig r;
static struct rlimit before[RLIM_NLIMITS];
static int filler[1024];
static unsigned fillers;

static void up(void)
{
	for (int which = 0; which < (int)RLIM_NLIMITS; which++)
		check_eq(getrlimit((__rlimit_resource_t)which, &before[which]), 0);
	rig_up(&r, &(struct rig_opts){ .pages = PAGES, .pool_frames = 4096, .around = 1 });
	for (uint64_t page = 0; page < PAGES; page++) {
		rig_store(rig_word(r.host, page, 0), 100 + page);
		check_eq(rig_load(rig_word(r.guest, page, 0)), 100 + page);
	}
}

/* The soft one: it comes back. */
static void limit(int which, rlim_t most)
{
	struct rlimit now = { .rlim_cur = most, .rlim_max = before[which].rlim_max };

	check_eq(setrlimit((__rlimit_resource_t)which, &now), 0);
}

static void restore(void)
{
	for (int which = 0; which < (int)RLIM_NLIMITS; which++)
		(void)setrlimit((__rlimit_resource_t)which, &before[which]);
}

static void down(void)
{
	restore();
	while (fillers)
		close(filler[--fillers]);
	rig_down(&r);
}

/* Every way to change a page, and both views afterwards. */
static void go_on(uint64_t round)
{
	hva_t start = r.hva, end = rig_hva(&r, PAGES);

	check_eq(hostmm_migrate(r.mm, start, end,
				round % 2 ? HOSTMM_MIGRATE_HOME : HOSTMM_MIGRATE_AWAY),
		 0);
	check_eq(hostmm_wrprotect(r.mm, start, end), 0);
	check_eq(hostmm_zap(r.mm, start, end), 0);
	for (uint64_t page = 0; page < PAGES; page++) {
		check_eq(rig_load(rig_word(r.guest, page, 0)), 100 + page);
		rig_guest_store(&r, rig_word(r.guest, page, 8), round);
		check_eq(rig_load(rig_word(r.host, page, 8)), round);
	}
	check(!r.window_fatal && !r.host_fatal);
}

static rlim_t fds_open(void)
{
	DIR *d = opendir("/proc/self/fd");
	rlim_t highest = 0;

	check(d != NULL);
	for (struct dirent *e; (e = readdir(d));)
		if (strtoul(e->d_name, NULL, 10) > highest &&
		    (int)strtoul(e->d_name, NULL, 10) != dirfd(d))
			highest = strtoul(e->d_name, NULL, 10);
	closedir(d);
	return highest + 1;
}

/* A limit is on the number of a descriptor. Whoever started the test has some high ones and left gaps: none of them is to be had. */
static void fill_gaps(rlim_t below)
{
	int fd;

	while ((fd = dup(STDERR_FILENO)) >= 0 && (rlim_t)fd < below) {
		check(fillers < sizeof(filler) / sizeof(filler[0]));
		filler[fillers++] = fd;
	}
	check(fd >= 0);
	close(fd);
}

UTEST(limits_rlimit, no_more_descriptors, .init = up, .fini = down)
{
	rlim_t open = fds_open();
	unsigned made = 0;

	fill_gaps(open);
	for (rlim_t more = 0; more < 12; more++) {
		limit(RLIMIT_NOFILE, open + more);
		made = create_all(&r, EMFILE);
		check(more || made < CREATE_ALL);
		go_on(more);
	}
	check_eq(made, CREATE_ALL);
}

static rlim_t address_space(void)
{
	FILE *f = fopen("/proc/self/statm", "re");
	char text[128];

	check(f != NULL && fgets(text, sizeof(text), f) != NULL);
	fclose(f);
	return (rlim_t)strtoul(text, NULL, 10) << 12;
}

/*
 * A thread that begins, on a stack that another has left, maps a page for liburcu, which ends the process where there is none
 * (urcu_bp_register()).
 */
#define FIRST_USE (256UL << 10)

UTEST(limits_rlimit, no_more_addresses, .init = up, .fini = down)
{
	rlim_t used = address_space();
	unsigned made = 0;

#ifdef UMBRA_SANITIZED
	test_skip("a sanitizer needs addresses of its own");
#endif
	for (rlim_t more = 0; more <= 128UL << 20; more = more ? 4 * more : 64 << 10) {
		limit(RLIMIT_AS, used + FIRST_USE + more);
		made = create_all(&r, ENOMEM);
		check(more || made < CREATE_ALL);
		go_on(more);
	}
	check_eq(made, CREATE_ALL);
}

/* Nothing is locked: neither pages that userfaultfd watches nor the pool. */
UTEST(limits_rlimit, no_locked_memory, .init = up, .fini = down)
{
	limit(RLIMIT_MEMLOCK, 0);
	check_eq(create_all(&r, ENOMEM), CREATE_ALL);
	go_on(1);
}

UTEST(limits_rlimit, no_larger_files, .init = up, .fini = down)
{
	struct pool *pool;

	limit(RLIMIT_FSIZE, 64 << 12);
	check_eq(pool_create(&pool, 65, false), -EFBIG); /* and no signal */
	check_eq(pool_create(&pool, 64, false), 0);
	check_eq(pool_zero(pool, 0, 64), 0);
	pool_destroy(pool);
	go_on(1); /* a pool that is larger than what is allowed now */
}

/* ---- Threads: only of a user without privileges they are counted ---- */

/* Somebody else, who may use userfaultfd and nothing more. */
static bool become_nobody(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { { 0 } };
	unsigned bit = 1u << CAP_SYS_PTRACE;

	data[0].effective = data[0].permitted = bit;
	return !prctl(PR_SET_KEEPCAPS, 1) && !setresgid(54321, 54321, 54321) &&
	       !setresuid(54321, 54321, 54321) && !syscall(SYS_capset, &head, data);
}

enum { CANNOT = 2 };

static int without_threads(void)
{
	const struct hostmm_opts opts = { .fault_threads = 4 };
	struct rlimit limit = { .rlim_cur = 3, .rlim_max = 3 };
	struct hostmm *mm;
	struct pool *pool;
	int rc;

	if (!become_nobody() || setrlimit(RLIMIT_NPROC, &limit))
		return CANNOT;
	if (pool_create(&pool, 64, false))
		return 1;
	rc = hostmm_create(&mm, pool, &opts);
	pool_destroy(pool);
	if (rc == -EPERM)
		return CANNOT;
	return rc == -EAGAIN ? 0 : 1;
}

UTEST(limits_rlimit, no_more_threads)
{
	int status;
	pid_t pid;

	skip_if(geteuid(), "cannot become somebody else");
	pid = fork();
	check(pid >= 0);
	if (!pid)
		_exit(without_threads());
	check_eq(waitpid(pid, &status, 0), pid);
	check(WIFEXITED(status), "%#x", status);
	skip_if(WEXITSTATUS(status) == CANNOT, "userfaultfd is not for that user");
	check_eq(WEXITSTATUS(status), 0);
}
