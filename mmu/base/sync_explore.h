/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The primitives of sync.h under a schedule explorer: each is a scheduling point, then the plain effect, since the
 * explorer runs one thread at a time. Included by sync.h alone, when UMBRA_EXPLORER is defined; tests/race/sched.c
 * implements explore_point(). Owns no state but that of the primitives.
 */
#ifndef UMBRA_MMU_BASE_SYNC_EXPLORE_H
#define UMBRA_MMU_BASE_SYNC_EXPLORE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "mmu/base/bug.h"

/* What a thread is about to do. Two operations on one object commute if both only read (docs/races.md). */
enum explore_op {
	EXPLORE_LOAD,
	EXPLORE_STORE,
	EXPLORE_RMW,
	EXPLORE_LOCK,
	EXPLORE_UNLOCK,
	EXPLORE_SLEEP, /* on a condition, @object; wakes with the lock, @other */
	EXPLORE_WAKE,
	EXPLORE_READ_LOCK,
	EXPLORE_READ_UNLOCK,
	EXPLORE_WRITE_ASK, /* the first half of a write lock: takes a free lock, else keeps new readers out */
	EXPLORE_WRITE_LOCK,
	EXPLORE_WRITE_UNLOCK,
	EXPLORE_RCU_LOCK,
	EXPLORE_RCU_UNLOCK,
	EXPLORE_RCU_WAIT,
	EXPLORE_FREE, /* memory from @object to @other, the last byte: conflicts with every use of it */
	EXPLORE_NOTE, /* the start of a thread */
	EXPLORE_OP_COUNT
};

/*
 * explore_point - let the scheduler choose who goes on. Returns when this thread may carry out @op on @object, which
 * is then possible. @what is the object's name in the source, @where the function, for drawings.
 */
void explore_point(enum explore_op op, void *object, void *other, const char *what,
		   const char *where);

/* explore_alive - ends the run if @object has been freed. Whoever breaks a rule of a lock has perhaps met one that is gone. */
void explore_alive(void *object, const char *what, const char *where);

#define explore_bug_on(cond, l, what, where)             \
	do {                                             \
		if (cond) {                              \
			explore_alive((l), what, where); \
			bug_on(cond);                    \
		}                                        \
	} while (0)

/* An identity for the running thread, never NULL. */
void *explore_self(void);
uint64_t explore_self_bit(void); /* the same as one bit of 64 */

static inline uint32_t sync_tid(void)
{
	return 1 + (uint32_t)__builtin_ctzl(explore_self_bit());
}

struct lock {
	void *holder;
};

struct cond {
	char unused;
};

struct rwlock {
	void *writer;
	unsigned readers;
	uint64_t
		who; /* bit n: thread n reads. A waiting writer goes first: a reader must not recurse */
	uint64_t waiting; /* bit n: thread n waits for writing, and new readers wait for it */
};

static inline void lock_init(struct lock *l)
{
	l->holder = NULL;
}

static inline void lock_fini(struct lock *l)
{
	bug_on(l->holder != NULL);
}

static inline bool lock_is_held(struct lock *l)
{
	return l->holder == explore_self();
}

#define lock_assert_held(l) bug_on(!lock_is_held(l))

static inline void explore_lock(struct lock *l, const char *what, const char *where)
{
	explore_bug_on(lock_is_held(l), l, what, where);
	explore_point(EXPLORE_LOCK, l, NULL, what, where);
	l->holder = explore_self();
}

static inline void explore_unlock(struct lock *l, const char *what, const char *where)
{
	explore_bug_on(!lock_is_held(l), l, what, where);
	explore_point(EXPLORE_UNLOCK, l, NULL, what, where);
	l->holder = NULL;
}

#define lock_acquire(l) explore_lock((l), #l, __func__)
#define lock_release(l) explore_unlock((l), #l, __func__)

static inline void cond_init(struct cond *c)
{
	c->unused = 0;
}

static inline void cond_fini(struct cond *c)
{
	(void)c;
}

/* explore_point() gives the lock up and takes it again. */
static inline void explore_sleep(struct cond *c, struct lock *l, const char *what,
				 const char *where)
{
	lock_assert_held(l);
	explore_point(EXPLORE_SLEEP, c, l, what, where);
	l->holder = explore_self();
}

#define cond_wait(c, l)	  explore_sleep((c), (l), #c, __func__)
#define cond_broadcast(c) explore_point(EXPLORE_WAKE, (c), NULL, #c, __func__)

/* Time stands still here: whoever would wait for a deadline finds it passed. */
static inline bool cond_wait_until(struct cond *c, struct lock *l, const struct timespec *deadline)
{
	(void)c;
	(void)l;
	(void)deadline;
	return false;
}

static inline void rwlock_init(struct rwlock *l)
{
	l->writer = NULL;
	l->readers = 0;
	l->who = 0;
	l->waiting = 0;
}

/* Where a reader of the real one writes to makes no difference to who gets in. */
static inline void rwlock_init_read_mostly(struct rwlock *l)
{
	rwlock_init(l);
}

static inline void rwlock_fini(struct rwlock *l)
{
	bug_on(l->writer || l->readers || l->waiting);
}

static inline bool rwlock_is_held_write(struct rwlock *l)
{
	return l->writer == explore_self();
}

#define rwlock_assert_held_write(l) bug_on(!rwlock_is_held_write(l))
#define rwlock_assert_held(l)	    bug_on(!(l)->readers && !rwlock_is_held_write(l))

static inline void explore_rwlock(struct rwlock *l, enum explore_op op, const char *what,
				  const char *where)
{
	explore_bug_on(op != EXPLORE_WRITE_UNLOCK && rwlock_is_held_write(l), l, what, where);
	explore_bug_on(op == EXPLORE_WRITE_UNLOCK && !rwlock_is_held_write(l), l, what, where);
	explore_bug_on(op == EXPLORE_READ_UNLOCK && !l->readers, l, what, where);
	explore_bug_on(op == EXPLORE_READ_LOCK && (l->who & explore_self_bit()), l, what, where);
	explore_point(op, l, NULL, what, where);
	if (op == EXPLORE_READ_LOCK) {
		l->readers++;
		l->who |= explore_self_bit();
	} else if (op == EXPLORE_READ_UNLOCK) {
		l->readers--;
		l->who &= ~explore_self_bit();
	} else
		l->writer = op == EXPLORE_WRITE_LOCK ? explore_self() : NULL;
}

/* Whoever may let others in does so each time: where nobody comes, nothing has happened. */
#define rwlock_is_contended(l)	((void)(l), true)

#define rwlock_read_acquire(l)	explore_rwlock((l), EXPLORE_READ_LOCK, #l, __func__)
#define rwlock_read_release(l)	explore_rwlock((l), EXPLORE_READ_UNLOCK, #l, __func__)
#define rwlock_write_acquire(l) explore_rwlock((l), EXPLORE_WRITE_LOCK, #l, __func__)
#define rwlock_write_release(l) explore_rwlock((l), EXPLORE_WRITE_UNLOCK, #l, __func__)

#define explore_access(op, p, expr)                                              \
	({                                                                       \
		explore_point((op), (void *)(uintptr_t)(p), NULL, #p, __func__); \
		(expr);                                                          \
	})

#define sync_load(p)		 explore_access(EXPLORE_LOAD, p, atomic_load(p))
#define sync_load_acquire(p)	 explore_access(EXPLORE_LOAD, p, atomic_load(p))
#define sync_store(p, v)	 explore_access(EXPLORE_STORE, p, atomic_store((p), (v)))
#define sync_store_release(p, v) explore_access(EXPLORE_STORE, p, atomic_store((p), (v)))
#define sync_fetch_add(p, v)	 explore_access(EXPLORE_RMW, p, atomic_fetch_add((p), (v)))
#define sync_fetch_sub(p, v)	 explore_access(EXPLORE_RMW, p, atomic_fetch_sub((p), (v)))
#define sync_fetch_or(p, v)	 explore_access(EXPLORE_RMW, p, atomic_fetch_or((p), (v)))
#define sync_fetch_and(p, v)	 explore_access(EXPLORE_RMW, p, atomic_fetch_and((p), (v)))
#define sync_exchange(p, v)	 explore_access(EXPLORE_RMW, p, atomic_exchange((p), (v)))
#define sync_cas(p, old, new) \
	explore_access(EXPLORE_RMW, p, atomic_compare_exchange_strong((p), (old), (new)))

/* Memory behind @p is about to be touched by somebody who shares no lock with the others. */
#define sync_touch(p) explore_point(EXPLORE_STORE, (void *)(uintptr_t)(p), NULL, #p, __func__)
#define sync_use(p)   explore_point(EXPLORE_LOAD, (void *)(uintptr_t)(p), NULL, #p, __func__)

/*
 * A callback is a line of the timeline, and no scheduling point. It needs none: a call touches no object of its own, so a
 * thread that stopped here could as well have stopped before the next operation that conflicts with anything, which
 * is a point, inside the callback or after it (search.c). A subscriber that it reaches too late is touched there.
 */
void explore_callback(const char *what);

#define sync_callback(fn)              \
	({                             \
		explore_callback(#fn); \
		(fn);                  \
	})

void explore_rcu(enum explore_op op, const char *where);
bool explore_rcu_is_held(void);

#define sync_rcu_read_lock()   explore_rcu(EXPLORE_RCU_LOCK, __func__)
#define sync_rcu_read_unlock() explore_rcu(EXPLORE_RCU_UNLOCK, __func__)
#define sync_rcu_wait()	       explore_rcu(EXPLORE_RCU_WAIT, __func__)
#define sync_rcu_assert_held() bug_on(!explore_rcu_is_held())

#endif
