/* SPDX-License-Identifier: BSD-2-Clause */
#include "mmu/base/sync.h"

#include <urcu/urcu-bp.h>

_Thread_local unsigned sync_self;

void rwlock_init(struct rwlock *l)
{
	pthread_rwlockattr_t attr;

	bug_on(pthread_rwlockattr_init(&attr));
	/* Faults hold the lock for reading all the time: without preference an invalidation starves. */
	bug_on(pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP));
	bug_on(pthread_rwlock_init(&l->rwlock, &attr));
	bug_on(pthread_rwlockattr_destroy(&attr));
	atomic_init(&l->writer, NULL);
}

void sync_rcu_read_lock(void)
{
	urcu_bp_read_lock();
}

void sync_rcu_read_unlock(void)
{
	urcu_bp_read_unlock();
}

void sync_rcu_wait(void)
{
	bug_on(urcu_bp_read_ongoing());
	bug_on(sync_self); /* a read lock held across a grace period may wait for its own writer */
	urcu_bp_synchronize_rcu();
}
