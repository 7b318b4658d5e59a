// SPDX-License-Identifier: BSD-2-Clause
/*
 * Each system call of the window and the host view fails in turn, with each errno that it may have, under each operation of
 * the shadow: that errno comes up or none, the checker agrees, and no page has lost anything.
 */
#include <errno.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "mmu/host/hostmm_actors.h"
#include "mmu/host/uffd.h"
#include "mmu/shadow/dirty.h"
#include "tests/rig.h"
#include "tests/rule.h"
#include "tests/test.h"

#define GFN	0x400UL
#define LARGE	512UL
#define PAGES	(LARGE + 64)
#define SMALL	(LARGE + 8)  /* a page whose leaf is never large */
#define PAIR	(LARGE + 48) /* it and the next have the same contents */

#define PARTIAL (-1) /* CONTINUE: the first page, then EAGAIN */

/* The count of a CONTINUE that fails says why, too. */
static int failed_ioctl(int fd, unsigned long request, void *arg)
{
	struct uffdio_continue *c = arg;

	if (request != UFFDIO_CONTINUE)
		return -1;
	c->mapped = -rule_error();
	if (rule_error() != PARTIAL)
		return -1;
	c->range.len = PAGE_SIZE;
	if (!syscall(SYS_ioctl, fd, UFFDIO_CONTINUE, c))
		errno = EAGAIN;
	return -1;
}

#define FAILED_IOCTL failed_ioctl
#include "tests/unit/fail_calls.h"

/* ---- The machine ---- */

static struct rig r;

static uint64_t value_of(uint64_t page)
{
	return 1000 + (page == PAIR + 1 ? PAIR : page);
}

static hva_t at(uint64_t page)
{
	return rig_hva(&r, page);
}

/* Everything as after rig_up() and a store of the host to each page: at home, writable, nothing mapped. */
static void reset(void)
{
	rule_clear();
	check_eq(shadow_set_slot_flags(r.shadow, 1, 0), 0);
	check_eq(hostmm_unmerge(r.mm, at(PAIR)), 0);
	check_eq(hostmm_unmerge(r.mm, at(PAIR + 1)), 0);
	check_eq(hostmm_migrate(r.mm, at(0), at(PAGES), HOSTMM_MIGRATE_HOME), 0);
	for (uint64_t page = 0; page < PAGES; page++) {
		uint64_t word[2] = { value_of(page), 0 };

		check_eq(hostmm_write(r.mm, at(page), word, sizeof(word)), 0);
	}
	check_eq(hostmm_zap(r.mm, at(0), at(PAGES)), 0);
}

/* By the guest: what the pages had is there, and what is stored arrives. Where a page could not be set up it asks twice. */
static void check_pages(void)
{
	rule_clear();
	rig_check(&r);
	for (uint64_t page = 0; page < PAGES; page++) {
		check_eq(rig_guest_add(&r, rig_word(r.guest, page, 0), 0), value_of(page));
		if (page % 16 == 0 || page >= LARGE)
			rig_guest_store(&r, rig_word(r.guest, page, 8), page);
	}
	for (uint64_t page = 0; page < PAGES; page++) {
		uint64_t word[2];

		check_eq(hostmm_read(r.mm, at(page), word, sizeof(word)), 0);
		check_eq(word[0], value_of(page));
		check(word[1] == page || (page % 16 && page < LARGE));
	}
	rig_check(&r);
	check(!r.window_fatal && !r.host_fatal);
}

/* ---- Operations. prepare makes no call that fails; run is what does. ---- */

static int fault(uint64_t page, bool write)
{
	int rc = shadow_fault(r.shadow, GFN + page, write);

	return rc < 0 ? rc : 0;
}

static int map_small(void)
{
	return fault(SMALL, false);
}

static int map_store(void)
{
	return fault(SMALL, true);
}

static int map_large(void)
{
	return fault(7, true);
}

static void protect_host(void)
{
	check_eq(hostmm_wrprotect(r.mm, at(0), at(PAGES)), 0);
}

static void map_read_only(void)
{
	protect_host();
	check_eq(map_small(), 0);
	check_eq(fault(7, false), 0);
}

static int upgrade(void)
{
	return fault(SMALL, true);
}

static int split_by_store(void)
{
	return fault(9, true);
}

static void map_all(void)
{
	check_eq(map_store(), 0);
	check_eq(map_large(), 0);
}

static int zap(void)
{
	return hostmm_zap(r.mm, at(0), at(PAGES));
}

static int zap_part(void)
{
	return hostmm_zap(r.mm, at(100), at(SMALL + 1));
}

static int wrprotect(void)
{
	return hostmm_wrprotect(r.mm, at(5), at(SMALL + 3));
}

static void move_away(void)
{
	map_all();
	check_eq(hostmm_migrate(r.mm, at(SMALL), at(SMALL + 2), HOSTMM_MIGRATE_AWAY), 0);
}

static int migrate_away(void)
{
	return hostmm_migrate(r.mm, at(SMALL), at(SMALL + 2), HOSTMM_MIGRATE_AWAY);
}

static void move_and_map(void)
{
	move_away();
	check_eq(map_store(), 0);
}

static int migrate_home(void)
{
	int rc = hostmm_migrate(r.mm, at(SMALL), at(SMALL + 2), HOSTMM_MIGRATE_HOME);

	return rc ? rc : fault(SMALL, true);
}

static void move_read_only(void)
{
	move_away();
	protect_host();
}

static void map_pair(void)
{
	map_all();
	check_eq(fault(PAIR, false), 0);
	check_eq(fault(PAIR + 1, false), 0);
}

static int change_pte(void)
{
	return hostmm_merge(r.mm, at(PAIR), r.mm, at(PAIR + 1));
}

static void lose(void)
{
	map_all();
	syscall(SYS_madvise, r.guest, PAGES << PAGE_SHIFT, MADV_DONTNEED);
}

static int restore(void)
{
	int rc = map_small();

	return rc ? rc : fault(7, false);
}

static int age(void)
{
	uint64_t used;
	int rc = shadow_age(r.shadow, GFN, PAGES, NULL, &used);

	return rc ? rc : restore();
}

static int split(void)
{
	return shadow_split(r.shadow, GFN, GFN + PAGES);
}

/* Leaves of 4K, one of them without W: it is taken from the large one, and so from the window. */
static void split_one(void)
{
	uint64_t bits[(PAGES + 63) / 64];

	map_all();
	check_eq(shadow_dirty_configure(r.shadow, SHADOW_DIRTY_MANUAL), 0);
	check_eq(shadow_set_slot_flags(r.shadow, 1, MEMSLOT_LOG_DIRTY), 0);
	for (uint64_t page = 0; page < LARGE; page++)
		check_eq(fault(page, page != 3), 0);
	check_eq(shadow_get_dirty_log(r.shadow, 1, bits), 0);
}

static int end_log_and_recover(void)
{
	return shadow_set_slot_flags(r.shadow, 1, 0);
}

static int recover(void)
{
	shadow_recover(r.shadow, GFN, GFN + PAGES);
	return 0;
}

static void split_all(void)
{
	map_all();
	check_eq(split(), 0);
}

static int zap_all(void)
{
	return shadow_zap_all(r.shadow);
}

static int prefault(void)
{
	uint64_t done;

	return shadow_prefault(r.shadow, GFN + LARGE - 10, 40, &done);
}

static int log_on(void)
{
	return shadow_set_slot_flags(r.shadow, 1, MEMSLOT_LOG_DIRTY);
}

static int get_and_clear(void)
{
	uint64_t bits[(PAGES + 63) / 64];
	int rc = shadow_get_dirty_log(r.shadow, 1, bits);

	return rc ? rc : shadow_clear_dirty_log(r.shadow, 1, 0, PAGES, bits);
}

static int add_slot(void)
{
	int rc = shadow_add_slot(r.shadow, 2, 0x4000, 8, r.hva, 0);

	return rc ? rc : shadow_remove_slot(r.shadow, 2);
}

/* With arrays of its own, and room around its view. */
static int add_large_slot(void)
{
	int rc = shadow_add_slot(r.shadow, 2, 0x4000, PAGES, r.hva, 0);

	return rc ? rc : shadow_remove_slot(r.shadow, 2);
}

static int read_only_slot(void)
{
	int rc = shadow_set_slot_flags(r.shadow, 1, MEMSLOT_READONLY);

	return rc ? rc : shadow_set_slot_flags(r.shadow, 1, 0);
}

static const struct op {
	const char *name;
	void (*prepare)(void);
	int (*run)(void);
} ops[] = {
	{ "map", NULL, map_small },
	{ "map for a store", NULL, map_store },
	{ "map large", NULL, map_large },
	{ "map read-only", protect_host, map_small },
	{ "upgrade", map_read_only, upgrade },
	{ "split by a store", map_read_only, split_by_store },
	{ "zap", map_all, zap },
	{ "zap a part", map_all, zap_part },
	{ "wrprotect", map_all, wrprotect },
	{ "migrate", map_all, migrate_away },
	{ "repoint", move_away, map_store },
	{ "repoint read-only", move_read_only, map_small },
	{ "repoint home", move_and_map, migrate_home },
	{ "change_pte", map_pair, change_pte },
	{ "restore", lose, restore },
	{ "age", map_all, age },
	{ "split", map_all, split },
	{ "recover", split_all, recover },
	{ "end of log, recover", split_one, end_log_and_recover },
	{ "zap_all", map_all, zap_all },
	{ "prefault", NULL, prefault },
	{ "log on", map_all, log_on },
	{ "get, clear", split_one, get_and_clear },
	{ "slot", NULL, add_slot },
	{ "large slot", NULL, add_large_slot },
	{ "read-only slot", map_all, read_only_slot },
};

/* ---- Call x errno x operation ---- */

static const struct failure {
	enum call call;
	unsigned long code; /* request or advice */
	int error;
	bool hidden; /* tried again, or made up for: the operation does not fail */
} failures[] = {
	{ IOCTL, UFFDIO_CONTINUE, EAGAIN, true },
	{ IOCTL, UFFDIO_CONTINUE, PARTIAL, true },
	{ IOCTL, UFFDIO_CONTINUE, EEXIST, true },
	{ IOCTL, UFFDIO_CONTINUE, ENOENT, false },
	{ IOCTL, UFFDIO_CONTINUE, ENOMEM, false },
	{ IOCTL, UFFDIO_CONTINUE, ESRCH, false },
	{ IOCTL, UFFDIO_CONTINUE, EFAULT, false },
	{ IOCTL, UFFDIO_WRITEPROTECT, EAGAIN, true },
	{ IOCTL, UFFDIO_WRITEPROTECT, ENOENT, false },
	{ IOCTL, UFFDIO_WRITEPROTECT, ENOMEM, false },
	{ IOCTL, UFFDIO_WRITEPROTECT, ESRCH, false },
	{ IOCTL, UFFDIO_REGISTER, ENOMEM, false },
	{ IOCTL, UFFDIO_REGISTER, EBUSY, false },
	{ IOCTL, UFFDIO_REGISTER, EINVAL, false },
	{ IOCTL, UFFDIO_WAKE, EAGAIN, true },
	{ IOCTL, UFFDIO_WAKE, EINTR, true },
	{ MMAP, 0, ENOMEM, false },
	{ MUNMAP, 0, ENOMEM, true },
	{ MPROTECT, 0, ENOMEM, false },
	{ MADVISE, MADV_DONTNEED, EAGAIN, true },
	{ MADVISE, MADV_DONTNEED, EINTR, true },
};

static void up(void)
{
	rule_clear();
	rig_up(&r, &(struct rig_opts){ .pages = PAGES, .gfn = GFN, .around = 8 });
	for (uint64_t page = 0; page < PAGES; page++)
		check_eq(hostmm_write(r.mm, at(page), &(uint64_t){ value_of(page) }, 8), 0);
}

static void down(void)
{
	rule_clear();
	rig_down(&r);
}

/* Returns how many calls of the kind the operation has made. @n: which of them fails; 0 for none. */
static unsigned run(const struct op *op, const struct failure *f, unsigned n)
{
	bool allowed;
	int rc;

	reset();
	if (op->prepare)
		op->prepare();
	rule_set(f->call, f->code, f->error, n, n);
	rc = op->run();
	rule_clear();
	allowed = !rc || (n && !f->hidden && rc == -f->error);
	check(allowed, "%s, %s (0x%lx) %u fails with %d: %d", op->name, call_name(f->call), f->code,
	      n, f->error, rc);
	check_pages();
	return rule_seen();
}

static void run_all(enum call call, unsigned long code)
{
	unsigned met = 0;

	for (const struct op *op = ops; op < ops + sizeof(ops) / sizeof(ops[0]); op++) {
		for (unsigned i = 0; i < sizeof(failures) / sizeof(failures[0]); i++) {
			unsigned n;

			if (failures[i].call != call || failures[i].code != code)
				continue;
			n = run(op, &failures[i], 0);
			for (unsigned k = 1; k <= n && k <= 3; k++)
				run(op, &failures[i], k);
			if (n > 3)
				run(op, &failures[i], n);
			met += n > 0;
			if (!n)
				break; /* it makes no such call */
		}
	}
	check(met > 0);
	if (getenv("INJECT_TABLE"))
		printf("%s (0x%lx): %u times an operation and an errno met\n", call_name(call),
		       code, met);
}

UTEST(shadow_inject, continue_fails, .init = up, .fini = down)
{
	run_all(IOCTL, UFFDIO_CONTINUE);
}

UTEST(shadow_inject, writeprotect_fails, .init = up, .fini = down)
{
	run_all(IOCTL, UFFDIO_WRITEPROTECT);
}

UTEST(shadow_inject, register_fails, .init = up, .fini = down)
{
	run_all(IOCTL, UFFDIO_REGISTER);
}

UTEST(shadow_inject, wake_fails, .init = up, .fini = down)
{
	run_all(IOCTL, UFFDIO_WAKE);
}

UTEST(shadow_inject, munmap_fails, .init = up, .fini = down)
{
	run_all(MUNMAP, 0);
}

UTEST(shadow_inject, mmap_fails, .init = up, .fini = down)
{
	run_all(MMAP, 0);
}

UTEST(shadow_inject, mprotect_fails, .init = up, .fini = down)
{
	run_all(MPROTECT, 0);
}

UTEST(shadow_inject, madvise_fails, .init = up, .fini = down)
{
	run_all(MADVISE, MADV_DONTNEED);
}
