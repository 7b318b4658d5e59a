// SPDX-License-Identifier: BSD-2-Clause
/* Reclaim to a backing file and back, writeback, poison: nothing is lost, only what is dirty is written (A21, A25). */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mmu/host/hostmm_actors.h"
#include "mmu/host/hostmm_reclaim.h"
#include "tests/rig_fork.h"
#include "tests/test.h"

#define PAGES 32UL
#define SLOTS 64UL

static struct rig r;
static int file = -1;

/* A store of a region: what it contains, how often pages were handed to it, and what it says. */
static struct store {
	uint64_t word[PAGES];
	unsigned fills, writes;
	int error;
	void (*in_write)(void);
} store;

static int store_fill(void *ctx, uint64_t page, void *dst, uint64_t npages)
{
	struct store *s = ctx;

	memset(dst, 0, npages << 12);
	for (uint64_t i = 0; i < npages; i++)
		memcpy((char *)dst + (i << 12), &s->word[page + i], sizeof(s->word[0]));
	s->fills++;
	return 0;
}

static int store_writeback(void *ctx, uint64_t page, const void *src, uint64_t npages)
{
	struct store *s = ctx;

	if (s->error)
		return s->error;
	for (uint64_t i = 0; i < npages; i++)
		memcpy(&s->word[page + i], (const char *)src + (i << 12), sizeof(s->word[0]));
	s->writes += (unsigned)npages;
	if (s->in_write)
		s->in_write();
	return 0;
}

static const struct pager_ops read_only = { .fill = store_fill };
static const struct pager_ops both = { .fill = store_fill, .writeback = store_writeback };

static void up_with(const struct pager_ops *pager, bool swap)
{
	store = (struct store){ .fills = 0 };
	rig_up(&r, &(struct rig_opts){ .pages = PAGES,
				       .pool_frames = 8 * PAGES,
				       .canary = false,
				       .pager = pager,
				       .pager_ctx = &store,
				       .around = 1 });
	if (!swap)
		return;
	file = memfd_create("backing", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	check(file >= 0);
	check_eq(pool_swapon(r.pool, file, SLOTS), 0);
}

static void up(void)
{
	up_with(NULL, true);
}

static void up_pager(void)
{
	up_with(&read_only, true);
}

static void up_store(void)
{
	up_with(&both, false);
}

static void up_both(void)
{
	up_with(&both, true);
}

static void down(void)
{
	if (!r.pool)
		return;
	rig_down(&r);
	if (file >= 0)
		close(file);
	file = -1;
}

static void put(uint64_t page, uint64_t value)
{
	check_eq(hostmm_write(r.mm, rig_hva(&r, page), &value, sizeof(value)), 0);
}

static uint64_t get(uint64_t page)
{
	uint64_t value = 0;

	check_eq(hostmm_read(r.mm, rig_hva(&r, page), &value, sizeof(value)), 0);
	return value;
}

static struct pool_swap_stats stats(void)
{
	struct pool_swap_stats s;

	check(pool_get_swap_stats(r.pool, &s));
	return s;
}

static uint64_t reclaim(uint64_t page, uint64_t end, int rc)
{
	uint64_t n = 0;

	check_eq(hostmm_reclaim(r.mm, rig_hva(&r, page), rig_hva(&r, end), &n), rc);
	return n;
}

UTEST(reclaim, pages_go_and_come_back, .init = up, .fini = down)
{
	struct stat before, after;

	for (uint64_t page = 0; page < PAGES; page++) {
		put(page, 100 + page);
		check_eq(rig_load(rig_word(r.guest, page, 0)), 100 + page);
	}
	check_eq(fstat(pool_fd(r.pool), &before), 0);
	check_eq(reclaim(0, PAGES, 0), PAGES);
	check_eq(pool_used(r.pool), 0);
	check_eq(fstat(pool_fd(r.pool), &after), 0);
	check(after.st_blocks + (blkcnt_t)(PAGES * 8) <= before.st_blocks);
	check_eq(stats().written, PAGES);
	check_eq(stats().used, PAGES);
	for (uint64_t page = 0; page < PAGES; page++) {
		check_eq(rig_load(rig_word(page % 2 ? r.guest : r.host, page, 0)), 100 + page);
		rig_guest_store(&r, rig_word(r.guest, page, 8), page);
		check_eq(rig_load(rig_word(r.host, page, 8)), page);
		check_eq(rig_frame(&r, page) != FN_NONE, true);
	}
	check_eq(stats().used, 0);
}

UTEST(reclaim, only_dirty_pages_are_written, .init = up, .fini = down)
{
	uint64_t by_load = rig_loads_store();

	put(1, 11);
	put(2, 22);
	check_eq(reclaim(0, PAGES, 0), 2);
	check_eq(get(1), 11);
	check_eq(rig_load(rig_word(r.host, 2, 0)), 22);
	check_eq(reclaim(0, PAGES, 0), 2);
	check_eq(stats().written, 2 + by_load);
	put(1, 12);
	check_eq(get(2), 22);
	check_eq(reclaim(0, PAGES, 0), 2);
	check_eq(stats().written, 3 + by_load);
	check_eq(get(1), 12);
	check_eq(get(2), 22);
	check_eq(hostmm_wrprotect(r.mm, r.hva, rig_hva(&r, PAGES)), 0);
	put(2, 23);
	check_eq(hostmm_wrprotect(r.mm, r.hva, rig_hva(&r, PAGES)), 0);
	check_eq(reclaim(0, PAGES, 0), 2);
	check_eq(get(2), 23);
}

UTEST(reclaim, clean_pages_of_a_pager_are_dropped, .init = up_pager, .fini = down)
{
	for (uint64_t page = 0; page < PAGES; page++)
		store.word[page] = 7 * page;
	check_eq(get(3), 21);
	check_eq(rig_load(rig_word(r.guest, 4, 0)), 28);
	check_eq(reclaim(3, 5, 0), 2);
	check_eq(stats().written, 0);
	put(3, 5);
	check_eq(reclaim(3, 5, 0), 1);
	check_eq(stats().written, 1);
	check_eq(get(3), 5);
	check_eq(get(4), 28);
}

UTEST(reclaim, shared_frames_go_as_one, .init = up, .fini = down)
{
	const struct hostmm_opts opts = { .fault_threads = 1,
					  .source = rig_source(),
					  .audit = rig_audit() };
	struct hostmm *child;
	uint64_t word, used;
	hva_t hva;

	put(1, 5);
	put(2, 5);
	check_eq(hostmm_merge(r.mm, rig_hva(&r, 1), r.mm, rig_hva(&r, 2)), 0);
	check_eq(hostmm_fork(r.mm, &opts, &child), 0);
	check_eq(hostmm_fork_hva(child, rig_hva(&r, 2), &hva), 0);
	used = pool_used(r.pool);
	check_eq(reclaim(1, 2, 0), 4);
	check_eq(pool_used(r.pool), used - 1);
	check_eq(stats().written, 1);
	check_eq(stats().used, 1);
	put(1, 6);
	check_eq(get(2), 5);
	check_eq(hostmm_read(child, hva, &word, sizeof(word)), 0);
	check_eq(word, 5);
	word = 8;
	check_eq(hostmm_write(child, hva, &word, sizeof(word)), 0);
	check_eq(get(1), 6);
	check_eq(get(2), 5);
	hostmm_destroy(child);
}

UTEST(reclaim, entries_without_frames_go_along, .init = up, .fini = down)
{
	const struct hostmm_opts opts = { .fault_threads = 1,
					  .source = rig_source(),
					  .audit = rig_audit() };
	struct hostmm *child;
	uint64_t word;
	hva_t hva;

	put(1, 5);
	check_eq(reclaim(1, 2, 0), 1);
	check_eq(hostmm_fork(r.mm, &opts, &child), 0);
	check_eq(hostmm_move(r.mm, rig_hva(&r, 1), rig_hva(&r, 2), rig_hva(&r, 9)), 0);
	check_eq(get(1), 0);
	check_eq(get(9), 5);
	put(9, 6);
	check_eq(hostmm_fork_hva(child, rig_hva(&r, 1), &hva), 0);
	check_eq(hostmm_read(child, hva, &word, sizeof(word)), 0);
	check_eq(word, 5);
	hostmm_destroy(child);
	check_eq(reclaim(9, 10, 0), 1);
	check_eq(hostmm_discard(r.mm, rig_hva(&r, 9), rig_hva(&r, 10)), 0);
	check_eq(stats().used, 0);
	check_eq(get(9), 0);
}

UTEST(reclaim, failures_lose_nothing, .init = up, .fini = down)
{
	uint64_t word;

	for (uint64_t page = 0; page < PAGES; page++)
		put(page, page + 1);
	check_eq(hostmm_reclaim(r.mm, r.hva + 1, rig_hva(&r, 1), NULL), -EINVAL);
	check_eq(pool_swapon(r.pool, -1, 1), -EBUSY);
	check_eq(ftruncate(file, 4 * 4096), 0);
	check_eq(fcntl(file, F_ADD_SEALS, F_SEAL_GROW), 0);
	check_eq(reclaim(0, PAGES, -EPERM), 0);
	check_eq(stats().used, 0);
	check_eq(reclaim(0, 1, -EPERM), 0); /* behind the others: slots are taken in turn */
	for (uint64_t page = 0; page < PAGES; page++)
		check_eq(get(page), page + 1);
	for (unsigned i = 0; i < 3 * SLOTS && !stats().used; i++)
		(void)hostmm_reclaim(r.mm, rig_hva(&r, 5), rig_hva(&r, 6), NULL);
	check_eq(stats().used, 1);
	check_eq(ftruncate(file, 0), 0);
	check_eq(hostmm_read(r.mm, rig_hva(&r, 5), &word, sizeof(word)), -EIO);
	check_eq(hostmm_read(r.mm, rig_hva(&r, 5), &word, sizeof(word)), -EIO);
	check_eq(stats().used, 1);
	check_eq(hostmm_discard(r.mm, rig_hva(&r, 5), rig_hva(&r, 6)), 0);
	check_eq(get(5), 0);
}

static void up_full(void)
{
	up_with(NULL, false);
	check_eq(pool_swapon(r.pool, -1, 4), 0); /* a file of its own */
}

UTEST(reclaim, a_full_file_leaves_the_rest, .init = up_full, .fini = down)
{
	for (uint64_t page = 0; page < PAGES; page++)
		put(page, page + 1);
	check_eq(reclaim(0, PAGES, -ENOSPC), 4);
	for (uint64_t page = 0; page < PAGES; page++)
		check_eq(get(page), page + 1);
}

static void store_meanwhile(void)
{
	store.in_write = NULL;
	put(2, 99);
}

UTEST(reclaim, writeback_keeps_pages_and_misses_no_store, .init = up_store, .fini = down)
{
	uint64_t n;

	check_eq(get(1), 0);
	put(2, 22);
	put(3, 33);
	store.error = -EIO;
	check_eq(hostmm_writeback(r.mm, r.hva, rig_hva(&r, PAGES), &n), -EIO);
	check_eq(n, 0);
	store.error = 0;
	store.in_write = store_meanwhile;
	check_eq(hostmm_writeback(r.mm, r.hva, rig_hva(&r, PAGES), &n), 0);
	check_eq(n, 2);
	check_eq(store.word[2], 22);
	check_eq(hostmm_writeback(r.mm, r.hva, rig_hva(&r, PAGES), &n), 0);
	check_eq(n, 1);
	check_eq(store.word[2], 99);
	check_eq(hostmm_writeback(r.mm, r.hva, rig_hva(&r, PAGES), &n), 0);
	check_eq(n, 0);
	rig_guest_store(&r, rig_word(r.guest, 3, 0), 34);
	check_eq(reclaim(0, PAGES, 0), 3);
	check_eq(store.word[3], 34);
	check_eq(store.writes, 4);
	check_eq(get(2), 99);
	check_eq(get(3), 34);
}

/* A frame that is shared goes to the file, since several stores may want it: no store has its contents then. */
UTEST(reclaim, writeback_has_what_is_in_the_file, .init = up_both, .fini = down)
{
	uint64_t written;

	put(1, 5);
	put(3, 5);
	check_eq(hostmm_merge(r.mm, rig_hva(&r, 1), r.mm, rig_hva(&r, 3)), 0);
	check_eq(reclaim(0, PAGES, 0), 2);
	check_eq(stats().written, 1);
	check_eq(store.word[1], 0);
	check_eq(hostmm_writeback(r.mm, r.hva, rig_hva(&r, PAGES), &written), 0);
	check_eq(written, 2);
	check_eq(store.word[1], 5);
	check_eq(store.word[3], 5);
	check_eq(reclaim(0, PAGES, 0), 2); /* clean: dropped */
	check_eq(stats().used, 0);
	check_eq(get(1), 5);
	check_eq(get(3), 5);
}

UTEST(reclaim, a_poisoned_frame_is_gone_for_good, .init = up, .fini = down)
{
	const struct hostmm_opts opts = { .fault_threads = 1,
					  .source = rig_source(),
					  .audit = rig_audit() };
	uint64_t word, used;
	struct hostmm *child;
	hva_t hva;
	fn_t fn;

	put(1, 5);
	fn = rig_peek(&r, 1);
	check_eq(rig_load(rig_word(r.guest, 1, 0)), 5);
	check_eq(hostmm_fork(r.mm, &opts, &child), 0);
	check_eq(hostmm_fork_hva(child, rig_hva(&r, 1), &hva), 0);
	used = pool_used(r.pool);
	check_eq(hostmm_poison(r.mm, r.hva + 8), -EINVAL);
	check_eq(hostmm_poison(r.mm, 4096), -EFAULT);
	check_eq(hostmm_poison(r.mm, rig_hva(&r, 3)), -ENOENT);
	check_eq(hostmm_poison(r.mm, rig_hva(&r, 1)), 0);
	check_eq(pool_poisoned(r.pool), 1);
	check_eq(pool_used(r.pool), used - 1);
	check_eq(hostmm_read(r.mm, rig_hva(&r, 1), &word, sizeof(word)), -EHWPOISON);
	check_eq(hostmm_write(child, hva, &word, sizeof(word)), -EHWPOISON);
	hostmm_destroy(child);
	check_eq(hostmm_discard(r.mm, rig_hva(&r, 1), rig_hva(&r, 2)), 0);
	check_eq(get(1), 0);
	put(1, 6);
	check(rig_peek(&r, 1) != fn);
	check_eq(rig_load(rig_word(r.guest, 1, 0)), 6);
	check_eq(hostmm_poison(r.mm, rig_hva(&r, 1)), 0); /* a loose one */
	check_eq(pool_poisoned(r.pool), 2);
}
