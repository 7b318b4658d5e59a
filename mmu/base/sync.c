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
	atomic_init(&l->waiting, 0);
}

/* liburcu is not instrumented: tell the thread sanitizer that sections end before sync_rcu_wait() returns. */
#ifdef __SANITIZE_THREAD__
#define UMBRA_TSAN
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UMBRA_TSAN
#endif
#endif
#ifdef UMBRA_TSAN
#include <sanitizer/tsan_interface.h>
static char rcu_sections;
/* A trap's handler is no asynchronous one: the code that it interrupts is the faulting access itself (mmu/host/trap.h). */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
	return "report_signal_unsafe=0";
}
#define rcu_section_ends()  __tsan_release(&rcu_sections)
#define rcu_sections_over() __tsan_acquire(&rcu_sections)
#else
#define rcu_section_ends()  ((void)0)
#define rcu_sections_over() ((void)0)
#endif

void sync_rcu_read_lock(void)
{
	urcu_bp_read_lock();
}

void sync_rcu_read_unlock(void)
{
	rcu_section_ends();
	urcu_bp_read_unlock();
}

bool sync_rcu_is_held(void)
{
	return urcu_bp_read_ongoing();
}

void sync_rcu_wait(void)
{
	bug_on(urcu_bp_read_ongoing());
	bug_on(sync_self); /* a read lock held across a grace period may wait for its own writer */
	urcu_bp_synchronize_rcu();
	rcu_sections_over();
}
