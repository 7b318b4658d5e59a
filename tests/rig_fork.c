// SPDX-License-Identifier: BSD-2-Clause
#include "tests/rig_fork.h"

#include <string.h>

#include "mmu/host/hostmm_actors.h"
#include "mmu/host/hostmm_priv.h"
#include "mmu/host/pool_priv.h"
#include "mmu/host/rmap.h"
#include "tests/test.h"

static void on_window_fatal(void *ctx, gpa_t gpa, bool write, int error)
{
	struct rig *r = ctx;

	(void)gpa;
	(void)write;
	atomic_store(&r->window_error, error);
	atomic_fetch_add(&r->window_fatal, 1);
}

static void on_host_fatal(void *ctx, hva_t hva, int error)
{
	struct rig *r = ctx;

	(void)hva;
	atomic_store(&r->host_error, error);
	atomic_fetch_add(&r->host_fatal, 1);
}

void rig_fork(struct rig *child, struct rig *parent)
{
	struct hostmm_opts opts = { .fault_threads = 2,
				    .source = rig_source(),
				    .audit = rig_audit(),
				    .fatal = on_host_fatal,
				    .fatal_ctx = child };
	struct window_opts window_opts = { .fault_threads = 2,
					   .fatal = on_window_fatal,
					   .fatal_ctx = child };
	struct memslot slot;

	memset(child, 0, sizeof(*child));
	child->pool = parent->pool;
	child->pages = parent->pages;
	check_eq(hostmm_fork(parent->mm, &opts, &child->mm), 0);
	check_eq(hostmm_fork_hva(child->mm, parent->hva, &child->hva), 0);
	child->host = (char *)(uintptr_t)child->hva;
	check_eq(window_create(&child->window, child->pool, &window_opts), 0);
	check_eq(shadow_create(&child->shadow, child->mm, &window_ops, child->window,
			       &(struct shadow_opts){ .fault_around = 1 }),
		 0);
	check_eq(shadow_add_slot(child->shadow, 1, RIG_GFN, child->pages, child->hva, 0), 0);
	check(shadow_slot(child->shadow, RIG_GFN, &slot));
	child->guest = window_base(&slot);
	check_eq(window_start(child->window, child->shadow), 0);
}

void rig_fork_down(struct rig *child)
{
	window_stop(child->window);
	shadow_destroy(child->shadow);
	window_destroy(child->window);
	hostmm_destroy(child->mm);
}

uint64_t rig_foreign(struct rig *r)
{
	uint64_t foreign = 0;

	rwlock_read_acquire(&r->mm->mmap_lock);
	for (struct region *region = r->mm->regions; region; region = region->next)
		foreign += view_foreign(region->view);
	rwlock_read_release(&r->mm->mmap_lock);
	return foreign;
}

uint32_t rig_sharers(struct rig *r, uint64_t page)
{
	uint32_t n = 0;

	rwlock_read_acquire(&r->mm->mmap_lock);
	struct region *region = hostmm_region(r->mm, rig_hva(r, page));

	page = region_page(region, rig_hva(r, page));
	rmap_lock(r->pool->rmap);
	for (struct region *s = hpte_sharers(region, page); s; s = hpte_chunk(s, page)->next)
		n++;
	rmap_unlock(r->pool->rmap);
	rwlock_read_release(&r->mm->mmap_lock);
	return n;
}

/* Who has a page by the chunk that he shares with @r is no map of its own. */
uint32_t rig_maps(struct rig *r, uint64_t page)
{
	fn_t fn = rig_frame(r, page);
	uint32_t n;

	if (fn == FN_NONE)
		return 0;
	n = pool_maps(r->pool, fn);
	for (page = 0; page < r->pages; page++)
		if (rig_frame(r, page) == fn)
			n += rig_sharers(r, page);
	return n;
}

uint32_t rig_refs(struct rig *r, uint64_t page)
{
	fn_t fn = rig_frame(r, page);

	return fn == FN_NONE ? 0 : pool_refs(r->pool, fn);
}

fn_t rig_home(struct rig *r, uint64_t page)
{
	unsigned prot;
	fn_t home;

	check_eq(hostmm_home(r->mm, rig_hva(r, page), 1, &home, &prot), 0);
	return home;
}

uint64_t rig_peek(struct rig *r, uint64_t page)
{
	uint64_t value;

	check_eq(hostmm_read(r->mm, rig_hva(r, page), &value, sizeof(value)), 0);
	return value;
}

void rig_check_all_home(struct rig *r)
{
	/* Pages may sit in each other's homes: nobody can go home before all have left. */
	check_eq(hostmm_migrate(r->mm, r->hva, rig_hva(r, r->pages), HOSTMM_MIGRATE_AWAY), 0);
	check_eq(hostmm_migrate(r->mm, r->hva, rig_hva(r, r->pages), HOSTMM_MIGRATE_HOME), 0);
	for (uint64_t page = 0; page < r->pages; page++) {
		if (rig_frame(r, page) == FN_NONE)
			continue;
		check_eq(rig_frame(r, page), rig_home(r, page));
		check_eq(rig_maps(r, page), 1);
		check_eq(rig_refs(r, page), 1);
		rig_store(rig_word(r->host, page, 4088), page); /* and its VMA follows */
	}
	check_eq(rig_foreign(r), 0);
}
