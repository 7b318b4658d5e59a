/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Locks that know their holder, conditions, protocol atomics and RCU: every primitive with which mmu/ synchronises.
 * Owns no global state but a per-thread identity. All of mmu/ goes through here and nowhere else, so that a
 * schedule explorer can take these few functions over (sync_explore.h). Knows nothing above mmu/base.
 */
#ifndef UMBRA_MMU_BASE_SYNC_H
#define UMBRA_MMU_BASE_SYNC_H

#ifdef UMBRA_EXPLORER
#include "mmu/base/sync_explore.h"
#else

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "mmu/base/bug.h"

/* The address of a thread's own copy identifies the thread; the value counts the read locks that it holds. */
extern _Thread_local unsigned sync_self;

/* The thread's number, as gettid() and userfaultfd say it. */
uint32_t sync_tid(void);

/* Where the thread reads: its shard of each lock, in turn by the order in which threads first take one. */
extern _Thread_local unsigned sync_shard; /* plus 1; 0: none yet */
unsigned sync_shard_assign(void);

/*
 * Who does not get a lock at once tries for a few microseconds before it sleeps: most are held for less, and to be woken
 * takes ten times that.
 */

/* Mutual exclusion; may sleep. Not recursive. */
struct lock {
	pthread_mutex_t mutex;
	_Atomic(void *) holder;
};

#ifndef PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP /* a user without _GNU_SOURCE */
#define PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP PTHREAD_MUTEX_INITIALIZER
#endif
#define LOCK_INITIALIZER                                       \
	{                                                      \
		.mutex = PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP \
	}

static inline void lock_init(struct lock *l)
{
	*l = (struct lock)LOCK_INITIALIZER;
}

static inline void lock_fini(struct lock *l)
{
	bug_on(pthread_mutex_destroy(&l->mutex));
}

static inline bool lock_is_held(struct lock *l)
{
	return atomic_load_explicit(&l->holder, memory_order_relaxed) == &sync_self;
}

#define lock_assert_held(l)	    bug_on(!lock_is_held(l))

static inline void lock_acquire(struct lock *l)
{
	bug_on(lock_is_held(l));
	bug_on(pthread_mutex_lock(&l->mutex));
	atomic_store_explicit(&l->holder, &sync_self, memory_order_relaxed);
}

static inline void lock_release(struct lock *l)
{
	lock_assert_held(l);
	atomic_store_explicit(&l->holder, NULL, memory_order_relaxed);
	bug_on(pthread_mutex_unlock(&l->mutex));
}

/* Sleep until a condition that a lock guards may have changed. */
struct cond {
	pthread_cond_t cond;
};

static inline void cond_init(struct cond *c)
{
	pthread_condattr_t attr;

	bug_on(pthread_condattr_init(&attr));
	bug_on(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC));
	bug_on(pthread_cond_init(&c->cond, &attr));
	bug_on(pthread_condattr_destroy(&attr));
}

static inline void cond_fini(struct cond *c)
{
	bug_on(pthread_cond_destroy(&c->cond));
}

/* Wakes may be spurious: test the condition in a loop. */
static inline void cond_wait(struct cond *c, struct lock *l)
{
	lock_assert_held(l);
	atomic_store_explicit(&l->holder, NULL, memory_order_relaxed);
	bug_on(pthread_cond_wait(&c->cond, &l->mutex));
	atomic_store_explicit(&l->holder, &sync_self, memory_order_relaxed);
}

/* As cond_wait(), until an instant of CLOCK_MONOTONIC; false when that has passed. */
static inline bool cond_wait_until(struct cond *c, struct lock *l, const struct timespec *deadline)
{
	int rc;

	lock_assert_held(l);
	atomic_store_explicit(&l->holder, NULL, memory_order_relaxed);
	rc = pthread_cond_timedwait(&c->cond, &l->mutex, deadline);
	atomic_store_explicit(&l->holder, &sync_self, memory_order_relaxed);
	return rc == 0;
}

static inline void cond_broadcast(struct cond *c)
{
	bug_on(pthread_cond_broadcast(&c->cond));
}

/*
 * Readers share, a writer excludes; a waiting writer goes before new readers, so faults that come without end do not starve
 * an invalidation. Neither side recurses.
 *
 * To share is to write to the lock, and threads on several processors then wait for its cache line. Where readers outnumber
 * writers by far, rwlock_init_read_mostly() gives threads shards of their own to read in; a writer takes them all, in
 * order. Kernel: percpu_rw_semaphore, and before it lglock.
 */
#define RWLOCK_SHARDS		    16u

struct rwlock_shard {
	pthread_rwlock_t rwlock;
	char pad[64]; /* two of an array have no line in common, wherever it begins */
};

struct rwlock {
	struct rwlock_shard *shard; /* [shards] */
	unsigned shards;	    /* 1, or RWLOCK_SHARDS */
	_Atomic unsigned waiting;   /* threads that did not get it at once */
	_Atomic(void *) writer;
	struct rwlock_shard only; /* where there is one */
};

/* Without memory for shards a read-mostly lock has one, and is as any other. */
void rwlock_init(struct rwlock *l);
void rwlock_init_read_mostly(struct rwlock *l);
/* Nobody holds it (bug). */
void rwlock_fini(struct rwlock *l);

static inline bool rwlock_is_held_write(struct rwlock *l)
{
	return atomic_load_explicit(&l->writer, memory_order_relaxed) == &sync_self;
}

#define rwlock_assert_held_write(l) bug_on(!rwlock_is_held_write(l))
/* The thread holds some rwlock for reading, or this one for writing: the most that a plain rwlock can tell. */
#define rwlock_assert_held(l)	    bug_on(!sync_self && !rwlock_is_held_write(l))

/*
 * Does anybody wait for the lock? A hint, for a holder who could let them in: unlock and lock again. Those readers then
 * go first.
 */
static inline bool rwlock_is_contended(struct rwlock *l)
{
	return atomic_load_explicit(&l->waiting, memory_order_relaxed);
}

static inline pthread_rwlock_t *rwlock_own_shard(struct rwlock *l)
{
	unsigned shard = sync_shard ? sync_shard : sync_shard_assign();

	return &l->shard[(shard - 1) & (l->shards - 1)].rwlock;
}

/* Try again, then sleep. */
void rwlock_read_wait(struct rwlock *l, pthread_rwlock_t *shard);
void rwlock_write_wait(struct rwlock *l, pthread_rwlock_t *shard);

static inline void rwlock_read_acquire(struct rwlock *l)
{
	pthread_rwlock_t *own = rwlock_own_shard(l);

	bug_on(rwlock_is_held_write(l));
	if (pthread_rwlock_tryrdlock(own))
		rwlock_read_wait(l, own);
	sync_self++;
}

static inline void rwlock_read_release(struct rwlock *l)
{
	bug_on(!sync_self);
	sync_self--;
	bug_on(pthread_rwlock_unlock(rwlock_own_shard(l)));
}

/* Readers that come meanwhile wait at the shards that are taken already. */
static inline void rwlock_write_acquire(struct rwlock *l)
{
	bug_on(rwlock_is_held_write(l));
	for (unsigned i = 0; i < l->shards; i++)
		if (pthread_rwlock_trywrlock(&l->shard[i].rwlock))
			rwlock_write_wait(l, &l->shard[i].rwlock);
	atomic_store_explicit(&l->writer, &sync_self, memory_order_relaxed);
}

static inline void rwlock_write_release(struct rwlock *l)
{
	rwlock_assert_held_write(l);
	atomic_store_explicit(&l->writer, NULL, memory_order_relaxed);
	for (unsigned i = l->shards; i-- > 0;)
		bug_on(pthread_rwlock_unlock(&l->shard[i].rwlock));
}

/* Atomics with a meaning in a protocol; plain counters use C11 atomics relaxed. */
#define sync_load(p)		    atomic_load_explicit((p), memory_order_relaxed)
#define sync_load_acquire(p)	    atomic_load_explicit((p), memory_order_acquire)
#define sync_store(p, v)	    atomic_store_explicit((p), (v), memory_order_relaxed)
#define sync_store_release(p, v)    atomic_store_explicit((p), (v), memory_order_release)
#define sync_fetch_add(p, v)	    atomic_fetch_add_explicit((p), (v), memory_order_acq_rel)
#define sync_fetch_sub(p, v)	    atomic_fetch_sub_explicit((p), (v), memory_order_acq_rel)
#define sync_fetch_or(p, v)	    atomic_fetch_or_explicit((p), (v), memory_order_acq_rel)
#define sync_fetch_and(p, v)	    atomic_fetch_and_explicit((p), (v), memory_order_acq_rel)
#define sync_exchange(p, v)	    atomic_exchange_explicit((p), (v), memory_order_acq_rel)
#define sync_cas(p, old, new)                                                            \
	atomic_compare_exchange_strong_explicit((p), (old), (new), memory_order_acq_rel, \
						memory_order_acquire)

/* Memory behind @p is about to be touched by somebody who shares no lock with the others: only the explorer asks. */
#define sync_touch(p)	       ((void)(p))
/* The same for somebody who only reads it: it must not be freed yet. */
#define sync_use(p)	       ((void)(p))

/* A callback that is about to be called, as in sync_callback(ops->release)(mn): the explorer notes who calls what. */
#define sync_callback(fn)      (fn)

/*
 * RCU, bulletproof flavour: no registration, readers may sleep, sections nest.
 * sync_rcu_wait() waits for all sections open at the call: never call it inside one, nor while holding a lock
 * that a section may take (docs/locking.md).
 */
void sync_rcu_read_lock(void);
void sync_rcu_read_unlock(void);
void sync_rcu_wait(void);
bool sync_rcu_is_held(void);

#define sync_rcu_assert_held() bug_on(!sync_rcu_is_held())

#endif /* !UMBRA_EXPLORER */

#endif
