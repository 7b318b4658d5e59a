// SPDX-License-Identifier: BSD-2-Clause
#include "tests/leak.h"

#include <dirent.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define STACK_CACHE (40UL << 20) /* of the C library, in bytes */
#define ARENA_MAPS  16u		 /* that it never returns */

/*
 * Mappings of the C library's own: each stack that it caches has a guard. A leak in a loop exceeds them.
 * The sanitizers map memory of their own all the time.
 */
static unsigned anon_slack(void)
{
#ifdef UMBRA_SANITIZED
	return 100000;
#else
	size_t stack = 0;
	pthread_attr_t attr;

	if (pthread_getattr_default_np(&attr))
		return ARENA_MAPS;
	pthread_attr_getstacksize(&attr, &stack);
	pthread_attr_destroy(&attr);
	return ARENA_MAPS + (stack ? 2 * (unsigned)(STACK_CACHE / stack) : 0);
#endif
}

/* Threads come and go: each would leave an arena of the heap behind, as many as the machine has CPUs. Before the first thread. */
__attribute__((constructor)) static void keep_one_arena(void)
{
	mallopt(M_ARENA_MAX, 1);
}

/* A second; for threads, which have been joined and are not gone, as long as a busy machine may need. */
#define SETTLE_NS      10000000L
#define SETTLE_STEPS   100
#define SETTLE_THREADS 3000

static unsigned count_dir(const char *path)
{
	struct dirent *e;
	unsigned n = 0;
	DIR *d = opendir(path);

	if (!d)
		return 0;
	while ((e = readdir(d)))
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

/* "START-END rwxs ...": the pool is a file without a name, so only the letter tells. */
static bool is_shared(const char *map)
{
	const char *perms = strchr(map, ' ');

	return perms && strlen(perms) > 4 && perms[4] == 's';
}

static void count_maps(struct leak_snapshot *s)
{
	char line[512];
	FILE *f = fopen("/proc/self/maps", "re");

	s->shared_maps = 0;
	s->anon_maps = 0;
	if (!f)
		return;
	while (fgets(line, sizeof(line), f)) {
		if (is_shared(line))
			s->shared_maps++;
		else if (!strchr(line, '/') && !strchr(line, '['))
			s->anon_maps++;
	}
	fclose(f);
}

void leak_snapshot(struct leak_snapshot *s)
{
	s->fds = count_dir("/proc/self/fd");
	s->threads = count_dir("/proc/self/task");
	count_maps(s);
}

static bool has_leak(const struct leak_snapshot *before, const struct leak_snapshot *now)
{
	return now->fds > before->fds || now->threads > before->threads ||
	       now->shared_maps > before->shared_maps ||
	       now->anon_maps > before->anon_maps + anon_slack();
}

static int steps_to_settle(const struct leak_snapshot *before, const struct leak_snapshot *now)
{
	return now->threads > before->threads ? SETTLE_THREADS : SETTLE_STEPS;
}

/*
 * Prints what was lost. LeakSanitizer's own check at exit comes too late: Criterion has taken the test for
 * passed by then.
 */
int __lsan_do_recoverable_leak_check(void) __attribute__((weak));

bool leak_check(const struct leak_snapshot *before, char *why, size_t len)
{
	static const struct timespec pause = { .tv_nsec = SETTLE_NS };
	struct leak_snapshot now;

	leak_snapshot(&now);
	for (int i = 0; i < steps_to_settle(before, &now) && has_leak(before, &now); i++) {
		nanosleep(&pause, NULL);
		leak_snapshot(&now);
	}
	if (!has_leak(before, &now)) {
		if (!__lsan_do_recoverable_leak_check || !__lsan_do_recoverable_leak_check())
			return true;
		snprintf(why, len, "leak: heap memory, see LeakSanitizer's report");
		return false;
	}
	snprintf(why, len,
		 "leak: fds %u -> %u, threads %u -> %u, shared mappings %u -> %u, "
		 "anonymous mappings %u -> %u",
		 before->fds, now.fds, before->threads, now.threads, before->shared_maps,
		 now.shared_maps, before->anon_maps, now.anon_maps);
	return false;
}
