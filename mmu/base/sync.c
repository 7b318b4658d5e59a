/* SPDX-License-Identifier: BSD-2-Clause */
#include "mmu/base/sync.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include <urcu/urcu-bp.h>

_Thread_local unsigned sync_self;

uint32_t sync_tid(void)
{
	return (uint32_t)gettid();
}

_Thread_local unsigned sync_shard;

unsigned sync_shard_assign(void)
{
	static atomic_uint threads;

	sync_shard = atomic_fetch_add_explicit(&threads, 1, memory_order_relaxed) % RWLOCK_SHARDS +
		     1;
	return sync_shard;
}

static void init_shards(struct rwlock *l, struct rwlock_shard *shard, unsigned shards)
{
	pthread_rwlockattr_t attr;

	bug_on(pthread_rwlockattr_init(&attr));
	/* Faults hold the lock for reading all the time: without preference an invalidation starves. */
	bug_on(pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP));
	for (unsigned i = 0; i < shards; i++)
		bug_on(pthread_rwlock_init(&shard[i].rwlock, &attr));
	bug_on(pthread_rwlockattr_destroy(&attr));
	l->shard = shard;
	l->shards = shards;
	atomic_init(&l->writer, NULL);
	atomic_init(&l->waiting, 0);
}

void rwlock_init(struct rwlock *l)
{
	init_shards(l, &l->only, 1);
}

void rwlock_init_read_mostly(struct rwlock *l)
{
	struct rwlock_shard *shard = malloc(RWLOCK_SHARDS * sizeof(*shard));

	if (shard)
		init_shards(l, shard, RWLOCK_SHARDS);
	else
		rwlock_init(l);
}

void rwlock_fini(struct rwlock *l)
{
	for (unsigned i = 0; i < l->shards; i++) {
		pthread_rwlock_t *rwlock = &l->shard[i].rwlock;

		/* Destroying one that is held would not fail. */
		bug_on(pthread_rwlock_trywrlock(rwlock) || pthread_rwlock_unlock(rwlock));
		bug_on(pthread_rwlock_destroy(rwlock));
	}
	if (l->shard != &l->only)
		free(l->shard);
}

/* Times to try; a pause is 40 to 140 cycles. */
#define SPINS 64

static void relax(void)
{
#ifdef __x86_64__
	__builtin_ia32_pause();
#endif
}

/* Whoever waits counts from the start: a holder who could let others in should do so. */
void rwlock_read_wait(struct rwlock *l, pthread_rwlock_t *shard)
{
	int rc = EBUSY;

	atomic_fetch_add_explicit(&l->waiting, 1, memory_order_relaxed);
	for (int i = 0; i < SPINS && rc; i++) {
		relax();
		rc = pthread_rwlock_tryrdlock(shard);
	}
	if (rc)
		bug_on(pthread_rwlock_rdlock(shard));
	atomic_fetch_sub_explicit(&l->waiting, 1, memory_order_relaxed);
}

void rwlock_write_wait(struct rwlock *l, pthread_rwlock_t *shard)
{
	int rc = EBUSY;

	atomic_fetch_add_explicit(&l->waiting, 1, memory_order_relaxed);
	for (int i = 0; i < SPINS && rc; i++) {
		relax();
		rc = pthread_rwlock_trywrlock(shard);
	}
	if (rc)
		bug_on(pthread_rwlock_wrlock(shard));
	atomic_fetch_sub_explicit(&l->waiting, 1, memory_order_relaxed);
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
