// SPDX-License-Identifier: BSD-2-Clause
#include "hv/thread.h"

#include <dirent.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* vCPUs and host threads of the largest machine, and some. Those beyond go without a name. */
#define MOST 128u

/* Entries are written by their own threads, and read when these have ended or have long been running. */
static struct {
	_Atomic uint32_t
		tid; /* 0: not complete. Release after the name, pairs with the acquire of readers */
	char name[THREAD_NAME_SIZE];
} known[MOST];
static atomic_uint used;

void thread_set_name(const char *fmt, ...)
{
	char name[THREAD_NAME_SIZE];
	unsigned at = atomic_fetch_add(&used, 1);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(name, sizeof(name), fmt, ap);
	va_end(ap);
	pthread_setname_np(pthread_self(), name);
	if (at >= MOST)
		return;
	memcpy(known[at].name, name, sizeof(name));
	atomic_store_explicit(&known[at].tid, (uint32_t)syscall(SYS_gettid), memory_order_release);
}

void thread_lend_name(const char *name, char saved[THREAD_NAME_SIZE])
{
	if (pthread_getname_np(pthread_self(), saved, THREAD_NAME_SIZE))
		saved[0] = '\0';
	pthread_setname_np(pthread_self(), name);
}

void thread_return_name(const char saved[THREAD_NAME_SIZE])
{
	if (saved[0])
		pthread_setname_np(pthread_self(), saved);
}

static bool is_known(uint32_t tid)
{
	unsigned n = atomic_load(&used);

	for (unsigned i = 0; i < n && i < MOST; i++)
		if (atomic_load_explicit(&known[i].tid, memory_order_acquire) == tid)
			return true;
	return false;
}

static bool read_name(const char *tid, char name[THREAD_NAME_SIZE])
{
	char path[64];
	FILE *f;
	bool ok;

	snprintf(path, sizeof(path), "/proc/self/task/%.20s/comm", tid);
	f = fopen(path, "re");
	if (!f)
		return false;
	ok = fgets(name, THREAD_NAME_SIZE, f);
	fclose(f);
	if (ok)
		name[strcspn(name, "\n")] = '\0';
	return ok;
}

static void visit_living(void (*visit)(uint32_t tid, const char *name, void *ctx), void *ctx)
{
	DIR *dir = opendir("/proc/self/task");
	const struct dirent *entry;

	if (!dir)
		return;
	while ((entry = readdir(dir))) {
		uint32_t tid = (uint32_t)strtoul(entry->d_name, NULL, 10);
		char name[THREAD_NAME_SIZE];

		if (tid && !is_known(tid) && read_name(entry->d_name, name))
			visit(tid, name, ctx);
	}
	closedir(dir);
}

void thread_for_each(void (*visit)(uint32_t tid, const char *name, void *ctx), void *ctx)
{
	unsigned n = atomic_load(&used);

	for (unsigned i = 0; i < n && i < MOST; i++) {
		uint32_t tid = atomic_load_explicit(&known[i].tid, memory_order_acquire);

		if (tid)
			visit(tid, known[i].name, ctx);
	}
	visit_living(visit, ctx);
}

void thread_forget(void)
{
	for (unsigned i = 0; i < MOST; i++)
		atomic_store(&known[i].tid, 0);
	atomic_store(&used, 0);
}
