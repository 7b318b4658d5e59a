/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Actors of the matrix through which pages leave memory, or come to share it by a service: reclaim, writeback, poison, KSM.
 * Owns the store of the cell. Included by tests/unit/device_actors.c alone, which names them.
 */
#ifndef UMBRA_TESTS_UNIT_DEVICE_EVICT_H
#define UMBRA_TESTS_UNIT_DEVICE_EVICT_H

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mmu/host/hostmm_reclaim.h"
#include "mmu/host/ksm.h"
#include "tests/unit/device_cell.h"

/* ---- Reclaim: what comes back has another frame ---- */

static inline void touch_swap(struct cell *c)
{
	int file = memfd_create("backing", MFD_CLOEXEC);

	check(file >= 0);
	check_eq(pool_swapon(c->r.pool, file, 8), 0);
	close(file);
	touch(c);
}

static inline void reclaim(struct cell *c)
{
	uint64_t n;

	check_eq(hostmm_reclaim(c->r.mm, hva(c, P), hva(c, P + 1), &n), 0);
	check_eq(n, 1);
	must(c, dev_load(c, P) == 1, "the device reads what was reclaimed");
	both_ways(c, P);
}

/* ---- Writeback: what the region's store has of page P ---- */

static uint64_t stored;

static inline int store_fill(void *ctx, uint64_t page, void *dst, uint64_t npages)
{
	(void)ctx;
	(void)page;
	memset(dst, 0, npages << PAGE_SHIFT);
	return 0;
}

static inline int store_writeback(void *ctx, uint64_t page, const void *src, uint64_t npages)
{
	(void)ctx;
	if (page <= P && P < page + npages)
		memcpy(&stored, (const char *)src + ((P - page) << PAGE_SHIFT), sizeof(stored));
	return 0;
}

static const struct pager_ops store_ops = { .fill = store_fill, .writeback = store_writeback };

/* Equal rights to all pages, so that an entry of 2M may be stored through. */
static inline void touch_store(struct cell *c)
{
	for (uint64_t page = 0; page < c->r.pages; page++)
		host_store(c, page, 0);
	touch(c);
}

static inline void write_back(struct cell *c)
{
	check_eq(hostmm_writeback(c->r.mm, hva(c, P), hva(c, P + 1), NULL), 0);
}

/* A21: a store after the page is written makes it dirty anew, or the store never has it. */
static inline void writeback(struct cell *c)
{
	write_back(c);
	check_eq(stored, 1);
	dev_store(c, P, 2);
	write_back(c);
	must(c, stored == 2, "a store is missed: the page counts as written");
	both_ways(c, P);
}

/* ---- Poison: nobody reads the frame any more, and the page gets another one ---- */

static inline void poison(struct cell *c)
{
	uint64_t value;

	check_eq(hostmm_poison(c->r.mm, hva(c, P)), 0);
	must(c, device_read(c->dev, hva(c, P), &value, sizeof(value)) < 0,
	     "the device loads from a frame that is bad");
	must(c, dev_load(c, P + 1) == 1, "the device reads an old version");
	check_eq(hostmm_discard(c->r.mm, hva(c, P), hva(c, P + 1)), 0);
	must(c, dev_load(c, P) == 0, "the device reads what was discarded");
	both_ways(c, P);
}

/* ---- The service: A23 ---- */

/* Nothing in the region but these two pages is the service's. @no_age: what a device maps is in use. */
static inline void serve(struct cell *c, bool no_age)
{
	const struct ksm_opts opts = { .no_age = no_age };

	check_eq(ksm_create(&c->ksm, c->r.pool, &opts), 0);
	check_eq(ksm_register(c->ksm, c->r.mm, hva(c, P), hva(c, P + 2)), 0);
}

/* What stands still is merged in the third pass at the latest. */
static inline struct ksm_stats scan(struct cell *c)
{
	struct ksm_stats s = { 0 };

	for (int i = 0; i < 3 && !s.pages_sharing; i++) {
		ksm_pass(c->ksm);
		ksm_get_stats(c->ksm, &s);
	}
	check_eq(s.pages_sharing, 1);
	return s;
}

static inline void one_stays(struct cell *c)
{
	dev_store(c, P, 2);
	must(c, host_load(&c->r, P + 1) == 1, "a store to one page appears in the other");
	must(c, dev_load(c, P + 1) == 1, "a store to one page appears in the other");
	both_ways(c, P + 1);
}

/* Pages not in use are zapped in one bracket, those in use are repointed (change_pte). */
static inline void ksm_old(struct cell *c)
{
	serve(c, false);
	check_eq(scan(c).merged_young, 0);
	one_stays(c);
}

static inline void ksm_young(struct cell *c)
{
	const struct device_profile *p = c->dev->profile;

	serve(c, true);
	/* The first page is write-protected to be shared: who expands that loses the second one, too, if not too late. */
	check_eq(scan(c).merged_young, has_marks(p) && (!p->expands || p->defers));
	one_stays(c);
}

static inline void touch_shared(struct cell *c)
{
	host_store(c, P, 1);
	host_store(c, P + 1, 1);
	serve(c, false);
	scan(c);
	device_run_deferred(c->dev);
	must(c, dev_load(c, P) == 1, "the device reads an old version");
	must(c, dev_load(c, P + 1) == 1, "the device reads an old version");
}

/* One of them keeps the frame. */
static inline void ksm_unmerge(struct cell *c)
{
	check_eq(ksm_unregister(c->ksm, c->r.mm, hva(c, P), hva(c, P + 2)), 0);
	host_store(c, P, 2);
	host_store(c, P + 1, 3);
	must(c, dev_load(c, P) == 2, "the device reads the frame before the copy");
	must(c, dev_load(c, P + 1) == 3, "the device reads the frame before the copy");
	both_ways(c, P);
	both_ways(c, P + 1);
}

#endif
