// SPDX-License-Identifier: BSD-2-Clause
/*
 * source: the first store of a host thread to a page that the host view shows for loads only, or not at all, by each
 * source of the view; beside the same signal or wake and the one system call that resolves it, with nothing around them.
 * Pages are there on both sides, so nobody allocates or clears one. A fault of umbra shows pages behind, too; of the reference, one.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mmu/host/hostmm.h"
#include "mmu/host/uffd.h"
#include "tests/bench/bench.h"

#define STORES 1024u
#define FAR    17u /* a fault shows pages to the next multiple of 16 */
#define PAGES  (STORES * FAR)
#define BYTES  (PAGES * PAGE_SIZE)

struct source_case {
	enum hostmm_source source;
	bool shown;
	bool far; /* stores are FAR pages apart */
};

static double store_all(char *base, unsigned stride)
{
	uint64_t begin = bench_now_ns();

	if (!base)
		return 0;
	for (unsigned i = 0; i < STORES; i++)
		((volatile char *)base)[i * stride * PAGE_SIZE] = 1;
	return (double)(bench_now_ns() - begin) / 1e3 / STORES;
}

/* ---- umbra ---- */

struct view_rig {
	struct pool *pool;
	struct hostmm *mm;
	hva_t start, end;
};

static void rig_down(struct view_rig *rig)
{
	if (rig->mm)
		hostmm_destroy(rig->mm);
	if (rig->pool)
		pool_destroy(rig->pool);
}

/* A region of @pages, each shown for stores, and room for @copies of it. Take it down also after an error. */
static int rig_up(struct view_rig *rig, const struct hostmm_opts *opts, uint64_t pages,
		  unsigned copies)
{
	int rc;

	*rig = (struct view_rig){ .pool = NULL };
	rc = pool_create(&rig->pool, copies * pool_room(pages), false);
	if (!rc)
		rc = hostmm_create(&rig->mm, rig->pool, opts);
	if (!rc)
		rc = hostmm_map(rig->mm, pages, HOSTMM_PROT_READ | HOSTMM_PROT_WRITE, NULL, NULL,
				&rig->start);
	rig->end = rig->start + (pages << PAGE_SHIFT);
	return rc ? rc : hostmm_prefault(rig->mm, rig->start, rig->end, true);
}

static int umbra_stores(const void *arg, double *us)
{
	const struct source_case *c = arg;
	const struct hostmm_opts opts = { .fault_threads = 1, .source = c->source };
	struct view_rig rig;
	int rc = rig_up(&rig, &opts, PAGES, 1);

	if (!rc)
		rc = c->shown ? hostmm_wrprotect(rig.mm, rig.start, rig.end)
			      : hostmm_zap(rig.mm, rig.start, rig.end);
	/* mmu/host makes addresses of numbers, as this does. NOLINTNEXTLINE(performance-no-int-to-ptr) */
	*us = rc ? 0 : store_all((char *)(uintptr_t)rig.start, c->far ? FAR : 1);
	rig_down(&rig);
	return rc;
}

/* ---- Bare signals and system calls ---- */

static struct bare {
	char *base;
	struct uffd uffd;
	bool shown;
} bare;

static void resolve(uint64_t addr)
{
	void *page = (void *)(addr & PAGE_MASK); /* NOLINT(performance-no-int-to-ptr) */
	struct uffdio_range range = { .start = addr & PAGE_MASK, .len = PAGE_SIZE };
	struct uffdio_continue show = { .range = range };
	struct uffdio_writeprotect lift = { .range = range };
	int rc;

	if (bare.uffd.fd < 0)
		rc = mprotect(page, PAGE_SIZE, PROT_READ | PROT_WRITE);
	else if (bare.shown)
		rc = ioctl(bare.uffd.fd, UFFDIO_WRITEPROTECT, &lift);
	else
		rc = ioctl(bare.uffd.fd, UFFDIO_CONTINUE, &show);
	if (rc)
		_exit(EXIT_FAILURE); /* or the store would fail for ever */
}

static void on_signal(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	resolve((uint64_t)(uintptr_t)info->si_addr);
}

/* Blocked in read(2) between faults, where it can be cancelled. */
static void *resolve_faults(void *arg)
{
	struct uffd_msg msg;

	(void)arg;
	while (read(bare.uffd.fd, &msg, sizeof(msg)) == sizeof(msg))
		resolve(msg.arg.pagefault.address);
	return NULL;
}

/* Frames exist; the mapping has no entries. */
static int map_file(void)
{
	int fd = memfd_create("umbra-bench", MFD_CLOEXEC), rc = 0;

	if (fd < 0)
		return -errno;
	if (fallocate(fd, 0, 0, BYTES))
		rc = -errno;
	bare.base = rc ? MAP_FAILED : mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (!rc && bare.base == MAP_FAILED)
		rc = -errno;
	close(fd);
	return rc;
}

/* Let stores find what they are to find. The VMA of a whole is the cheapest that there is. */
static int arm(bool has_uffd)
{
	int rc;

	if (!has_uffd) {
		if (bare.shown && madvise(bare.base, BYTES, MADV_POPULATE_READ))
			return -errno;
		return mprotect(bare.base, BYTES, bare.shown ? PROT_READ : PROT_NONE) ? -errno : 0;
	}
	rc = uffd_register(&bare.uffd, bare.base, BYTES);
	if (!rc && bare.shown) {
		int64_t done = uffd_continue(&bare.uffd, bare.base, BYTES, false);

		rc = done < 0 ? (int)done : uffd_writeprotect(&bare.uffd, bare.base, BYTES, true);
	}
	return rc;
}

static int store_with_thread(double *us)
{
	pthread_t thread;
	int rc = pthread_create(&thread, NULL, resolve_faults, NULL);

	if (rc)
		return -rc;
	*us = store_all(bare.base, 1);
	pthread_cancel(thread);
	return -pthread_join(thread, NULL);
}

static int store_with_signals(double *us)
{
	struct sigaction action = { .sa_sigaction = on_signal,
				    .sa_flags = SA_SIGINFO | SA_ONSTACK };
	int sig = bare.uffd.fd < 0 ? SIGSEGV : SIGBUS;
	struct sigaction before;

	sigfillset(&action.sa_mask);
	if (sigaction(sig, &action, &before))
		return -errno;
	*us = store_all(bare.base, 1);
	return sigaction(sig, &before, NULL) ? -errno : 0;
}

static int bare_stores(const void *arg, double *us)
{
	const struct source_case *c = arg;
	bool has_uffd = c->source != HOSTMM_SOURCE_MPROTECT;
	int rc = 0;

	bare = (struct bare){ .uffd = { .fd = -1 }, .shown = c->shown };
	if (has_uffd)
		rc = uffd_open(&bare.uffd, c->source == HOSTMM_SOURCE_UFFD ? 0 : UFFD_SIGBUS);
	if (rc)
		return rc;
	rc = map_file();
	if (!rc) {
		rc = arm(has_uffd);
		if (!rc)
			rc = c->source == HOSTMM_SOURCE_UFFD ? store_with_thread(us)
							     : store_with_signals(us);
		munmap(bare.base, BYTES);
	}
	if (has_uffd)
		uffd_close(&bare.uffd);
	return rc;
}

/* ---- What an audit costs umbra itself ---- */

/* Its own calls on a view with an audit, and on one without. Each page has been shown for stores. */
struct call_case {
	int (*call)(struct hostmm *mm, hva_t start, hva_t end);
	enum hostmm_source source;
};

#define CALL_PAGES 512u

static int call_by_call(const struct call_case *c, bool audit, double *us)
{
	const struct hostmm_opts opts = { .fault_threads = 1, .source = c->source, .audit = audit };
	struct view_rig rig;
	int rc = rig_up(&rig, &opts, CALL_PAGES, 4);
	uint64_t begin = bench_now_ns();

	for (hva_t page = rig.start; !rc && page < rig.end; page += PAGE_SIZE)
		rc = c->call(rig.mm, page, page + PAGE_SIZE);
	*us = (double)(bench_now_ns() - begin) / 1e3 / CALL_PAGES;
	rig_down(&rig);
	return rc;
}

static int with_audit(const void *arg, double *us)
{
	return call_by_call(arg, true, us);
}

static int without_audit(const void *arg, double *us)
{
	return call_by_call(arg, false, us);
}

/* To another frame, and shown there: mmap(MAP_FIXED), among others. */
static int repoint(struct hostmm *mm, hva_t start, hva_t end)
{
	int rc = hostmm_migrate(mm, start, end, HOSTMM_MIGRATE_AWAY);

	return rc ? rc : hostmm_prefault(mm, start, end, true);
}

/* ---- The group ---- */

static const struct {
	const char *name;
	struct source_case c;
} cases[] = {
	{ "uffd, loads only", { HOSTMM_SOURCE_UFFD, .shown = true } },
	{ "uffd, not shown", { HOSTMM_SOURCE_UFFD, .far = true } },
	{ "uffd, not shown, in order", { HOSTMM_SOURCE_UFFD, .far = false } },
	{ "uffd-sigbus, loads only", { HOSTMM_SOURCE_SIGBUS, .shown = true } },
	{ "uffd-sigbus, not shown", { HOSTMM_SOURCE_SIGBUS, .far = true } },
	{ "uffd-sigbus, not shown, in order", { HOSTMM_SOURCE_SIGBUS, .far = false } },
	{ "mprotect, loads only", { HOSTMM_SOURCE_MPROTECT, .shown = true } },
	{ "mprotect, not shown", { HOSTMM_SOURCE_MPROTECT, .far = true } },
	{ "mprotect, not shown, in order", { HOSTMM_SOURCE_MPROTECT, .far = false } },
};

static const struct {
	const char *name;
	struct call_case c;
} calls[] = {
	{ "audit: zap, uffd", { hostmm_zap, HOSTMM_SOURCE_UFFD } },
	{ "audit: zap, uffd-sigbus", { hostmm_zap, HOSTMM_SOURCE_SIGBUS } },
	{ "audit: discard, uffd", { hostmm_discard, HOSTMM_SOURCE_UFFD } },
	{ "audit: migrate and show, uffd", { repoint, HOSTMM_SOURCE_UFFD } },
	{ "audit: migrate and show, uffd-sigbus", { repoint, HOSTMM_SOURCE_SIGBUS } },
};

static int run(struct bench *b)
{
	int rc = 0;

	bench_warm_memory(BYTES);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]) && !rc; i++)
		rc = bench_run(b, &(struct bench_case){
					  .name = cases[i].name,
					  .umbra = umbra_stores,
					  .reference = bare_stores,
					  .arg = &cases[i].c,
				  });
	/* The reference is the same without an audit. */
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]) && !rc; i++)
		rc = bench_run(b, &(struct bench_case){
					  .name = calls[i].name,
					  .umbra = with_audit,
					  .reference = without_audit,
					  .arg = &calls[i].c,
				  });
	return rc;
}

const struct bench_group bench_source = {
	.name = "source",
	.what = "first store of a host thread to a page that the host view does not let it store to",
	.reference = "bare",
	.unit = "us a store",
	.cases = sizeof(cases) / sizeof(cases[0]) + sizeof(calls) / sizeof(calls[0]),
	.run = run,
};
