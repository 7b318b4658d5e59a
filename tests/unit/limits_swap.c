// SPDX-License-Identifier: BSD-2-Clause
/*
 * The file that pages are reclaimed to is full, fails, or writes and reads less than it was asked to: pages that could not be written are
 * as they were, pages that could not be read stay in the file, and no slot is lost.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "mmu/host/hostmm_reclaim.h"
#include "tests/rig_fork.h"
#include "tests/rule.h"
#include "tests/test.h"

#define PAGES 24UL
#define SLOTS 64UL

/* ---- pread() and pwrite(): the definitions below take the place of the C library's in this program ---- */

enum call { PREAD, PWRITE };

#define END   0	   /* as at the end of a file */
#define SHORT (-1) /* some bytes, not a page */

static ssize_t failed(void)
{
	errno = rule_error();
	return rule_error() == END ? 0 : -1;
}

ssize_t pread(int fd, void *buf, size_t nbytes, off_t offset)
{
	if (rule_fails(PREAD, 0)) {
		if (rule_error() != SHORT)
			return failed();
		nbytes = nbytes < 1000 ? nbytes : 1000;
	}
	return syscall(SYS_pread64, fd, buf, nbytes, offset);
}

ssize_t pwrite(int fd, const void *buf, size_t n, off_t offset)
{
	if (rule_fails(PWRITE, 0)) {
		if (rule_error() != SHORT)
			return failed();
		n = n < 1000 ? n : 1000;
	}
	return syscall(SYS_pwrite64, fd, buf, n, offset);
}

/* ---- The machine ---- */

static struct rig r;

static void up_on(int file)
{
	rule_clear();
	rig_up(&r, &(struct rig_opts){ .pages = PAGES, .pool_frames = 8 * PAGES, .around = 1 });
	check_eq(pool_swapon(r.pool, file, SLOTS), 0);
}

static void up(void)
{
	up_on(-1);
}

static void down(void)
{
	rule_clear();
	rig_down(&r);
}

static hva_t at(uint64_t page)
{
	return rig_hva(&r, page);
}

static uint64_t value_of(uint64_t page, uint64_t word)
{
	return page << 16 | word << 8 | 1;
}

static void put_pages(void)
{
	for (uint64_t page = 0; page < PAGES; page++) {
		uint64_t word[512];

		for (uint64_t i = 0; i < 512; i++)
			word[i] = value_of(page, i);
		check_eq(hostmm_write(r.mm, at(page), word, sizeof(word)), 0);
	}
	/* Frames in no row: several writes for one call. */
	check_eq(hostmm_migrate(r.mm, at(5), at(8), HOSTMM_MIGRATE_AWAY), 0);
	check_eq(hostmm_migrate(r.mm, at(12), at(13), HOSTMM_MIGRATE_AWAY), 0);
}

static void check_pages(void)
{
	rule_clear();
	for (uint64_t page = 0; page < PAGES; page++) {
		uint64_t word[512];

		check_eq(hostmm_read(r.mm, at(page), word, sizeof(word)), 0);
		for (uint64_t i = 0; i < 512; i++)
			check_eq(word[i], value_of(page, i));
		check_eq(rig_load(rig_word(r.guest, page, 4088)), value_of(page, 511));
	}
	rig_check(&r);
	check(!r.window_fatal && !r.host_fatal);
}

static uint64_t slots_used(void)
{
	struct pool_swap_stats stats;

	check(pool_get_swap_stats(r.pool, &stats));
	return stats.used;
}

/* Reclaim all; what was written is what was taken, and what is in the file is what is no longer in memory. */
static uint64_t reclaim(int error)
{
	uint64_t n, used = pool_used(r.pool);

	check_eq(hostmm_reclaim(r.mm, at(0), at(PAGES), &n), error);
	rule_clear();
	check_eq(slots_used(), n);
	check_eq(pool_used(r.pool), used - n);
	rig_check(&r);
	return n;
}

UTEST(limits_swap, writes_that_fail_leave_pages_as_they_were, .init = up, .fini = down)
{
	static const int errors[] = { ENOSPC, EIO, EDQUOT, END };
	uint64_t writes, n;

	put_pages();
	rule_set(PWRITE, 0, EIO, ~0u, ~0u); /* counts */
	check_eq(hostmm_reclaim(r.mm, at(0), at(PAGES), NULL), 0);
	writes = rule_seen();
	check(writes > 2);
	for (unsigned i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
		for (unsigned k = 1; k <= writes + 1; k++) {
			int error = errors[i] == END ? EIO : errors[i];

			put_pages();
			rule_set(PWRITE, 0, errors[i], k, k <= writes ? k : ~0u);
			n = reclaim(k <= writes ? -error : 0);
			check(k <= writes ? n < PAGES : n == PAGES);
			check_pages();
		}
	put_pages();
	rule_set(PWRITE, 0, ENOSPC, 1, ~0u);
	check_eq(reclaim(-ENOSPC), 0);
	check_pages();
}

/* Each piece is followed by another; a signal costs nothing. */
UTEST(limits_swap, short_writes_and_reads_are_continued, .init = up, .fini = down)
{
	static const int errors[] = { SHORT, EINTR };

	for (unsigned i = 0; i < 2; i++) {
		put_pages();
		rule_set(PWRITE, 0, errors[i], 1, errors[i] == SHORT ? ~0u : 7);
		check_eq(reclaim(0), PAGES);
		rule_set(PREAD, 0, errors[i], 1, errors[i] == SHORT ? ~0u : 7);
		for (uint64_t page = 0; page < PAGES; page++) {
			uint64_t word;

			check_eq(hostmm_read(r.mm, at(page) + 4088, &word, sizeof(word)), 0);
			check_eq(word, value_of(page, 511));
		}
		check_pages();
	}
}

UTEST(limits_swap, reads_that_fail_leave_pages_in_the_file, .init = up, .fini = down)
{
	uint64_t word, used;

	put_pages();
	check_eq(reclaim(0), PAGES);
	used = pool_used(r.pool);
	for (int i = 0; i < 2; i++) {
		rule_set(PREAD, 0, i ? END : EIO, 1, ~0u);
		check_eq(hostmm_read(r.mm, at(2), &word, sizeof(word)), -EIO);
		check_eq(hostmm_write(r.mm, at(3), &word, sizeof(word)), -EIO);
		check_eq(shadow_fault(r.shadow, RIG_GFN + 4, true), -EIO);
		check_eq(hostmm_prefault(r.mm, at(5), at(6), true), -EIO);
		check(rule_seen() >= 4);
		check_eq(slots_used(), PAGES);
		check_eq(pool_used(r.pool), used);
	}
	check_pages();
}

/* What was to be read ahead is no reason to fail. */
UTEST(limits_swap, a_page_behind_that_fails_does_no_harm, .init = up, .fini = down)
{
	struct gup_page page[4];

	put_pages();
	check_eq(reclaim(0), PAGES);
	rule_set(PREAD, 0, EIO, 1, 1); /* of all four at once */
	check_eq(hostmm_gup(r.mm, at(14), 4, 0, 3, false, page), 0);
	check_eq(rule_seen(), 2);
	check(page[0].fn != FN_NONE && page[1].fn == FN_NONE);
	hostmm_put_pages(r.mm, page, 4);
	check_pages();
}

/* The contents are gone: nobody gets others, and nobody waits. */
UTEST(limits_swap, who_cannot_be_told_is_stopped, .init = up, .fini = down)
{
	uint64_t value;

	put_pages();
	check_eq(reclaim(0), PAGES);
	rule_set(PREAD, 0, EIO, 1, ~0u);
	check(!rig_try_load(rig_word(r.guest, 1, 0), &value));
	rig_wait(&r.window_fatal);
	check_eq(r.window_error, -EIO);
	check(!rig_try_load(rig_word(r.host, 2, 0), &value));
	if (rig_source() == HOSTMM_SOURCE_UFFD) {
		rig_wait(&r.host_fatal);
		check_eq(r.host_error, EIO);
	}
	rule_clear();
	check_eq(rig_peek(&r, 1), value_of(1, 0));
}

/* ---- Limits of the system itself ---- */

UTEST(limits_swap, a_file_may_not_be_larger, .init = up, .fini = down)
{
	struct rlimit old, small = { .rlim_cur = 8 << 12 };
	uint64_t n;

	put_pages();
	check_eq(getrlimit(RLIMIT_FSIZE, &old), 0);
	small.rlim_max = old.rlim_max;
	check_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
	n = reclaim(-EFBIG); /* and no signal */
	check(n > 0 && n <= 8, "%lu", n);
	check_eq(setrlimit(RLIMIT_FSIZE, &old), 0);
	check_pages();
	check_eq(hostmm_reclaim(r.mm, at(0), at(PAGES), &n), 0);
	check_eq(n, PAGES);
	check_pages();
}

/* A tmpfs of eight pages. */
static int small_file(void)
{
	int fs = fsopen("tmpfs", FSOPEN_CLOEXEC), mount = -1, fd = -1;

	if (fs >= 0 && !fsconfig(fs, FSCONFIG_SET_STRING, "size", "32k", 0) &&
	    !fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
		mount = fsmount(fs, FSMOUNT_CLOEXEC, 0);
	if (mount >= 0)
		fd = openat(mount, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (mount >= 0)
		close(mount);
	if (fs >= 0)
		close(fs);
	return fd;
}

UTEST(limits_swap, a_file_system_is_full, .fini = down)
{
	int file = small_file();
	uint64_t n;

	skip_if(file < 0, "no file system to be filled (CAP_SYS_ADMIN)");
	up_on(file);
	close(file);
	put_pages();
	n = reclaim(-ENOSPC);
	check(n > 0 && n <= 8, "%lu", n);
	check_pages();
}
