// SPDX-License-Identifier: BSD-2-Clause
/* The host mm: what its operations do to contents, frames and rights - one test or two for each. */
#include "mmu/host/hostmm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/rig.h"
#include "tests/test.h"

static struct rig r;

/* A store that stamps pages with the version it has of them, and can stop or fail. */
static struct store {
	_Atomic uint64_t version;
	atomic_int error;
	atomic_uint fills, pages;
	struct gate gate;
	_Atomic uint64_t stop_at; /* page + 1: stop only in its fill */
} store;

static int store_fill(void *ctx, uint64_t page, void *dst, uint64_t npages)
{
	struct store *s = ctx;
	uint64_t version = atomic_load(&s->version), stop_at = atomic_load(&s->stop_at);

	atomic_fetch_add(&s->fills, 1);
	atomic_fetch_add(&s->pages, npages);
	if (!stop_at || (page < stop_at && stop_at <= page + npages))
		gate_pass(&s->gate);
	memset(dst, 0, npages << PAGE_SHIFT);
	for (uint64_t i = 0; i < npages; i++)
		*(uint64_t *)((char *)dst + (i << PAGE_SHIFT)) = (page + i) << 32 | version;
	return atomic_load(&s->error);
}

static const struct pager_ops store_ops = { .fill = store_fill };

static void up(void)
{
	rig_up(&r, &(struct rig_opts){ .pages = 1100, .canary = true, .around = 1 });
}

static void up_store(void)
{
	memset(&store, 0, sizeof(store));
	store.gate = (struct gate)GATE_INIT;
	rig_up(&r, &(struct rig_opts){ .pages = 64,
				       .canary = true,
				       .around = 1,
				       .pager = &store_ops,
				       .pager_ctx = &store });
}

static void down(void)
{
	if (r.pool)
		rig_down(&r);
}

static uint64_t host_load(uint64_t page)
{
	return rig_load(rig_word(r.host, page, 0));
}

static int op(int (*fn)(struct hostmm *, hva_t, hva_t), uint64_t page, uint64_t end)
{
	return fn(r.mm, rig_hva(&r, page), rig_hva(&r, end));
}

static int migrate(uint64_t page, uint64_t end, enum hostmm_migrate_to to)
{
	return hostmm_migrate(r.mm, rig_hva(&r, page), rig_hva(&r, end), to);
}

static uint64_t view_faults(void)
{
	struct hostmm_stats stats;

	hostmm_get_stats(r.mm, &stats);
	return stats.view_faults;
}

UTEST(hostmm, refuses_what_it_cannot_map, .init = up, .fini = down)
{
	static const struct pager_ops no_fill = { .fill = NULL };
	hva_t hva;

	check_eq(hostmm_map(r.mm, 0, HOSTMM_PROT_READ, NULL, NULL, &hva), -EINVAL);
	check_eq(hostmm_map(r.mm, 1, 0, NULL, NULL, &hva), -EINVAL);
	check_eq(hostmm_map(r.mm, 1, HOSTMM_PROT_WRITE, NULL, NULL, &hva), -EINVAL);
	check_eq(hostmm_map(r.mm, 1, 7, NULL, NULL, &hva), -EINVAL);
	check_eq(hostmm_map(r.mm, 1, HOSTMM_PROT_READ, &no_fill, NULL, &hva), -EINVAL);
	check_eq(hostmm_map(r.mm, 1UL << 40, HOSTMM_PROT_READ, NULL, NULL, &hva), -ENOSPC);
	check_eq(hostmm_map(r.mm, UINT64_MAX, HOSTMM_PROT_READ, NULL, NULL, &hva), -ENOSPC);
	check_eq(hostmm_unmap(r.mm, rig_hva(&r, 1)), -EINVAL);
	check_eq(hostmm_unmap(r.mm, 0), -EINVAL);
}

UTEST(hostmm, refuses_ranges_that_are_none, .init = up, .fini = down)
{
	int (*const ops[])(struct hostmm *, hva_t, hva_t) = { hostmm_discard, hostmm_zap,
							      hostmm_wrprotect };

	for (int i = 0; i < 3; i++) {
		check_eq(op(ops[i], 3, 3), -EINVAL);
		check_eq(op(ops[i], 4, 3), -EINVAL);
		check_eq(op(ops[i], 0, 1101), -EINVAL);
		check_eq(op(ops[i], 1100, 1101), -EINVAL);
		check_eq(ops[i](r.mm, r.hva + 1, r.hva + PAGE_SIZE), -EINVAL);
		check_eq(ops[i](r.mm, r.hva, r.hva + PAGE_SIZE + 8), -EINVAL);
		check_eq(ops[i](r.mm, r.hva - PAGE_SIZE, r.hva + PAGE_SIZE), -EINVAL);
		check_eq(ops[i](r.mm, 0, PAGE_SIZE), -EINVAL);
		check_eq(op(ops[i], 0, 1100), 0);
	}
	check_eq(migrate(1, 1, HOSTMM_MIGRATE_AWAY), -EINVAL);
	check_eq(migrate(0, 1100, HOSTMM_MIGRATE_AWAY), 0);
	check_eq(pool_used(r.pool), 0);
}

UTEST(hostmm, discard_forgets_zap_does_not, .init = up, .fini = down)
{
	for (uint64_t page = 500; page < 530; page++)
		rig_store(rig_word(r.host, page, 8), page);
	check_eq(op(hostmm_zap, 0, 1100), 0);
	for (uint64_t page = 500; page < 530; page++)
		check_eq(rig_load(rig_word(r.host, page, 8)), page);
	check_eq(pool_used(r.pool), 30);
	check_eq(op(hostmm_discard, 510, 520), 0);
	check_eq(pool_used(r.pool), 20);
	for (uint64_t page = 500; page < 530; page++)
		check_eq(rig_load(rig_word(r.host, page, 8)), page >= 510 && page < 520 ? 0 : page);
}

UTEST(hostmm, wrprotect_makes_the_next_store_fault, .init = up, .fini = down)
{
	uint64_t before;

	rig_store(rig_word(r.host, 1, 0), 1);
	rig_store(rig_word(r.host, 2, 0), 1);
	check_eq(op(hostmm_wrprotect, 0, 1100), 0);
	before = view_faults();
	check_eq(host_load(1), 1);
	check_eq(view_faults(), before);
	rig_store(rig_word(r.host, 1, 0), 2);
	check_eq(view_faults(), before + 1);
	rig_store(rig_word(r.host, 1, 0), 3);
	check_eq(view_faults(), before + 1);
	check_eq(rig_load(rig_word(r.guest, 2, 0)), 1);
	rig_store(rig_word(r.guest, 2, 0), 5);
	check_eq(host_load(2), 5);
	check_eq(view_faults(), before + 1);
	rig_check(&r);
}

UTEST(hostmm, migrates_away_and_home, .init = up, .fini = down)
{
	fn_t home = 0, fn;

	for (uint64_t page = 0; page < 8; page += 2) {
		rig_store(rig_word(r.host, page, 0), 100 + page);
		check_eq(rig_load(rig_word(r.guest, page, 0)), 100 + page);
	}
	home = rig_frame(&r, 0);
	check_eq(migrate(0, 8, HOSTMM_MIGRATE_AWAY), 0);
	for (uint64_t page = 0; page < 8; page++) {
		fn = rig_frame(&r, page);
		check(page % 2 ? fn == FN_NONE : fn >= home + r.pages);
	}
	for (uint64_t page = 0; page < 8; page += 2) {
		check_eq(rig_load(rig_word(r.guest, page, 0)), 100 + page);
		check_eq(host_load(page), 100 + page);
		rig_store(rig_word(r.guest, page, 0), 200 + page);
	}
	check_eq(pool_used(r.pool), 4);
	rig_check(&r);
	check_eq(migrate(0, 8, HOSTMM_MIGRATE_HOME), 0);
	for (uint64_t page = 0; page < 8; page += 2) {
		check_eq(rig_frame(&r, page), home + page);
		check_eq(host_load(page), 200 + page);
		check_eq(rig_load(rig_word(r.guest, page, 0)), 200 + page);
	}
	check_eq(pool_used(r.pool), 4);
	rig_check(&r);
}

UTEST(hostmm, migrate_stops_when_the_pool_is_full, .fini = down)
{
	rig_up(&r, &(struct rig_opts){ .pages = 8, .pool_frames = 11 });
	for (uint64_t page = 0; page < 8; page++)
		rig_store(rig_word(r.host, page, 0), page);
	check_eq(migrate(0, 8, HOSTMM_MIGRATE_AWAY), -ENOSPC);
	for (uint64_t page = 0; page < 8; page++) {
		check_eq(rig_frame(&r, page) >= 8, page < 3);
		check_eq(host_load(page), page);
		check_eq(rig_load(rig_word(r.guest, page, 0)), page);
	}
	rig_check(&r);
	check_eq(migrate(0, 8, HOSTMM_MIGRATE_HOME), 0);
	check_eq(rig_frame(&r, 1), 1);
}

UTEST(hostmm, gup_takes_references, .init = up, .fini = down)
{
	struct gup_page page[8];

	rig_store(rig_word(r.host, 1, 0), 1);
	rig_store(rig_word(r.host, 5, 0), 1);
	check_eq(op(hostmm_wrprotect, 5, 6), 0);
	/* Page 3 must be, 4 is ahead; 1 and 5 are there. */
	check_eq(hostmm_gup(r.mm, rig_hva(&r, 0), 8, 3, 1, false, page), 0);
	for (unsigned i = 0; i < 8; i++) {
		bool present = i == 1 || (i >= 3 && i <= 5);

		check_eq(page[i].fn != FN_NONE, present);
		check(!present || pool_refs(r.pool, page[i].fn) == 2);
		check(!present || page[i].writable == (i != 5));
	}
	/* A frame that is referenced outlives its page. */
	check_eq(op(hostmm_discard, 0, 8), 0);
	check_eq(pool_used(r.pool), 4);
	check_eq(*(uint64_t *)pool_direct(r.pool, page[1].fn), 1);
	/* The page cannot have it back: it gets another, and goes home when it can. */
	rig_store(rig_word(r.host, 1, 0), 2);
	check(rig_frame(&r, 1) != page[1].fn);
	check_eq(*(uint64_t *)pool_direct(r.pool, page[1].fn), 1);
	check_eq(migrate(1, 2, HOSTMM_MIGRATE_HOME), 0);
	check(rig_frame(&r, 1) != page[1].fn);
	hostmm_put_pages(r.mm, page, 8);
	check_eq(migrate(1, 2, HOSTMM_MIGRATE_HOME), 0);
	check_eq(rig_frame(&r, 1), page[1].fn);
	check_eq(host_load(1), 2);
	check_eq(pool_used(r.pool), 1);
}

UTEST(hostmm, gup_keeps_to_the_region, .init = up, .fini = down)
{
	struct gup_page page[8];
	fn_t home;
	unsigned prot;
	hva_t ro;

	check_eq(hostmm_gup(r.mm, rig_hva(&r, 1096), 8, 3, 100, true, page), 0);
	check(page[2].fn == FN_NONE && page[3].fn != FN_NONE && page[4].fn == FN_NONE);
	check(page[3].writable);
	hostmm_put_pages(r.mm, page, 8);
	check_eq(hostmm_gup(r.mm, rig_hva(&r, 1096), 8, 4, 0, false, page), -EFAULT);
	check_eq(hostmm_gup(r.mm, rig_hva(&r, 0), 8, 8, 0, false, page), -EFAULT);
	check_eq(hostmm_gup(r.mm, 0, 8, 0, 0, false, page), -EFAULT);
	check_eq(hostmm_map(r.mm, 4, HOSTMM_PROT_READ, NULL, NULL, &ro), 0);
	check_eq(hostmm_gup(r.mm, ro, 1, 0, 0, true, page), -EFAULT);
	check_eq(hostmm_gup(r.mm, ro, 1, 0, 0, false, page), 0);
	check(!page[0].writable);
	hostmm_put_pages(r.mm, page, 1);
	check_eq(hostmm_home(r.mm, ro, 4, &home, &prot), 0);
	check_eq(prot, HOSTMM_PROT_READ);
	check_eq(hostmm_home(r.mm, ro, 5, &home, &prot), -EFAULT);
	check_eq(hostmm_home(r.mm, ro + (4 << PAGE_SHIFT), 1, &home, &prot), -EFAULT);
	check_eq(hostmm_write(r.mm, ro, "x", 1), -EFAULT);
}

UTEST(hostmm, reads_and_writes_any_bytes, .init = up, .fini = down)
{
	static char in[3 * PAGE_SIZE], out[3 * PAGE_SIZE];
	hva_t at = rig_hva(&r, 510) + 4000; /* over two seams of chunks and pages */
	uint64_t word = 0x1122334455667788;

	for (size_t i = 0; i < sizeof(in); i++)
		in[i] = (char)(i * 7);
	check_eq(hostmm_write(r.mm, at, in, sizeof(in)), 0);
	check_eq(hostmm_read(r.mm, at, out, sizeof(out)), 0);
	check(!memcmp(in, out, sizeof(in)));
	check(!memcmp(in, (void *)(uintptr_t)at, sizeof(in)));
	check_eq(hostmm_write(r.mm, rig_hva(&r, 3) + 8, &word, 8), 0);
	check_eq(rig_load(rig_word(r.guest, 3, 8)), word);
	check_eq(hostmm_read(r.mm, rig_hva(&r, 1100) - 4, out, 5), -EFAULT);
	check_eq(hostmm_read(r.mm, rig_hva(&r, 1100) - 4, out, 4), 0);
	check_eq(hostmm_read(r.mm, 12, out, 4), -EFAULT);
	check_eq(hostmm_read(r.mm, r.hva, out, SIZE_MAX), -EFAULT);
	check_eq(hostmm_read(r.mm, r.hva, out, 0), 0);
}

/* System calls on the host view are transparent: the kernel waits. */
UTEST(hostmm, serves_system_calls, .init = up, .fini = down)
{
	char text[] = "0123456789";
	int fd[2];

	check_eq(pipe2(fd, O_CLOEXEC), 0);
	check_eq(write(fd[1], text, 10), 10);
	check_eq(read(fd[0], r.host + 4096 - 5, 10), 10);
	check_eq(op(hostmm_zap, 0, 2), 0);
	check_eq(write(fd[1], r.host + 4096 - 5, 10), 10);
	check_eq(read(fd[0], text, 10), 10);
	check_str(text, "0123456789");
	check_eq(r.host_fatal, 0);
	close(fd[0]);
	close(fd[1]);
}

UTEST(hostmm, pages_come_from_the_pager, .init = up_store, .fini = down)
{
	check_eq(host_load(7), 7UL << 32);
	check_eq(rig_load(rig_word(r.guest, 8, 0)), 8UL << 32);
	atomic_store(&store.version, 5);
	check_eq(host_load(7), 7UL << 32);
	check_eq(op(hostmm_discard, 0, 64), 0);
	check_eq(host_load(7), 7UL << 32 | 5);
	check_eq(rig_load(rig_word(r.guest, 8, 0)), 8UL << 32 | 5);
	check_eq(store.pages, 4);
}

UTEST(hostmm, a_pager_that_fails_is_an_error_not_zeros, .init = up_store, .fini = down)
{
	struct gup_page page;
	uint64_t value;

	atomic_store(&store.error, -EIO);
	check_eq(hostmm_read(r.mm, r.hva, &value, 8), -EIO);
	check_eq(hostmm_gup(r.mm, r.hva, 1, 0, 0, false, &page), -EIO);
	check_eq(shadow_fault(r.shadow, RIG_GFN, false), -EIO);
	check_eq(shadow_read(r.shadow, RIG_GFN << 12, &value, 8), -EIO);
	check_eq(pool_used(r.pool), 0);
	/* Then it comes back. */
	atomic_store(&store.error, 0);
	check_eq(hostmm_read(r.mm, r.hva, &value, 8), 0);
	check_eq(host_load(1), 1UL << 32);
	/* An access through a view cannot be told of an error: the view is shut. */
	atomic_store(&store.error, -EIO);
	check(!rig_try_load(rig_word(r.host, 9, 0), &value));
	rig_wait(&r.host_fatal);
	check_eq(r.host_error, EIO);
	check(!rig_try_load(rig_word(r.host, 1, 0), &value));
	check(!rig_try_load(rig_word(r.guest, 9, 0), &value));
	rig_wait(&r.window_fatal);
	check_eq(r.window_error, -EIO);
	check_eq(hostmm_read(r.mm, rig_hva(&r, 1), &value, 8), 0);
}

/* ---- Schedules ---- */

static void *load_host(void *arg)
{
	return (void *)(uintptr_t)host_load((uint64_t)(uintptr_t)arg);
}

static void *discard_all(void *arg)
{
	expect(op(hostmm_discard, 0, 64) == 0);
	return arg;
}

struct watcher {
	struct mmu_notifier mn;
	atomic_uint starts, ends;
};

static int watch_start(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	(void)range;
	atomic_fetch_add(&((struct watcher *)mn)->starts, 1);
	return 0;
}

static void watch_end(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	(void)range;
	atomic_fetch_add(&((struct watcher *)mn)->ends, 1);
}

static const struct mmu_notifier_ops watch_ops = { .invalidate_range_start = watch_start,
						   .invalidate_range_end = watch_end };

/*
 * The stale source (E2B 2511-2513): a fill has taken version 1 from the store and sleeps; the store goes to 2 and the
 * page is discarded. Whoever reads after the discard must see 2, and the discard must not end before the fill has.
 */
UTEST(hostmm, a_stale_fill_does_not_outlive_a_discard, .init = up_store, .fini = down)
{
	struct watcher w = { .mn.ops = &watch_ops };
	pthread_t fault, discard;

	check_eq(hostmm_subscribe(r.mm, &w.mn), 0);
	atomic_store(&store.version, 1);
	gate_arm(&store.gate);
	fault = rig_thread(load_host, (void *)3);
	gate_wait(&store.gate);
	atomic_store(&store.version, 2);
	discard = rig_thread(discard_all, NULL);
	while (!atomic_load(&w.starts))
		sched_yield();
	for (int i = 0; i < 1000; i++)
		sched_yield();
	check_eq(w.ends, 0);
	gate_open(&store.gate);
	rig_join(discard);
	(void)rig_join(fault); /* 1 or 2: it ran beside the discard */
	check_eq(host_load(3), 3UL << 32 | 2);
	check_eq(rig_load(rig_word(r.guest, 3, 0)), 3UL << 32 | 2);
	mmu_notifier_unregister(&w.mn);
}

/* One fill for all who want the page. */
UTEST(hostmm, a_busy_page_is_filled_once, .init = up_store, .fini = down)
{
	pthread_t t[3];
	uint64_t value;

	gate_arm(&store.gate);
	for (int i = 0; i < 3; i++)
		t[i] = rig_thread(load_host, (void *)3);
	gate_wait(&store.gate);
	for (int i = 0; i < 1000; i++)
		sched_yield();
	gate_open(&store.gate);
	for (int i = 0; i < 3; i++)
		check_eq((uint64_t)(uintptr_t)rig_join(t[i]), 3UL << 32);
	check_eq(hostmm_read(r.mm, rig_hva(&r, 3), &value, 8), 0);
	check_eq(store.fills, 1);
}

/* A region goes while a thread waits for a page of it: the thread is woken, to find out. */
static void *try_load_host(void *arg)
{
	uint64_t value;

	return rig_try_load(arg, &value) ? (void *)"loaded" : NULL;
}

UTEST(hostmm, unmap_wakes_who_waits, .init = up_store, .fini = down)
{
	pthread_t t;
	hva_t hva;

	check_eq(hostmm_map(r.mm, 4, HOSTMM_PROT_READ, &store_ops, &store, &hva), 0);
	gate_arm(&store.gate);
	t = rig_thread(try_load_host, (void *)(uintptr_t)hva);
	gate_wait(&store.gate);
	gate_open(&store.gate);
	check_eq(hostmm_unmap(r.mm, hva), 0);
	/* It may have been faster, or the address may be somebody else's by now; but it does not wait for ever. */
	(void)rig_join(t);
}
