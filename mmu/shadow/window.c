/* SPDX-License-Identifier: BSD-2-Clause */
#include "mmu/shadow/window.h"

#include <errno.h>
#include <stdlib.h>

#include "mmu/base/list.h"
#include "mmu/host/fault_threads.h"
#include "mmu/host/view.h"
#include "mmu/notify/interval_tree.h"
#include "mmu/shadow/dirty_ring.h"
#include "mmu/shadow/window_priv.h"

/* The part of the window under one slot. */
struct pane {
	struct interval_node node; /* its addresses */
	struct pool *pool;
	struct window *window;
	unsigned id;
	struct view *view;
	gfn_t gfn; /* panes_lock */
};

/*
 * Locks used to protect members:
 *	I	immutable after create
 *	p	panes_lock: read to look, write to change
 *	a	atomic
 */
struct window {
	struct pool *pool;	       /* [I] */
	struct window_opts opts;       /* [I] */
	struct uffd uffd;	       /* [I] */
	struct shadow *shadow;	       /* [I] after start */
	struct fault_threads *threads; /* [I] after start */
	struct rwlock panes_lock;
	struct interval_tree panes; /* [p] by address */
	bool shut;		    /* [p] */
};

static struct pane *pane_of(struct interval_node *node)
{
	return node ? list_entry(node, struct pane, node) : NULL;
}

static struct pane *first_pane(struct window *window)
{
	return pane_of(interval_tree_first(&window->panes, 0, UINT64_MAX));
}

static struct pane *next_pane(struct pane *pane)
{
	return pane_of(interval_tree_next(&pane->node, 0, UINT64_MAX));
}

static int window_slot_add(void *ctx, struct memslot *slot, fn_t home)
{
	struct window *window = ctx;
	struct pane *pane = calloc(1, sizeof(*pane));
	int rc;

	if (!pane)
		return -ENOMEM;
	rc = view_create(&pane->view, window->pool, &window->uffd, slot->npages, home);
	if (rc) {
		free(pane);
		return rc;
	}
	pane->node.start = (hva_t)(uintptr_t)view_base(pane->view);
	pane->node.end = pane->node.start + (slot->npages << PAGE_SHIFT);
	pane->pool = window->pool;
	pane->gfn = slot->gfn;
	pane->window = window;
	pane->id = slot->id;
	slot->backend = pane;

	rwlock_write_acquire(&window->panes_lock);
	if (window->shut)
		view_shut(pane->view);
	interval_tree_insert(&window->panes, &pane->node);
	rwlock_write_release(&window->panes_lock);
	return 0;
}

static void window_slot_remove(void *ctx, struct memslot *slot)
{
	struct window *window = ctx;
	struct pane *pane = slot->backend;

	rwlock_write_acquire(&window->panes_lock);
	interval_tree_remove(&window->panes, &pane->node);
	rwlock_write_release(&window->panes_lock);
	view_destroy(pane->view);
	free(pane);
}

/* The addresses stay. A fault that still has the old gfn finds no slot there; window_wake() has its thread come again. */
static void window_slot_move(void *ctx, struct memslot *slot)
{
	struct window *window = ctx;
	struct pane *pane = slot->backend;

	rwlock_write_acquire(&window->panes_lock);
	pane->gfn = slot->gfn;
	rwlock_write_release(&window->panes_lock);
}

static int window_map(void *slot_backend, uint64_t page, uint64_t n, fn_t fn, bool writable)
{
	struct pane *pane = slot_backend;

	return view_map(pane->view, page, n, fn, writable);
}

static int window_restore(void *slot_backend, uint64_t page, uint64_t n, fn_t fn, bool writable)
{
	struct pane *pane = slot_backend;

	return view_restore(pane->view, page, n, fn, writable);
}

static int window_make_writable(void *slot_backend, uint64_t page, uint64_t n)
{
	struct pane *pane = slot_backend;

	return view_make_writable(pane->view, page, n);
}

static void window_wrprotect(void *slot_backend, uint64_t page, uint64_t n)
{
	struct pane *pane = slot_backend;

	view_wrprotect(pane->view, page, n);
}

static void window_zap(void *slot_backend, uint64_t page, uint64_t n)
{
	struct pane *pane = slot_backend;

	view_zap(pane->view, page, n);
}

/*
 * MADV_DONTNEED alone, and no lock: whoever maps or protects the pages beside it changes VMAs, or entries of pages whose frames
 * exist, in calls of the system that order each other. What is left is an entry less (docs/locking.md, "Aging").
 */
static void window_age(void *slot_backend, uint64_t page, uint64_t n)
{
	struct pane *pane = slot_backend;

	view_zap(pane->view, page, n);
}

static uint64_t window_compare(void *slot_backend, uint64_t page, uint64_t n,
			       const struct backend_page *allowed,
			       void (*wrong)(void *ctx, uint64_t page, const char *what), void *ctx)
{
	const struct pane *pane = slot_backend;
	const struct window_check check = { .pool = pane->pool,
					    .base = view_base(pane->view),
					    .wrong = wrong,
					    .ctx = ctx };

	return window_check_pages(&check, page, n, allowed);
}

static void window_zap_all(void *ctx)
{
	struct window *window = ctx;

	rwlock_read_acquire(&window->panes_lock);
	for (struct pane *pane = first_pane(window); pane; pane = next_pane(pane))
		view_zap(pane->view, 0, view_pages(pane->view));
	rwlock_read_release(&window->panes_lock);
}

static void window_wake(void *slot_backend, uint64_t page, uint64_t n)
{
	struct pane *pane = slot_backend;

	view_wake(pane->view, page, n);
}

static int window_log_dirty(void *slot_backend, bool on)
{
	struct pane *pane = slot_backend;
	const struct window_opts *opts = &pane->window->opts;

	return opts->log_dirty ? opts->log_dirty(opts->dirty_ctx, pane->id, on) : -EOPNOTSUPP;
}

static int window_collect_dirty(void *slot_backend, uint64_t *bitmap)
{
	struct pane *pane = slot_backend;
	const struct window_opts *opts = &pane->window->opts;

	return opts->collect_dirty(opts->dirty_ctx, pane->id, bitmap);
}

const struct backend_ops window_ops = {
	.slot_add = window_slot_add,
	.slot_remove = window_slot_remove,
	.slot_move = window_slot_move,
	.map = window_map,
	.make_writable = window_make_writable,
	.restore = window_restore,
	.wrprotect = window_wrprotect,
	.zap = window_zap,
	.age = window_age,
	.compare = window_compare,
	.zap_all = window_zap_all,
	.wake = window_wake,
	.log_dirty = window_log_dirty,
	.collect_dirty = window_collect_dirty,
};

void *window_base(const struct memslot *slot)
{
	const struct pane *pane = slot->backend;

	return view_base(pane->view);
}

static gpa_t addr_to_gpa(struct window *window, hva_t addr)
{
	gpa_t gpa = GPA_NONE;
	struct pane *pane;

	rwlock_read_acquire(&window->panes_lock);
	pane = pane_of(interval_tree_first(&window->panes, addr, addr + 1));
	if (pane)
		gpa = (pane->gfn << PAGE_SHIFT) + (addr - pane->node.start);
	rwlock_read_release(&window->panes_lock);
	return gpa;
}

static bool is_shut(struct window *window)
{
	bool shut;

	rwlock_read_acquire(&window->panes_lock);
	shut = window->shut;
	rwlock_read_release(&window->panes_lock);
	return shut;
}

static void fail(struct window *window, gpa_t gpa, bool write, int error)
{
	/* The reason first: an access that meets the shut window must find it stated. What fails because it is shut is none. */
	if (window->opts.fatal && !is_shut(window))
		window->opts.fatal(window->opts.fatal_ctx, gpa, write, error);
	window_shut(window);
}

static void resolve_window_fault(void *ctx, const struct uffd_fault *fault)
{
	struct window *window = ctx;
	unsigned ring = shadow_dirty_ring_of(window->shadow, fault->tid);
	gpa_t gpa;
	int rc;

	do {
		gpa = addr_to_gpa(window, fault->addr);
		if (gpa == GPA_NONE)
			return;
		rc = shadow_fault_ring(window->shadow, gpa >> PAGE_SHIFT, fault->write, ring, true);
		/* The slot may have moved away under the fault: what is at @gpa now is not what was asked for. */
	} while (rc < 0 && addr_to_gpa(window, fault->addr) != gpa);
	/*
	 * No slot, but a pane: the slot has just been removed, or is about to appear at its new place. view_destroy() wakes
	 * who waits, and it fails; or shadow_move_slot() does, and it faults again.
	 */
	if (rc == -ENXIO)
		return;
	if (rc < 0)
		fail(window, gpa, fault->write, rc);
}

static void fault_thread_died(void *ctx, int error)
{
	fail(ctx, GPA_NONE, false, -error);
}

static const struct fault_ops fault_ops = {
	.resolve = resolve_window_fault,
	.died = fault_thread_died,
};

int window_create(struct window **out, struct pool *pool, const struct window_opts *opts)
{
	struct window *window = calloc(1, sizeof(*window));
	int rc;

	if (!window)
		return -ENOMEM;
	window->pool = pool;
	window->opts = *opts;
	rwlock_init(&window->panes_lock);
	rc = uffd_open(&window->uffd, 0);
	if (rc) {
		rwlock_fini(&window->panes_lock);
		free(window);
		return rc;
	}
	window->uffd.is_retried = true;
	*out = window;
	return 0;
}

int window_start(struct window *window, struct shadow *shadow)
{
	window->shadow = shadow;
	return fault_threads_start(&window->threads, &window->uffd, window->opts.fault_threads,
				   &fault_ops, window);
}

void window_stop(struct window *window)
{
	if (!window->threads)
		return;
	shadow_dirty_ring_release(window->shadow); /* a fault thread may be waiting for room */
	fault_threads_stop(window->threads);
	window->threads = NULL;
}

void window_destroy(struct window *window)
{
	bug_on(window->panes.root || window->threads);
	uffd_close(&window->uffd);
	rwlock_fini(&window->panes_lock);
	free(window);
}

void window_shut(struct window *window)
{
	rwlock_write_acquire(&window->panes_lock);
	window->shut = true;
	for (struct pane *pane = first_pane(window); pane; pane = next_pane(pane))
		view_shut(pane->view);
	rwlock_write_release(&window->panes_lock);
}

uint64_t window_repoints(struct window *window)
{
	return uffd_repoints(&window->uffd);
}

void window_settle(struct window *window)
{
	rwlock_read_acquire(&window->panes_lock);
	for (struct pane *pane = first_pane(window); pane; pane = next_pane(pane))
		view_settle(pane->view);
	rwlock_read_release(&window->panes_lock);
}
