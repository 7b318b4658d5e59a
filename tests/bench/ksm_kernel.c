// SPDX-License-Identifier: BSD-2-Clause
#include "tests/bench/ksm_kernel.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "tests/bench/bench.h"

/* In the order in which they are set; restored the other way round, so that ksmd stops first. */
static struct setting {
	const char *name, *value;
	char old[32];
} settings[] = {
	{ .name = "use_zero_pages", .value = "0" },
	{ .name = "sleep_millisecs", .value = "0" },
	{ .name = "pages_to_scan", .value = "4294967295" },
	{ .name = "run", .value = "0" },
};

#define SETTINGS (sizeof(settings) / sizeof(settings[0]))

static const int deadly[] = { SIGHUP,  SIGINT, SIGQUIT, SIGTERM, SIGPIPE, SIGALRM,
			      SIGABRT, SIGBUS, SIGFPE,	SIGILL,	 SIGSEGV };

#define DEADLY (sizeof(deadly) / sizeof(deadly[0]))

static volatile sig_atomic_t is_up;
static struct sigaction before[DEADLY];

/* Also in a handler: system calls only. */
static int set(const char *name, const char *value)
{
	char path[64] = "/sys/kernel/mm/ksm/";
	int fd;
	ssize_t n;

	strcat(path, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = write(fd, value, strlen(value));
	close(fd);
	return n < 0 ? -errno : 0;
}

static int get(const char *name, char *value, size_t size)
{
	char path[64];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/sys/kernel/mm/ksm/%s", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = read(fd, value, size - 1);
	close(fd);
	value[n > 0 ? n : 0] = 0;
	return n > 0 ? 0 : -EIO;
}

static uint64_t count(const char *name)
{
	char value[32];

	return get(name, value, sizeof(value)) ? 0 : strtoull(value, NULL, 10);
}

static void restore(void)
{
	if (!is_up)
		return;
	is_up = 0;
	for (size_t i = SETTINGS; i--;)
		(void)set(settings[i].name, settings[i].old);
}

static void on_signal(int number)
{
	restore();
	signal(number, SIG_DFL);
	raise(number);
}

int ksm_kernel_up(void)
{
	static bool registered;
	struct sigaction sa = { .sa_handler = on_signal };

	for (size_t i = 0; i < SETTINGS; i++)
		if (get(settings[i].name, settings[i].old, sizeof(settings[i].old)))
			return -ENODEV;
	if (settings[SETTINGS - 1].old[0] == '1' || count("pages_shared"))
		return -ENODEV;
	if (!registered && atexit(restore))
		return -ENOMEM;
	registered = true;
	for (size_t i = 0; i < DEADLY; i++)
		sigaction(deadly[i], &sa, &before[i]);
	is_up = 1;
	for (size_t i = 0; i < SETTINGS; i++)
		if (set(settings[i].name, settings[i].value)) {
			ksm_kernel_down();
			return -ENODEV;
		}
	return 0;
}

void ksm_kernel_down(void)
{
	restore();
	for (size_t i = 0; i < DEADLY; i++)
		sigaction(deadly[i], &before[i], NULL);
}

static unsigned long long read_number(FILE *f)
{
	char line[64];

	return fgets(line, sizeof(line), f) ? strtoull(line, NULL, 10) : 0;
}

/* What ksmd has run, in ns; 0 if that cannot be seen. */
static uint64_t ksmd_ns(void)
{
	static char path[300];
	unsigned long long ns = 0;
	struct dirent *d;
	char name[16];
	FILE *f;
	DIR *dir = *path ? NULL : opendir("/proc");

	while (dir && (d = readdir(dir))) {
		snprintf(path, sizeof(path), "/proc/%s/comm", d->d_name);
		f = fopen(path, "re");
		if (!f)
			continue;
		if (fscanf(f, "%15s", name) != 1)
			*name = 0;
		fclose(f);
		snprintf(path, sizeof(path), "/proc/%s/schedstat", d->d_name);
		if (!strcmp(name, "ksmd"))
			break;
	}
	if (dir)
		closedir(dir);
	f = fopen(path, "re");
	if (!f)
		return 0;
	ns = read_number(f);
	fclose(f);
	return ns;
}

/* Pages of this process that have a frame of KSM: others have theirs counted in /sys. */
static uint64_t merging(void)
{
	FILE *f = fopen("/proc/self/ksm_merging_pages", "re");
	unsigned long long n = 0;

	if (!f)
		return 0;
	n = read_number(f);
	fclose(f);
	return n;
}

int ksm_kernel_merge(void *data, size_t bytes, uint64_t distinct, struct ksm_cost *cost)
{
	const struct timespec nap = { .tv_nsec = 500000 };
	uint64_t begin, cpu = ksmd_ns(), pages = bytes / 4096;
	uint64_t merged = 0, all;
	int rc = 0;

	if (madvise(data, bytes, MADV_MERGEABLE))
		return -errno;
	begin = bench_now_ns();
	rc = set("run", "1");
	while (!rc && merged < pages) {
		nanosleep(&nap, NULL);
		merged = merging();
		if (bench_now_ns() - begin > 60000000000ull)
			rc = -ETIMEDOUT;
	}
	*cost = (struct ksm_cost){
		.wall_ms = (double)(bench_now_ns() - begin) / 1e6,
		.cpu_ms = (double)(ksmd_ns() - cpu) / 1e6,
		.left_mib = (double)(pages - merged + distinct) / 256,
	};
	all = count("pages_shared") + count("pages_sharing");
	if (all > pages + pages / 16)
		fprintf(stderr, "bench: ksmd has merged %llu pages of other processes, too\n",
			(unsigned long long)(all - pages));
	set("run", "0");
	return rc;
}

void ksm_kernel_forget(void)
{
	set("run", "2");
	set("run", "0");
}
