// SPDX-License-Identifier: BSD-2-Clause
/* System calls that fail in the middle of an operation of the host mm: an errno, and everything as before. */
#include <errno.h>

#include "mmu/base/thread.h"
#include "mmu/host/hostmm_actors.h"
#include "mmu/host/hostmm_device.h"
#include "mmu/host/hostmm_priv.h"
#include "tests/rig_fork.h"
#include "tests/test.h"
#include "tests/unit/fail_calls.h"

#define POPULATE 23 /* MADV_POPULATE_WRITE, which headers may not have */

int thread_start(pthread_t *thread, void *(*fn)(void *), void *arg)
{
	return rule_fails(THREAD, (unsigned long)arg) ? -rule_error()
						      : -pthread_create(thread, NULL, fn, arg);
}

static struct rig r;

static void up(void)
{
	rule_clear();
	rig_up(&r, &(struct rig_opts){ .pages = 1024,
				       .pool_frames = 8192,
				       .canary = false,
				       .around = 1 });
	for (uint64_t page = 0; page < 600; page++)
		rig_store(rig_word(r.host, page, 0), page);
}

static void check_all(void)
{
	rule_clear();
	for (uint64_t page = 0; page < 600; page++) {
		check_eq(rig_load(rig_word(r.host, page, 0)), page);
		check_eq(rig_load(rig_word(r.guest, page, 0)), page);
		rig_store(rig_word(r.host, page, 8), page);
	}
	check(!r.host_fatal && !r.window_fatal);
	rig_check(&r);
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

UTEST(host_fail, protect_goes_back, .init = up, .fini = down)
{
	rule_set(MPROTECT, 0, ENOMEM, 1, 1);
	check_eq(hostmm_protect(r.mm, at(10), at(20), HOSTMM_PROT_READ), -ENOMEM);
	check_all();
	rule_set(MPROTECT, 0, ENOMEM, 1, 1);
	check_eq(hostmm_protect(r.mm, at(10), at(20), 0), -ENOMEM);
	check_all();
	/* Giving rights fails, too: the pages keep what they have. */
	check_eq(hostmm_protect(r.mm, at(10), at(20), HOSTMM_PROT_READ), 0);
	rule_set(MPROTECT, 0, ENOMEM, 1, 1);
	check_eq(hostmm_protect(r.mm, at(0), at(30), HOSTMM_PROT_READ | HOSTMM_PROT_WRITE),
		 -ENOMEM);
	rule_clear();
	check(!rig_try_store(rig_word(r.host, 15, 0), 1));
	check(rig_try_store(rig_word(r.host, 9, 8), 1));
	check_eq(hostmm_protect(r.mm, at(0), at(30), HOSTMM_PROT_READ | HOSTMM_PROT_WRITE), 0);
	check_all();
}

UTEST(host_fail, truncate_goes_back, .init = up, .fini = down)
{
	uint64_t value;

	rule_set(MPROTECT, 0, ENOMEM, 1, 1);
	check_eq(hostmm_truncate(r.mm, r.hva, 10), -ENOMEM);
	check_all();
	check_eq(hostmm_truncate(r.mm, r.hva, 700), 0);
	rule_set(MPROTECT, 0, ENOMEM, 1, 1);
	check_eq(hostmm_truncate(r.mm, r.hva, 800), -ENOMEM);
	rule_clear();
	check(!rig_try_load(rig_word(r.host, 750, 0), &value));
	check_eq(hostmm_read(r.mm, at(750), &value, sizeof(value)), -EFAULT);
	check_eq(hostmm_truncate(r.mm, r.hva, 800), 0);
	check_eq(rig_load(rig_word(r.host, 750, 0)), 0);
	check_all();
}

/* Memory ends when the home frames of pages that have moved are filled, at one place or another. */
UTEST(host_fail, collapse_goes_back, .init = up, .fini = down)
{
	struct gup_page first;
	uint64_t used;

	check_eq(hostmm_migrate(r.mm, at(100), at(140), HOSTMM_MIGRATE_AWAY), 0);
	used = pool_used(r.pool);
	for (unsigned n = 1; n <= 40; n += 13) {
		rule_set(MADVISE, POPULATE, ENOMEM, n, ~0u);
		check_eq(hostmm_collapse(r.mm, r.hva), -ENOMEM);
		check_eq(pool_used(r.pool), used);
		check(!hostmm_huge(r.mm, r.hva, HOSTMM_LARGE, &first));
	}
	check_all();
	check_eq(hostmm_collapse(r.mm, r.hva), 0);
	check(hostmm_huge(r.mm, r.hva, HOSTMM_LARGE, &first));
	check_all();
}

/* Absent pages cannot come in. */
UTEST(host_fail, collapse_without_memory_for_absent_pages, .init = up, .fini = down)
{
	rule_set(FALLOCATE, 0, ENOSPC, 1, ~0u);
	check_eq(hostmm_collapse(r.mm, at(512)), -ENOSPC);
	check_all();
	check_eq(hostmm_collapse(r.mm, at(512)), 0);
	check_all();
}

UTEST(host_fail, zeros_without_memory, .init = up, .fini = down)
{
	uint64_t used = pool_used(r.pool);
	int rc;

	rule_set(FALLOCATE, 0, ENOSPC, 1, ~0u);
	rc = hostmm_map_zero(r.mm, at(600), at(1024));
	check(rc == -ENOSPC || !rc); /* where the system has large pages, none is called for */
	rule_clear();
	check_eq(pool_used(r.pool), used);
	check_eq(hostmm_map_zero(r.mm, at(600), at(1024)), 0);
	check_eq(rig_load(rig_word(r.guest, 700, 0)), 0);
	check_all();
}

UTEST(host_fail, pages_that_cannot_go_to_a_device_or_come_back_stay, .init = up, .fini = down)
{
	uint64_t moved, word;
	int owner;

	rule_set(MADVISE, POPULATE, ENOMEM, 5, ~0u);
	check_eq(hostmm_migrate_to_device(r.mm, at(0), at(20), &owner, &moved), -ENOMEM);
	check_eq(moved, 4);
	check_eq(hostmm_read(r.mm, at(2), &word, sizeof(word)), -ENOMEM); /* cannot come back now */
	rule_clear();
	check_eq(hostmm_read(r.mm, at(2), &word, sizeof(word)), 0);
	check_eq(word, 2);
	check_all();
}

/* Pages that are absent come in with the first that is written, by one call; one by one where there is no room for all. */
UTEST(host_fail, write_comes_in_at_once_or_page_by_page, .init = up, .fini = down)
{
	static char buf[8 * PAGE_SIZE];

	for (unsigned fails = 0; fails < 2; fails++) {
		hva_t hva = at(640 + 16 * fails);

		memset(buf, 7 + (int)fails, sizeof(buf));
		rule_set(FALLOCATE, 0, ENOSPC, fails ? 1 : ~0u, fails ? 1 : ~0u);
		check_eq(hostmm_write(r.mm, hva, buf, sizeof(buf)), 0);
		check(fails ? rule_seen() > 1 : rule_seen() == 1);
		rule_clear();
		for (unsigned page = 0; page < 8; page++) {
			uint64_t word;

			check_eq(hostmm_read(r.mm, hva + page * PAGE_SIZE, &word, sizeof(word)), 0);
			check_eq(word, 0x0101010101010101UL * (7 + fails));
		}
	}
	check_all();
}

/* A large fork wants a thread beside it, and does without. */
UTEST(host_fail, fork_without_a_thread)
{
	struct rig child;

	rule_clear();
	rig_up(&r, &(struct rig_opts){ .pages = 5000, .pool_frames = 20000, .around = 16 });
	for (int without = 0; without < 2; without++) {
		for (uint64_t page = 0; page < r.pages; page++) {
			rig_store(rig_word(r.host, page, 0), page + 1);
			rig_store(rig_word(r.guest, page, 8), page + 2);
		}
		if (without)
			rule_set(THREAD, (unsigned long)r.mm->regions, EAGAIN, 1, 1);
		rig_fork(&child, &r);
		check_eq(without && rule_seen(), without);
		rule_clear();
		for (uint64_t page = 0; page < r.pages; page++) {
			rig_store(rig_word(r.host, page, 0), 0);
			rig_store(rig_word(r.guest, page, 8), 0);
		}
		for (uint64_t page = 0; page < r.pages; page++) {
			check_eq(rig_peek(&child, page), page + 1);
			check_eq(rig_load(rig_word(child.guest, page, 8)), page + 2);
		}
		rig_fork_down(&child);
	}
	down();
}
