// SPDX-License-Identifier: BSD-2-Clause
/*
 * Everything that the library can create, and its end; each call of the system on the way fails once, with each errno that it may have:
 * that errno comes up or none, and what there was before is all there is afterwards.
 */
#include <errno.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "mmu/host/hostmm_actors.h"
#include "mmu/host/hostmm_reclaim.h"
#include "mmu/host/ksm.h"
#include "mmu/host/uffd.h"
#include "tests/leak.h"
#include "tests/rig.h"
#include "tests/test.h"
#include "tests/unit/fail_calls.h"

#define PAGES	    600UL
#define BOTH	    (HOSTMM_PROT_READ | HOSTMM_PROT_WRITE)
#define GOOD	    (~0u)
#define MADV_BULK   14 /* MADV_HUGEPAGE */
#define MADV_SPARSE 15 /* MADV_NOHUGEPAGE */

/* ---- A life: what is there is taken apart in reverse order, however far it has come ---- */

static struct life {
	struct pool *pool;
	struct hostmm *mm, *child;
	struct window *window;
	struct shadow *shadow;
	struct ksm *ksm;
	hva_t plain, audited;
	int rc;
} life;

static bool made(int rc)
{
	life.rc = rc;
	return !rc;
}

static bool make_host(void)
{
	const struct hostmm_opts opts = { .fault_threads = 2 };

	return made(pool_create(&life.pool, 4096, false)) && made(pool_swapon(life.pool, -1, 64)) &&
	       made(hostmm_create(&life.mm, life.pool, &opts)) &&
	       made(hostmm_map(life.mm, PAGES, BOTH, NULL, NULL, &life.plain)) &&
	       made(hostmm_map_source(life.mm, PAGES, BOTH, NULL, NULL, HOSTMM_SOURCE_UFFD, true,
				      &life.audited)) &&
	       made(hostmm_protect(life.mm, life.plain, life.plain + PAGE_SIZE,
				   HOSTMM_PROT_READ)) &&
	       made(hostmm_fork(life.mm, &opts, &life.child)) &&
	       made(ksm_create(&life.ksm, life.pool, &(struct ksm_opts){ 0 })) &&
	       made(ksm_register(life.ksm, life.mm, life.plain,
				 life.plain + (PAGES << PAGE_SHIFT)));
}

static bool make_guest(void)
{
	const struct window_opts window = { .fault_threads = 2 };
	const struct shadow_opts shadow = { .fault_around = 1 };

	return made(window_create(&life.window, life.pool, &window)) &&
	       made(shadow_create(&life.shadow, life.mm, &window_ops, life.window, &shadow)) &&
	       made(shadow_add_slot(life.shadow, 1, RIG_GFN, PAGES, life.plain, 0)) &&
	       made(window_start(life.window, life.shadow)) && made(ksm_start(life.ksm));
}

static void unmake(void)
{
	if (life.window)
		window_stop(life.window);
	if (life.shadow)
		shadow_destroy(life.shadow);
	if (life.window)
		window_destroy(life.window);
	if (life.ksm)
		ksm_destroy(life.ksm);
	if (life.child)
		hostmm_destroy(life.child);
	if (life.mm)
		hostmm_destroy(life.mm);
	if (life.pool)
		pool_destroy(life.pool);
}

/* Lives once. If it has come to be, both views of it work. */
static int live(void)
{
	life = (struct life){ 0 };
	if (make_host() && make_guest()) {
		struct memslot slot;

		ksm_stop(
			life.ksm); /* it has found nothing yet, and makes no call that would count */
		check(shadow_slot(life.shadow, RIG_GFN, &slot));
		rig_store(rig_word((char *)(uintptr_t)life.plain, 7, 0), 7);
		check_eq(rig_load(rig_word(window_base(&slot), 7, 0)), 7);
		rig_store(rig_word((char *)(uintptr_t)life.audited, 8, 0), 8);
	}
	unmake();
	return life.rc;
}

/* ---- Each call ---- */

static const struct failure {
	enum call call;
	unsigned long code;
	int error;
	bool hidden; /* made up for: the life comes to be */
} failures[] = {
	{ MMAP, 0, ENOMEM, false },
	{ MUNMAP, 0, ENOMEM, false },
	{ MPROTECT, 0, ENOMEM, false },
	{ MADVISE, MADV_DONTFORK, EAGAIN, false },
	{ MADVISE, MADV_BULK, EINVAL, true },
	{ MADVISE, MADV_SPARSE, EINVAL, true },
	{ MADVISE, MADV_DONTNEED, EAGAIN, true },
	{ IOCTL, UFFDIO_API, ENOMEM, false },
	{ IOCTL, UFFDIO_REGISTER, ENOMEM, false },
	{ IOCTL, UFFDIO_REGISTER, EINVAL, false },
	{ EVENTFD, 0, EMFILE, false },
	{ MEMFD, 0, EMFILE, false },
	{ FTRUNCATE, 0, EFBIG, false },
	{ OPEN, 0, EMFILE, false },
	{ USERFAULTFD, 0, EMFILE, false },
	{ USERFAULTFD, 0, ENOMEM, false },
	{ THREAD, 0, EAGAIN, false },
};

/* Neither descriptors, threads nor mappings are left. */
static void check_nothing_left(const struct failure *f, unsigned n,
			       const struct leak_snapshot *before, long mapped)
{
	char why[256];

	check_eq(bytes_mapped, mapped);
	check(leak_check(before, why, sizeof(why)), "%s %u: %s", call_name(f->call), n, why);
}

static void fail_each(const struct failure *f)
{
	struct leak_snapshot before;
	unsigned calls;
	long mapped;

	rule_clear();
	check_eq(live(), 0);
	leak_snapshot(&before);
	mapped = bytes_mapped;
	rule_set(f->call, f->code, f->error, GOOD, GOOD);
	check_eq(live(), 0);
	calls = rule_seen();
	check(calls > 0, "%s is never called", call_name(f->call));
	for (unsigned n = 1; n <= calls; n++) {
		int rc;

		rule_set(f->call, f->code, f->error, n, n);
		rc = live();
		check(rule_seen() >= n, "%s %u is not met", call_name(f->call), n);
		check(!rc || (!f->hidden && rc == -f->error), "%s %u fails with %d: %d",
		      call_name(f->call), n, f->error, rc);
		rule_clear();
		check_nothing_left(f, n, &before, mapped);
	}
	if (getenv("INJECT_TABLE"))
		printf("%s: %u calls\n", call_name(f->call), calls);
}

UTEST(fail_create, each_call_of_a_life, .init = rule_clear, .fini = rule_clear)
{
	struct uffd u;
	int rc = uffd_open(&u, 0);

	skip_if(rc == -EPERM || rc == -ENOSYS || rc == -EOPNOTSUPP, "userfaultfd: %s",
		strerror(-rc));
	uffd_close(&u);
	for (size_t i = 0; i < sizeof(failures) / sizeof(failures[0]); i++)
		fail_each(&failures[i]);
}
