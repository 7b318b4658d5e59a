/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The window: the VA ranges under a guest's KVM memslots, one view a slot, and the threads that resolve their faults.
 * Owns views, userfaultfd and threads. hv/ maps a slot's base into KVM; a thread that loads and stores there is as good
 * a guest for a test. Knows no KVM.
 */
#ifndef UMBRA_MMU_SHADOW_WINDOW_H
#define UMBRA_MMU_SHADOW_WINDOW_H

#include "mmu/shadow/shadow.h"

struct window;

struct window_opts {
	unsigned fault_threads; /* as many as vCPUs: then no fault waits for another's page-in */
	/*
	 * optional. An access cannot be resolved (@error: as shadow_fault()), or a fault thread died (@gpa is GPA_NONE).
	 * Called on a fault thread, once an event, before all views are shut: an access that fails because they are finds
	 * the reason stated. Once it has returned, waiting and later accesses fail, and are not told of.
	 */
	void (*fatal)(void *ctx, gpa_t gpa, bool write, int error);
	void *fatal_ctx;
	/*
	 * optional, both or none. Who maps the window into a guest may know its stores: KVM's own dirty log of the memslot.
	 * backend_ops.log_dirty and .collect_dirty, for slot @id. Without, a slot cannot log by SHADOW_DIRTY_BACKEND
	 * (-EOPNOTSUPP).
	 */
	int (*log_dirty)(void *ctx, unsigned id, bool on);
	int (*collect_dirty)(void *ctx, unsigned id, uint64_t *bitmap);
	void *dirty_ctx;
};

#define GPA_NONE (~(gpa_t)0)

/*
 * window_create - a backend without slots: pass window_ops and the window to shadow_create(). @pool outlives it.
 * 0 or the errno of uffd_open(), -ENOMEM.
 * window_start - resolve faults with @shadow from now on. window_stop - end the threads; faults then wait for ever.
 * Order of life: window_create, shadow_create, window_start ... window_stop, shadow_destroy, window_destroy.
 */
int window_create(struct window **out, struct pool *pool, const struct window_opts *opts);
int window_start(struct window *window, struct shadow *shadow);
void window_stop(struct window *window);
void window_destroy(struct window *window);

extern const struct backend_ops window_ops;

/* window_base - where the slot lies in this process, for KVM_SET_USER_MEMORY_REGION. @slot from shadow_slot(). */
void *window_base(const struct memslot *slot);

/* window_shut - fail closed at once: every access through the window fails from now on. Any thread. */
void window_shut(struct window *window);

/*
 * window_can_check - what shadow_check() can see of a window here: 0 everything; -EPERM all but which frame a page reaches
 * (CAP_SYS_ADMIN); another -errno of /proc/self/pagemap: nothing.
 */
int window_can_check(void);

/*
 * window_repoints, window_settle - for a vCPU whose access failed without a reason: was the window in a gap?
 * (docs/design.md, "The gap".) Remember the count before the access; after the failure call window_settle(), which
 * waits until no repoint is under way; if the count has changed by then, try again.
 */
uint64_t window_repoints(struct window *window);
void window_settle(struct window *window);

#endif
