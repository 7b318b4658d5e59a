/* SPDX-License-Identifier: BSD-2-Clause */
/* Everything at once: an empty root takes the place of the table, which is then taken apart in steps. */
#include <errno.h>

#include "mmu/base/trace.h"
#include "mmu/shadow/shadow_priv.h"

/* Tables a step: mmu_lock is held for reading so long, and no writer gets it. */
#define TEARDOWN_BUDGET 64u

/*
 *	shadow_drop_root()			fault			bracket
 *	swap the root, flush all   (write)
 *						the old root: RETRY
 *						installs in the new one
 *	zap a few tables           (read)
 *									zaps its range in both trees
 *	...
 *	the old root is empty, dead
 */
int shadow_drop_root(struct shadow *sh)
{
	struct ept_page *fresh = ept_root_alloc(&sh->ept), *old;
	bool empty = false;

	if (!fresh)
		return -ENOMEM;
	sync_rcu_read_lock(); /* for slots */
	rwlock_write_acquire(&sh->mmu_lock);
	ept_root_swap(&sh->ept, fresh, &old);
	flush_all(sh);
	rwlock_write_release(&sh->mmu_lock);
	sync_rcu_read_unlock();
	count(&sh->zap_alls, 1);
	while (!empty) {
		sync_rcu_read_lock();
		rwlock_read_acquire(&sh->mmu_lock);
		empty = ept_root_teardown(&sh->ept, old, TEARDOWN_BUDGET);
		rwlock_read_release(&sh->mmu_lock);
		sync_rcu_read_unlock();
	}
	return 0;
}

int shadow_zap_all(struct shadow *sh)
{
	uint64_t begin = trace_begin();
	int rc = shadow_drop_root(sh);

	if (!rc)
		ept_reap(&sh->ept);
	trace_span(kvm_mmu_zap_all_fast, begin, rc, 0, 0);
	return rc;
}
